"""Variables: layers of trees as written, rendered when a template asks for them, each once."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.errors import InputError
from vinfra.model.source import NOWHERE, Position, Problem
from vinfra.model.values import Plain
from vinfra.text.complaint import near
from vinfra.text.expression import (
    BUILTINS,
    Templated,
    as_tree,
    compiled,
    evaluate,
    fault,
    is_template,
    names_in,
    placed,
    templates_in,
    typed,
)

# Lowest first; a later one wins. Documentation and `vinfra explain` print this.
PRECEDENCE = (
    "vars of the blueprint",
    "vars of an included file",
    "with: of the include",
    "vars of the inventory",
    "vars of the host's groups, parents first",
    "vars of the host",
    "var files, in the order given",
    "-e NAME=VALUE and -e @FILE, in the order given",
)

FACTS = "facts"
HOST = "host"
MEMBER = "member"
# What vinfra itself provides. Their values are data, never templates.
RESERVED = (HOST, FACTS, MEMBER, "groups")


@dataclass(frozen=True, slots=True)
class Bound:
    """A value that was written in another file: its names mean what they mean there, under the same `overlay`."""

    raw: Any
    scope: Mapping[str, Any]
    overlay: Mapping[str, Any] = field(default_factory=dict)


class Nested(dict[str, Any]):
    """What `-e a.b=c` gives for `a`: it changes a mapping below it instead of replacing it."""


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The layers as one, the later winning."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = result.get(name)
            result[name] = _nested(below, value) if isinstance(value, Nested) and isinstance(below, dict) else value
    return result


def _nested(below: dict[str, Any], above: Nested) -> dict[str, Any]:
    return layered(below, above)


class Variables(Mapping[str, Any]):
    """Variables as written, by name, and what they evaluate to. `overlay` wins over `base`, in files included too."""

    def __init__(self, base: Mapping[str, Any], overlay: Mapping[str, Any] | None = None) -> None:
        self._raw = layered(base, overlay or {})
        for name, value in self._raw.items():
            if isinstance(value, Bound) and overlay and not value.overlay:
                self._raw[name] = Bound(value.raw, value.scope, overlay)
        self._values: dict[str, Any] = {}
        self._bound: dict[int, Variables] = {}

    def __getitem__(self, name: str) -> Any:
        return self._raw[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def render(self, raw: Any) -> Any:
        """A tree with its templates rendered. Raises InputError."""
        if isinstance(raw, dict):
            return {key: self.render(value) for key, value in raw.items()}
        if isinstance(raw, list):
            return [self.render(value) for value in raw]
        if not is_template(raw):
            return raw
        try:
            return as_tree(self._evaluated(raw))
        except InputError as error:
            raise placed(error, getattr(raw, "position", NOWHERE), getattr(raw, "path", "")) from None

    def check(self, raw: Any, *, prose: bool = False) -> list[Problem]:
        """What is wrong with a tree that cannot be rendered yet: names that nobody defines, circles, bad syntax."""
        problems: list[Problem] = []
        seen: set[tuple[int, str]] = set()

        def known(owner: Variables, name: str) -> bool:
            return (id(owner), name) in seen

        def learn(owner: Variables, name: str) -> None:
            seen.add((id(owner), name))
            owner._require_all(name)

        for text in templates_in(raw):
            try:
                self._require(text, prose=prose)
                for name in self._used(text):
                    self._walk(name, known, learn)
            except InputError as error:
                problems += [problem for problem in error.problems if isinstance(problem, Problem)]
        return problems

    def reach(self, names: Iterable[str]) -> frozenset[str]:
        """The names and all that they lead to."""
        seen: dict[tuple[int, str], None] = {}
        todo: list[tuple[Variables, str]] = [(self, name) for name in names]
        while todo:
            owner, name = todo.pop()
            if (id(owner), name) not in seen:
                seen[id(owner), name] = None
                todo += owner._links(name)
        return frozenset(name for _, name in seen)

    def text(self, template: str) -> str:
        """A file template's text, rendered. Raises InputError."""
        return str(self._evaluated(template, prose=True))

    def _evaluated(self, text: str, *, prose: bool = False) -> Any:
        try:
            used = self._used(text)
            for name in used:
                self._walk(name, Variables._is_known, Variables._learn)
            return evaluate(text, {name: self._values[name] for name in used}, self._raw, prose=prose)
        except InputError as error:
            raise placed(error, *_place(text)) from None

    def _used(self, text: str) -> list[str]:
        return sorted(name for name in names_in(text) if name in self._raw)

    def _needs(self, name: str) -> list[tuple["Variables", str]]:
        """The variables that must be known before this one."""
        return [(owner, used) for owner, used in self._links(name) if used in owner]

    def _links(self, name: str) -> list[tuple["Variables", str]]:
        """The names a variable's own value uses, each with whose it is."""
        raw = self._raw.get(name)
        if raw is None or name in RESERVED:
            return []
        owner = self
        if isinstance(raw, Bound):
            owner, raw = self._within(raw), raw.raw
        return [(owner, used) for used in sorted(names_in(raw))]

    def _within(self, bound: Bound) -> "Variables":
        found = self._bound.get(id(bound))
        if found is None:
            reserved = {name: self._raw[name] for name in RESERVED if name in self._raw}
            found = self._bound[id(bound)] = Variables(bound.scope, {**bound.overlay, **reserved})
        return found

    def _walk(
        self, name: str, done: Callable[["Variables", str], bool], act: Callable[["Variables", str], object]
    ) -> None:
        """Act on what a variable needs, and then on itself; without recursion, so that chains may be long."""
        path: list[tuple[Variables, str]] = [(self, name)]
        while path:
            owner, current = path[-1]
            waiting = () if done(owner, current) else (item for item in owner._needs(current) if not done(*item))
            following = next(iter(waiting), None)
            if following is None:
                if not done(owner, current):
                    act(owner, current)
                path.pop()
            elif following in path:
                raise _circle(path[path.index(following) :])
            else:
                path.append(following)

    def _is_known(self, name: str) -> bool:
        return name in self._values

    def _learn(self, name: str) -> None:
        raw = self._raw[name]
        if name in RESERVED:
            self._values[name] = raw
        elif isinstance(raw, Bound):
            self._values[name] = self._within(raw)._value(raw.raw)
        else:
            self._values[name] = self._value(raw)

    def _value(self, raw: Any) -> Any:
        """A tree as expressions see it."""
        if isinstance(raw, dict):
            return {key: self._value(item) for key, item in raw.items()}
        if isinstance(raw, list):
            return [self._value(item) for item in raw]
        if is_template(raw):
            return self._evaluated(raw)
        return typed(raw) if isinstance(raw, Plain) else raw

    def _require_all(self, name: str) -> None:
        raw = self._raw.get(name)
        if name in RESERVED:
            return
        owner, raw = (self._within(raw), raw.raw) if isinstance(raw, Bound) else (self, raw)
        for text in templates_in(raw):
            owner._require(text)

    def _require(self, text: str, *, prose: bool = False) -> None:
        try:
            template = compiled(text, prose=prose)
        except InputError as error:
            raise placed(error, *_place(text)) from None
        for name in sorted(template.names - template.spared - BUILTINS):
            if name not in self._raw and name not in RESERVED:
                place = (Position("", template.lines[name], 1), "") if prose else _place(text)
                raise fault(f"unknown variable {name!r}{near(name, self._raw)}", *place)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


def _place(text: str) -> tuple[Position, str]:
    return (text.position, text.path) if isinstance(text, Templated) else (NOWHERE, "")


def _circle(path: list[tuple[Variables, str]]) -> InputError:
    first = min(range(len(path)), key=lambda index: path[index][1])
    ordered = path[first:] + path[:first]
    names = [name for _, name in ordered]
    owner, name = ordered[0]
    raw = owner[name]
    text = next(templates_in(raw.raw if isinstance(raw, Bound) else raw), "")
    return fault(f"variables refer to each other in a circle: {' → '.join([*names, names[0]])}", *_place(text))


def render(raw: Any, variables: Mapping[str, Any], position: Position = NOWHERE, path: str = "") -> Any:
    """A value as written, rendered with variables as written. Raises InputError.

    `host`, `facts` and `groups` among the variables are data, never templates.
    """
    try:
        return _as_variables(variables).render(raw)
    except InputError as error:
        raise placed(error, position, path) from None


def render_text(text: str, variables: Mapping[str, Any], name: str) -> str:
    """A file template's text, rendered. `name` is the file, for problems. Raises InputError."""
    try:
        return _as_variables(variables).text(text)
    except InputError as error:
        raise placed(error, Position(name, 1, 1), "") from None


def check_text(text: str, variables: Mapping[str, Any], name: str) -> list[Problem]:
    """What can be told of a file template before facts are known."""
    found = InputError(_as_variables(variables).check(text, prose=True))
    return [item for item in placed(found, Position(name, 1, 1), "").problems if isinstance(item, Problem)]


def _as_variables(variables: Mapping[str, Any]) -> Variables:
    return variables if isinstance(variables, Variables) else Variables(variables)
