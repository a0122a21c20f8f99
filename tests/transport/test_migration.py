"""The way of a machine through two logins: a port of one host's loopback that ends at the same port of another."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.transport.conftest import Server, free_port
from vinfra.errors import TransportError
from vinfra.model.inventory import Host, Inventory
from vinfra.transport import migration
from vinfra.transport.forward import Duplex
from vinfra.transport.local import LocalWay, SocketStream
from vinfra.transport.reach import Connections
from vinfra.transport.session import Root, Session

SIZE = 24 << 20


@pytest.fixture
def sink() -> Iterator[int]:
    """A port that answers, once all has come, with its hash."""

    def serve() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                seen = hashlib.sha256()
                while data := caller.recv(1 << 18):
                    seen.update(data)
                caller.sendall(seen.hexdigest().encode())

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


class Other:
    """The other host, whose port of the same number is elsewhere here: both hosts are this machine."""

    def __init__(self, session: Session, port: int) -> None:
        self.session, self.port = session, port

    def dial(self, address: str, port: int, seconds: float) -> Duplex | None:
        return self.session.dial(address, self.port, seconds)


Connect = Callable[..., Connections]


@pytest.fixture
def session(server: Server, port: int, connect: Connect) -> Session:
    return connect(server.host("one", port))._host("one").use(lambda session: session)


def test_all_bytes_get_through_both_logins_and_the_end_too(session: Session, sink: int) -> None:
    port, data = free_port(), os.urandom(SIZE)
    other = Other(session, sink)
    stop = session.listen(port, lambda near: migration._connect(near, other, port))  # type: ignore[arg-type]
    assert stop
    for _ in range(2):  # one after the other, as memory and disks come
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            told = sock.recv(100)
        assert told == hashlib.sha256(data).hexdigest().encode()
        print(f"{SIZE / (time.monotonic() - began) / 1e6:.0f} MB/s")
    stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


def test_where_nobody_listens_yet_the_connection_just_ends(session: Session) -> None:
    port, other = free_port(), Other(session, free_port())
    stop = session.listen(port, lambda near: migration._connect(near, other, port))  # type: ignore[arg-type]
    assert stop
    with socket.create_connection(("127.0.0.1", port)) as sock:
        assert sock.recv(1) == b""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(TransportError, match="for what comes back"):
        session.listen(taken.getsockname()[1], lambda _: None)
    stop()


def test_this_machine_itself_has_no_login_to_relay_through() -> None:
    here = Session("here", LocalWay(), Root("root", sudo=False))
    with pytest.raises(migration.Failed, match="no login to relay through"), migration._relay(here, here):
        pass


def test_a_volume_is_described_without_what_holds_only_where_it_is() -> None:
    there = """<volume type='file'><name>a.qcow2</name><key>/p/a</key><source/><capacity unit='bytes'>1048576</capacity>
<allocation unit='bytes'>200704</allocation><physical unit='bytes'>196616</physical>
<target><path>/p/a.qcow2</path><format type='qcow2'/><permissions><mode>0600</mode><owner>64055</owner></permissions>
<timestamps><atime>1</atime></timestamps><compat>1.1</compat></target>
<backingStore><path>/p/base.qcow2</path><format type='qcow2'/></backingStore></volume>"""
    told = migration._described(there)
    assert "1048576" in told
    assert "<path>/p/base.qcow2</path>" in told
    assert 'type="qcow2"' in told
    assert not any(word in told for word in ("/p/a", "64055", "atime", "physical", "200704"))


def test_a_pump_ends_with_what_it_pumps() -> None:
    near, far = socket.socketpair()
    one, two = socket.socketpair()
    thread = threading.Thread(target=migration._pump, args=(SocketStream(far), SocketStream(one)))
    thread.start()
    near.sendall(b"all of it")
    near.shutdown(socket.SHUT_WR)
    assert two.recv(100) == b"all of it"
    assert two.recv(100) == b""
    thread.join(5)
    assert not thread.is_alive()
    for sock in (near, far, one, two):
        sock.close()


def test_the_way_to_a_machine_leads_through_its_new_host() -> None:
    web = Host("web-01", jump=("gate", "hv1"))
    with Connections(Inventory({"web-01": web, "db-01": Host("db-01", jump=("hv3",))}, {})) as connections:
        for guest in ("web-01", "db-01", "nobody"):
            connections.follow(guest, "hv1", "hv2")
        assert connections._machines["web-01"].jump == ("gate", "hv2")
        assert connections._machines["db-01"].jump == ("hv3",)
