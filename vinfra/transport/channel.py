"""What runs inside a login: a process on a channel, a stream to a socket of the host, and one to the next host."""

import threading
import time
from contextlib import suppress

import paramiko
from paramiko.common import cMSG_CHANNEL_OPEN, cMSG_CHANNEL_REQUEST

from vinfra.errors import TransportError, Unreachable
from vinfra.transport.dialogue import TimeIsUp
from vinfra.transport.foreign import FOREIGN, translated
from vinfra.transport.logins import Login

_READ = 1 << 18
_FORBIDDEN, _FAILED = 1, 2
_NO_STATUS = 255  # as ssh(1) ends when the connection was lost


class Closed(Exception):
    """The login ended before the channel was open: nothing was sent, the caller makes a new one."""


class ChannelStream:
    """Bytes both ways over an SSH channel. One thread may hear while another one feeds or cuts it."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._news = threading.Event()
        channel.in_buffer.set_event(self._news)
        channel.in_stderr_buffer.set_event(self._news)
        self._idle = 0.0

    def feed(self, data: bytes) -> None:
        """Write, for as long as the other side takes to read. One that no longer reads is no error."""
        self._channel.settimeout(None)
        with suppress(*FOREIGN):
            self._channel.sendall(data)

    def send(self, data: bytes, deadline: float) -> None:
        self._channel.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            self._channel.sendall(data)
        except TimeoutError as error:
            raise TimeIsUp from error
        except FOREIGN:
            pass  # it ended before it read all: what it said tells why

    def finish(self) -> None:
        with suppress(*FOREIGN):
            self._channel.shutdown_write()

    def hear(self, deadline: float) -> tuple[bytes, bytes] | None:
        channel = self._channel
        while True:
            over = channel.closed or channel.eof_received
            out = channel.recv(_READ) if channel.recv_ready() else b""
            err = channel.recv_stderr(_READ) if channel.recv_stderr_ready() else b""
            if out or err:
                self._idle = 0.0
                return out, err
            if over:
                self._refused()
                return None
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeIsUp
            if not self._news.wait(min(left, 0.5)) and channel.exit_status_ready():
                self._idle += 0.5
                if self._idle >= 1:
                    return None  # it ended, and something it left behind holds its output open
            self._news.clear()

    def stop(self) -> None:
        self._channel.close()

    cut = stop

    def _refused(self) -> None:
        """Called at the end, to say what the end means."""


class ChannelProcess(ChannelStream):
    """A command line that runs on an SSH channel without a terminal."""

    def __init__(self, transport: paramiko.Transport, command: str, limit: float, where: str) -> None:
        super().__init__(_session(transport, limit, where))
        self._where = where
        self._transport = transport
        _execute(transport, self._channel, command)

    def status(self) -> int | None:
        self._channel.status_event.wait(0.5)
        code = self._channel.exit_status
        if code >= 0:
            return code
        # A signal killed it: sshd tells so in a message that our SSH library drops.
        return 137 if self._channel.eof_received and self._transport.is_active() else None

    def _refused(self) -> None:
        channel = self._channel
        if channel.closed and not channel.eof_received and channel.exit_status < 0 and self._transport.is_active():
            hint = "its sshd_config or the key's line in authorized_keys forbids it"
            raise TransportError(f"{self._where}: the SSH server refuses to run a command", hint)


class ChannelTerminal:
    """A command line, or a login shell for "", on a terminal of the host, or on none. Raises TransportError."""

    def __init__(
        self, transport: paramiko.Transport, command: str, kind: str, size: tuple[int, int], limit: float, where: str
    ) -> None:
        self._channel = _session(transport, limit, where)
        try:
            if kind:
                self._channel.get_pty(kind, *size)
            self._channel.exec_command(command) if command else self._channel.invoke_shell()
        except FOREIGN as error:
            self._channel.close()
            hint = "its sshd_config (PermitTTY) or the key's line in authorized_keys may forbid it"
            raise translated(error, f"{where}: no terminal", hint) from error

    def read(self) -> bytes:
        with suppress(*FOREIGN):
            return self._channel.recv(_READ)
        return b""

    def write(self, data: bytes) -> None:
        with suppress(*FOREIGN):
            self._channel.sendall(data)

    def read_errors(self) -> bytes:
        with suppress(*FOREIGN):
            return self._channel.recv_stderr(_READ)
        return b""

    def finish(self) -> None:
        with suppress(*FOREIGN):
            self._channel.shutdown_write()

    def resize(self, columns: int, rows: int) -> None:
        with suppress(*FOREIGN):
            self._channel.resize_pty(columns, rows)

    def close(self) -> None:
        self._channel.close()

    def status(self) -> int:
        self._channel.status_event.wait(1)
        return self._channel.exit_status if self._channel.exit_status >= 0 else _NO_STATUS


def socket_stream(transport: paramiko.Transport, path: str, limit: float, where: str) -> ChannelStream | None:
    """A stream to a Unix socket of the host, None when the SSH server does not open it. Raises TransportError.

    OpenSSH says "open failed" of a socket that is not there, that nobody listens on, and of one that it may not open.
    """
    try:
        return ChannelStream(_open_streamlocal(transport, path, limit))
    except paramiko.ChannelException:
        return None
    except FOREIGN as error:
        if not transport.is_active():
            raise Closed from error
        raise translated(error, where) from error


def _open_streamlocal(transport: paramiko.Transport, path: str, limit: float) -> paramiko.Channel:
    """paramiko's own `open_channel`, with the fields of OpenSSH's PROTOCOL, section 2.4, that it cannot send."""
    message = paramiko.Message()
    event = threading.Event()
    with transport.lock:
        number = transport._next_channel()  # type: ignore[attr-defined]
        channel = paramiko.Channel(number)
        transport._channels.put(number, channel)  # type: ignore[attr-defined]
        transport.channel_events[number] = event
        transport.channels_seen[number] = True
        channel._set_transport(transport)  # type: ignore[attr-defined]
        channel._set_window(transport.default_window_size, transport.default_max_packet_size)  # type: ignore[attr-defined]
    message.add_byte(cMSG_CHANNEL_OPEN)
    message.add_string("direct-streamlocal@openssh.com")
    for field in (number, transport.default_window_size, transport.default_max_packet_size):
        message.add_int(field)
    message.add_string(path)
    message.add_string("")  # reserved
    message.add_int(0)  # reserved
    transport._send_user_message(message)  # type: ignore[attr-defined]
    deadline = time.monotonic() + limit
    while not event.wait(0.1):
        if not transport.is_active() or time.monotonic() > deadline:
            raise transport.get_exception() or TimeoutError("no answer to a request for a stream")
    if transport._channels.get(number) is None:  # type: ignore[attr-defined]
        raise transport.get_exception() or paramiko.ChannelException(_FAILED, "open failed")
    return channel


def tunnel(transport: paramiko.Transport, login: Login, where: str) -> paramiko.Channel:
    """A stream through a login to the next host's SSH port. Raises TransportError."""
    target = (login.address, login.port)
    try:
        return transport.open_channel("direct-tcpip", target, ("127.0.0.1", 0), timeout=login.timeout)
    except paramiko.ChannelException as error:
        if error.code == _FORBIDDEN:
            hint = "set `AllowTcpForwarding yes` (or `local`) in its sshd_config"
            raise TransportError(f"{where} refuses to forward to {login}", hint) from error
        raise Unreachable(f"{login}: {where} cannot connect to it ({error.text})") from error
    except FOREIGN as error:
        late = "timeout" in str(error).lower()
        said = f"no answer in {login.timeout:g} s" if late else "the connection was lost"
        raise Unreachable(f"{login}: {said} on the way through {where}") from error


def tcp_stream(transport: paramiko.Transport, target: tuple[str, int], limit: float, where: str) -> ChannelStream:
    """A TCP connection that the host makes. Raises TransportError."""
    try:
        channel = transport.open_channel("direct-tcpip", target, ("127.0.0.1", 0), timeout=limit)
    except paramiko.ChannelException as error:
        if error.code == _FORBIDDEN:
            hint = "set `AllowTcpForwarding yes` (or `local`) in its sshd_config, or ask by `command`"
            raise TransportError(f"{where} forwards no connections", hint) from error
        raise TransportError(f"{target[0]} port {target[1]} takes no connection ({error.text})") from error
    except FOREIGN as error:
        if not transport.is_active():
            raise Closed from error
        raise translated(error, where) from error
    return ChannelStream(channel)


def _session(transport: paramiko.Transport, limit: float, where: str) -> paramiko.Channel:
    try:
        return transport.open_session(timeout=limit)
    except paramiko.ChannelException as error:
        hint = "raise MaxSessions in its sshd_config" if error.code == _FAILED else "look at the SSH server's own log"
        raise TransportError(f"{where}: the SSH server refuses another session ({error.text})", hint) from error
    except FOREIGN as error:
        if not transport.is_active():
            raise Closed from error
        raise translated(error, where) from error


def _execute(transport: paramiko.Transport, channel: paramiko.Channel, command: str) -> None:
    """Ask for the command without waiting for the yes: that saves a round trip, and a no closes the channel."""
    request = paramiko.Message()
    request.add_byte(cMSG_CHANNEL_REQUEST)
    request.add_int(channel.remote_chanid)
    request.add_string("exec")
    request.add_boolean(True)
    request.add_string(command)
    channel._event_pending()  # type: ignore[attr-defined]
    transport._send_user_message(request)  # type: ignore[attr-defined]
