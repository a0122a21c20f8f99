"""Ansible's INI files: `[group]`, `[group:vars]`, `[group:children]`, and hosts with `name=value` beside them."""

import ast
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from vinfra.model.source import Position

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?")
_GROUP = re.compile(r"([^:\]\s]+)\s*(?:#.*)?")


class Reading(Protocol):
    """Where it is read into."""

    @property
    def groups(self) -> Mapping[str, Any]:
        """Those that are known."""
        ...

    def say(self, position: Position, path: str, message: str) -> None: ...
    def group(self, name: str) -> None: ...
    def variable(self, group: str, name: str, value: Any, position: Position) -> None: ...
    def host(self, pattern: str, group: str, variables: Mapping[str, Any], position: Position) -> None: ...


def read_ini(text: str, file: str, into: Reading) -> None:
    """Read a file's text. A group that is named must be there at its end."""
    group, sort = "ungrouped", "hosts"
    declared: dict[str, None] = {}
    wanted: list[tuple[str, str, Position]] = []
    for position, line in _lines(text, file):
        if match := _SECTION.fullmatch(line):
            group, sort = match[1], match[2] or "hosts"
            if sort not in ("hosts", "vars", "children"):
                into.say(position, f"[{group}:{sort}]", "a section is [GROUP], [GROUP:vars] or [GROUP:children]")
            elif sort == "vars":
                wanted.append((group, f"[{group}:vars]", position))
            else:
                declared[group] = None
            into.group(group)
        elif line.startswith("[") and (line.endswith("]") or sort != "hosts"):
            into.say(position, "", "a section is [GROUP], [GROUP:vars] or [GROUP:children], without blanks in it")
        else:
            _line(line, group, sort, position, into, wanted)
    for name, where, position in wanted:
        if name not in declared and name not in ("all", "ungrouped") and name not in _filled(into):
            into.say(position, where, f"there is no group {name!r}; write [{name}]")


def _line(
    line: str, group: str, sort: str, position: Position, into: Reading, wanted: list[tuple[str, str, Position]]
) -> None:
    if sort == "hosts":
        _host(line, group, position, into)
    elif sort == "children":
        _child(line, group, position, into, wanted)
    elif sort == "vars":
        _variable(line, group, position, into)


def _filled(into: Reading) -> set[str]:
    """The groups that have something in them, from this file or one before."""
    return {name for name, group in into.groups.items() if group.hosts or group.children}


def _lines(text: str, file: str) -> Iterator[tuple[Position, str]]:
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line and line[0] not in ";#":
            yield Position(file, number, len(raw) - len(raw.lstrip()) + 1), line


def _host(line: str, group: str, position: Position, into: Reading) -> None:
    try:
        name, *words = shlex.split(line, comments=True)
    except ValueError as error:
        into.say(position, "", f"not to be taken apart: {error}")
        return
    variables: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            into.say(position, name, f"{word!r} stands beside the host; write NAME=VALUE")
            return
        variables[key] = _value(value)
    into.host(name, group, variables, position)


def _child(line: str, group: str, position: Position, into: Reading, wanted: list[tuple[str, str, Position]]) -> None:
    match = _GROUP.fullmatch(line)
    if match is None:
        into.say(position, f"[{group}:children]", f"{line!r} is no group's name")
        return
    wanted.append((match[1], f"[{group}:children]", position))
    into.group(match[1])
    into.groups[group].children[match[1]] = None


def _variable(line: str, group: str, position: Position, into: Reading) -> None:
    name, equals, value = line.partition("=")
    if not equals:
        into.say(position, f"[{group}:vars]", f"{line.split(maxsplit=1)[0]!r} has no value; write NAME=VALUE")
        return
    into.variable(group, name.strip(), _value(value.strip()), position)


def _value(text: str) -> Any:
    """A value as Ansible takes it from INI: Python's, where it is one, else text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
