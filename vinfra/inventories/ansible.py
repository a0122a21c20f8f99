"""Ansible's inventories, of every sort: by `ansible-inventory --list` where there is one, else by our own reader.

The program is found on the PATH, or named in VINFRA_ANSIBLE_INVENTORY; empty, that says to use our own reader.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from vinfra import mask
from vinfra.errors import Unresolved, UsageError
from vinfra.inventories import ansible_files, ansible_places, ansible_values, program
from vinfra.inventories.ansible_values import Reveal
from vinfra.inventories.found import Entry, Found, Set
from vinfra.model.secret import Secret
from vinfra.model.source import Position
from vinfra.model.values import Literal
from vinfra.text.pattern import ALL

NAMED = "VINFRA_ANSIBLE_INVENTORY"
_WORD = re.compile(r"[\w.-]+")
_VAULT, _UNSAFE = "__ansible_vault", "__ansible_unsafe"


def read(file: Path, reveal: Reveal | None) -> Found:
    """What `ansible-inventory` or our own reader says. Raises UsageError. `reveal` opens what ansible-vault sealed."""
    named = os.environ.get(NAMED)
    found = shutil.which("ansible-inventory") if named is None else named
    return by_program(file, found, reveal) if found else ansible_files.read(file, reveal)


def by_program(file: Path, path: str, reveal: Reveal | None = None) -> Found:
    """What the program says of an inventory."""
    what = f"cannot read the inventory {file}"
    printed = program.output(
        [path, "-i", str(file.absolute()), "--list"],
        what,
        program.limit(),
        ANSIBLE_INVENTORY_UNPARSED_FAILED="true",
        ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="true",
        ANSIBLE_NOCOLOR="1",
        ANSIBLE_DEPRECATION_WARNINGS="false",
    )
    try:
        found = _found(file, json.loads(printed.decode("utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{what}: {path} printed no inventory ({type(error).__name__})", "is it ansible-core's?"
        ) from None
    _hide(found, file, reveal)
    return found


def _found(file: Path, tree: dict[str, Any]) -> Found:
    found = Found(file)
    sealed = _Sealed(file, found)
    places = _Places(file)
    hostvars = tree.pop("_meta")["hostvars"]
    names: dict[str, None] = {}
    for group, content in tree.items():
        hosts, children = list(content.get("hosts", ())), list(content.get("children", ()))
        names |= dict.fromkeys(hosts)
        if group != ALL and (group != ansible_files.UNGROUPED or hosts):
            found.groups[group] = Set(hosts, children)
    for content in tree.values():
        for group in content.get("children", ()):
            if group != ansible_files.UNGROUPED:
                found.groups.setdefault(group, Set())
    for name in names:
        values = {key: sealed.opened(value, name, key) for key, value in hostvars.get(name, {}).items()}
        variables = {key: value for key, value in values.items() if value is not _LOST}
        found.entries[name] = Entry(name, variables, places.of(name))
    return found


_LOST = object()


class _Sealed:
    """Values that ansible-vault sealed within a file: we refer to where they stand, and open none here."""

    def __init__(self, file: Path, found: Found) -> None:
        self.file = file
        self.found = found
        self._known: dict[str, str] | None = None

    def opened(self, value: Any, host: str, name: str) -> Any:
        """A value as JSON has it, with references for what is sealed in it."""
        if isinstance(value, list):
            return [self.opened(item, host, name) for item in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {_UNSAFE}:
            return Literal(value[_UNSAFE])
        if set(value) != {_VAULT}:
            return {key: self.opened(item, host, name) for key, item in value.items()}
        if self._known is None:
            self._known = {_text(sealed): reference for sealed, reference in ansible_values.vaults(self.file)}
        reference = self._known.get(_text(value[_VAULT]))
        if reference is None:
            told = f"inventory: {name} of {host} is sealed by ansible-vault and stands in none of its files; left out"
            self.found.warnings.append(told)
            return _LOST
        return Secret(reference)


def _text(sealed: str) -> str:
    return "\n".join(sealed.split())


class _Places:
    """Where names stand first, as near as it can be told without reading the files as Ansible does."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._first: dict[str, Position] = {}
        for path in ansible_places.sources(file):
            for number, line in enumerate(_lines(path), 1):
                if not line.lstrip().startswith(("#", ";")):
                    for word in _WORD.finditer(line):
                        self._first.setdefault(word[0], Position(str(path), number, word.start() + 1))

    def of(self, name: str) -> Position:
        """The place that names a host; the file's beginning if none does."""
        return self._first.get(name, Position(str(self.file), 1, 1))


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [] if text.startswith("#!") else text.splitlines()


def _hide(found: Found, file: Path, reveal: Reveal | None) -> None:
    """Refer to what files of variables hold that are sealed as a whole: `ansible-inventory` has opened them."""
    for path in ansible_places.sealed_files(file):
        try:
            sealed = ansible_values.opened(path, reveal)
        except (UsageError, Unresolved) as error:
            told = f"inventory: {path} is sealed, and vinfra cannot open it; what it holds is shown like any variable"
            found.warnings.append(f"{told}: {error.line}")
            continue
        for entry in found.entries.values():
            for name in sealed.keys() & entry.variables.keys():
                if not isinstance(entry.variables[name], Secret):
                    _noted(entry.variables[name])
                    entry.variables[name] = sealed[name]


def _noted(value: Any) -> None:
    """What was sealed is never printed, wherever else it may turn up."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _noted(item)
    elif value is not None and not isinstance(value, bool):
        mask.note(str(value))
