"""The machine vinfra runs on, asked and changed through a local shell in the same way as any other."""

import os
import pwd
import select
import selectors
import signal
import socket
import subprocess
import time
from contextlib import suppress
from typing import NoReturn

from vinfra.errors import TransportError
from vinfra.transport.dialogue import TimeIsUp

_READ = 1 << 16


class LocalWay:
    """Opens shells on this machine."""

    def open(self, command: str) -> "LocalProcess":
        return LocalProcess(command)

    def stream(self, path: str) -> "SocketStream | None":
        """A stream to a Unix socket, None when it does not open."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            return None
        return SocketStream(sock)

    def dial(self, *_: object) -> None:
        """There is no way to go."""

    def listen(self, *_: object) -> None:
        """Nothing comes in by a login."""

    def terminal(self, *_: object) -> NoReturn:
        """Nobody needs one here. Raises TransportError."""
        raise TransportError("this host is the machine that vinfra runs on", "use the terminal that you have")

    def reset(self) -> None:
        """There is no login to drop."""


class LocalProcess:
    """A shell in a session of its own: no terminal to ask on, and all of its children can be ended with it."""

    def __init__(self, command: str) -> None:
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=_environment(),
                cwd="/",
                bufsize=0,
            )
        except OSError as error:
            raise TransportError(f"no shell on this machine: {error}") from error
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._stdin = self._process.stdin
        self._selector = selectors.DefaultSelector()
        for index, stream in enumerate((self._process.stdout, self._process.stderr)):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, index)
        os.set_blocking(self._stdin.fileno(), False)
        self._early: list[tuple[bytes, bytes]] = []

    def feed(self, data: bytes) -> None:
        """Write, for as long as it takes to read; another thread hears meanwhile. One that ended is no error."""
        rest = memoryview(data)
        ready = select.poll()
        with suppress(OSError, ValueError):
            ready.register(self._stdin, select.POLLOUT)
            while rest:
                ready.poll()
                rest = rest[self._stdin.write(rest) or 0 :]

    def send(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        self._selector.register(self._stdin, selectors.EVENT_WRITE)
        try:
            while rest:
                writable, news = self._wait(deadline)
                if any(news):
                    self._early.append(news)
                if writable:
                    rest = rest[self._stdin.write(rest) or 0 :]
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self._selector.unregister(self._stdin)

    def finish(self) -> None:
        with suppress(BrokenPipeError):
            self._stdin.close()

    def hear(self, deadline: float) -> tuple[bytes, bytes] | None:
        if self._early:
            return self._early.pop(0)
        if not self._selector.get_map():
            return None
        return self._wait(deadline)[1]

    def status(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=1)
            return code if code >= 0 else 128 - code
        return None

    def cut(self) -> None:
        """End it from another thread than the one that hears, which then comes to its end."""
        self.finish()
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):  # sudo's child ends with its input
                os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(BrokenPipeError):
                stream and stream.close()

    def _wait(self, deadline: float) -> tuple[bool, tuple[bytes, bytes]]:
        ready = self._selector.select(max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeIsUp
        news = [b"", b""]
        writable = False
        for key, _ in ready:
            if key.data is None:
                writable = True
                continue
            data = os.read(key.fd, _READ)
            news[key.data] = data
            if not data:
                self._selector.unregister(key.fileobj)
        return writable, (news[0], news[1])


class SocketStream:
    """Bytes both ways through a Unix socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._ready = select.poll()
        self._ready.register(sock, select.POLLIN)

    def feed(self, data: bytes) -> None:
        with suppress(OSError):
            self._sock.sendall(data)

    def finish(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def hear(self, deadline: float) -> tuple[bytes, bytes] | None:
        if not self._ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeIsUp
        with suppress(OSError):
            if data := self._sock.recv(_READ):
                return data, b""
        return None

    def cut(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._sock.close()


def local_user() -> str:
    """Who runs vinfra."""
    return pwd.getpwuid(os.geteuid()).pw_name


def _environment() -> dict[str, str]:
    """What sshd would give: nothing of ours, which may hold secrets."""
    account = pwd.getpwuid(os.geteuid())
    path = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    return {"PATH": path, "HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
