"""The sections under `hosts`: from patterns and nouns to one declaration for each item."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vinfra.model.blueprint import Declaration
from vinfra.model.inventory import Inventory
from vinfra.model.kind import Kind, Kinds, Trait, has
from vinfra.model.source import Pointer
from vinfra.text.complaint import Complaints, pathway, sort_of, unknown
from vinfra.text.document import Document
from vinfra.text.expression import has_template, is_template
from vinfra.text.names import located
from vinfra.text.pattern import ALL, Selection, select
from vinfra.text.rollout import Written

_UNREADABLE = object()
HOSTS = "hosts"
ON = "on"
ROLLOUT = "rollout"


def sections_of(kinds: Kinds) -> tuple[str, ...]:
    """The keys of a file that declare something: `hosts`, and the sections that may stand beside it."""
    return (HOSTS, *(kind.SECTION for kind in kinds.values() if _on_top(kind)))


def _on_top(kind: Kind) -> bool:
    return any(has(kind, trait) for trait in (Trait.TOP, Trait.LAZY, Trait.FLEET))


@dataclass(frozen=True, slots=True)
class Place:
    """What all sections of one file share. `pattern_of` gives a pattern its meaning in an included file, or none."""

    document: Document
    scope: Mapping[str, Any]
    pattern_of: Callable[[str], str | None]


def single(kind: Kind) -> str:
    """The name of the one object that a host has of a kind: its family's."""
    return kind.NAME.partition(".")[0]


def fleets_in(tree: Mapping[str, Any], place: Place, kinds: Kinds) -> Iterator[Declaration]:
    """The fleets of one file, before anything of them is checked but that they are mappings."""
    for kind in kinds.values():
        items = tree.get(kind.SECTION) if has(kind, Trait.FLEET) else None
        for name, value in (items if isinstance(items, dict) else {}).items():
            here = (kind.SECTION, name)
            position = place.document.position(here, key=True)
            yield Declaration(kind.NAME, "", name, value, place.scope, here, position, here, place.document)


class Sections:
    """Collects declarations file by file. `warnings` are about patterns that name no host, `hosts` all they name."""

    def __init__(self, inventory: Inventory, kinds: Kinds, complaints: Complaints) -> None:
        self.declarations: list[Declaration] = []
        self.warnings: list[str] = []
        self.hosts: set[str] = set()
        self.rollouts: list[Written] = []
        self._inventory = inventory
        self._kinds = {kind.SECTION: kind for kind in kinds.values()}
        self._complaints = complaints
        self._selections: dict[str, Selection] = {}

    def read(self, tree: Mapping[str, Any], place: Place) -> None:
        """One file: the sections at its top, then its `hosts`."""
        for name in sections_of(self._kinds)[1:]:
            if tree.get(name) is not None:
                self._top(tree[name], self._kinds[name], place)
        self._hosts(tree.get(HOSTS), place)

    def _top(self, items: Any, kind: Kind, place: Place) -> None:
        """A section beside `hosts`: each item says `on` which hosts it is, unless it is made where it is needed."""
        if not isinstance(items, dict):
            message = f"write a mapping of names, not {sort_of(items)}"
            self._complaints.add(place.document, (kind.SECTION,), message)
            return
        for name, value in items.items():
            pointer = (kind.SECTION, name)
            if has(kind, Trait.LAZY):
                self._item(name, value, kind, ALL, pointer, place)
                continue
            on = value.get(ON) if isinstance(value, dict) else None
            pattern = place.pattern_of(on) if isinstance(on, str) and not is_template(on) else None
            if pattern is None:
                message = f"say on which hosts: `{ON}: PATTERN`, such as all or hypervisors"
                self._complaints.add(place.document, pointer if on is None else (*pointer, ON), message, key=on is None)
            elif self.named(pattern, place.document, (*pointer, ON), key=False):
                fields = {key: item for key, item in value.items() if key != ON}
                self._item(name, fields, kind, pattern, pointer, place)

    def _hosts(self, value: Any, place: Place) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            message = f"write a mapping of host patterns, not {sort_of(value)}"
            self._complaints.add(place.document, ("hosts",), message)
            return
        for written, sections in value.items():
            pointer = ("hosts", written)
            pattern = place.pattern_of(written)
            if pattern is None:
                message = "`included` stands alone or before exclusions, in a file whose include says `hosts:`"
                self._complaints.add(place.document, pointer, message, key=True)
            elif self.named(pattern, place.document, pointer) and sections is not None:
                self._pattern(sections, pattern, pointer, place)

    def named(self, pattern: str, document: Document, pointer: Pointer, *, key: bool = True) -> bool:
        """Whether the pattern names hosts; when it does not, why is told."""
        found = self._selections.get(pattern)
        if found is None:
            found = self._selections[pattern] = select(pattern, self._inventory)
            self.hosts |= set(found.hosts)
        if found.complaint:
            self._complaints.add(document, pointer, found.complaint, key=key)
        elif found.warning:
            position = document.position(pointer, key=key)
            self.warnings.append(f"{position}: {pathway(pointer)}: {found.warning}")
        return not found.complaint

    def _pattern(self, sections: Any, pattern: str, pointer: Pointer, place: Place) -> None:
        if not isinstance(sections, dict):
            message = f"write a mapping of sections ({', '.join(self._kinds)}), not {sort_of(sections)}"
            self._complaints.add(place.document, pointer, message)
            return
        for name, items in sections.items():
            kind = self._kinds.get(name)
            if name == ROLLOUT:
                units = self._selections[pattern].hosts
                here = (*pointer, name)
                self.rollouts.append(Written(pattern, units, items, place.scope, here, place.document))
            elif kind is None:
                message = unknown("section", name, (*self._kinds, ROLLOUT))
                self._complaints.add(place.document, (*pointer, name), message, key=True)
            elif has(kind, Trait.LAZY) or has(kind, Trait.FLEET):
                message = f"{name} stand at the top of the file, beside `{HOSTS}`"
                self._complaints.add(place.document, (*pointer, name), message, key=True)
            elif has(kind, Trait.SINGLE):
                self._item(single(kind), items, kind, pattern, (*map(str, pointer), name), place)
            elif isinstance(items, dict):
                self._mapping(items, kind, pattern, (*pointer, name), place)
            elif isinstance(items, list):
                self._list(items, kind, pattern, (*pointer, name), place)
            elif items is not None:
                message = f"write a mapping of names, or a list of them, not {sort_of(items)}"
                self._complaints.add(place.document, (*pointer, name), message)

    def _mapping(self, items: dict[str, Any], kind: Kind, pattern: str, pointer: Pointer, place: Place) -> None:
        above = tuple(map(str, pointer))
        for name, value in items.items():
            self._item(name, value, kind, pattern, (*above, name), place)

    def _item(self, name: str, value: Any, kind: Kind, pattern: str, here: tuple[str, ...], place: Place) -> None:
        document = place.document
        if not name or is_template(name):
            self._name(name, document, here, key=True)
        elif isinstance(value, list):
            self._complaints.add(document, here, f"write the fields of {name}, not a list")
        elif (written := self._checked(value, document, here)) is not _UNREADABLE:
            position = document.position(here, key=True)
            self.declarations.append(
                Declaration(kind.NAME, pattern, name, written, place.scope, here, position, here, document)
            )

    def _checked(self, value: Any, document: Document, pointer: Pointer) -> Any:
        """The value, whose templates now know where they stand; _UNREADABLE when one is malformed, which is told."""
        if not has_template(value):
            return value
        before = len(self._complaints)
        written = located(value, document, pointer, self._complaints)
        return written if len(self._complaints) == before else _UNREADABLE

    def _list(self, items: list[Any], kind: Kind, pattern: str, pointer: Pointer, place: Place) -> None:
        seen: dict[str, int] = {}
        for index, name in enumerate(items):
            here = (*pointer, index)
            if not isinstance(name, str):
                self._complaints.add(place.document, here, f"write a name, not {sort_of(name)}")
            elif not name or is_template(name):
                self._name(name, place.document, here, key=False)
            elif name in seen:
                first = place.document.position((*pointer, seen[name]))
                message = f"{name!r} is already in the list, at {first.line}:{first.column}"
                self._complaints.add(place.document, here, message)
            else:
                seen[name] = index
                path = (*map(str, pointer), str(name))
                position = place.document.position(here)
                self.declarations.append(
                    Declaration(kind.NAME, pattern, str(name), None, place.scope, path, position, here, place.document)
                )

    def _name(self, name: str, document: Document, pointer: Pointer, *, key: bool) -> None:
        message = "a name holds no template; write it out" if name else "the name is empty"
        self._complaints.add(document, pointer, message, key=key)
