"""Where the lab keeps things: one cache folder, in it root filesystems, packages and the labs themselves."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vinfra.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def cache() -> Path:
    """$VINFRA_CACHE, else ~/.cache/vinfra."""
    given = os.environ.get("VINFRA_CACHE")
    return (Path(given) if given else Path.home() / ".cache" / "vinfra").absolute()


def home_of(name: str, given: Path | None = None) -> Path:
    """The folder of a lab, unless one is given. The name is also its hosts' first half, so it must fit there."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a lab's name", "lower-case letters, digits and '-', at most 31 of them")
    return given.absolute() if given else cache() / "labs" / name


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` as a lock file; a second process waits. The kernel frees it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
