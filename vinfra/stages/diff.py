"""Compare what is there with what is wished for, host by host, each kind by its own rule."""

from collections.abc import Iterable
from dataclasses import replace
from graphlib import TopologicalSorter
from heapq import heapify, heappop, heappush

from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta
from vinfra.model.discovery import HostState
from vinfra.model.kind import Kind, Kinds, Scope
from vinfra.model.mark import Birth, State
from vinfra.model.source import NOWHERE


def diff(state: HostState, kinds: Kinds, owner: str) -> tuple[Change, ...]:
    """One change per resource of a host, those without a difference included, in the order they would run.

    What a thing needs comes before it; deletions come last, in the opposite order. `owner` is the blueprint: what
    another blueprint owns is refused.
    """
    views = state.scopes(kinds)
    changing: set[str] = set()
    kept: list[Change] = []
    gone: list[Change] = []
    for resource in _ordered(state.resources, kinds):
        name, answer = resource.address.kind, state.answers[resource.address]
        view = replace(views[name], changing=frozenset(changing))
        change = _change(
            resource, _owned(_delta(resource, answer, kinds[name], view), resource, kinds[name], view, owner), answer
        )
        if change.runnable:
            changing.add(change.address.reference)
        (gone if change.delta.action is Action.DELETE else kept).append(change)
    return (*kept, *_reversed(gone))


def _ordered(resources: Iterable[Resource], kinds: Kinds) -> list[Resource]:
    """Dependencies first; where references leave it open, by the kinds' order and then as declared."""
    known = {resource.address: resource for resource in resources}
    rank = {address: (kinds[address.kind].ORDER, number) for number, address in enumerate(known)}
    needs = {address: (resource.needs | resource.after) & known.keys() for address, resource in known.items()}
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    result: list[Resource] = []
    ready = [(rank[address], address) for address in sorter.get_ready()]
    heapify(ready)
    while ready:
        _, first = heappop(ready)
        result.append(known[first])
        sorter.done(first)
        for address in sorter.get_ready():
            heappush(ready, (rank[address], address))
    return result


def _delta(resource: Resource, answer: Answer, kind: Kind, view: Scope) -> Delta:
    if isinstance(answer, Unknown):
        return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=answer.reason)
    delta = kind.diff(resource, answer, view)
    if delta.verdict is not Verdict.LATER:
        return delta
    # By then something may be there (a package brings its own configuration), and creating turns into updating.
    return replace(delta, impact=max((delta.impact, *(change.impact for change in delta.fields))))


def _owned(delta: Delta, resource: Resource, kind: Kind, view: Scope, owner: str) -> Delta:
    """What ownership and guards make of a difference.

    Something shared (a package) has a set of owners and goes with the last one; the others are exclusive.
    """
    marks = view.marks.get(resource.address.name, ())
    foreign = [mark for mark in marks if mark.blueprint != owner]
    names = ", ".join(sorted(mark.blueprint for mark in foreign))
    mine = next((mark for mark in marks if mark.blueprint == owner), None)
    unconfirmed = mine is not None and mine.state is State.CLAIMED
    if delta == Delta(Action.NOOP) and unconfirmed and resource.desired is not None:
        return Delta(Action.ADOPT, reason="an earlier run did not come to note that this is done")
    guarding = mine is not None and resource.desired is not None and mine.protect != resource.protect
    if delta == Delta(Action.NOOP) and guarding:
        return Delta(Action.ADOPT, reason="protected from now on" if resource.protect else "no longer protected")
    if delta.action is Action.NOOP:
        sharing = kind.SHARED and resource.desired is not None and len(marks) == len(foreign)
        if sharing and any(mark.birth is Birth.CREATED for mark in foreign):
            return Delta(Action.ADOPT, reason=f"shared with blueprint {names}")
        return delta
    if delta.verdict not in (Verdict.OK, Verdict.LATER):
        return delta
    if delta.action is Action.DELETE and unconfirmed and mine is not None and resource.position is NOWHERE:
        reason = f"run {mine.run} did not end, so this may be somebody else's; remove it by hand, or declare it again"
        return replace(delta, verdict=Verdict.REFUSED, reason=reason)
    if foreign and not kind.SHARED:
        return replace(delta, verdict=Verdict.REFUSED, reason=f"owned by blueprint {names}")
    if foreign and delta.action is Action.DELETE and resource.position is NOWHERE:
        return Delta(Action.NOOP, reason=f"stays: blueprint {names} uses it too")
    if foreign and delta.action is Action.DELETE:
        return replace(delta, verdict=Verdict.REFUSED, reason=f"blueprint {names} uses it")
    if delta.action in (Action.DELETE, Action.REPLACE) and resource.protect:
        return replace(delta, verdict=Verdict.REFUSED, reason="refused, protected")
    return delta


def _change(resource: Resource, delta: Delta, answer: Answer) -> Change:
    return Change(
        address=resource.address,
        delta=delta,
        desired=resource.desired,
        actual=answer.actual if isinstance(answer, Present) else None,
        position=resource.position,
        after=resource.needs | resource.after,
        notes=dict(answer.notes) if isinstance(answer, Present | Absent) else {},
        allow=resource.allow,
        protect=resource.protect,
    )


def _reversed(gone: list[Change]) -> list[Change]:
    """Deletions run against the grain: a thing goes before what it needs."""
    users: dict[Address, set[Address]] = {}
    for change in gone:
        for need in change.after:
            users.setdefault(need, set()).add(change.address)
    return [replace(change, after=frozenset(users.get(change.address, ()))) for change in reversed(gone)]
