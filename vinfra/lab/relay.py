"""Ports on 127.0.0.1 that lead to the hosts' sshd inside the lab's network namespace."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 1 << 16


async def listen(inside: Callable[[], socket.socket], address: str, port: int) -> asyncio.Server:
    """Relay a free port of 127.0.0.1 to `address`:`port`; `port_of` tells which."""
    loop = asyncio.get_running_loop()
    # The loop itself knows a connection that is closed on one side too weakly: it would be collected as garbage.
    carrying: set[asyncio.Task[None] | None] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(asyncio.current_task())
        try:
            await between(reader, writer)
        finally:
            carrying.discard(asyncio.current_task())

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await loop.run_in_executor(None, inside)
        try:
            far.setblocking(False)
            await asyncio.wait_for(loop.sock_connect(far, (address, port)), 5)
            far_reader, far_writer = await asyncio.open_connection(sock=far)
        except OSError:
            far.close()
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                end.transport.abort()

    return await asyncio.start_server(carry, "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    """The port of 127.0.0.1 that it listens on."""
    number: int = server.sockets[0].getsockname()[1]
    return number


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, and pass the end on, so that each direction closes by itself."""
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        return
    # One side is gone for good (a host that was reset): the other must not wait for it.
    writer.transport.abort()
