"""The sections under `hosts`: from patterns and nouns to one declaration for each item."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vinfra.model.blueprint import Declaration
from vinfra.model.inventory import Inventory
from vinfra.model.kind import Kind, Kinds
from vinfra.model.source import Pointer
from vinfra.text.complaint import Complaints, pathway, sort_of, unknown
from vinfra.text.document import Document
from vinfra.text.expression import has_template, is_template
from vinfra.text.names import located
from vinfra.text.pattern import Selection, select

_UNREADABLE = object()


@dataclass(frozen=True, slots=True)
class Place:
    """What all sections of one file share. `pattern_of` gives a pattern its meaning in an included file, or none."""

    document: Document
    scope: Mapping[str, Any]
    pattern_of: Callable[[str], str | None]


class Sections:
    """Collects declarations file by file. `warnings` are about patterns that name no host."""

    def __init__(self, inventory: Inventory, kinds: Kinds, complaints: Complaints) -> None:
        self.declarations: list[Declaration] = []
        self.warnings: list[str] = []
        self._inventory = inventory
        self._kinds = {kind.SECTION: kind for kind in kinds.values()}
        self._complaints = complaints
        self._selections: dict[str, Selection] = {}

    def read(self, value: Any, place: Place) -> None:
        """The `hosts` of one file."""
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
            if kind is None:
                message = unknown("section", name, self._kinds)
                self._complaints.add(place.document, (*pointer, name), message, key=True)
            elif isinstance(items, dict):
                self._mapping(items, kind, pattern, (*pointer, name), place)
            elif isinstance(items, list):
                self._list(items, kind, pattern, (*pointer, name), place)
            elif items is not None:
                message = f"write a mapping of names, or a list of them, not {sort_of(items)}"
                self._complaints.add(place.document, (*pointer, name), message)

    def _mapping(self, items: dict[str, Any], kind: Kind, pattern: str, pointer: Pointer, place: Place) -> None:
        document, scope, noun = place.document, place.scope, kind.NAME
        above = tuple(map(str, pointer))
        for name, value in items.items():
            here = (*above, name)
            if not name or is_template(name):
                self._name(name, document, here, key=True)
            elif isinstance(value, list):
                message = f"write the fields of {name}, not a list"
                self._complaints.add(document, here, message)
            elif (written := self._checked(value, document, here)) is not _UNREADABLE:
                position = document.position(here, key=True)
                self.declarations.append(
                    Declaration(noun, pattern, name, written, scope, here, position, here, document)
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
