"""SSH on pyinfra's connector, in plain threads: one login per host, deadlines that fire, and never a question.

What pyinfra's connector gives is kept (its settings, its reading of ssh_config and keys, its client object); what it
leaves open is closed here: host keys are decided by `hostkeys`, hops share their logins, transports really end.
"""

import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, TypeVar

import paramiko
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.ssh_util import _patch_paramiko_sk_key_support
from pyinfra.connectors.sshuserclient.client import SSHClient

from vinfra.errors import TransportError, Unreachable
from vinfra.transport import proxy
from vinfra.transport.channel import (
    ChannelProcess,
    ChannelStream,
    ChannelTerminal,
    Closed,
    socket_stream,
    tcp_stream,
    tunnel,
)
from vinfra.transport.foreign import FOREIGN, translated
from vinfra.transport.forward import Duplex
from vinfra.transport.hostkeys import HostKey, HostKeys
from vinfra.transport.keys import KeyRing, log_in
from vinfra.transport.logins import Login

_Opened = TypeVar("_Opened")
_RETRIES = 4
LOOPBACK = "127.0.0.1"
# Encryption that needs no checksum computed in Python comes first.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")


class _Dropped(Exception):
    """The server hung up before it said who it is, as sshd does beyond MaxStartups."""


def quiet() -> None:
    """Keep the libraries' logs off the terminal: background threads print tracebacks, debug lines hold passwords."""
    for name in ("paramiko", "pyinfra"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        logger.setLevel(logging.CRITICAL)
    _patch_paramiko_sk_key_support()


class Connector(SSHConnector):
    """One host's login, by way of `through` if it has a jump host. Safe to use from many threads.

    A login that failed is not tried again before `reset`.
    """

    def __init__(
        self, login: Login, password: str, ring: KeyRing, host_keys: HostKeys, through: "Connector | None" = None
    ) -> None:
        data = {"ssh_hostname": login.address, "ssh_port": login.port, "ssh_user": login.user}
        state = SimpleNamespace(config=SimpleNamespace(CONNECT_TIMEOUT=login.timeout))
        super().__init__(state, SimpleNamespace(name=login.host, data=data))  # type: ignore[arg-type]
        self._login = login
        self._password = password
        self._ring = ring
        self._host_keys = host_keys
        self._through = through
        self.depth: int = through.depth + 1 if through else 0
        self._failure: TransportError | None = None
        self._lock = threading.RLock()
        self._transport: paramiko.Transport | None = None
        self._taken: dict[int, Callable[[Duplex], None]] = {}

    def connect(self) -> None:
        """Log in unless that was done. Raises TransportError within the login's time."""
        self._connected()

    def disconnect(self) -> None:
        """Log out. Nothing stays behind, neither thread nor socket."""
        with self._lock:
            transport, self._transport, self.client = self._transport, None, None
            if transport is not None:
                _end(transport)

    def reset(self) -> None:
        """Log out and forget a failure, so that the next use logs in anew."""
        self.disconnect()
        self._failure = None

    @property
    def user(self) -> str:
        """Who is logged in."""
        return self._login.user

    def open(self, command: str) -> ChannelProcess:
        """Start a command line, logging in first if need be (again, if the login was lost meanwhile)."""
        return self._inside(lambda transport: ChannelProcess(transport, command, self._login.timeout, str(self._login)))

    def stream(self, path: str) -> ChannelStream | None:
        """A stream to a Unix socket there, None when the SSH server does not open it. Raises TransportError."""
        return self._inside(lambda transport: socket_stream(transport, path, self._login.timeout, str(self._login)))

    def dial(self, address: str, port: int, seconds: float) -> ChannelStream:
        """A TCP connection that this host makes. Raises TransportError."""
        return self._inside(lambda transport: tcp_stream(transport, (address, port), seconds, str(self._login)))

    def listen(self, port: int, taken: Callable[[Duplex], None]) -> Callable[[], None]:
        """Hand connections to a port of this host's loopback to `taken`, in a thread each. Raises TransportError."""

        def come(channel: paramiko.Channel, _: object, server: tuple[str, int]) -> None:
            threading.Thread(target=self._taken[server[1]], args=(ChannelStream(channel),), daemon=True).start()

        def ask(transport: paramiko.Transport) -> None:
            self._taken[port] = taken
            try:
                transport.request_port_forward(LOOPBACK, port, come)  # one handler for all ports of a login
            except FOREIGN as error:
                hint = "set `AllowTcpForwarding yes` in its sshd_config"
                raise translated(error, f"{self._login}: no port {port} for what comes back", hint) from error

        def stop() -> None:
            self._taken.pop(port, None)
            with suppress(*FOREIGN):
                self._connected().cancel_port_forward(LOOPBACK, port)

        self._inside(ask)
        return stop

    def terminal(self, command: str, kind: str, size: tuple[int, int]) -> ChannelTerminal:
        """A command line on a terminal there, "" for a login shell. Raises TransportError."""
        limit, where = self._login.timeout, str(self._login)
        return self._inside(lambda transport: ChannelTerminal(transport, command, kind, size, limit, where))

    def tunnel(self, login: Login) -> paramiko.Channel:
        """A stream from this host to the next one's SSH port. Raises TransportError."""
        try:
            transport = self._connected()
        except TransportError as error:
            raise type(error)(f"{login}: its jump host: {error.message}", error.hint) from error
        return tunnel(transport, login, str(self._login))

    def run_shell_command(self, *_: Any, **__: Any) -> Any:
        """pyinfra's way to run a command may ask for passwords: everything goes through `open`."""
        raise NotImplementedError("use open()")

    def _inside(self, open_channel: Callable[[paramiko.Transport], _Opened]) -> _Opened:
        transport = self._connected()
        try:
            return open_channel(transport)
        except Closed:
            self.disconnect()
            return open_channel(self._connected())

    def _connected(self) -> paramiko.Transport:
        with self._lock:
            if self._transport is not None and self._transport.is_active():
                return self._transport
            if self._failure:
                raise type(self._failure)(self._failure.message, self._failure.hint)
            self.disconnect()
            try:
                self._transport = self._connect_patiently()
            except TransportError as error:
                self._failure = error
                raise
            self.client = SSHClient()
            self.client._transport = self._transport  # type: ignore[attr-defined]
            return self._transport

    def _connect_patiently(self) -> paramiko.Transport:
        started = time.monotonic()
        for attempt in range(_RETRIES + 1):
            try:
                return self._connect_once()
            except _Dropped as error:
                pause = random.uniform(0.1, 0.3) * 2**attempt  # noqa: S311  jitter, not a secret
                if attempt == _RETRIES or time.monotonic() + pause > started + self._login.timeout:
                    hint = "too many logins at once? Raise MaxStartups in its sshd_config, or lower --forks"
                    if self._login.proxy_command:
                        hint = "try its ProxyCommand by hand; in ssh_config, %p is the port that stands there"
                    message = f"{self._login}: the server hangs up before the login ({error})"
                    raise Unreachable(message, hint) from error
                time.sleep(pause)
        raise AssertionError

    def _connect_once(self) -> paramiko.Transport:
        deadline = time.monotonic() + self._login.timeout
        sock = self._dial(deadline)
        transport = None
        try:
            transport = paramiko.Transport(sock)
            self._shake_hands(transport, deadline)
            transport.auth_timeout = self._login.timeout
            log_in(transport, self._login, self._ring, self._password)
        except FOREIGN as error:
            raise translated(error, str(self._login)) from error
        finally:
            if transport is None:
                sock.close()
            elif not transport.is_authenticated():
                _end(transport)
        if self._login.keepalive:
            transport.set_keepalive(self._login.keepalive)
        return transport

    def _dial(self, deadline: float) -> socket.socket | paramiko.Channel:
        if self._through:
            return self._through.tunnel(self._login)
        try:
            if self._login.proxy_command:
                return proxy.connect(self._login.proxy_command)
            return _tcp(self._login.address, self._login.port, deadline)
        except FOREIGN as error:
            raise translated(error, str(self._login)) from error

    def _shake_hands(self, transport: paramiko.Transport, deadline: float) -> None:
        login = self._login
        options = transport.get_security_options()
        options.ciphers = [*_CIPHERS, *(cipher for cipher in options.ciphers if cipher not in _CIPHERS)]
        known = {key.type for key in self._host_keys.known(login.key_name, login.policy)}
        options.key_types = sorted(options.key_types, key=lambda name: _plain_type(name) not in known)
        transport.banner_timeout = transport.handshake_timeout = max(0.1, deadline - time.monotonic())
        done = threading.Event()
        transport.start_client(event=done)
        done.wait(max(0.0, deadline - time.monotonic()))
        if not (done.is_set() and transport.is_active()):
            raise self._no_handshake(transport, deadline)
        shown = transport.get_remote_server_key()
        self._host_keys.check(login.key_name, HostKey(shown.get_name(), shown.get_base64()), login.policy)

    def _no_handshake(self, transport: paramiko.Transport, deadline: float) -> Exception:
        error = transport.get_exception()
        late = time.monotonic() >= deadline - 0.05
        if late:
            what = "SSH greeting" if not transport.remote_version else "end of the key exchange"
            hint = "something accepts connections there but does not speak SSH, or the host is overloaded"
            return Unreachable(f"{self._login}: no {what} in {self._login.timeout:g} s", hint)
        if not transport.remote_version:
            return _Dropped(str(error) or type(error).__name__)
        return translated(error or EOFError(), str(self._login))


def _plain_type(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _end(transport: paramiko.Transport) -> None:
    if isinstance(transport.sock, socket.socket):
        with suppress(OSError):
            transport.sock.shutdown(socket.SHUT_RDWR)  # wakes its thread, which would look up only ten times a second
    transport.close()
    transport.sock.close()
    if transport.is_alive():
        transport.join(2)


def _tcp(address: str, port: int, deadline: float) -> socket.socket:
    errors: list[OSError] = []
    for family, _, _, _, target in _addresses(address, port, deadline):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(0.1, deadline - time.monotonic()))
            sock.connect(target)
            _keep_alive(sock)
        except OSError as error:
            sock.close()
            errors.append(error)
        else:
            return sock
    raise errors[0]


def _addresses(address: str, port: int, deadline: float) -> list[Any]:
    """What a name resolves to. The resolver knows no deadline of its own, so it runs where we can leave it."""
    with suppress(socket.gaierror):
        return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=look_up, daemon=True, name=f"resolve {address}")
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not found:
        raise TimeoutError(f"resolving {address}")
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])


def _keep_alive(sock: socket.socket) -> None:
    """Let the kernel notice within half a minute that the other side is gone."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 30000)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
