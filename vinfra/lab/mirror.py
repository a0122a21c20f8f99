"""A caching package mirror for hosts without a way out: /N/path is path in the machine's N-th Debian archive.

Files come through apt's own downloader, which knows this machine's proxies and certificates, and are kept for the next
time. What never changes (packages, indexes by hash) is fetched once; the rest is asked for again after an hour, and the
kept copy serves when the archive cannot be reached.
"""

import hashlib
import re
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vinfra.lab import prerequisites
from vinfra.lab.network import GATEWAY, Network

PORT = 80
_FRESH = 3600.0
_REQUEST = re.compile(r"/(\d+)/((?:dists|pool)/[A-Za-z0-9._+~:%/-]+)")
_AHEAD = re.compile(r"^GET (\S+) HTTP/1\.1\r$", re.MULTILINE)
_GONE = re.compile(r"\b(404|403|410)\b|Not Found")


@dataclass(frozen=True, slots=True)
class Wish:
    """A file of an archive, and where its copy is kept."""

    address: str
    kept: Path

    def usable(self) -> bool:
        """Whether the copy is there and cannot have changed."""
        if not self.kept.exists():
            return False
        immutable = "/pool/" in self.address or "/by-hash/" in self.address
        return immutable or time.time() - self.kept.stat().st_mtime < _FRESH


class Archive:
    """The cached files of some archives."""

    def __init__(self, addresses: tuple[str, ...], folder: Path) -> None:
        self._addresses = addresses
        self._folder = folder
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, request: str, waiting: Sequence[str] = ()) -> tuple[HTTPStatus, Path | None]:
        """The file behind a request's path, fetched if need be. `waiting`: the requests after it, fetched with it."""
        wish = self._wish(request)
        if wish is None:
            return HTTPStatus.NOT_FOUND, None
        with self._guard:
            lock = self._locks.setdefault(wish.address, threading.Lock())
        with lock:
            if wish.usable():
                return HTTPStatus.OK, wish.kept
            others = {other.kept: other for path in waiting if (other := self._wish(path)) and not other.usable()}
            status = self._fetch([wish, *others.values()])
            if others and status is not HTTPStatus.OK:
                status = self._fetch([wish])
        if status is HTTPStatus.BAD_GATEWAY and wish.kept.exists():
            return HTTPStatus.OK, wish.kept
        return status, wish.kept if status is HTTPStatus.OK else None

    def _wish(self, request: str) -> Wish | None:
        match = _REQUEST.fullmatch(request)
        if match is None or ".." in request or int(match[1]) >= len(self._addresses):
            return None
        address = f"{self._addresses[int(match[1])]}/{match[2]}"
        return Wish(address, self._folder / hashlib.sha256(address.encode()).hexdigest())

    def _fetch(self, wishes: Sequence[Wish]) -> HTTPStatus:
        """Fetch all of them or none, in one process: it looks up and connects to each archive only once."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # Labs side by side share the folder: each has its own draft, and the last one to finish wins.
        drafts = {wish: wish.kept.with_name(f".{wish.kept.name}.{time.monotonic_ns()}") for wish in wishes}
        arguments = [str(prerequisites.APT_HELPER), "-q", "-o", "APT::Sandbox::User=root"]
        arguments += ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "download-file"]
        for wish, draft in drafts.items():
            arguments += [wish.address, str(draft)]
        run = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if run.returncode or not all(draft.exists() for draft in drafts.values()):
            for draft in drafts.values():
                draft.unlink(missing_ok=True)
            return HTTPStatus.NOT_FOUND if _GONE.search(run.stdout + run.stderr) else HTTPStatus.BAD_GATEWAY
        for wish, draft in drafts.items():
            draft.replace(wish.kept)
            wish.kept.touch()
        return HTTPStatus.OK


class Server(ThreadingHTTPServer):
    """Answers each client in a thread of its own."""

    daemon_threads = True
    archive: Archive


class Handler(BaseHTTPRequestHandler):
    """Answers one client's requests in their order."""

    protocol_version = "HTTP/1.1"
    rbufsize = 0  # what the client has sent ahead stays where it can be looked at
    server: Server

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        status, path = self.server.archive.get(self.path, self._waiting())
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

    def _waiting(self) -> list[str]:
        """What the client has asked for already: apt asks for ten files before it has the first."""
        try:
            ahead = self.connection.recv(1 << 16, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        return _AHEAD.findall(ahead.decode("latin-1"))

    def log_message(self, *_: Any) -> None:
        """Say nothing: the supervisor's log is for what went wrong."""


def serve(network: Network, archive: Archive) -> Server:
    """Answer on the bridge's address from now on, in a thread."""
    server = Server((GATEWAY, PORT), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = network.socket()
    server.allow_reuse_address = True
    server.server_bind()
    server.server_activate()
    server.archive = archive
    threading.Thread(target=server.serve_forever, name="mirror", daemon=True).start()
    return server
