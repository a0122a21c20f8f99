"""Checks of a host's health by a real sshd behind a jump host, and of this machine itself; real servers answer."""

import datetime
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.transport.conftest import Server, free_port
from vinfra.model.inventory import Host
from vinfra.model.rollout import Check
from vinfra.transport import health
from vinfra.transport.reach import Connections

Connect = Callable[..., Connections]
WAYS = ("behind", "here")


class Handler(BaseHTTPRequestHandler):
    """Answers /STATUS with that status; /slow with nothing, /drip with a header that has no end."""

    def do_GET(self) -> None:
        word = self.path.partition("?")[0].strip("/")
        if word == "slow":
            self.server.over.wait(20)  # type: ignore[attr-defined]
        elif word == "drip":
            while not self.server.over.wait(0.1):  # type: ignore[attr-defined]
                self.wfile.write(b"H")
        else:
            self.send_response(int(word or 200))
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def serving(certificate: Path | None = None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.over = threading.Event()  # type: ignore[attr-defined]
        server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()


@pytest.fixture
def web() -> Iterator[int]:
    yield from serving()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[int]:
    """With a certificate that nobody signed, of another name, and out of date."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    day = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(day).not_valid_after(day + datetime.timedelta(1))
    file = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    yield from serving(file)


@pytest.fixture
def ask(server: Server, port: int, connect: Connect) -> Callable[..., str]:
    bastion = server.host("bastion", server.start())
    connections = connect(bastion, server.host("behind", port, jump=("bastion",)), Host("here", connection="local"))
    return lambda host, check, seconds=5.0: health.ask(connections, host, Check.model_validate(check), seconds)


@pytest.mark.parametrize("way", WAYS)
def test_tcp_and_http_are_seen_from_the_host(ask: Callable[..., str], web: int, way: str) -> None:
    base = f"http://127.0.0.1:{web}"
    assert ask(way, {"tcp": web}) == ""
    assert ask(way, {"http": {"url": base}}) == ""
    assert ask(way, {"http": {"url": f"{base}/204?a=b%20c#here", "status": "204"}}) == ""
    assert ask(way, {"http": {"url": f"{base}/503"}}) == "status 503, not 200"
    assert ask(way, {"http": {"url": f"{base}/302"}}) == "status 302, not 200"


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_does_not_come_to_an_end_is_not_well(ask: Callable[..., str], web: int, way: str) -> None:
    for word in ("slow", "drip"):
        assert ask(way, {"http": {"url": f"http://127.0.0.1:{web}/{word}"}}, 1.0) == "no answer in 1 s"


@pytest.mark.parametrize("way", WAYS)
def test_of_https_the_certificate_is_not_looked_at(ask: Callable[..., str], secure: int, way: str) -> None:
    assert ask(way, {"http": {"url": f"https://127.0.0.1:{secure}/"}}) == ""
    assert ask(way, {"http": {"url": f"https://127.0.0.1:{secure}/500"}}) == "status 500, not 200"


@pytest.mark.parametrize(
    ("address", "verified"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("10.0.0.5", True), ("shop.example.org", True)],
)
def test_whoever_is_not_the_host_itself_must_prove_who_it_is(address: str, verified: bool) -> None:
    context = health.tls(address)
    assert (context.verify_mode is ssl.CERT_REQUIRED) is verified
    assert context.check_hostname is verified


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("ssh", ""),
        ({"command": ["true"]}, ""),
        ({"command": ["sh", "-c", "echo 'not here' >&2; exit 3"]}, "exit status 3 (not here)"),
        ({"command": ["test", "a b; $(false)", "=", "a b; $(false)"]}, ""),
        ({"command": ["no-such-program"]}, "exit status 127"),
        ({"command": ["sleep", "60"]}, "exit status 124"),
    ],
)
def test_a_login_and_a_program(ask: Callable[..., str], check: Any, said: str, way: str) -> None:
    told = ask(way, check, 2.0)
    assert told.startswith(said) if said else told == ""


@pytest.mark.parametrize("way", WAYS)
def test_what_does_not_answer_is_told(ask: Callable[..., str], port: int, way: str) -> None:
    closed = free_port()
    assert ask(way, {"tcp": closed}) != ""
    assert ask(way, {"http": {"url": f"http://127.0.0.1:{closed}/"}}) != ""
    assert "SSH-2.0" in ask(way, {"http": {"url": f"http://127.0.0.1:{port}/"}})
    assert "SSL" in ask(way, {"http": {"url": f"https://127.0.0.1:{port}/"}})


def test_where_nothing_is_forwarded_it_says_what_to_do(server: Server, connect: Connect) -> None:
    connections = connect(server.host("h", server.start("AllowTcpForwarding no\n")))
    told = health.ask(connections, "h", Check.model_validate({"tcp": 22}), 5.0)
    assert "forwards no connections" in told
    assert health.ask(connections, "h", Check.model_validate("ssh"), 5.0) == ""


def test_a_login_that_is_there_is_no_new_one(server: Server, connect: Connect) -> None:
    """The login of the run still works; nobody else gets in any more."""
    bastion = server.start()
    connections = connect(server.host("h", bastion))
    assert health.ask(connections, "h", Check.model_validate({"command": ["true"]}), 5.0) == ""
    daemon = server.daemons.pop()
    daemon.terminate()
    daemon.wait(5)
    assert health.ask(connections, "h", Check.model_validate({"command": ["true"]}), 5.0) == ""
    assert "nothing listens there" in health.ask(connections, "h", Check.model_validate("ssh"), 5.0)


def test_nothing_stays_behind(ask: Callable[..., str], web: int) -> None:
    for _ in range(5):
        ask("behind", {"http": {"url": f"http://127.0.0.1:{web}/"}})
    assert not [thread.name for thread in threading.enumerate() if thread.name == "forward"]


def test_a_guest_that_has_not_joined_is_not_well(connect: Connect) -> None:
    connections = connect(Host("web-01", connection="guest"))
    for check in ("ssh", {"tcp": 22}, {"command": ["true"]}):
        assert "not up yet" in health.ask(connections, "web-01", Check.model_validate(check), 1.0)
