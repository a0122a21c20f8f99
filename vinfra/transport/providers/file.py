"""`file:PATH`: a file that only its owner may read; one line break at its end is not part of it."""

from pathlib import Path

from vinfra.transport.providers import source


def fetch(path: str) -> str:
    """The file's text."""
    found = source.text(source.content(Path(path), private=True), path)
    return found.removesuffix("\n").removesuffix("\r")
