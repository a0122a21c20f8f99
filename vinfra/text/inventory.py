"""An inventory file: hosts, groups, ranges, and how each host's settings and variables come together."""

import re
from dataclasses import dataclass, field
from typing import Any

from vinfra.model.inventory import Host, Inventory
from vinfra.model.source import Pointer, Problem
from vinfra.text.complaint import Complaints, near, sort_of
from vinfra.text.document import Document
from vinfra.text.names import known_keys, variables
from vinfra.text.pattern import ALL, INCLUDED, numbered
from vinfra.text.settings import settings
from vinfra.text.template import layered

KEYS = ("vars", "hosts", "groups", "ssh")
_GROUP = ("hosts", "vars", "groups", "ssh")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ELSEWHERE = re.compile(r"[^@\s]+@([^@:\s]+|\[[0-9A-Fa-f:]+\])(:[0-9]+)?")


def local() -> Inventory:
    """Without an inventory: this machine."""
    return Inventory({"localhost": Host("localhost", connection="local", address="localhost")}, {})


def read_inventory(document: Document | None) -> tuple[Inventory, list[Problem]]:
    """The inventory that a file describes, and what is wrong with it; this machine when there is no file."""
    if document is None:
        return local(), []
    if document.tree is None:
        return Inventory({}, {}, document.file), []
    reading = _Reading(document)
    inventory = reading.inventory(document.tree)
    return inventory, reading.complaints.sorted()


@dataclass(slots=True)
class _Entry:
    """A host as written, before anything is merged into it."""

    name: str
    pointer: Pointer
    settings: dict[str, Any]
    variables: dict[str, Any]


@dataclass(slots=True)
class _Group:
    """A group as written. `depth` is how far it is from the top."""

    name: str
    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    depth: int = 0


class _Reading:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.complaints = Complaints()
        self.entries: dict[str, _Entry] = {}
        self.groups: dict[str, _Group] = {}

    def inventory(self, tree: dict[str, Any]) -> Inventory:
        known_keys(tree, KEYS, self.document, (), self.complaints)
        shared = _Group(
            ALL,
            settings=settings(tree.get("ssh"), self.document, ("ssh",), self.complaints),
            variables=variables(tree.get("vars"), self.document, ("vars",), self.complaints),
        )
        for name, value in self._mapping(tree, ("hosts",)).items():
            self._hosts(name, value)
        for name, value in self._mapping(tree, ("groups",)).items():
            self._group(name, value)
        self._check_groups()
        members = {name: self._members(name) for name in self.groups}
        hosts = self._merged(shared, members)
        self._check_jumps(hosts)
        ordered = {name: tuple(host for host in hosts if host in held) for name, held in members.items()}
        return Inventory(hosts, {ALL: tuple(hosts), **ordered}, self.document.file)

    def _mapping(self, tree: dict[str, Any], pointer: tuple[str, ...]) -> dict[str, Any]:
        value = tree.get(pointer[-1])
        if isinstance(value, dict):
            return value
        if value is not None:
            self._say(pointer, f"write a mapping of names, not {sort_of(value)}")
        return {}

    def _say(self, pointer: Pointer, message: str, *, key: bool = False) -> None:
        self.complaints.add(self.document, pointer, message, key=key)

    def _hosts(self, key: str, value: Any) -> None:
        """One entry under `hosts`: a name or a range."""
        pointer: Pointer = ("hosts", key)
        try:
            names = numbered(key)
        except ValueError as error:
            self._say(pointer, str(error), key=True)
            return
        addresses = self._addresses(value, len(names), pointer)
        found = settings(value, self.document, pointer, self.complaints, ("vars",))
        own = value.get("vars") if isinstance(value, dict) else None
        scope = variables(own, self.document, (*pointer, "vars"), self.complaints)
        for index, name in enumerate(names):
            if not self._named(name, pointer):
                return
            if name in self.entries:
                first = self.document.position(self.entries[name].pointer, key=True)
                self._say(pointer, f"the host {name!r} is already there, at {first.line}:{first.column}", key=True)
                return
            placed = {**found, "address": addresses[index]} if addresses else found
            self.entries[name] = _Entry(name, pointer, placed, scope)

    def _addresses(self, value: Any, count: int, pointer: Pointer) -> list[str]:
        """The addresses of a range's hosts; none when they are not written as a range."""
        address = value.get("address") if isinstance(value, dict) else None
        if not isinstance(address, str) or (count == 1 and not re.search(r"\[\d+:\d+\]", address)):
            return []
        try:
            found = numbered(address)
        except ValueError as error:
            self._say((*pointer, "address"), str(error))
            return []
        if len(found) != count:
            message = f"{count} hosts, but {address!r} holds {len(found)} address{'es' * (len(found) > 1)}"
            self._say((*pointer, "address"), message)
            return []
        return found

    def _named(self, name: str, pointer: Pointer) -> bool:
        if name in (ALL, INCLUDED):
            self._say(pointer, f"the name {name!r} is vinfra's own; choose another", key=True)
        elif not _NAME.fullmatch(name):
            self._say(
                pointer, "a name holds letters, digits, dot, _ and -, and begins with a letter or digit", key=True
            )
        else:
            return True
        return False

    def _group(self, name: str, value: Any) -> None:
        pointer: Pointer = ("groups", name)
        if not self._named(name, pointer):
            return
        if name in self.entries:
            self._say(pointer, f"{name!r} is a host; a group needs another name", key=True)
            return
        group = self.groups[name] = _Group(name)
        if value is None:
            return
        if not isinstance(value, dict):
            self._say(pointer, f"write a mapping with {', '.join(_GROUP)}, not {sort_of(value)}")
            return
        known_keys(value, _GROUP, self.document, pointer, self.complaints)
        group.settings = settings(value.get("ssh"), self.document, (*pointer, "ssh"), self.complaints)
        group.variables = variables(value.get("vars"), self.document, (*pointer, "vars"), self.complaints)
        for index, item in self._names(value, (*pointer, "hosts")):
            self._member(group, item, (*pointer, "hosts", index))
        group.children = [item for _, item in self._names(value, (*pointer, "groups"))]

    def _names(self, tree: dict[str, Any], pointer: Pointer) -> list[tuple[int, str]]:
        value = tree.get(str(pointer[-1]))
        if value is None:
            return []
        if not isinstance(value, list):
            self._say(pointer, f"write a list of names, not {sort_of(value)}")
            return []
        for index, item in enumerate(value):
            if not isinstance(item, str):
                self._say((*pointer, index), f"write a name, not {sort_of(item)}")
        return [(index, item) for index, item in enumerate(value) if isinstance(item, str)]

    def _member(self, group: _Group, item: str, pointer: Pointer) -> None:
        try:
            names = numbered(item)
        except ValueError as error:
            self._say(pointer, str(error))
            return
        missing = next((name for name in names if name not in self.entries), None)
        if missing:
            self._say(pointer, f"unknown host {missing!r}{near(missing, self.entries)}")
        group.hosts += [name for name in names if name in self.entries]

    def _check_groups(self) -> None:
        """Children must exist and lead in no circle; on the way each group learns how deep it is."""
        for name, group in self.groups.items():
            for child in group.children:
                if child not in self.groups:
                    message = f"unknown group {child!r}{near(child, self.groups)}"
                    self._say(("groups", name, "groups", group.children.index(child)), message)
            group.children = [child for child in group.children if child in self.groups]
        done: set[str] = set()
        for name in self.groups:
            self._descend(name, (), done)

    def _descend(self, name: str, above: tuple[str, ...], done: set[str]) -> None:
        group = self.groups[name]
        if name in done and group.depth >= len(above):
            return
        done.add(name)
        group.depth = max(group.depth, len(above))
        for child in list(group.children):
            if child == name or child in above:
                circle = (*above, name)
                path = " → ".join((*circle[circle.index(child) :], child))
                self._say(("groups", name, "groups"), f"groups hold each other in a circle: {path}")
                group.children.remove(child)
            else:
                self._descend(child, (*above, name), done)

    def _members(self, name: str) -> set[str]:
        found: set[str] = set()
        seen: set[str] = set()
        todo = [name]
        while todo:
            group = self.groups[todo.pop()]
            if group.name not in seen:
                seen.add(group.name)
                found.update(group.hosts)
                todo += group.children
        return found

    def _merged(self, shared: _Group, members: dict[str, set[str]]) -> dict[str, Host]:
        """Every host with what it inherits: all's, then its groups' from the top down, then its own."""
        ranked = sorted(self.groups.values(), key=lambda group: group.depth)
        hosts: dict[str, Host] = {}
        for name, entry in self.entries.items():
            mine = [group for group in ranked if name in members[group.name]]
            inherited: dict[str, Any] = {}
            for group in (shared, *mine):
                inherited.update(group.settings)
            if name in inherited.get("jump", ()):  # a group's bastion is often in the group itself
                del inherited["jump"]
            merged = {"address": name, **inherited, **entry.settings}
            hosts[name] = Host(
                name=name,
                variables=layered(shared.variables, *(group.variables for group in mine), entry.variables),
                position=self.document.position(entry.pointer, key=True),
                groups=tuple(group.name for group in mine),
                **merged,
            )
        return hosts

    def _check_jumps(self, hosts: dict[str, Host]) -> None:
        told: set[str] = set()
        for host in hosts.values():
            for jump in host.jump:
                if jump not in hosts and not _ELSEWHERE.fullmatch(jump) and jump not in told:
                    told.add(jump)
                    message = f"unknown jump host {jump!r}; write a host, or user@address:port{near(jump, hosts)}"
                    self._say(self._jump_of(host), message)
        for host in hosts.values():
            circle = _circle(host.name, hosts)
            if circle and not told.intersection(circle):
                told.update(circle)
                path = " → ".join((*circle, circle[0]))
                self._say(self._jump_of(hosts[circle[0]]), f"hosts jump through each other in a circle: {path}")

    def _jump_of(self, host: Host) -> Pointer:
        """Where a host's jump is written: its own, its nearest group's, or all's."""
        entry = self.entries[host.name]
        if "jump" in entry.settings:
            return (*entry.pointer, "jump")
        for name in reversed(host.groups):
            if "jump" in self.groups[name].settings:
                return ("groups", name, "ssh", "jump")
        return ("ssh", "jump")


def _circle(name: str, hosts: dict[str, Host]) -> list[str]:
    """The circle of jumps that a host is part of, if it is."""
    path = [name]
    seen = {name}
    todo = [(jump, [name]) for jump in hosts[name].jump if jump in hosts]
    while todo:
        current, path = todo.pop()
        if current == name:
            return path
        if current not in seen:
            seen.add(current)
            todo += [(jump, [*path, current]) for jump in hosts[current].jump if jump in hosts]
    return []
