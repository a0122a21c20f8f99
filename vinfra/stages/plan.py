"""Turn differences into a plan: each row with the steps that close it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change
from vinfra.model.discovery import HostState
from vinfra.model.kind import Kinds, Prepares, Scope
from vinfra.model.mark import Mark
from vinfra.model.plan import Plan


def plan(
    owner: str,
    states: Mapping[str, HostState],
    changes: Mapping[str, Sequence[Change]],
    kinds: Kinds,
    leftover: Callable[[Mark, Address], bool],
) -> Plan:
    """The plan over all hosts. A host not read is unknown."""
    rows: list[Change] = []
    for host, state in states.items():
        views = state.scopes(kinds)
        rows += [with_steps(change, views, kinds) for change in changes[host]]
    return Plan(
        blueprint=owner,
        hosts=tuple(states),
        changes=tuple(rows),
        unknown={host: state.error for host, state in states.items() if state.error},
        warnings=(
            *(f"{host}: {line}" for host, state in states.items() for line in state.complaints),
            *(f"{change.address}: {change.delta.notice}" for change in rows if change.delta.notice),
        ),
        kept=tuple(address for state in states.values() for address in _kept(state, leftover)),
        facts={host: state.facts for host, state in states.items()},
        seconds=max((state.seconds for state in states.values()), default=0.0),
    )


def with_steps(change: Change, views: Mapping[str, Scope], kinds: Kinds) -> Change:
    """The change with its steps. A row that is known only later gets them at apply, from what is there then; until then
    it has those that make it clear.
    """
    name = change.address.kind
    kind = kinds[name]
    if change.delta.verdict is Verdict.LATER and isinstance(kind, Prepares):
        return replace(change, first=tuple(kind.prepare(change, views[name])))
    if change.delta.action in (Action.NOOP, Action.ADOPT, Action.MOVE) or change.delta.verdict is not Verdict.OK:
        return change
    return replace(change, steps=tuple(kind.steps(change, views[name])))


def _kept(state: HostState, leftover: Callable[[Mark, Address], bool]) -> list[Address]:
    """What this blueprint once changed, no longer names, and may not delete because it was there before."""
    found = [mark for mark in state.marks.values() if not mark.ours]
    marked = ((mark, Address(mark.kind, state.host, mark.name)) for mark in found)
    return [address for mark, address in marked if leftover(mark, address)]
