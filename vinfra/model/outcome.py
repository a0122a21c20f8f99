"""What happened: events while a run goes on, and its outcome at the end."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from vinfra.errors import ExitCode
from vinfra.model.address import Address
from vinfra.model.change import Change
from vinfra.model.plan import Plan
from vinfra.model.rollout import Batch, GateEnd, Passage, Roll
from vinfra.model.step import Step, StepResult


class Status(StrEnum):
    """How a change ended. `blocked`: what it needs failed. `left`: the run was interrupted, its host was lost, or its
    rollout was stopped before it. `rolled-back`: it was done, and taken back again.
    """

    DONE = "done"
    ALREADY = "already"
    FAILED = "failed"
    BLOCKED = "blocked"
    LEFT = "left"
    BEYOND = "beyond"
    ROLLED_BACK = "rolled-back"


@dataclass(frozen=True, slots=True)
class ChangeOutcome:
    """One change's end, with the reason when it is not done."""

    address: Address
    status: Status
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: the plan it ran, how each change ended, whether it was interrupted, and how rollouts went."""

    run: str
    plan: Plan
    changes: tuple[ChangeOutcome, ...] = ()
    interrupted: bool = False
    gates: tuple[GateEnd, ...] = ()

    @property
    def reason(self) -> str:
        """What became of its rollouts if that was not all well: rolled_back, stopped or unhealthy."""
        passages = {gate.passage for gate in self.gates}
        for passage in (Passage.ROLLED_BACK, Passage.STOPPED):
            if passage in passages:
                return passage.value
        return "unhealthy" if any(gate.failed for gate in self.gates) else ""

    @property
    def exit_code(self) -> ExitCode:
        """What the command returns."""
        codes = [ExitCode.INTERRUPTED] if self.interrupted else []
        statuses = {change.status for change in self.changes}
        if statuses & {Status.FAILED, Status.BLOCKED, Status.ROLLED_BACK} or self.reason:
            codes.append(ExitCode.FAILED)
        if statuses & {Status.BEYOND, Status.LEFT} or self.plan.unknown or self.plan.unread:
            codes.append(ExitCode.INCOMPLETE)
        if self.plan.refused:
            codes.append(ExitCode.REFUSED)
        return ExitCode.combined(codes)


class Observer(Protocol):
    """Watches a run: progress on a terminal, the journal, a web page. Called from any thread."""

    def host_started(self, host: str, rounds: int) -> None:
        """A host is being asked."""

    def host_read(self, host: str, seconds: float, error: str) -> None:
        """A host was read, or could not be (`error`)."""

    def warned(self, line: str) -> None:
        """Something about the inventory is worth reading."""

    def change_started(self, change: Change) -> None:
        """A change begins."""

    def step_started(self, change: Change, step: Step) -> None:
        """A step is about to run. The journal is on disk when this returns."""

    def step_ended(self, change: Change, step: Step, result: StepResult) -> None:
        """A step ended."""

    def change_ended(self, change: Change, outcome: ChangeOutcome) -> None:
        """A change ended, in whichever way."""

    def batch_started(self, roll: Roll, batch: Batch) -> None:
        """A batch of a rollout begins."""

    def gate_ended(self, end: GateEnd) -> None:
        """A batch's units were found to be well, or not; number 0 is what earlier runs did."""


class Observers:
    """Several observers as one; with none, a run that nobody watches."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def host_started(self, host: str, rounds: int) -> None:
        for observer in self._observers:
            observer.host_started(host, rounds)

    def host_read(self, host: str, seconds: float, error: str) -> None:
        for observer in self._observers:
            observer.host_read(host, seconds, error)

    def warned(self, line: str) -> None:
        for observer in self._observers:
            observer.warned(line)

    def change_started(self, change: Change) -> None:
        for observer in self._observers:
            observer.change_started(change)

    def step_started(self, change: Change, step: Step) -> None:
        for observer in self._observers:
            observer.step_started(change, step)

    def step_ended(self, change: Change, step: Step, result: StepResult) -> None:
        for observer in self._observers:
            observer.step_ended(change, step, result)

    def change_ended(self, change: Change, outcome: ChangeOutcome) -> None:
        for observer in self._observers:
            observer.change_ended(change, outcome)

    def batch_started(self, roll: Roll, batch: Batch) -> None:
        for observer in self._observers:
            observer.batch_started(roll, batch)

    def gate_ended(self, end: GateEnd) -> None:
        for observer in self._observers:
            observer.gate_ended(end)
