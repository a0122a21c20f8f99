"""A stream as a local socket: both ways, its ends, and that nothing stays behind."""

import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vinfra.errors import TransportError
from vinfra.transport.forward import Duplex, Forward
from vinfra.transport.local import LocalProcess, LocalWay, SocketStream


def held() -> tuple[int, int]:
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
def nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = held()
    yield
    until = time.monotonic() + 5
    while held() != before and time.monotonic() < until:  # a timer's thread ends a moment after it was called off
        time.sleep(0.01)
    assert held() == before
    assert list(tmp_path.iterdir()) == []


def called(forward: Forward) -> socket.socket:
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(5)
    caller.connect(forward.path)
    return caller


def echo() -> Duplex:
    return LocalProcess("cat; echo bye >&2")


def test_bytes_go_both_ways(tmp_path: Path) -> None:
    forward = Forward(echo())
    assert stat.S_IMODE(Path(forward.path).parent.stat().st_mode) == 0o700
    data = os.urandom(3_000_000)
    with called(forward) as caller:
        sender = threading.Thread(target=caller.sendall, args=(data,))
        sender.start()
        back = b""
        while len(back) < len(data):
            back += caller.recv(1 << 16)
        sender.join()
        assert back == data
        assert list(tmp_path.iterdir()) == [], "nobody else can call"
    assert forward.ended(5)
    assert forward.over
    forward.close()


def test_the_other_side_ends_and_says_why() -> None:
    forward = Forward(LocalProcess("head -c 1 >/dev/null; echo 'no such thing' >&2"))
    with called(forward) as caller:
        assert not forward.over
        caller.sendall(b"x")
        assert caller.recv(1) == b""
    assert forward.ended(5)
    assert forward.errors == "no such thing\n"
    forward.close()


@pytest.mark.parametrize("call", [False, True])
def test_it_is_closed_while_somebody_waits(call: bool) -> None:
    forward = Forward(LocalProcess("sleep 60"))
    caller = called(forward) if call else socket.socket()
    with caller:
        started = time.monotonic()
        forward.close()
        assert time.monotonic() - started < 30
        assert not call or caller.recv(1) == b""


def test_it_ends_when_its_time_is_up() -> None:
    forward = Forward(LocalProcess("sleep 60"))
    with forward.limit(60) as late:
        pass
    assert not late.is_set()
    with called(forward) as caller, forward.limit(0.1) as late:
        assert caller.recv(1) == b""
        assert late.wait(1)
    forward.close()


def test_a_socket_of_this_machine(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "server"))
        server.listen()
        stream = LocalWay().stream(str(tmp_path / "server"))
        assert isinstance(stream, SocketStream)
        forward = Forward(stream)
        with called(forward) as caller, server.accept()[0] as peer:
            caller.sendall(b"ping")
            assert peer.recv(9) == b"ping"
            peer.sendall(b"pong")
            assert caller.recv(9) == b"pong"
            peer.close()
            assert caller.recv(9) == b""
        forward.close()
    (tmp_path / "server").unlink()
    assert LocalWay().stream(str(tmp_path / "server")) is None


def test_a_path_too_long_for_a_socket_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 100)))
    forward = Forward(echo())
    assert len(forward.path) < 108
    with called(forward) as caller:
        caller.sendall(b"x")
        assert caller.recv(1) == b"x"
    forward.close()


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(TransportError, match="TMPDIR"):
        Forward(echo())
