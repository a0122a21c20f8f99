"""A stream as a local socket, for libraries that only know how to open a path."""

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from vinfra.errors import TransportError
from vinfra.transport.dialogue import TimeIsUp

_READ = 1 << 18
_HOUR = 3600.0
_LONGEST = 90  # of a folder's path: a socket's own may have 107 bytes (unix(7))
_ERRORS = 8192


class Duplex(Protocol):
    """Bytes both ways. One thread hears while another one feeds and cuts."""

    def feed(self, data: bytes) -> None:
        """Write all of it. Another side that no longer reads is no error."""
        ...

    def finish(self) -> None:
        """Say that nothing more is fed; what comes back is still heard."""
        ...

    def hear(self, deadline: float) -> tuple[bytes, bytes] | None:
        """What came, and what it complained about; None at the end. Raises TimeIsUp, TransportError."""
        ...

    def cut(self) -> None:
        """End it, so that whoever hears comes to the end."""
        ...

    def stop(self) -> None:
        """Free what it holds. Called by the thread that hears."""
        ...


class Forward:
    """One caller's way into a stream: a socket in a folder that nobody else can enter, gone once it was called."""

    def __init__(self, stream: Duplex) -> None:
        self._stream = stream
        self._errors = bytearray()
        self._over = threading.Event()
        self._caller: socket.socket | None = None
        self._lock = threading.Lock()
        try:
            self._folder, self._listener = _listener()
        except OSError as error:
            stream.cut()
            stream.stop()
            raise TransportError(f"cannot make a socket: {error}", "look at TMPDIR") from error
        self.path = self._listener.getsockname()
        self._threads = [threading.Thread(target=work, daemon=True, name="forward") for work in (self._out, self._back)]
        for thread in self._threads:
            thread.start()

    @property
    def over(self) -> bool:
        """Whether either side has ended it."""
        return self._over.is_set()

    @property
    def errors(self) -> str:
        """What the other side said on its standard error, its last bytes."""
        return self._errors.decode("utf-8", "replace")

    def close(self) -> None:
        """End it. Nothing stays behind: no thread, socket or folder."""
        self._end()
        for thread in self._threads:
            thread.join(5)

    def ended(self, seconds: float) -> bool:
        """Whether the other side ends it within that time, so that all its errors are there."""
        self._threads[1].join(seconds)
        return not self._threads[1].is_alive()

    @contextmanager
    def limit(self, seconds: float) -> Iterator[threading.Event]:
        """End it when the time is up, which the event tells: whoever is held by it gets an error then."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self.close()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def _out(self) -> None:
        with suppress(OSError):
            caller, _ = self._listener.accept()
            with self._lock:
                self._caller = caller
            self._leave()
            while not self.over and (data := caller.recv(_READ)):
                self._stream.feed(data)
        self._end()
        if self._caller:
            self._threads[1].join()
            self._caller.close()

    def _back(self) -> None:
        with suppress(OSError, TransportError):
            while (news := self._news()) is not None:
                self._errors += news[1]
                del self._errors[:-_ERRORS]
                if news[0] and self._caller:
                    self._caller.sendall(news[0])
        self._end()
        self._stream.stop()

    def _news(self) -> tuple[bytes, bytes] | None:
        while True:
            with suppress(TimeIsUp):
                return self._stream.hear(time.monotonic() + _HOUR)

    def _end(self) -> None:
        self._over.set()
        with self._lock, suppress(OSError):
            if self._caller:
                self._caller.shutdown(socket.SHUT_RDWR)
        self._leave()
        self._stream.cut()

    def _leave(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for a caller
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _listener() -> tuple[str, socket.socket]:
    """A new folder with 0700 (in /tmp where TMPDIR is too long for the path of a socket), and a socket in it."""
    usual = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="vinfra-", dir=usual if len(usual.encode()) < _LONGEST else "/tmp")  # noqa: S108
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(f"{folder}/s")
        listener.listen(1)
    except OSError:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder, listener
