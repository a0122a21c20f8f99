"""A domain's serial console, through a libvirt connection of its own.

One thread may wait for what the console says while another one types: on a connection that is used for anything else
besides, libvirt 9.0 sometimes never answers those other calls.
"""

from contextlib import suppress
from typing import Any

import libvirt  # type: ignore[import-untyped]

from vinfra.errors import TransportError
from vinfra.transport.libvirt import Libvirt, Opened, hint, message

_READ = 4096


class Console:
    """An open serial console, as a `Terminal`."""

    def __init__(self, opened: Opened, stream: Any) -> None:
        self._opened = opened
        self._stream = stream

    def read(self) -> bytes:
        with suppress(libvirt.libvirtError):  # somebody took it over, the domain went down, or it was closed here
            return bytes(self._stream.recv(_READ)) if self._stream else b""
        return b""

    def write(self, data: bytes) -> None:
        with suppress(libvirt.libvirtError):
            while data and self._stream:
                data = data[self._stream.send(data) :]

    def read_errors(self) -> bytes:
        return b""

    def finish(self) -> None:
        """A serial line has no end."""

    def resize(self, columns: int, rows: int) -> None:
        """A serial line knows no size."""

    def close(self) -> None:
        self._opened.cut()  # or a `read` in another thread would go on waiting
        self._stream = None  # it holds the connection open
        self._opened.close()

    def status(self) -> int:
        return 0


def connect(virt: Libvirt, host: str, domain: str, *, force: bool) -> Console:
    """Open the first serial console of a domain; `force` takes it from whoever has it. Raises TransportError."""
    opened = virt.open()
    flags = libvirt.VIR_DOMAIN_CONSOLE_SAFE | (libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else 0)
    try:
        stream = opened.connection.newStream(0)
        opened.connection.lookupByName(domain).openConsole(None, stream, flags)
    except libvirt.libvirtError as error:
        opened.close()
        in_use = "" if force else "if somebody else has it open, `--force` takes it over"
        raise TransportError(f"{host}: no console of {domain}: {message(error)}", hint(error) or in_use) from error
    return Console(opened, stream)
