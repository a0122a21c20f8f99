"""Where the files of an Ansible inventory stand: a file or a folder of them, and those of variables beside it."""

import re
from collections.abc import Iterator
from pathlib import Path

from vinfra.errors import UsageError

HEADER = "$ANSIBLE_VAULT;"
YAML = (".yaml", ".yml", ".json")
LARGEST = 64 << 20
_FOLDERS = ("group_vars", "host_vars")
_IGNORED = re.compile(
    r"^\.|^(?:host_vars|group_vars|vars_plugins)$|(?:\.(?:pyc|pyo|swp|bak|rpm|md|txt|rst|orig|cfg|retry)|~)$"
)


def sources(file: Path) -> list[Path]:
    """The files of an inventory, in the order in which they are read."""
    if not file.is_dir():
        return [file]
    try:
        paths = sorted(file.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise UsageError(f"cannot read the inventory {file}: {error.strerror or error}") from None
    return [inner for path in paths if not _IGNORED.search(path.name) for inner in sources(path)]


def variable_files(file: Path, folder: str, name: str) -> list[Path]:
    """The files beside an inventory that hold a host's or a group's variables."""
    beside = (file if file.is_dir() else file.parent) / folder
    for suffix in ("", ".yml", ".yaml", ".json"):
        path = beside / f"{name}{suffix}"
        if path.is_dir():
            return list(_within(path))
        if path.exists():
            return [path]
    return []


def _within(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir() and not path.suffix:
            yield from _within(path)
        elif path.is_file() and path.suffix in ("", *YAML):
            yield path


def all_variable_files(file: Path) -> Iterator[Path]:
    """Every file of variables beside an inventory."""
    beside = file if file.is_dir() else file.parent
    for folder in _FOLDERS:
        if (beside / folder).is_dir():
            for path in sorted((beside / folder).rglob("*")):
                if path.is_file() and path.suffix in ("", *YAML) and path.stat().st_size <= LARGEST:
                    yield path


def sealed_files(file: Path) -> list[Path]:
    """The files of variables that ansible-vault sealed as a whole."""
    return [path for path in all_variable_files(file) if _begins(path, HEADER.encode())]


def _begins(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(start)) == start
    except OSError:
        return False
