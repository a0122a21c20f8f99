"""A caching package mirror for hosts without a way out: /N/path is path in the machine's N-th Debian archive.

Files come through apt's own downloader, which knows this machine's proxies and certificates, and are kept for the next
time. What never changes (packages, indexes by hash) is fetched once; the rest is asked for again after an hour, and the
kept copy serves when the archive cannot be reached.
"""

import hashlib
import re
import subprocess
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vinfra.lab import prerequisites
from vinfra.lab.network import GATEWAY, Network

PORT = 80
_FRESH = 3600.0
_REQUEST = re.compile(r"/(\d+)/((?:dists|pool)/[A-Za-z0-9._+~:%/-]+)")
_GONE = re.compile(r"\b(404|403|410)\b|Not Found")


class Archive:
    """The cached files of some archives."""

    def __init__(self, addresses: tuple[str, ...], folder: Path) -> None:
        self._addresses = addresses
        self._folder = folder
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, request: str) -> tuple[HTTPStatus, Path | None]:
        """The file behind a request's path, fetched if need be."""
        match = _REQUEST.fullmatch(request)
        if match is None or ".." in request or int(match[1]) >= len(self._addresses):
            return HTTPStatus.NOT_FOUND, None
        address = f"{self._addresses[int(match[1])]}/{match[2]}"
        kept = self._folder / hashlib.sha256(address.encode()).hexdigest()
        with self._guard:
            lock = self._locks.setdefault(address, threading.Lock())
        with lock:
            if _usable(kept, match[2]):
                return HTTPStatus.OK, kept
            status = self._fetch(address, kept)
        if status is HTTPStatus.BAD_GATEWAY and kept.exists():
            return HTTPStatus.OK, kept
        return status, kept if status is HTTPStatus.OK else None

    def _fetch(self, address: str, kept: Path) -> HTTPStatus:
        self._folder.mkdir(parents=True, exist_ok=True)
        # Labs side by side share the folder: each has its own draft, and the last one to finish wins.
        draft = kept.with_name(f".{kept.name}.{time.monotonic_ns()}")
        arguments = [str(prerequisites.APT_HELPER), "-q", "-o", "APT::Sandbox::User=root"]
        arguments += ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
        run = subprocess.run(
            [*arguments, "download-file", address, str(draft)], capture_output=True, text=True, check=False
        )
        if run.returncode or not draft.exists():
            draft.unlink(missing_ok=True)
            return HTTPStatus.NOT_FOUND if _GONE.search(run.stdout + run.stderr) else HTTPStatus.BAD_GATEWAY
        draft.replace(kept)
        kept.touch()
        return HTTPStatus.OK


def _usable(kept: Path, path: str) -> bool:
    if not kept.exists():
        return False
    immutable = path.startswith("pool/") or "/by-hash/" in path
    return immutable or time.time() - kept.stat().st_mtime < _FRESH


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    archive: Archive


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        status, path = self.server.archive.get(self.path)
        content = path.open("rb") if path else None
        size = path.stat().st_size if path else 0
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if content is None:
            return
        with content:
            if body:
                self.connection.sendfile(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the supervisor's log is for what went wrong."""


def serve(network: Network, archive: Archive) -> None:
    """Answer on the bridge's address from now on, in a thread."""
    server = _Server((GATEWAY, PORT), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = network.socket()
    server.allow_reuse_address = True
    server.server_bind()
    server.server_activate()
    server.archive = archive
    threading.Thread(target=server.serve_forever, name="mirror", daemon=True).start()
