"""The rollouts of a run while it goes on: which gate is due, who failed so far, and what follows from that."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change, Undo
from vinfra.model.plan import Plan
from vinfra.model.rollout import Batch, Gate, GateEnd, Passage, Rolling, afterwards, batches
from vinfra.model.schedule import Schedule


class Rolls:
    """Used by the thread that drives the run; it starts nothing itself and asks nobody."""

    def __init__(self, plan: Plan) -> None:
        self._rolls = [_Roll(rolling, plan.changes) for rolling in plan.rollouts]
        self._rolls = [roll for roll in self._rolls if roll.batches or roll.afterwards]
        self.schedule = Schedule(plan.changes, [roll.stages for roll in self._rolls])

    def ended(self, address: Address, status: str) -> None:
        """A row ended badly, and so did its unit."""
        for roll in self._rolls:
            if unit := roll.rolling.rows.get(address):
                roll.failed.setdefault(unit, f"{address.reference} {status}")

    def due(self) -> Iterator[Gate]:
        """The gates that have been reached; each is given out once."""
        for number, roll in enumerate(self._rolls):
            if not roll.over and not roll.waiting and self.schedule.passed(number):
                roll.waiting = True
                yield roll.gate()

    def batch(self, gate: Gate) -> Batch | None:
        """The batch that begins once a gate is passed."""
        roll = self._of(gate)
        return roll.batches[gate.number] if gate.number < len(roll.batches) else None

    def judge(self, gate: Gate, unwell: Mapping[str, str], *, interrupted: bool) -> GateEnd:
        """What follows from the health of a gate's units; when it is passed the next batch may begin."""
        roll = self._of(gate)
        roll.failed |= unwell
        failed = {unit: roll.failed[unit] for unit in gate.units if unit in roll.failed}
        if interrupted:
            passage = Passage.INTERRUPTED
        elif len(roll.failed) <= roll.rolling.roll.bearable:
            passage = Passage.PASSED
        else:
            passage = Passage.ROLLED_BACK if roll.rolling.reverts and gate.number else Passage.STOPPED
        end = GateEnd(gate, passage, failed)
        roll.waiting = False
        roll.over = end.passage is not Passage.PASSED or not self.schedule.open(self._rolls.index(roll))
        roll.over = roll.over or gate.number >= len(roll.batches)  # what comes afterwards has no gate
        roll.done += 1
        return end

    def shut(self, gate: Gate) -> list[tuple[Change, Address | None]]:
        """What is left undone behind a gate that nobody passes."""
        return self.schedule.shut(self._rolls.index(self._of(gate)))

    def take_back(
        self, gate: Gate, made: Mapping[Address, Change], undo: Callable[[Change], Undo | str]
    ) -> tuple[list[Change], list[Address]]:
        """Schedule the way back of what was made in the batches before a gate, the last batch first.

        Also what was made inside of machines that were new: it goes with them.
        """
        roll = self._of(gate)
        behind = [batch.rows for batch in reversed(roll.batches[: gate.number])]
        inside = {address for address, change in made.items() if change.place in roll.rolling.new}
        rows = reversal([batch - inside for batch in behind], roll.rolling.rows, made, undo)
        self.schedule.add(rows)
        return rows, sorted(inside & roll.rolling.rows.keys())

    def reverts(self, address: Address) -> bool:
        """Whether a row may have to be taken back."""
        return any(roll.rolling.reverts and address in roll.rolling.rows for roll in self._rolls)

    def _of(self, gate: Gate) -> "_Roll":
        return next(roll for roll in self._rolls if roll.rolling.roll is gate.roll)


def reversal(
    batches: Sequence[Collection[Address]],
    units: Mapping[Address, str],
    made: Mapping[Address, Change],
    undo: Callable[[Change], Undo | str],
) -> list[Change]:
    """The rows that take back what was made, a batch after the other, unit by unit side by side.

    In a unit what stood on something goes before it, the last made first; then the rest gets its former value in the
    order in which it was made. A row without a way back says so, and is not run.
    """
    rows: list[Change] = []
    before: frozenset[Address] = frozenset()
    for batch in batches:
        chains: dict[str, list[Change]] = {}
        for change in (change for address, change in made.items() if address in batch):
            chains.setdefault(units[change.address], []).append(change)
        for chain in chains.values():
            ways = {change.address: undo(change) for change in chain}
            early = [change for change in reversed(chain) if getattr(ways[change.address], "early", False)]
            after = before
            for change in (*early, *(change for change in chain if change not in early)):
                rows.append(_reversed(change, ways[change.address], after))
                after = frozenset({change.address})
        before = before.union(batch)
    return rows


def _reversed(change: Change, way: Undo | str, after: frozenset[Address]) -> Change:
    action = Action.DELETE if change.delta.action is Action.CREATE else change.delta.action
    delta = replace(change.delta, action=action, reason="taken back")
    if isinstance(way, str):
        return replace(change, delta=replace(delta, verdict=Verdict.REFUSED, reason=way), steps=(), after=after)
    return replace(change, delta=delta, steps=way.steps, after=after, waits=False)


class _Roll:
    """One of them. `done` counts the gates that it came to."""

    def __init__(self, rolling: Rolling, changes: Sequence[Change]) -> None:
        self.rolling = rolling
        self.batches = batches(rolling, changes)
        self.afterwards = afterwards(rolling, changes)
        self.stages = [*(batch.rows for batch in self.batches), *([self.afterwards] if self.afterwards else [])]
        self.failed: dict[str, str] = {}
        self.done = 0
        self.waiting = False
        self.over = False

    def gate(self) -> Gate:
        rolling, number = self.rolling, self.done
        if number:
            units = self.batches[number - 1].units
        else:
            changed = {unit for batch in self.batches for unit in batch.units}
            units = tuple(unit for unit in rolling.units if unit not in changed)
            self.failed |= {unit: reason for unit, reason in rolling.dark.items() if unit in units}
        silent = rolling.silent | self.failed.keys()
        ask = tuple(unit for unit in units if unit not in silent)
        bearable = rolling.roll.bearable - len(self.failed)
        failed = {unit: self.failed[unit] for unit in units if unit in self.failed}
        return Gate(rolling.roll, number, len(self.batches), units, ask, failed, bearable)
