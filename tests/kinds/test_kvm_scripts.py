"""What a hypervisor does itself: fetching an image, over a real HTTP server; nothing gets its name unchecked."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vinfra.kinds.kvm.volumes import scripts

IMAGE = b"QFI\xfb" + bytes(range(256)) * 4000
SUM = sha256(IMAGE).hexdigest()
PROGRAMS = [program for program in ("curl", "wget") if shutil.which(program)]


class Handler(BaseHTTPRequestHandler):
    """/image goes on where it is asked to, /whole only sends all of it; the beginnings are noted."""

    began: list[int]

    def do_GET(self) -> None:
        found = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(found[1]) if found and self.path == "/image" else 0
        self.began.append(start)
        wrong = 404 if self.path == "/nosuch" else 416 if start >= len(IMAGE) else 0
        self.send_response(wrong or (206 if start else 200))
        body = b"" if wrong else IMAGE[start:]
        if start and not wrong:
            self.send_header("Content-Range", f"bytes {start}-{len(IMAGE) - 1}/{len(IMAGE)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.began = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(script: str, *words: str, path: Path | None = None) -> tuple[int, str]:
    environment = {"PATH": str(path) if path else "/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run(["/bin/sh", "-c", script, "sh", *words], capture_output=True, env=environment, check=False)
    return done.returncode, done.stderr.decode()


@pytest.fixture(params=PROGRAMS)
def programs(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A PATH with one of the two programs alone."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (request.param, "sha256sum", "rm", "mv", "head", "grep", "cut", "sync", "stat"):
        (folder / name).symlink_to(shutil.which(name) or name)
    return folder


def fetch(pool: Path, source: str, programs: Path, digest: str = SUM, shape: str = "qcow2") -> tuple[int, str]:
    pool.mkdir(exist_ok=True)
    script = scripts.FETCH + scripts.FINISH
    return run(script, str(pool), "a.qcow2", digest, shape, source, path=programs)


def left(pool: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in pool.iterdir()}


def test_it_gets_its_name_when_it_is_whole(tmp_path: Path, server: str, programs: Path) -> None:
    pool = tmp_path / "pool"
    assert fetch(pool, f"{server}/image", programs)[0] == 0
    assert left(pool) == {"a.qcow2": IMAGE}
    assert (pool / "a.qcow2").stat().st_mode & 0o777 == 0o600
    assert fetch(pool, f"{server}/image", programs)[0] == 0
    assert Handler.began == [0], "what is there is not fetched again"


@pytest.mark.parametrize(
    ("part", "path", "began"),
    [
        (IMAGE[:70000], "image", [70000]),
        (IMAGE, "image", []),
        (b"rubbish" * 99, "image", [693, 0]),
        (IMAGE + b"too long", "image", [len(IMAGE) + 8, 0]),
        (IMAGE[:70000], "whole", None),
    ],
    ids=["half", "all of it", "rubbish", "too long", "a server that cannot go on"],
)
def test_what_is_half_there_is_gone_on_with(
    part: bytes, path: str, began: list[int] | None, tmp_path: Path, server: str, programs: Path
) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    (pool / ".a.qcow2.part").write_bytes(part)
    assert fetch(pool, f"{server}/{path}", programs)[0] == 0
    assert left(pool) == {"a.qcow2": IMAGE}
    assert began is None or Handler.began == began


def test_another_checksum_is_told_and_leaves_nothing(tmp_path: Path, server: str, programs: Path) -> None:
    status, said = fetch(tmp_path / "pool", f"{server}/image", programs, "0" * 64)
    assert status == 1
    assert f"wrong checksum of {server}/image: expected sha256 {'0' * 64}, got {SUM}" in said
    assert left(tmp_path / "pool") == {}


def test_another_format_is_told_and_leaves_nothing(tmp_path: Path, server: str, programs: Path) -> None:
    status, said = fetch(tmp_path / "pool", f"{server}/image", programs, shape="raw")
    assert (status, f"{server}/image is qcow2, not raw" in said) == (1, True)
    assert left(tmp_path / "pool") == {}


@pytest.mark.parametrize("path", ["nosuch", "refused"])
def test_what_cannot_be_fetched_is_told(path: str, tmp_path: Path, server: str, programs: Path) -> None:
    source = f"{server}/nosuch" if path == "nosuch" else "http://127.0.0.1:9/image"
    status, said = fetch(tmp_path / "pool", source, programs)
    assert (status, f"{source} was not fetched" in said) == (1, True)
    assert "a.qcow2" not in left(tmp_path / "pool")


def test_a_file_that_somebody_has_open_is_named(tmp_path: Path) -> None:
    file = tmp_path / "disk.raw"
    file.write_bytes(b"")
    assert run(scripts.OPEN, str(file)) == (0, "")
    with file.open("rb"):
        status, said = run(scripts.OPEN, str(file))
    assert (status, f"{file} is in use by" in said) == (1, True)
