"""The rollouts of a plan: which of its rows are of which unit, and who can be asked how it is. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Undo
from vinfra.model.discovery import HostState
from vinfra.model.inventory import Host
from vinfra.model.kind import Kinds, Reversible
from vinfra.model.machine import GUEST, LOGIN
from vinfra.model.placement import Placement
from vinfra.model.plan import Plan
from vinfra.model.request import Wish
from vinfra.model.rollout import Roll, Rolling


@dataclass(frozen=True, slots=True)
class Standing:
    """What a look found out about the units.

    `members` says of which machine an address is a part, `units` which of all hosts and machines were aimed at, `dark`
    why one could not be read. `mute` are those that nobody can ask unless this very plan brings them up, `lost` those
    among them that were looked at, each with what was found; `off` those that are not to run.
    """

    members: Mapping[Address, str]
    units: Collection[str]
    dark: Mapping[str, str]
    mute: Collection[str]
    off: Collection[str]
    lost: Mapping[str, str]


def standing(
    hosts: Mapping[str, Host],
    within: Callable[[str], bool],
    placement: Placement,
    placed: Mapping[str, Sequence[Resource]],
    states: Mapping[str, HostState],
    off: Collection[str],
) -> Standing:
    """What a look found out: `off` are the machines that are to be off, `within` tells whether a host is in --limit."""
    guests = {name for name, host in hosts.items() if host.connection == "guest"}
    units = {name for name in hosts if name not in guests and within(name)}
    units |= {name for name, host in placement.where.items() if within(host) or within(name)}
    dark = {name: state.error for name, state in states.items() if state.error}
    dark |= {name: reason for name, reason in placement.unknown.items() if name in guests}
    answers = [item for state in states.values() for item in state.answers.items() if item[0].kind == GUEST]
    told = {at.name for at, answer in answers if isinstance(answer, Present) and LOGIN in answer.notes}
    lost = {at.name: getattr(answer, "reason", "does not run") for at, answer in answers if at.name not in told}
    members = {item.address: item.demand.member for items in placed.values() for item in items if item.demand}
    return Standing(members, units | (dark.keys() & guests), dark, guests - told, off, lost)


def way_back(change: Change, kinds: Kinds, states: Mapping[str, HostState]) -> Undo | str:
    """How a change is taken back, or why it has no way back."""
    kind = kinds[change.address.kind]
    if not isinstance(kind, Reversible):
        return f"{change.address.kind} has no way back"
    if change.goes_to:
        return f"what was carried over to {change.goes_to} is not carried back"
    if change.delta.action in (Action.ADOPT, Action.MOVE):
        return Undo()
    return kind.undo(change, states[change.place].scopes(kinds)[change.address.kind])


def rolled(plan: Plan, wish: Wish, look: Callable[[], Standing], undo: Callable[[Change], Undo | str]) -> Plan:
    """The plan with its rollouts. What may have to go back and has no way to is refused, before anything runs."""
    if not wish.blueprint.rollouts:
        return plan
    found = look()
    rollings = tuple(_rolling(roll, plan, found) for roll in wish.blueprint.rollouts)
    reverting = {address for rolling in rollings if rolling.reverts for address in rolling.rows}

    needed = {
        need: change.address.reference
        for change in plan.runnable
        if change.address in reverting and change.delta.action is not Action.DELETE
        for need in change.after
    }

    def wrong(change: Change) -> str:
        if change.delta.action is not Action.DELETE:
            return why if isinstance(why := undo(change), str) else ""
        user = needed.get(change.address)
        return f"a deletion has no way back, {user} needs it first" if user else ""

    def sure(change: Change) -> Change:
        delta = change.delta
        if change.address not in reverting or delta.verdict is not Verdict.OK or not change.runnable:
            return change
        if not (why := wrong(change)):
            return change
        reason = f"{why}, and its rollout says on_failure: rollback"
        return replace(change, delta=replace(delta, verdict=Verdict.REFUSED, reason=reason))

    return replace(plan, changes=tuple(map(sure, plan.changes)), rollouts=rollings)


def _rolling(roll: Roll, plan: Plan, standing: Standing) -> Rolling:
    known = frozenset(roll.units)
    rows: dict[Address, str] = {}
    new: set[str] = set()
    for change in plan.changes:
        member = standing.members.get(change.address, "")
        unit = member if member in known else change.place
        if unit not in known:
            continue
        rows[change.address] = unit
        if member == change.address.name and change.delta.action is Action.CREATE and not change.waits:
            new.add(unit)
    changed = {rows[change.address] for change in plan.runnable if change.address in rows}
    lost = {unit: why for unit, why in standing.lost.items() if unit not in changed.union(standing.off)}
    dark = {**lost, **standing.dark}
    return Rolling(
        roll,
        tuple(unit for unit in roll.units if unit in standing.units),
        rows,
        frozenset(new),
        {unit: why for unit, why in dark.items() if unit in known - roll.silent},
        roll.silent.union(standing.off, (unit for unit in standing.mute if unit not in changed)),
    )
