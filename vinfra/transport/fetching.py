"""Files from the web for a host that has no way out: fetched once by this machine, checked, and kept."""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

_PIECE = 1 << 20
_SILENCE = 60.0


def folder() -> Path:
    """Where they are kept, under their checksums: $VINFRA_CACHE/images, else ~/.cache/vinfra/images."""
    given = os.environ.get("VINFRA_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vinfra"
    return (Path(given) if given else usual) / "images"


def fetched(address: str, sha256: str) -> Path:
    """The file of an http or https address, which has this checksum. Raises OSError with the address in it."""
    place = folder() / sha256
    if place.is_file():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=f".{sha256}.", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            got = _download(address, out)
        if got != sha256:
            raise OSError(0, f"wrong checksum: expected sha256 {sha256}, got {got}", address)
        Path(part).rename(place)
    finally:
        Path(part).unlink(missing_ok=True)
    return place


def _download(address: str, out: IO[bytes]) -> str:
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(address, timeout=_SILENCE) as source:  # noqa: S310  http and https: the kind checks
            while piece := source.read(_PIECE):
                digest.update(piece)
                out.write(piece)
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(0, f"the server says {error.code} {error.reason}", address) from error
    except urllib.error.URLError as error:
        raise OSError(0, f"not fetched by this machine: {error.reason}", address) from error
    return digest.hexdigest()
