"""An inventory file of another tool's: whose it is, and what it says.

`-i ansible:FILE`, `pyinfra:FILE`, `netbox:FILE` and `vinfra:FILE` say it. Else it is seen: a folder, a program (`#!`)
and INI are Ansible's, a file that ends with .py is pyinfra's, and YAML is told apart by its keys.
"""

import os
from pathlib import Path
from typing import Any

from vinfra.errors import UsageError
from vinfra.inventories import ansible, ansible_variables, found, netbox, pyinfra
from vinfra.inventories.ansible_places import YAML
from vinfra.inventories.ansible_values import TAGS, Reveal
from vinfra.inventories.netbox import Keeping
from vinfra.model.inventory import ANSIBLE, NETBOX, OWN, PYINFRA, Inventory, Source
from vinfra.model.source import Problem
from vinfra.text.document import Document
from vinfra.text.inventory import KEYS
from vinfra.text.yaml import parse

_LARGEST = 64 << 20
_GROUP = frozenset(("hosts", "children", "vars"))


def sort_of(source: Source) -> str:
    """Whose inventory it is. Raises UsageError when it could be two tools', or cannot be read."""
    if source.sort:
        return source.sort
    file = source.file
    if file.is_dir():
        return ANSIBLE
    if not file.is_file():
        return OWN  # whoever reads it tells what is the matter
    program = _begins(file, b"#!") and os.access(file, os.X_OK)
    if file.suffix == ".py":
        if program:
            raise _either(file, "a program that ends with .py", ANSIBLE, PYINFRA)
        return PYINFRA
    if program or file.suffix in (".ini", ".toml"):
        return ANSIBLE
    return _by_content(file)


def read(source: Source, sort: str, reveal: Reveal, keeping: Keeping) -> tuple[Inventory, list[Problem]]:
    """What another tool's inventory says, as ours, and what is wrong with it. Raises UsageError or Unresolved."""
    file = source.file.expanduser()
    if not file.exists():
        raise UsageError(f"cannot read the inventory {file}: No such file or directory")
    if not file.is_file() and not file.is_dir():
        raise UsageError(f"cannot read the inventory {file}: not a regular file")
    if sort == PYINFRA:
        return found.inventory(pyinfra.read(file), pyinfra.settings)
    if sort == NETBOX:
        document = parse(_content(file), str(file))
        return found.inventory(netbox.read(document, reveal, keeping), netbox.hosts_settings)
    return found.inventory(ansible.read(file, reveal), ansible_variables.settings)


def _by_content(file: Path) -> str:
    document = parse(_content(file), str(file), tags=TAGS)
    tree = document.tree
    if tree is None:
        return OWN if file.suffix in YAML or _is_empty(document) else ANSIBLE
    if "inventory" in tree:
        return NETBOX
    ours = [key for key in tree if key in KEYS]
    theirs = [key for key, value in tree.items() if key not in KEYS and (key == "plugin" or _is_group(key, value))]
    if ours and theirs:
        raise _either(
            file, f"it has {ours[0]!r}, which is vinfra's, and {theirs[0]!r}, as Ansible's have", OWN, ANSIBLE
        )
    return ANSIBLE if theirs else OWN


def _is_group(name: str, value: Any) -> bool:
    if value is None:
        return name == "all"
    return isinstance(value, dict) and bool(value) and value.keys() <= _GROUP


def _is_empty(document: Document) -> bool:
    return any(problem.message == "the file is empty" for problem in document.problems)


def _either(file: Path, why: str, first: str, second: str) -> UsageError:
    hint = f"say it: -i {first}:{file} or -i {second}:{file}"
    return UsageError(f"whose inventory is {file}? {why}", hint)


def _begins(file: Path, start: bytes) -> bool:
    return _content(file, len(start)) == start


def _content(file: Path, size: int = -1) -> bytes:
    try:
        with file.open("rb") as stream:  # which may be a pipe or a device, of no size beforehand
            content = stream.read(size if size >= 0 else _LARGEST + 1)
    except OSError as error:
        raise UsageError(f"cannot read the inventory {file}: {error.strerror or error}") from None
    if len(content) > _LARGEST:
        raise UsageError(f"cannot read the inventory {file}: larger than {_LARGEST >> 20}MiB")
    return content
