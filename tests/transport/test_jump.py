"""Hosts behind other hosts: one login for each hop, our policy on every hop, and messages when a hop refuses."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.transport.conftest import Server
from vinfra.errors import HostKeyRefused, TransportError, Unreachable
from vinfra.model.question import Exec
from vinfra.transport.reach import Connections

Connect = Callable[..., Connections]
UNAME = Exec(("uname", "-s"))


def test_fifty_hosts_share_one_login_to_their_bastion(server: Server, port: int, connect: Connect) -> None:
    bastion = server.start(log="bastion")
    names = [f"h{number}" for number in range(50)]
    hosts = [server.host(name, port, jump=("bastion",), connect_timeout=20.0) for name in names]
    connections = connect(server.host("bastion", bastion), *hosts)
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda name: connections.reader(name).ask([UNAME]), [*names, "bastion"]))
    assert all(answer[UNAME].ok for answer in answers)
    assert server.log("bastion").count("Accepted publickey") == 1
    connections.close()
    assert not [thread for thread in threading.enumerate() if "Transport" in type(thread).__name__]


def test_nested_jumps(server: Server, port: int, connect: Connect) -> None:
    first, second = server.start(log="first"), server.start(log="second")
    hops = (server.host("a", first), server.host("b", second, jump=("a",)))
    inner = server.host("inner", port, jump=("b",))
    listed = server.host("listed", port, jump=("a", "b"))
    connections = connect(*hops, inner, listed)
    for name in ("inner", "listed"):
        assert connections.reader(name).ask([UNAME])[UNAME].ok
    assert server.log("first").count("Accepted publickey") == 1
    assert server.log("second").count("Accepted publickey") == 1, "both ways to b are the same"


def test_a_hop_by_address_keeps_to_the_policy(server: Server, port: int, connect: Connect, tmp_path: Path) -> None:
    bastion = server.start()
    host = server.host("h", port, jump=(f"root@127.0.0.1:{bastion}",))
    with pytest.raises(HostKeyRefused, match=rf"its jump host: the host key of \[127.0.0.1\]:{bastion} is unknown"):
        connect(host).reader("h").ask([UNAME])
    known = tmp_path / ".ssh/known_hosts"
    known.parent.mkdir()
    known.write_text(f"[127.0.0.1]:{bastion} {server.host_key}\n")
    assert connect(host).reader("h").ask([UNAME])[UNAME].ok


def test_hops_that_do_not_work(server: Server, port: int, connect: Connect) -> None:
    closed = server.start("AllowTcpForwarding no\n")
    hosts = (
        server.host("closed", closed),
        server.host("down", 1, connect_timeout=1.0),
        server.host("behind", port, jump=("closed",)),
        server.host("beyond", 1, jump=("open",)),
        server.host("open", port),
        server.host("lost", port, jump=("down",)),
        server.host("round", port, jump=("circle",)),
        server.host("circle", port, jump=("round",)),
    )
    connections = connect(*hosts)

    def said(name: str, kind: type[TransportError] = TransportError) -> str:
        with pytest.raises(kind) as refused:
            connections.reader(name).ask([UNAME])
        return str(refused.value)

    assert "refuses to forward to behind" in said("behind")
    assert "AllowTcpForwarding" in said("behind")
    assert "cannot connect to it" in said("beyond", Unreachable)
    assert "lost (root@127.0.0.1" in said("lost", Unreachable)
    assert "its jump host: down (root@127.0.0.1:1): nothing listens there" in said("lost", Unreachable)
    assert "round → circle → round" in said("round")
    assert connections.reader("closed").ask([UNAME])[UNAME].ok, "the bastion itself is a host like any other"
