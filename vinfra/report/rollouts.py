"""Rollouts in words and in JSON: which batches there will be, what is asked between them, and how that went."""

from collections.abc import Iterator, Sequence
from typing import Any

from vinfra.model.plan import Plan
from vinfra.model.rollout import Batch, GateEnd, Passage, Rolling, afterwards, batches
from vinfra.report.visible import several, visible

_LISTED = 4


def rollout_lines(plan: Plan) -> Iterator[str]:
    """`rollout web: 4 hosts in 2 batches of 2; gate ssh, tcp 80; stop at 1 failure`, for each that has a part."""
    for rolling in plan.rollouts:
        roll, terms = rolling.roll, rolling.roll.terms
        parts = batches(rolling, plan.changes)
        last = len(afterwards(rolling, plan.changes))
        if not parts and not last:
            continue
        units = sum(len(batch.units) for batch in parts)
        said = [f"{several(units, roll.noun)} in {_sizes(parts)}"] if parts else []
        said += [f"first the other {others} must be well"] if (others := len(rolling.units) - units) > 0 else []
        said += [f"gate {', '.join(map(str, roll.health)) or 'none'}" + _watched(rolling)]
        said += [f"{terms.on_failure.value} at {several(roll.bearable + 1, 'failure')}"]
        said += [f"{several(last, 'deletion')} after the last gate"] if last else []
        said += [f"stops before its first batch, for {_some(rolling)} could not be read"] if rolling.stuck else []
        yield visible(f"rollout {roll.name}: {'; '.join(said)}")


def _some(rolling: Rolling) -> str:
    dark = [unit for unit in rolling.units if unit in rolling.dark]
    return ", ".join(dark[:_LISTED]) + (f" and {len(dark) - _LISTED} more" if len(dark) > _LISTED else "")


def _watched(rolling: Rolling) -> str:
    monitor = rolling.roll.terms.monitor
    return f" for {monitor:g} s" if monitor and rolling.roll.health else ""


def _sizes(parts: Sequence[Batch]) -> str:
    """`2 batches of 2`, `3 batches of 2, the last of 1`, `3 batches of 1, 2 and 4`; those of new units come first."""
    new = [f"the new {len(batch.units)} first" for batch in parts if batch.new]
    sizes = [len(batch.units) for batch in parts if not batch.new]
    if not sizes:
        return "1 batch, all of them new"
    count = f"{len(sizes)} {'batch' if len(sizes) == 1 else 'batches'}"
    if len(set(sizes)) == 1:
        told = f"{count} of {sizes[0]}"
    elif len(set(sizes[:-1])) == 1 and len(sizes) > 2:
        told = f"{count} of {sizes[0]}, the last of {sizes[-1]}"
    elif len(sizes) <= _LISTED:
        told = f"{count} of {', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"
    else:
        told = f"{count} of {', '.join(map(str, sizes[:_LISTED]))}, …"
    return ", then ".join([*new, told])


def rollout_bodies(plan: Plan) -> list[dict[str, Any]]:
    """The same as data, with every unit."""
    return [_body(rolling, plan) for rolling in plan.rollouts]


def _body(rolling: Rolling, plan: Plan) -> dict[str, Any]:
    roll, terms = rolling.roll, rolling.roll.terms
    return {
        "name": roll.name,
        "units": list(rolling.units),
        "batches": [
            {"units": list(batch.units), "new": batch.new, "changes": sorted(map(str, batch.rows))}
            for batch in batches(rolling, plan.changes)
        ],
        "afterwards": sorted(map(str, afterwards(rolling, plan.changes))),
        "health": [str(check) for check in roll.health],
        "max_fail": roll.bearable,
        "monitor": terms.monitor,
        "delay": terms.delay,
        "on_failure": terms.on_failure.value,
    }


def gate_body(end: GateEnd) -> dict[str, Any]:
    """How one gate ended."""
    gate = end.gate
    told = {"rollout": gate.roll.name, "batch": gate.number, "of": gate.of, "units": list(gate.units)}
    return {**told, "passage": end.passage.value, "failed": dict(end.failed)}


def batch_line(name: str, batch: Batch) -> str:
    """`rollout web: batch 2 of 4: web03, web04`."""
    shown = ", ".join(batch.units[:8]) + (f" and {len(batch.units) - 8} more" if len(batch.units) > 8 else "")
    return visible(f"rollout {name}: batch {batch.number} of {batch.of}: {shown}")


def gate_line(end: GateEnd) -> str:
    """`rollout web: batch 2 of 4 is well`, or who is not and what follows."""
    gate = end.gate
    what = f"batch {gate.number} of {gate.of}" if gate.number else "what earlier runs did"
    state = "is well" if not end.failed else f"is not well: {end.reason}"
    if end.passage is Passage.INTERRUPTED and not end.failed:
        state = "was not waited for"
    follows = {Passage.STOPPED: "; stopped", Passage.ROLLED_BACK: "; taken back", Passage.INTERRUPTED: "; interrupted"}
    return visible(f"rollout {gate.roll.name}: {what} {state}{follows.get(end.passage, '')}")
