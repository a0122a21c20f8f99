"""Compare what is there with what is wished for, host by host, each kind by its own rule."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from graphlib import TopologicalSorter
from heapq import heapify, heappop, heappush
from types import MappingProxyType

from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Absent, Answer, Later, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.discovery import HostState
from vinfra.model.kind import Kind, Kinds, Scope, Trait, has
from vinfra.model.mark import Mark, State
from vinfra.model.secret import Secret
from vinfra.model.source import NOWHERE
from vinfra.model.spec import Deferred, declared


def diff(
    state: HostState,
    kinds: Kinds,
    owner: str,
    coming: Collection[Address] = (),
    moved: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    behind: Callable[[Mark], str] = lambda _: "",
    ended: Collection[Address] = (),
) -> tuple[Change, ...]:
    """One change per resource of a host, those without a difference included, in the order they would run.

    What a thing needs comes before it; deletions come last, in the opposite order. `owner` is the blueprint: what
    another blueprint owns is refused. `coming` are what changes on other hosts; `moved` the machines found elsewhere
    than they were, each with its old and its new host. `behind` says why an object must not be changed because a newer
    version of the blueprint was applied to it, "" if that is not so. `ended` are rows that this run has done already:
    nothing waits for them any more, whatever they would say now.
    """
    views = state.scopes(kinds)
    changing: set[Address] = set(coming)
    here: set[str] = set()
    restarting: set[str] = set()
    kept: list[Change] = []
    gone: list[Change] = []
    for resource in _ordered(state.resources, kinds):
        name, answer = resource.address.kind, state.answers[resource.address]
        view = replace(views[name], changing=frozenset(here), restarting=frozenset(restarting))
        told = state.refused.get(resource.address)  # it could not be rendered
        delta = told or _delta(resource, answer, kinds[name], view, changing)
        delta = _owned(delta, resource, kinds[name], view, owner)
        delta = _current(delta, resource, view, owner, behind)
        waits, way = has(kinds[name], Trait.WAITS), moved.get(resource.demand.member) if resource.demand else None
        if way and not (waits and delta.action is Action.CREATE):
            delta = _moved(delta, resource, way)
        marks = view.marks.get(resource.address.name, ())
        change = replace(_change(resource, delta, answer), waits=waits, came_from=way[0] if way else "", marks=marks)
        change = replace(change, happens=has(kinds[name], Trait.HAPPENS))
        alone = delta.action in (Action.ADOPT, Action.MOVE)  # these change marks alone
        if change.runnable and not alone and change.address not in ended:
            changing.add(change.address)
            here.add(change.address.reference)
            restarting |= {change.address.reference} if delta.impact >= Impact.RESTART else set()
        (gone if change.delta.action is Action.DELETE else kept).append(change)
    return (*kept, *_reversed(gone, kept))


def unplaced(resource: Resource, delta: Delta) -> Change:
    """The row of a machine that has no host, and why."""
    return _change(resource, delta, Absent())


def _moved(delta: Delta, resource: Resource, way: tuple[str, str]) -> Delta:
    """A machine that somebody moved by hand stays where it is; its marks follow, and nothing is made in its stead."""
    assert resource.demand
    old, new = way
    if delta.action is Action.CREATE:
        reason = (
            f"{resource.demand.member} was moved from {old} to {new}, and this is not there; bring it there as well"
        )
        return replace(delta, verdict=Verdict.REFUSED, reason=reason)
    if delta.action is not Action.NOOP or delta.verdict is not Verdict.OK:
        return delta
    return Delta(Action.MOVE, reason=f"{old} → {new}: it is there now, and so is its mark after this")


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


def _delta(resource: Resource, answer: Answer, kind: Kind, view: Scope, changing: Collection[Address]) -> Delta:
    if isinstance(answer, Unknown):
        return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=answer.reason)
    if isinstance(answer, Later):
        return _later(resource, answer, changing)
    delta = kind.diff(resource, answer, view)
    if delta.verdict is not Verdict.LATER:
        return delta
    # By then something may be there (a package brings its own configuration), and creating turns into updating.
    return replace(delta, impact=max((delta.impact, *(change.impact for change in delta.fields))))


def _later(resource: Resource, answer: Later, changing: Collection[Address]) -> Delta:
    """What the plan itself brings is created at most as declared; if nothing brings it, nobody knows.

    Where nothing can be there yet, creating costs nobody anything.
    """
    bringers = (resource.needs | resource.after) & frozenset(changing)
    if not bringers:
        return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=answer.reason)
    if resource.desired is None:
        return Delta(Action.NOOP)
    shape, flagged = type(resource.desired), getattr(resource.desired, "secret", False)
    fields = tuple(
        FieldChange(name, None, None if open_ended else value, resource.desired.bound(name), secret)
        for name, value in resource.desired
        if value is not None and declared(shape, name, "compared")
        for secret in [
            bool(declared(shape, name, "secret")) or isinstance(value, Secret) or (name == "content" and flagged)
        ]
        for open_ended in [secret or isinstance(value, Deferred)]
    )
    fields += tuple(FieldChange(name, None, None) for name in resource.desired.FOLLOWS)
    impact = Impact.NONE if answer.bare else max((change.impact for change in fields), default=Impact.NONE)
    return Delta(Action.CREATE, fields, impact, Verdict.LATER, f"after {answer.by}")


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
        if sharing and any(mark.ours for mark in foreign):
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
    if delta.action in (Action.DELETE, Action.REPLACE):
        return _guarded(delta, resource, mine)
    return delta


def _guarded(delta: Delta, resource: Resource, mine: Mark | None) -> Delta:
    """A guard is taken away before what it guards goes, not by the same edit of the blueprint."""
    if resource.protect:
        return replace(delta, verdict=Verdict.REFUSED, reason="refused, protected")
    if mine is not None and mine.protect:
        reason = "refused, protected; apply it as it is with `protect: false` first"
        return replace(delta, verdict=Verdict.REFUSED, reason=reason)
    return delta


def _current(delta: Delta, resource: Resource, view: Scope, owner: str, behind: Callable[[Mark], str]) -> Delta:
    """An old checkout must not undo what a newer one did."""
    if delta.action not in (Action.UPDATE, Action.REPLACE, Action.DELETE) or delta.verdict is not Verdict.OK:
        return delta
    marks = (mark for mark in view.marks.get(resource.address.name, ()) if mark.blueprint == owner)
    reason = next(filter(None, map(behind, marks)), "")
    return replace(delta, verdict=Verdict.REFUSED, reason=reason) if reason else delta


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
        where=resource.where,
        fleet=resource.demand.fleet if resource.demand else "",
    )


def _reversed(gone: list[Change], kept: list[Change]) -> list[Change]:
    """Deletions run against the grain: a thing goes before what it needs, which stays while the thing is unknown.

    It also stays until those that use it and are kept (`using` among the notes of its answer) have let go of it.
    """
    users: dict[Address, set[Address]] = {}
    unread = [change for change in kept if change.desired is None and change.delta.verdict is Verdict.UNKNOWN]
    for change in (*gone, *unread):
        for need in change.after:
            users.setdefault(need, set()).add(change.address)
    keepers = {change.address.reference: change.address for change in kept if change.pending}
    for change in gone:
        holding = (f"{user.noun}:{user.name}" for user in change.notes.get("using", ()))
        users.setdefault(change.address, set()).update(keepers[name] for name in holding if name in keepers)
    return [replace(change, after=frozenset(users.get(change.address, ()))) for change in reversed(gone)]
