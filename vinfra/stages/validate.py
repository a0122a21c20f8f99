"""Give the files their meaning: what they declare, for which hosts, with which variables in reach."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from vinfra.model.action import Impact
from vinfra.model.blueprint import Blueprint, Declaration, Member
from vinfra.model.inventory import Inventory
from vinfra.model.kind import Kinds
from vinfra.model.source import Pointer, Problem
from vinfra.text.collector import paused
from vinfra.text.complaint import Complaints, pathway, sort_of, unknown
from vinfra.text.document import Document
from vinfra.text.fleet import allowed, joined, members
from vinfra.text.inventory import read_inventory
from vinfra.text.labels import LABELS, labels
from vinfra.text.loaded import Loaded
from vinfra.text.moved import OWNER, moved
from vinfra.text.names import known_keys, variables
from vinfra.text.pattern import within_include
from vinfra.text.rollout import Written, rolls
from vinfra.text.sections import ROLLOUT, Place, Sections, fleets_in, sections_of
from vinfra.text.template import Bound, layered

KEYS = ("blueprint", LABELS, "vars", "include", "moved")
INCLUDED_KEYS = ("vars", "include")
INCLUDE_KEYS = ("file", "with", "hosts")


def validate(
    loaded: Loaded, kinds: Kinds, foreign: tuple[Inventory, list[Problem]] | None = None
) -> tuple[Blueprint, Inventory, list[Problem]]:
    """The blueprint and the inventory, and every problem found on the way. Nothing is rendered yet.

    `foreign` is an inventory of another tool's, read already.
    """
    with paused():
        inventory, problems = foreign or read_inventory(loaded.inventory)
        reading = _Reading(loaded, inventory, kinds)
        reading.complaints.take(*problems)
        blueprint = reading.blueprint()
        return blueprint, reading.inventory, reading.complaints.sorted()


@dataclass(frozen=True, slots=True)
class _Include:
    """Where an include is written, what it hands on and to which hosts."""

    document: Document
    pointer: Pointer
    given: Mapping[str, Any]
    hosts: str | None
    scope: Mapping[str, Any]


class _Reading:
    """All files of a request, in two goes: what they include and the fleets they declare, then what is on which hosts.

    Members of fleets are hosts too, so patterns have a meaning only in the second.
    """

    def __init__(self, loaded: Loaded, inventory: Inventory, kinds: Kinds) -> None:
        self.loaded = loaded
        self.inventory = inventory
        self.kinds = kinds
        self.complaints = Complaints()
        self.places: list[tuple[dict[str, Any], Place, tuple[_Include, ...]]] = []
        self.fleets: dict[str, tuple[Member, ...]] = {}
        self.allow: dict[str, Impact] = {}
        self.labels: dict[str, str] = {}
        self.rolled: list[Written] = []
        self.silent: dict[str, str] = {}

    def blueprint(self) -> Blueprint:
        document = self.loaded.blueprint
        tree = document.tree
        name = ""
        top = self._overlay()
        if tree is not None:
            known_keys(tree, (*KEYS, *sections_of(self.kinds)), document, (), self.complaints)
            name = self._owner(tree, document)
            own = variables(tree.get("vars"), document, ("vars",), self.complaints)
            self.labels = labels(tree.get(LABELS), document, own, top, self.complaints)
            self._file(document, own, ())
        self._name_members(top)
        self.inventory = joined(self.inventory, self.fleets)
        sections = Sections(self.inventory, self.kinds, self.complaints)
        for tree, place, includes in self.places:
            if all(self._included_hosts(include, sections) for include in includes):
                sections.read(tree, place)
        renames = moved(
            (document.tree or {}).get("moved"), document, name, self.kinds, self._namings(), self.complaints
        )
        return Blueprint(
            name=name,
            declarations=tuple(sections.declarations),
            variables=top,
            files=tuple(self.loaded.documents),
            digest=self.loaded.digest,
            digests=self.loaded.digests,
            warnings=tuple(dict.fromkeys((*self.inventory.warnings, *sections.warnings))),
            fleets=self.fleets,
            hosts=frozenset(sections.hosts),
            allow=self.allow,
            labels=self.labels,
            rollouts=rolls([*self.rolled, *sections.rollouts], self.silent, top, self.complaints),
            formerly=frozenset(renames.formerly),
            renamed=renames.fleets,
        )

    def _name_members(self, top: Mapping[str, Any]) -> None:
        """Who the members of the fleets are, in every file that declares some."""
        owners: dict[str, str] = dict.fromkeys(self.inventory.hosts, "a host of the inventory")
        for tree, place, _ in self.places:
            for fleet in fleets_in(tree, place, self.kinds):
                found = members(fleet, top, self.complaints)
                taken = next((member.name for member in found if member.name in owners), None)
                if fleet.name in self.fleets or taken:
                    told = f"{taken} is {owners[taken]} already" if taken else f"there is another fleet {fleet.name}"
                    self.complaints.take(Problem(fleet.position, pathway(fleet.path), f"{told}; rename one of the two"))
                    continue
                self.fleets[fleet.name] = found
                self.allow[fleet.name] = allowed(fleet, top, self.complaints)
                self._rolled(fleet, tuple(member.name for member in found))
                owners |= {member.name: f"a member of fleet {fleet.name}" for member in found}

    def _rolled(self, fleet: Declaration, units: tuple[str, ...]) -> None:
        value = fleet.value if isinstance(fleet.value, dict) else {}
        if value.get("access") is None:
            self.silent |= dict.fromkeys(units, fleet.name)
        if ROLLOUT in value:
            pointer = (*fleet.pointer, ROLLOUT)
            self.rolled.append(
                Written(fleet.name, units, value[ROLLOUT], fleet.scope, pointer, fleet.source, "machine")
            )

    def _namings(self) -> dict[str, bool]:
        """Each fleet, and whether it says itself what its members are called."""
        declared = (fleet for tree, place, _ in self.places for fleet in fleets_in(tree, place, self.kinds))
        return {fleet.name: isinstance(fleet.value, dict) and bool(fleet.value.get("name")) for fleet in declared}

    def _included_hosts(self, include: _Include, sections: Sections) -> bool:
        """Whether the hosts that an include names exist; why not is told."""
        pointer = (*include.pointer, "hosts")
        return include.hosts is None or sections.named(include.hosts, include.document, pointer, key=False)

    def _owner(self, tree: dict[str, Any], document: Document) -> str:
        name = tree.get("blueprint")
        rule = "lower-case letters, digits, dot, _ and -"
        if name is None:
            self.complaints.add(document, (), f"name the blueprint: `blueprint: NAME`, of {rule}")
        elif not isinstance(name, str) or not OWNER.fullmatch(name):
            self.complaints.add(document, ("blueprint",), f"the name holds {rule}, and begins with a letter or digit")
        return str(name or "")

    def _overlay(self) -> dict[str, Any]:
        """What var files and -e say, which wins over all else."""
        layers = [
            variables(file.tree, file, (), self.complaints) for file in self.loaded.var_files if file.tree is not None
        ]
        layers += [variables(tree, document, (), self.complaints) for document, tree in self.loaded.extra]
        return layered(*layers)

    def _file(self, document: Document, scope: Mapping[str, Any], includes: tuple[_Include, ...]) -> None:
        """One file, brought by `includes`, outermost first: the files it includes, and what it says itself."""
        tree = document.tree or {}
        pattern_of = partial(_pattern_of, included=includes[-1].hosts) if includes else (lambda pattern: pattern)
        place = Place(document, scope, pattern_of)
        self._includes(tree.get("include"), place, includes)
        self.places.append((tree, place, includes))

    def _includes(self, value: Any, place: Place, above: tuple[_Include, ...]) -> None:
        document, scope = place.document, place.scope
        if value is None:
            return
        if not isinstance(value, list):
            self.complaints.add(document, ("include",), f"write a list of files, not {sort_of(value)}")
            return
        for index, entry in enumerate(value):
            pointer: Pointer = ("include", index)
            if isinstance(entry, str):
                self._include(_Include(document, pointer, {}, None, scope), index, above)
            elif not isinstance(entry, dict):
                message = f"write a file's name, or a mapping with {', '.join(INCLUDE_KEYS)}, not {sort_of(entry)}"
                self.complaints.add(document, pointer, message)
            elif self._well_formed(entry, document, pointer):
                given = variables(entry.get("with"), document, (*pointer, "with"), self.complaints)
                hosts = self._hosts_of(entry, document, pointer, place.pattern_of)
                if hosts is not None or entry.get("hosts") is None:
                    self._include(_Include(document, pointer, given, hosts, scope), index, above)

    def _well_formed(self, entry: dict[str, Any], document: Document, pointer: Pointer) -> bool:
        known_keys(entry, INCLUDE_KEYS, document, pointer, self.complaints)
        if not isinstance(entry.get("file"), str):
            self.complaints.add(document, pointer, "the include needs `file:` with a file's name")
            return False
        return True

    def _hosts_of(self, entry: dict[str, Any], document: Document, pointer: Pointer, pattern_of: Any) -> str | None:
        """The pattern that `included` stands for in the included file."""
        written = entry.get("hosts")
        here = (*pointer, "hosts")
        if written is None:
            return None
        pattern: str | None = pattern_of(written) if isinstance(written, str) else None
        if pattern is None:
            self.complaints.add(document, here, "write a host pattern, such as web or all:!web1")
        return pattern

    def _include(self, include: _Include, index: int, above: tuple[_Include, ...]) -> None:
        file = self.loaded.included.get((include.document.file, index))
        document = self.loaded.documents[file] if file else None
        if document is None or document.tree is None:
            return  # `load` has told why
        known_keys(document.tree, (*INCLUDED_KEYS, *sections_of(self.kinds)), document, (), self.complaints)
        own = variables(document.tree.get("vars"), document, ("vars",), self.complaints)
        for name in include.given:
            if name not in own:
                message = unknown("parameter", name, own)
                self.complaints.add(include.document, (*include.pointer, "with", name), message, key=True)
        for name, default in own.items():
            if default is None and name not in include.given:
                message = f"{document.file} needs the parameter {name!r}: give it under `with:`"
                self.complaints.add(include.document, include.pointer, message)
        given = {name: Bound(value, include.scope) for name, value in include.given.items() if name in own}
        self._file(document, {**include.scope, **own, **given}, (*above, include))


def _pattern_of(pattern: str, *, included: str | None) -> str | None:
    found = within_include(pattern, included or "")
    return found if included is not None or found == pattern else None
