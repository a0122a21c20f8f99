"""Debian packages as a folder, by mmdebstrap: unpacked and set up, or just unpacked."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vinfra.errors import VinfraError
from vinfra.lab.sources import Source

_TOLD = tuple(f"I: {verb}" for verb in ("running apt-get", "downloading", "extracting", "installing"))
_PREFIX = "vinfra-lab-"


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder to build in: in memory if there is room, as dpkg waits for the disk thousands of times."""
    place = memory() or tempfile.gettempdir()
    for old in Path(place).glob(f"{_PREFIX}*"):
        # A build that was killed left it; none takes an hour. One that has just ended takes it away itself.
        with suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > 3600:
                shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place) as work:
        yield Path(work)


def run(
    suite: str,
    tree: Path,
    found: Sequence[Source],
    packages: Sequence[str],
    progress: Callable[[str], None],
    *options: str,
) -> None:
    """Fill the folder `tree` with packages of a Debian suite and what they depend on. Raises VinfraError."""
    # What it mounts in the tree (/proc, /sys) is nobody else's, and goes with it.
    arguments = ["unshare", "--mount", "mmdebstrap", "--mode=root", f"--include={','.join(packages)}", *options]
    arguments += ['--aptopt=Acquire::Languages "none"', suite, str(tree), *(source.line() for source in found)]
    environment = os.environ | {"TMPDIR": str(tree.parent), "LC_ALL": "C"}
    log: list[str] = []
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line.rstrip())
            if line.startswith(_TOLD):
                progress(line.removeprefix("I: ").rstrip(" .\n"))
    if process.returncode:
        raise VinfraError(f"mmdebstrap could not fetch packages of Debian {suite}", "\n  ".join(log[-8:]))


def memory() -> str | None:
    """The folder in memory to write in, if there is room."""
    shared = Path("/dev/shm")  # noqa: S108 -- a private folder is made in it
    try:
        roomy = shutil.disk_usage(shared).free > 2 << 30
    except OSError:
        return None
    return str(shared) if roomy else None
