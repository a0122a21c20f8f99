"""What is fetched for a host that cannot do so itself, and verbs of storage that no driver for tests has."""

import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import libvirt
import pytest

from vinfra.model.step import Verb, Virt
from vinfra.transport import fetching, storage

IMAGE = b"QFI\xfb" + bytes(range(256)) * 9000
SUM = sha256(IMAGE).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/image is there."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path == "/image" else 404)
        self.send_header("Content-Length", str(len(IMAGE)))
        self.end_headers()
        self.wfile.write(IMAGE)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("VINFRA_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_it_is_fetched_once_and_kept_under_its_checksum(server: str, tmp_path: Path) -> None:
    call = Virt(Verb.VOLUME_UPLOAD, "x", "p", source=f"{server}/image", sha256=SUM)
    for _ in range(2):
        with storage.content(call) as source:
            assert source.read() == IMAGE
    assert Handler.asked == ["/image"]
    assert [file.name for file in (tmp_path / "images").iterdir()] == [SUM]


@pytest.mark.parametrize(("path", "says"), [("/image", "wrong checksum: expected sha256 ff"), ("/no", "says 404")])
def test_what_is_not_it_is_not_kept(server: str, tmp_path: Path, path: str, says: str) -> None:
    with pytest.raises(OSError, match=says) as refused:
        fetching.fetched(f"{server}{path}", "ff" * 32)
    assert refused.value.filename == f"{server}{path}"
    assert list((tmp_path / "images").iterdir()) == []


def test_a_server_that_is_not_there(server: str) -> None:
    with pytest.raises(OSError, match="not fetched by this machine"):
        fetching.fetched("http://127.0.0.1:1/image", SUM)


class Fake:
    """A volume, its pool, a domain and their connection in one, which note what is asked of them."""

    def __init__(self, *fails: str, code: int = 0, running: bool = False) -> None:
        self.fails = list(fails)
        self.code = code
        self.running = running
        self.done: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any) -> Any:
            if name in ("blockResize", "resize", "createXML"):
                self.done.append((name, *values))
                if self.fails:
                    raise self._error(self.fails.pop(0))
            return {"path": "/srv/a", "info": [0, 10, 0], "name": "d", "listAllDomains": [self] * self.running}.get(
                name, self
            )

        return call

    def _error(self, text: str) -> libvirt.libvirtError:
        error = libvirt.libvirtError(text)
        error.err = (self.code, 0, text, 0, "", None, None, 0, 0)
        return error


GROW = Virt(Verb.VOLUME_GROW, "a", "p", number=20, domain="d")


def test_a_disk_grows_by_its_domain() -> None:
    fake = Fake(running=True)
    storage._grow(fake, GROW)
    assert fake.done == [("blockResize", "/srv/a", 20, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)]


def test_a_disk_grows_without_a_domain_that_went_down_meanwhile() -> None:
    fake = Fake("not running", code=libvirt.VIR_ERR_OPERATION_INVALID)
    storage._grow(fake, GROW)
    assert fake.done[1:] == [("resize", 20, 0)]


@pytest.mark.parametrize(("code", "running"), [(libvirt.VIR_ERR_OPERATION_INVALID, True), (1, False)])
def test_a_disk_does_not_grow_behind_its_domain(code: int, running: bool) -> None:
    fake = Fake("no", code=code, running=running)
    with pytest.raises(libvirt.libvirtError):
        storage._grow(fake, GROW)
    assert len(fake.done) == 1


def test_what_failed_by_chance_is_tried_again() -> None:
    fake = Fake("qemu-img: x: Unable to get accurate CPU usage", code=1)
    storage.create(fake, Virt(Verb.VOLUME_CREATE, "a", "p", xml="<volume/>"))
    assert len(fake.done) == 2
    fake = Fake("no space", code=1)
    with pytest.raises(libvirt.libvirtError, match="no space"):
        storage.create(fake, Virt(Verb.VOLUME_CREATE, "a", "p"))
    assert len(fake.done) == 1
