"""What discovery brings home from one host."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.model.address import Address
from vinfra.model.answer import Answer
from vinfra.model.blueprint import Resource
from vinfra.model.kind import Kinds, Scope
from vinfra.model.mark import Mark

Marks = Mapping[tuple[str, str, str], Mark]


@dataclass(frozen=True, slots=True)
class HostState:
    """One host as found. `error` says why it could not be read; everything else is then empty.

    `resources` are the placed ones, with what a blueprint left behind added (desired None). `refused` says why a
    resource could not be placed, such as a template over a fact that this host does not have.
    """

    host: str
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)
    resources: tuple[Resource, ...] = ()
    answers: Mapping[Address, Answer] = field(default_factory=dict)
    refused: Mapping[Address, str] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()
    seconds: float = 0.0

    def scopes(self, kinds: Kinds, changing: frozenset[str] = frozenset()) -> dict[str, Scope]:
        """This host as each of its kinds sees it."""
        return scopes(self.host, self.resources, self.facts, self.marks, kinds, changing)


def scopes(
    host: str,
    resources: tuple[Resource, ...],
    facts: Mapping[str, Any],
    marks: Marks,
    kinds: Kinds,
    changing: frozenset[str] = frozenset(),
) -> dict[str, Scope]:
    """A scope for each kind that has something on this host."""
    wanted: dict[str, list[Resource]] = {}
    for resource in resources:
        wanted.setdefault(resource.address.kind, []).append(resource)
    known: dict[str, dict[str, list[Mark]]] = {}
    for mark in marks.values():
        known.setdefault(mark.kind, {}).setdefault(mark.name, []).append(mark)
    siblings = {resource.address.reference: resource for resource in resources}
    return {
        kind: Scope(
            host=host,
            wanted=tuple(wanted[kind]),
            facts=facts,
            marks={name: tuple(found) for name, found in known.get(kind, {}).items()},
            siblings=siblings,
            changing=changing,
        )
        for kind in kinds
        if kind in wanted
    }
