"""What discovery brings home from one host."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.model.address import Address
from vinfra.model.answer import Answer
from vinfra.model.blueprint import Resource
from vinfra.model.change import Delta
from vinfra.model.kind import Kinds, Scope
from vinfra.model.lease import NOBODYS, Lease
from vinfra.model.mark import Birth, Mark

Marks = Mapping[tuple[str, str, str], Mark]


@dataclass(frozen=True, slots=True)
class HostState:
    """One host as found, on behalf of the blueprint `owner`.

    `error` says why it could not be read; everything else is then empty.

    `resources` are the placed ones, with what a blueprint left behind added (desired None); `around` are those that are
    declared there as well, but not looked at this time. `lease` says who may change it now, `worn` that the owner's
    mark file is due to be rewritten. `formerly` are names that the owner had before. `refused` says of a resource why
    nothing can be done: a template over a fact that this host does not have, a secret that cannot be had.
    """

    host: str
    owner: str = ""
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)
    resources: tuple[Resource, ...] = ()
    around: tuple[Resource, ...] = ()
    answers: Mapping[Address, Answer] = field(default_factory=dict)
    refused: Mapping[Address, Delta] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()
    worn: bool = False
    lease: Lease = NOBODYS
    formerly: frozenset[str] = frozenset()
    seconds: float = 0.0

    def scopes(self, kinds: Kinds) -> dict[str, Scope]:
        """This host as each of its kinds sees it: a scope for each that has something here."""
        wanted: dict[str, list[Resource]] = {}
        for resource in self.resources:
            wanted.setdefault(resource.address.kind, []).append(resource)
        known: dict[str, dict[str, list[Mark]]] = {}
        for mark in self.marks.values():
            known.setdefault(mark.kind, {}).setdefault(mark.name, []).append(mark)
        made = frozenset(
            Address(mark.kind, self.host, mark.name).reference
            for mark in self.marks.values()
            if mark.blueprint == self.owner and mark.birth is Birth.CREATED
        )
        siblings = {resource.address.reference: resource for resource in (*self.around, *self.resources)}
        return {
            kind: Scope(
                host=self.host,
                wanted=tuple(wanted[kind]),
                facts=self.facts,
                marks={name: tuple(found) for name, found in known.get(kind, {}).items()},
                siblings=siblings,
                made=made,
                owner=self.owner,
                formerly=self.formerly,
            )
            for kind in kinds
            if kind in wanted
        }
