"""Ansible's inventories without Ansible: INI and YAML files, folders of them, host_vars/ and group_vars/.

The rules are those that Ansible documents and its program shows; the tests compare the two. What is not read here
(programs, plugins, TOML) is told with the place and what to install.
https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vinfra.errors import Unresolved, UsageError
from vinfra.inventories.ansible_ini import read_ini
from vinfra.inventories.ansible_places import HEADER, LARGEST, YAML, sources, variable_files
from vinfra.inventories.ansible_values import ELSEWHERE, TAGS, Reveal, converted, opened
from vinfra.inventories.found import Entry, Found, Set
from vinfra.inventories.ranges import expanded
from vinfra.model.source import Pointer, Position, Problem
from vinfra.text.complaint import pathway, sort_of
from vinfra.text.document import Document
from vinfra.text.pattern import ALL
from vinfra.text.yaml import parse

UNGROUPED = "ungrouped"
_SECTIONS = ("vars", "children", "hosts")


@dataclass(slots=True)
class _Group:
    """A group as its files say."""

    variables: dict[str, Any] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    priority: int = 1
    depth: int = 0


@dataclass(slots=True)
class _Host:
    position: Position
    variables: dict[str, Any] = field(default_factory=dict)


def read(file: Path, reveal: Reveal | None = None) -> Found:
    """What the files of an inventory say; what is wrong in them is in `problems`."""
    return _Reading(file, reveal).found()


class _Reading:
    """One inventory as its files are read, one after the other into the same groups."""

    def __init__(self, file: Path, reveal: Reveal | None) -> None:
        self.file = file
        self.reveal = reveal
        self.problems: list[Problem] = []
        self.groups = {ALL: _Group(children={UNGROUPED: None}), UNGROUPED: _Group()}
        self.hosts: dict[str, _Host] = {}
        self._files: dict[tuple[str, str], dict[str, Any]] = {}

    def found(self) -> Found:
        """Everything, merged."""
        for path in sources(self.file):
            self._source(path)
        found = Found(self.file, problems=self.problems)
        if not self._reconciled():
            return found
        above = self._above()
        for name, host in self.hosts.items():
            mine = {group for own, entry in self.groups.items() if name in entry.hosts for group in (own, *above[own])}
            ranked = sorted(
                mine - {ALL}, key=lambda group: (self.groups[group].depth, self.groups[group].priority, group)
            )
            found.entries[name] = Entry(name, self._merged(name, host, ranked), host.position)
        for name, group in self.groups.items():
            if name != ALL and (name != UNGROUPED or group.hosts):
                found.groups[name] = Set(list(group.hosts), list(group.children))
        return found

    def say(self, position: Position, path: str, message: str) -> None:
        """Something is wrong there."""
        self.problems.append(Problem(position, path, message))

    def group(self, name: str) -> None:
        """A group is named."""
        self.groups.setdefault(name, _Group())

    def variable(self, group: str, name: str, value: Any, position: Position) -> None:
        """A group's variable."""
        if name != "ansible_group_priority":
            self.groups[group].variables[name] = value
            return
        try:
            self.groups[group].priority = int(value)
        except (TypeError, ValueError):
            self.say(position, name, "write a whole number")

    def host(self, pattern: str, group: str, variables: Mapping[str, Any], position: Position) -> None:
        """A host of a group, or a range of hosts, perhaps with a port."""
        try:
            names, port = expanded(pattern)
        except ValueError as error:
            self.say(position, pattern, str(error))
            return
        for name in names:
            if name not in self.hosts:
                self.hosts[name] = _Host(position, {"ansible_port": port} if port else {})
            self.groups[group].hosts[name] = None
            self.hosts[name].variables |= variables

    def _source(self, path: Path) -> None:
        data = self._content(path)
        if data is None:
            return
        here = Position(str(path), 1, 1)
        if data.startswith(b"#!") and os.access(path, os.X_OK):
            self.say(here, "", f"a program that prints an inventory; to run it, {ELSEWHERE}")
        elif path.suffix == ".toml":
            self.say(here, "", f"TOML is not read here; {ELSEWHERE}")
        elif data.startswith(HEADER.encode()):
            self.say(here, "", f"sealed by ansible-vault as a whole; {ELSEWHERE}")
        else:
            document = parse(data, str(path), tags=TAGS)
            if document.tree is None and path.suffix not in YAML:
                self._ini(data, path)
            else:
                self._yaml(document)

    def _content(self, path: Path) -> bytes | None:
        try:
            if path.stat().st_size > LARGEST:
                raise UsageError(f"cannot read the inventory {path}: larger than {LARGEST >> 20}MiB")
            return path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read the inventory {path}: {error.strerror or error}") from None

    def _ini(self, data: bytes, path: Path) -> None:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            self.say(Position(str(path), line, 1), "", "not UTF-8 text")
            return
        read_ini(text, str(path), self)

    def _yaml(self, document: Document) -> None:
        self.problems += document.problems
        tree = document.tree
        if tree is None:
            return
        if "plugin" in tree:
            name = tree["plugin"]
            self.say(document.position(("plugin",)), "plugin", f"{name} is a plugin of Ansible's; {ELSEWHERE}")
            return
        for name, value in tree.items():
            self._yaml_group(document, (name,), value)

    def _yaml_group(self, document: Document, pointer: Pointer, value: Any) -> None:
        name = str(pointer[-1])
        if value is not None and not isinstance(value, dict):
            self._wrong(document, pointer, f"write a mapping with {', '.join(_SECTIONS)}, not {sort_of(value)}")
            return
        self.group(name)
        for key in value or ():
            if key not in _SECTIONS:
                self._wrong(document, (*pointer, key), f"unknown key; a group has {', '.join(_SECTIONS)}", key=True)
        parts = {key: self._section(document, (*pointer, key), (value or {}).get(key)) for key in _SECTIONS}
        for key in value or ():
            here = (*pointer, key)
            for item, content in parts.get(key, {}).items():
                position = document.position((*here, item), key=True)
                if key == "vars":
                    self.variable(name, item, converted(content, document, (*here, item)), position)
                elif key == "children":
                    self._yaml_group(document, (*here, item), content)
                    self.groups[name].children[item] = None
                else:
                    self._yaml_host(document, (*here, item), name, content)

    def _section(self, document: Document, pointer: Pointer, value: Any) -> dict[str, Any]:
        if isinstance(value, str):
            return {str(value): None}
        if value is not None and not isinstance(value, dict):
            self._wrong(document, pointer, f"write a mapping, not {sort_of(value)}")
        return value if isinstance(value, dict) else {}

    def _yaml_host(self, document: Document, pointer: Pointer, group: str, value: Any) -> None:
        if value is not None and not isinstance(value, dict):
            self._wrong(document, pointer, f"write a mapping of variables, not {sort_of(value)}")
            return
        variables = {name: converted(item, document, (*pointer, name)) for name, item in (value or {}).items()}
        self.host(str(pointer[-1]), group, variables, document.position(pointer, key=True))

    def _wrong(self, document: Document, pointer: Pointer, message: str, *, key: bool = False) -> None:
        if key or not document.spoilt(pointer):
            self.say(document.position(pointer, key=key), pathway(pointer), message)

    def _reconciled(self) -> bool:
        """Whether groups lead in no circle. Who is in no other group is ungrouped; what is in no other is in all."""
        children = {child for group in self.groups.values() for child in group.children}
        for name in self.groups:
            if name != ALL and name not in children:
                self.groups[ALL].children[name] = None
        for name in self.hosts:
            inside = {group for group, entry in self.groups.items() if name in entry.hosts} - {ALL, UNGROUPED}
            if inside:
                self.groups[UNGROUPED].hosts.pop(name, None)
            else:
                self.groups[UNGROUPED].hosts[name] = None
        todo: list[tuple[str, tuple[str, ...]]] = [*((name, ()) for name in reversed(self.groups)), (ALL, ())]
        while todo:
            name, above = todo.pop()
            if name in above:
                circle = " → ".join((*above[above.index(name) :], name))
                self.say(Position(str(self.file), 1, 1), name, f"groups hold each other in a circle: {circle}")
                return False
            if not above or self.groups[name].depth < len(above):
                self.groups[name].depth = max(self.groups[name].depth, len(above))
                todo += [(child, (*above, name)) for child in self.groups[name].children]
        return True

    def _above(self) -> dict[str, set[str]]:
        """Each group's ancestors."""
        parents: dict[str, set[str]] = {name: set() for name in self.groups}
        for name, group in self.groups.items():
            for child in group.children:
                parents[child].add(name)
        above: dict[str, set[str]] = {}
        for name in self.groups:
            seen: set[str] = set()
            todo = [name]
            while todo:
                fresh = parents[todo.pop()] - seen
                seen |= fresh
                todo += fresh
            above[name] = seen
        return above

    def _merged(self, name: str, host: _Host, ranked: list[str]) -> dict[str, Any]:
        """A host's variables: those of all and its groups, then of their files, then its own, then of its files."""
        found = dict(self.groups[ALL].variables)
        for group in ranked:
            found |= self.groups[group].variables
        for group in (ALL, *ranked):
            found |= self._beside("group_vars", group)
        return {**found, **host.variables, **self._beside("host_vars", name)}

    def _beside(self, folder: str, name: str) -> dict[str, Any]:
        key = (folder, name)
        if key not in self._files:
            self._files[key] = {}
            for path in variable_files(self.file, folder, name):
                self._files[key] |= self._variables(path)
        return self._files[key]

    def _variables(self, path: Path) -> dict[str, Any]:
        data = self._content(path) or b""
        if data.startswith(HEADER.encode()):
            return self._sealed(path)
        if not data.strip():
            return {}
        document = parse(data, str(path), tags=TAGS)
        empty = document.tree is None and [problem.message for problem in document.problems] == ["the file is empty"]
        if not empty:
            self.problems += document.problems
        return {name: converted(item, document, (name,)) for name, item in (document.tree or {}).items()}

    def _sealed(self, path: Path) -> dict[str, Any]:
        try:
            return opened(path, self.reveal)
        except (UsageError, Unresolved) as error:
            self.say(Position(str(path), 1, 1), "", error.line)
            return {}
