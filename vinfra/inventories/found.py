"""What was found in another tool's inventory, and how it becomes ours.

The readers know the other tool's rules (which variable wins) and give each host its variables, merged. Here names are
held against our rules, values are written as our files write them, and connection settings are checked like ours.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from vinfra.errors import InputError
from vinfra.model.inventory import Host, Inventory
from vinfra.model.secret import Secret
from vinfra.model.source import Position, Problem
from vinfra.model.values import Literal, Plain
from vinfra.text.expression import Templated, is_template
from vinfra.text.fields import build
from vinfra.text.pattern import ALL, INCLUDED
from vinfra.text.settings import Settings
from vinfra.text.template import RESERVED, render

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MANY = 5  # warnings of one sort


class Unmanaged(Exception):
    """A host that vinfra does not manage, and why: it is left out, and a warning says so."""


class Unfit(Exception):
    """A host, or one of its settings, that cannot be taken as it is: a problem of the file. `path` is the setting."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class Settled(NamedTuple):
    """A setting that was checked already."""

    value: Any


@dataclass(slots=True)
class Entry:
    """A host with the variables that hold for it, as values of Python; secrets among them are references."""

    name: str
    variables: dict[str, Any]
    position: Position


@dataclass(slots=True)
class Set:
    """A group: its own hosts, and the groups within it."""

    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Found:
    """All hosts and groups of an inventory. `problems` are what is wrong in its files, `warnings` what is only odd."""

    file: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    groups: dict[str, Set] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def position(self) -> Position:
        """The file as a whole."""
        return Position(str(self.file), 1, 1)


#: Makes settings, as an inventory of ours would write them, of a host's variables; takes those that are nothing else
#: out of them. Raises Unmanaged or Unfit.
Mapper = Callable[[str, dict[str, Any], Found], dict[str, Any]]


def inventory(found: Found, mapper: Mapper, names: Mapping[str, str] | None = None) -> tuple[Inventory, list[Problem]]:
    """Our inventory of what was found. `names` are further variables that templates in settings may use."""
    making = _Making(found, mapper, names or {})
    return making.inventory(), sorted({*found.problems, *making.problems}, key=lambda problem: problem.position)


class _Making:
    def __init__(self, found: Found, mapper: Mapper, names: Mapping[str, str]) -> None:
        self.found = found
        self.mapper = mapper
        self.names = names
        self.problems: list[Problem] = []
        self.left: dict[str, list[str]] = {}
        self.odd: dict[str, list[str]] = {}

    def inventory(self) -> Inventory:
        members, depths = self._groups()
        ranked = sorted((name for name in members if name != ALL), key=lambda name: (depths[name], name))
        hosts: dict[str, Host] = {}
        for entry in self.found.entries.values():
            groups = tuple(name for name in ranked if entry.name in members[name])
            if (host := self._host(entry, groups)) is not None:
                hosts[entry.name] = host
        self._jumps(hosts)
        ordered = {name: tuple(host for host in hosts if host in members[name]) for name in ranked}
        warnings = [*self.found.warnings, *_gathered(self.left, "left out"), *_gathered(self.odd, "")]
        return Inventory(hosts, {ALL: tuple(hosts), **ordered}, str(self.found.file), tuple(warnings))

    def _say(self, position: Position, path: str, message: str) -> None:
        self.problems.append(Problem(position, path, message))

    def _groups(self) -> tuple[dict[str, set[str]], dict[str, int]]:
        """Who is in each group, at whatever depth, and how far each group is from the top."""
        known = {name: found for name, found in self.found.groups.items() if self._group_named(name)}
        depths = dict.fromkeys(known, 0)
        below = {name: [child for child in found.children if child in known] for name, found in known.items()}
        for name in known:
            self._deepen(name, below, depths)
        members: dict[str, set[str]] = {}
        for name in known:
            seen: set[str] = set()
            todo = [name]
            while todo:
                current = todo.pop()
                if current not in seen:
                    seen.add(current)
                    todo += below[current]
            members[name] = {host for inner in seen for host in known[inner].hosts}
        return members, depths

    def _deepen(self, top: str, below: Mapping[str, list[str]], depths: dict[str, int]) -> None:
        todo: list[tuple[str, tuple[str, ...]]] = [(top, ())]
        while todo:
            name, above = todo.pop()
            if name in above:
                circle = (*above[above.index(name) :], name)
                self._say(self.found.position(), name, f"groups hold each other in a circle: {' → '.join(circle)}")
                below[above[-1]].remove(name)
            elif depths[name] <= len(above):
                depths[name] = len(above)
                todo += [(child, (*above, name)) for child in below[name]]

    def _group_named(self, name: str) -> bool:
        if name == ALL:
            return False
        if name in self.found.entries:
            self._say(self.found.entries[name].position, name, "a host and a group have this name; rename one of them")
        elif name == INCLUDED:
            self._say(self.found.position(), name, f"the name {name!r} is vinfra's own; rename the group")
        elif not NAME.fullmatch(name):
            message = "vinfra takes names of letters, digits, dot, _ and -, that begin with a letter or digit"
            self._say(self.found.position(), f"group {name}", message)
        else:
            return True
        return False

    def _host(self, entry: Entry, groups: tuple[str, ...]) -> Host | None:
        variables = dict(entry.variables)
        try:
            written = self.mapper(entry.name, variables, self.found)
        except Unmanaged as reason:
            self.left.setdefault(str(reason), []).append(entry.name)
            return None
        except Unfit as fault:
            self._say(entry.position, f"{entry.name}.{fault.path}".rstrip("."), str(fault))
            return Host(entry.name, position=entry.position, groups=groups)  # so that nobody misses it besides
        if entry.name in (ALL, INCLUDED) or not NAME.fullmatch(entry.name):
            message = "no name for a host of vinfra's: letters, digits, dot, _ and -; give it a name and an address"
            self._say(entry.position, entry.name, message)
            return None
        kept = self._variables(entry, variables)
        settings = self._settings(entry, written, kept)
        if settings is None:
            return Host(entry.name, position=entry.position, groups=groups)
        return Host(name=entry.name, variables=kept, position=entry.position, groups=groups, **settings)

    def _settings(self, entry: Entry, written: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any] | None:
        """The settings, checked as our own files' are; None when they do not do."""
        direct = {name: value for name, value in written.items() if isinstance(value, Secret)}
        direct |= {name: item.value for name, item in written.items() if isinstance(item, Settled)}
        texts: dict[str, Any] = {}
        scope = {**variables, "inventory_hostname": entry.name, "inventory_hostname_short": entry.name.split(".")[0]}
        for name, value in written.items():
            if name not in direct and value is not None:
                try:
                    path = f"{entry.name}.{name}"
                    texts[name] = render(_tree(value, entry.position, path), scope, entry.position, path)
                except InputError as error:
                    self.problems += [item for item in error.problems if isinstance(item, Problem)]
                    return None
        made = build(Settings, texts, self.found.file.parent)
        if isinstance(made, list):
            for fault in made:
                path = ".".join([entry.name, *map(str, fault.pointer)])
                self._say(entry.position, path, fault.message)
            return None
        return {"address": entry.name, **{name: item for name, item in made if item is not None}, **direct}

    def _variables(self, entry: Entry, variables: dict[str, Any]) -> dict[str, Any]:
        kept = {}
        for name, value in variables.items():
            if name in RESERVED:
                self.odd.setdefault(f"the variable {name} is vinfra's own, and was not taken over", []).append(
                    entry.name
                )
            elif not _VARIABLE.fullmatch(name):
                self.odd.setdefault(f"{name!r} is no name for a variable, and was not taken over", []).append(
                    entry.name
                )
            else:
                kept[name] = _tree(value, entry.position, f"{entry.name}.{name}")
        return kept

    def _jumps(self, hosts: dict[str, Host]) -> None:
        for host in hosts.values():
            seen, todo = set[str](), list(host.jump)
            while todo:
                jump = todo.pop()
                if jump == host.name:
                    self._say(host.position, f"{host.name}.jump", "the way to this host leads through itself")
                    break
                if jump in hosts and jump not in seen:
                    seen.add(jump)
                    todo += hosts[jump].jump


def _gathered(found: Mapping[str, list[str]], what: str) -> Iterable[str]:
    """A line for each reason, with the hosts it is true of."""
    for reason, names in found.items():
        shown = ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")
        yield f"inventory: {shown}{f' {what}' if what else ''}: {reason}"


def _tree(value: Any, position: Position, path: str) -> Any:
    """A value of Python as our files write it."""
    if isinstance(value, Secret):
        return {"secret": value.reference}
    if isinstance(value, Mapping):
        return {str(key): _tree(item, position, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_tree(item, position, path) for item in value]
    if value is None or isinstance(value, Literal | Plain | Templated):
        return value
    if isinstance(value, bool):
        return Plain("true" if value else "false")
    if isinstance(value, int | float):
        return Plain(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    return Templated(str(value), position, path) if is_template(str(value)) else str(value)
