"""Turn what differs into what is taken over: a row for each object that is asked for, and nothing done but its mark.

The marks have been seen as if all of it were ours already, so that each kind told what differs from the blueprint; that
is named in the row, and is the next apply's to change.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Present
from vinfra.model.change import Change, Delta
from vinfra.model.discovery import HostState, Marks
from vinfra.model.kind import Carries, Kinds, Trait, has
from vinfra.model.mark import Mark, State


def adopt(
    changes: Iterable[Change], state: HostState, kinds: Kinds, found: Marks, patterned: Collection[Address]
) -> tuple[Change, ...]:
    """The rows of one host. `found` are its marks as they are; what a pattern names (`patterned`) need not be there.

    A row that only waits for something, or is something that happens, is about no object, and makes none here.
    """
    things = (change for change in changes if not change.happens and not has(kinds[change.address.kind], Trait.WAITS))
    rows = (_row(change, state, kinds, found) for change in things)
    return tuple(row for row in rows if not (row.delta.reason == NOT_THERE and row.address in patterned))


NOT_THERE = "it is not there; apply makes it"


def _row(change: Change, state: HostState, kinds: Kinds, found: Marks) -> Change:
    if change.delta.verdict is Verdict.UNKNOWN:
        return change
    kind, view = kinds[change.address.kind], state.scopes(kinds)[change.address.kind]
    answer = state.answers[change.address]
    mark = found.get((state.owner, change.address.kind, change.address.name))
    carries = kind if isinstance(kind, Carries) else None
    carried = carries.carried(answer) if carries else ""
    if objection := _objection(change, state, found, kind.SHARED, carried):
        return replace(change, delta=Delta(Action.ADOPT, verdict=Verdict.REFUSED, reason=objection))
    settled = mark is not None and mark.state is State.OWNED and (mark.ours or kind.SHARED)
    unsigned = carries is not None and carried != state.owner
    if not isinstance(answer, Present) or (settled and not unsigned):
        return replace(change, delta=Delta(Action.NOOP))
    row = replace(change, delta=Delta(Action.ADOPT, reason=_reason(change, mark, kind.SHARED)))
    return replace(row, steps=tuple(carries.own(row, view)) if carries and unsigned else ())


def _objection(change: Change, state: HostState, found: Marks, shared: bool, carried: str) -> str:
    """Why it cannot be taken over; "" if it can."""
    if change.desired is None:
        return "it is declared absent"
    if change.delta.verdict is Verdict.LATER:
        return f"nobody knows yet whether it is there: {change.delta.reason}"
    if not isinstance(state.answers[change.address], Present):
        return NOT_THERE
    name = (change.address.kind, change.address.name)
    others = {mark.blueprint for mark in found.values() if (mark.kind, mark.name) == name and not shared}
    owners = sorted((others | {carried} - {""}) - {state.owner, *state.formerly})
    return f"owned by blueprint {', '.join(owners)}" if owners else ""


def _reason(change: Change, mark: Mark | None, shared: bool) -> str:
    if shared:
        reason = "taken over as shared: it was there before, so it is never removed"
    else:
        reason = "taken over: it goes when it leaves the blueprint"
    if mark is not None and mark.state is State.CLAIMED:
        reason = f"{reason}; run {mark.run} did not come to note that it is done"
    differs = ", ".join(dict.fromkeys(item.path for item in change.delta.fields if item.path != "owner"))
    objection = change.delta.verdict is Verdict.REFUSED
    more = f" ({change.delta.reason})" if objection else ""
    return f"{reason}; differs in {differs or 'what is declared'}{more}" if differs or objection else reason
