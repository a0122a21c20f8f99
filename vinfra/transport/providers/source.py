"""What providers share: files that only we may read, libraries that may be missing, trees of keys."""

import importlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vinfra.errors import Unresolved
from vinfra.text.complaint import near

LARGEST = 1 << 20
Tree = Mapping[str, Any] | Sequence[Any] | str | int | float | None


class Shut(Unresolved):
    """Nothing can be had by this scheme, whatever the reference: it is not tried again in this run."""


def optional(name: str, extra: str) -> Any:
    """An optional library. Raises Shut when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Shut(f"the library {name} is not installed here", f"pip install 'vinfra[{extra}]'") from None


def content(path: Path, *, private: bool) -> bytes:
    """A file's bytes. One that must be `private` is refused when others than its owner can read it: it is no secret
    any more, and a warning among a hundred lines of output would never be acted on.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if private and stat.S_ISREG(mode) and mode & 0o077:
                raise Unresolved(f"{path} can be read by others", f"chmod 600 {path}")
            found = file.read(LARGEST + 1)
    except OSError as error:
        raise Unresolved(f"cannot read {path}: {error.strerror}") from None
    if len(found) > LARGEST:
        raise Unresolved(f"{path} is larger than 1 MiB, which is no secret")
    return found


def line(path: Path) -> str:
    """What stands in a private file that holds a password or a token alone."""
    return text(content(path, private=True), str(path)).strip()


def text(plain: bytes, where: str) -> str:
    """Bytes as the text they are."""
    try:
        return plain.decode("utf-8")
    except UnicodeDecodeError:
        raise Unresolved(f"what is in {where} is not UTF-8 text") from None


def pick(tree: Tree, key: str) -> Tree:
    """What is under `key`, `a.b.0` for one within another; a name that holds dots itself goes before that."""
    if not key:
        return tree
    words = key.split(".")
    if isinstance(tree, Mapping):
        for end in range(len(words), 0, -1):
            name = ".".join(words[:end])
            if name in tree:
                return pick(tree[name], ".".join(words[end:]))
        raise Unresolved(f"it has no key {words[0]!r}{near(key, map(str, tree))}")
    if isinstance(tree, Sequence) and not isinstance(tree, str) and words[0].isdigit() and int(words[0]) < len(tree):
        return pick(tree[int(words[0])], ".".join(words[1:]))
    raise Unresolved(f"there is no key {words[0]!r} within a value")
