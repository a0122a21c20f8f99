"""Whether a host is well, asked through its SSH login: what it serves to itself is seen behind any jump host.

Nothing is needed on the host: a TCP connection is a forwarded stream of the login, HTTP is spoken here.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from vinfra.errors import TransportError
from vinfra.model.rollout import Check, Http
from vinfra.model.step import Exec, Step
from vinfra.transport.reach import Connections

LOOPBACK = "127.0.0.1"


def ask(connections: Connections, host: str, check: Check, seconds: float) -> str:
    """What is wrong with a host as far as one check tells, "" for nothing."""
    try:
        if check.tcp is not None:
            with _dialled(connections, host, LOOPBACK, check.tcp, seconds):
                return ""
        if check.http is not None:
            return _http(connections, host, check.http, seconds)
        if check.command is not None:
            return _command(connections, host, check.command, seconds)
        return _login(connections, host, seconds)
    except TransportError as error:
        return error.message.removeprefix(f"{host}: ")
    except TimeoutError:
        return f"no answer in {seconds:g} s"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def _login(connections: Connections, host: str, seconds: float) -> str:
    """A new login, and a program that runs in it."""
    connections.writer(host)  # raises for a guest that nobody can reach yet
    with connections.anew(host) as writer:
        result = writer.run(Step("see that a login works", (Exec(("true",)),), timeout=seconds))
    return result.err or f"exit status {result.returncode}" if result.returncode else ""


def _command(connections: Connections, host: str, argv: tuple[str, ...], seconds: float) -> str:
    step = Step(f"ask {argv[0]}", (Exec(argv),), timeout=seconds)
    result = connections.writer(host).run(step)
    said = " ".join((result.err.strip() or result.out.strip()).split())[-200:]
    return f"exit status {result.returncode}{f' ({said})' if said else ''}" if result.returncode else ""


def _http(connections: Connections, host: str, wish: Http, seconds: float) -> str:
    url = urlsplit(wish.url)
    secure = url.scheme == "https"
    address, port = url.hostname or LOOPBACK, url.port or (443 if secure else 80)
    with _dialled(connections, host, address, port, seconds) as sock:
        caller = http.client.HTTPConnection(address, port, timeout=seconds)
        caller.sock = tls(address).wrap_socket(sock, server_hostname=address) if secure else sock
        target = f"{url.path or '/'}{f'?{url.query}' if url.query else ''}"
        caller.request("GET", target, headers={"User-Agent": "vinfra", "Connection": "close"})
        status = caller.getresponse().status
    return "" if status == wish.status else f"status {status}, not {wish.status}"


def tls(address: str) -> ssl.SSLContext:
    """How an address is called. Of the host itself the login has proved already which it is, and no certificate is made
    out to 127.0.0.1; any other one must be who it says.
    """
    context = ssl.create_default_context()
    if _itself(address):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _itself(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


@contextmanager
def _dialled(connections: Connections, host: str, address: str, port: int, seconds: float) -> Iterator[socket.socket]:
    """A connection from a host to an address as the host sees it, cut when the time is up."""
    with connections.dial(host, address, port, seconds) as sock:
        sock.settimeout(seconds)
        late = threading.Event()

        def cut() -> None:
            late.set()
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield sock
        except (OSError, http.client.HTTPException) as error:
            raise TimeoutError if late.is_set() else error from error
        finally:
            timer.cancel()
