"""Paths as they are written in files: relative to the file, or to somebody's home."""

import os
from contextlib import suppress
from pathlib import Path


def beside(directory: Path, written: str) -> str:
    """A path as seen from a directory, `~` resolved where it names a home, without `..` inside."""
    path = Path(written)
    with suppress(RuntimeError):  # nobody's home: a file whose name begins with ~
        path = path.expanduser()
    return os.path.normpath(directory / path)
