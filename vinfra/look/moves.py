"""Machines that go to another host: their rows, what must be there before, what an earlier way left behind. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta
from vinfra.model.discovery import HostState
from vinfra.model.kind import Kinds, Movable, Scope, Trait, has, removal
from vinfra.model.machine import DOMAIN, GUEST
from vinfra.model.mark import SHARED, Mark, State
from vinfra.model.placement import Placement
from vinfra.model.plan import Plan
from vinfra.stages.discover import Survey


@dataclass(frozen=True)
class Moves:
    """What is on the move, as discovered. `movable` are the resources that can move, `surveys` the first answers,
    `within` tells what --limit names.
    """

    owner: str
    placement: Placement
    movable: Sequence[Resource]
    surveys: Mapping[str, Survey]
    kinds: Kinds
    within: Callable[[str], bool] = lambda _: True

    def wanted(self, host: str) -> frozenset[str]:
        """What machines that come to a host refer to: it must be there before."""
        coming = {member for member, (_, new) in self.placement.moving.items() if new == host}
        found = (item.hard | item.soft for item in self.movable if item.demand and item.demand.member in coming)
        return frozenset().union(*found)

    def rest(self, mark: Mark, host: str) -> str:
        """Where the machine is of whose way a mark's object is left, as a copy that may go; "" if that is not so."""
        where = self._elsewhere(mark, host)
        return "" if where and self._shares(mark, where) else where

    def _shares(self, mark: Mark, where: str) -> bool:
        """Whether what lies here may be the very disk that its machine runs on there."""
        twin = self.surveys[where].state.marks.get(mark.key)
        shared = any(
            item.demand and item.demand.shared and item.demand.member == _member(mark) for item in self.movable
        )
        return shared or SHARED in mark.identity or (twin is not None and SHARED in twin.identity)

    def _elsewhere(self, mark: Mark, host: str) -> str:
        """Where the machine of a mark is when it was carried over by us: both hosts have marks of it then.

        A machine that somebody moved himself has none where it is.
        """
        member = _member(mark)
        where, address = self.placement.where.get(member, ""), Address(DOMAIN, "", member)
        if where in ("", host) or mark.blueprint != self.owner or member in self.placement.moved:
            return ""
        here, there = self._found(host, address), self._found(where, address)
        marked = (self.owner, DOMAIN, member) in self.surveys[where].state.marks
        ours = mark.kind.partition(".")[0] == DOMAIN.partition(".")[0]
        return where if ours and marked and isinstance(here, Absent) and isinstance(there, Present) else ""

    def unguarded(self, state: HostState) -> HostState:
        """A host as if what a way left behind were a plain copy: no guard is on that, and no doubt whose it is."""
        marks = {
            key: replace(mark, protect=False, state=State.OWNED) if self.rest(mark, state.host) else mark
            for key, mark in state.marks.items()
        }
        resources = tuple(
            replace(item, protect=False) if self._left(item.address, state) else item for item in state.resources
        )
        return replace(state, marks=marks, resources=resources)

    def cleared(self, rows: Sequence[Change], state: HostState) -> tuple[Change, ...]:
        """The rows of a host; what a way left behind costs nobody anything."""
        return tuple(
            replace(row, delta=replace(row.delta, impact=Impact.LIVE, reason=f"left of its way to {where}"))
            if row.delta.action is Action.DELETE and row.runnable and (where := self._left(row.address, state))
            else row
            for row in rows
        )

    def _left(self, address: Address, state: HostState) -> str:
        mark = state.marks.get((self.owner, address.kind, address.name))
        return self.rest(mark, state.host) if mark and address.host else ""

    def _found(self, host: str, address: Address) -> Answer | None:
        return self.surveys[host].found.get(address) if host in self.surveys else None

    def shown(self, plan: Plan, states: Mapping[str, HostState]) -> Plan:
        """The plan with the rows of what moves."""
        rows = {row.address: row for row in plan.changes}
        for member in (*self.placement.moving, *self.placement.stuck):
            address = Address(DOMAIN, "", member)
            if (row := rows.get(address)) is not None:
                rows[address] = self._row(member, row, plan, states)
        going = {row.address.name: row for row in rows.values() if row.goes_to}
        for row in plan.changes if going else ():
            if has(self.kinds[row.address.kind], Trait.LAZY):
                rows[row.address] = self._idle(row, going, states)
        kept = (*plan.kept, *self._doubled())
        return replace(plan, changes=tuple(rows[row.address] for row in plan.changes), kept=kept)

    def _doubled(self) -> Iterator[Address]:
        """What has a mark on a host that its machine left or did not reach, and may be what it runs on: only the mark
        goes.
        """
        for host, found in self.surveys.items():
            for mark in found.state.marks.values():
                if (where := self._elsewhere(mark, host)) and self._shares(mark, where):
                    yield Address(mark.kind, host, mark.name)

    def _idle(self, row: Change, going: Mapping[str, Change], states: Mapping[str, HostState]) -> Change:
        """An image that only machines stand on that go: it goes after them."""
        parts = {
            item.address.name.replace("/", "-"): item.demand.member
            for item in self.movable
            if item.demand and item.demand.member in going and going[item.demand.member].place == row.place
        }
        using = [user.name for user in row.notes.get("using", ())]
        users = {parts.get(name) or parts.get(name.rpartition(".")[0]) for name in using}
        ours = [mark.ours and mark.blueprint == self.owner for mark in row.marks]
        refused = row.delta.action is Action.DELETE and row.delta.verdict is Verdict.REFUSED
        if ours != [True] or not users or None in users or (row.pending and not refused):
            return row
        kind, names = self.kinds[row.address.kind], sorted(user for user in users if user)
        delta = Delta(Action.DELETE, impact=removal(kind).impact, reason=f"{', '.join(names)} stood on it")
        gone = replace(row, desired=None, delta=delta, after=frozenset(going[name].address for name in names))
        return replace(gone, steps=tuple(kind.steps(gone, states[row.place].scopes(self.kinds)[row.address.kind])))

    def _row(self, member: str, row: Change, plan: Plan, states: Mapping[str, HostState]) -> Change:
        if row.delta.verdict is not Verdict.OK:
            return row
        if member in self.placement.stuck:
            return replace(row, delta=Delta(Action.MOVE, verdict=Verdict.REFUSED, reason=self.placement.stuck[member]))
        old, new = self.placement.moving[member]
        kind, resource = self.kinds[row.address.kind], self._resource(row.address)
        if not isinstance(kind, Movable) or row.delta.action in (Action.CREATE, Action.DELETE):
            return row
        why = self._obstacle(member, row, plan) or kind.stays(
            resource,
            (states[old].answers[row.address], self._found(new, row.address) or Absent()),
            (self._scope(old, row, states), self._scope(new, row, states)),
        )
        if why:
            reason = f"is on {old} and is to go to {new}, but {why}"
            return replace(row, delta=Delta(Action.MOVE, verdict=Verdict.REFUSED, reason=reason))
        step, said = kind.carry(resource, states[old].answers[row.address], new)
        delta = row.delta
        reason = "; ".join(filter(None, (f"{old} → {new}, {said}", delta.reason)))
        return replace(
            row,
            delta=replace(delta, action=Action.MOVE, impact=max(delta.impact, Impact.LIVE), reason=reason),
            steps=(*row.steps, step),
            after=row.after | self._before(member, new, plan, states[new]),
            goes_to=new,
        )

    def _obstacle(self, member: str, row: Change, plan: Plan) -> str:
        if not self.within(self.placement.moving[member][1]):
            return "--limit does not name that one"
        waits = (one for one in plan.runnable if one.address == Address(GUEST, "", member))
        return "it is not up yet: move it once it has answered" if any(waits) and not row.delta.fields else ""

    def _resource(self, address: Address) -> Resource:
        return next(item for item in self.movable if item.address == address)

    def _scope(self, host: str, row: Change, states: Mapping[str, HostState]) -> Scope:
        """A host as the kind of a machine sees it, whether one is there by now or not."""
        state = states[host]
        extra = () if any(item.address == row.address for item in state.resources) else (self._resource(row.address),)
        return replace(state, resources=(*state.resources, *extra)).scopes(self.kinds)[row.address.kind]

    def _before(self, member: str, new: str, plan: Plan, state: HostState) -> frozenset[Address]:
        """What it refers to on its new host, what an earlier try left there, and what is done inside of it."""
        known = {item.address.reference: item.address for item in state.resources}
        parts = (item for item in self.movable if item.demand and item.demand.member == member)
        needs = {known[name] for item in parts for name in item.hard | item.soft if name in known}
        rows = plan.runnable
        left = {row.address for row in rows if row.place == new and row.address.host and _member(row.address) == member}
        return frozenset(needs | left | {row.address for row in rows if row.place == member})


def _member(thing: Address | Mark) -> str:
    return thing.name.partition("/")[0]
