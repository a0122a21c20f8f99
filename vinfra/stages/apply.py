"""Run a plan: hosts side by side, each host's changes one after the other, and nothing after what it needs failed."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

from vinfra import mask
from vinfra.errors import StepFailed, TransportError
from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.bound import beyond
from vinfra.model.change import Change, Undo
from vinfra.model.claim import carried, identity, marks_of, now
from vinfra.model.discovery import Marks
from vinfra.model.mark import Birth, Mark, State, compact, path_of
from vinfra.model.outcome import ChangeOutcome, Observer, Status
from vinfra.model.plan import Plan
from vinfra.model.question import ReadMarks
from vinfra.model.rolling import Rolls
from vinfra.model.rollout import Gate, GateEnd, Passage
from vinfra.model.schedule import Schedule
from vinfra.model.step import Append, Call, Exec, Step, Write
from vinfra.model.transport import Writer
from vinfra.process import who


@dataclass(frozen=True, slots=True)
class Tools:
    """What running needs: a writer per host, a fresh look at one row (`again`), the marks found, the run's id.

    `former` are the marks that stand under a former name of the blueprint, by host and by the key they are to have.
    `clean` (a destroy): when nothing of the blueprint is left on a host, its mark file goes too. `worn` are the hosts
    whose mark file is due to be rewritten. `watch` tells which units of a gate are not well, `undo` how a change of
    this run is taken back.
    """

    writer: Callable[[str], Writer]
    again: Callable[[Change], Change]
    marks: Mapping[str, Marks]
    run: str
    former: Mapping[str, Marks] = field(default_factory=dict)
    forks: int = 50
    clean: bool = False
    worn: frozenset[str] = frozenset()
    watch: Callable[[Gate, threading.Event], Mapping[str, str]] = lambda _gate, _stop: {}
    undo: Callable[[Change], Undo | str] = lambda _change: "nobody knows its way back"


class Ran(NamedTuple):
    """How each runnable change ended, in plan order, whether the run was interrupted, and how its gates ended."""

    outcomes: tuple[ChangeOutcome, ...]
    interrupted: bool
    gates: tuple[GateEnd, ...]


def apply(plan: Plan, tools: Tools, observer: Observer) -> Ran:
    """Run it. On the first Ctrl-C the changes under way end and the rest is left; a second one raises."""
    rolls = Rolls(plan)
    run = _Run(plan, tools, observer, rolls, rolls.schedule)
    waiting = sum(change.waits for change in plan.runnable)  # they hold no host, and must hold no worker either
    waiting += len(plan.rollouts)
    pool = ThreadPoolExecutor(max(1, min(tools.forks, len(plan.hosts))) + waiting, thread_name_prefix="apply")
    try:
        with _interrupts(run.stop):
            run.drive(pool)
            if not run.stop.is_set():
                list(pool.map(run.forget, plan.hosts))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after a second Ctrl-C the caller closes what it waits for
    return Ran(tuple(run.outcomes[row.address] for row in plan.runnable), run.stop.is_set(), tuple(run.gates))


@dataclass
class _Run:
    """One run. Only the driving thread changes it; workers return outcomes."""

    plan: Plan
    tools: Tools
    observer: Observer
    rolls: Rolls
    schedule: Schedule
    outcomes: dict[Address, ChangeOutcome] = field(default_factory=dict)
    gates: list[GateEnd] = field(default_factory=list)
    made: dict[Address, Change] = field(default_factory=dict)  # as it was run; each worker adds its own
    undoing: dict[Address, str] = field(default_factory=dict)  # what is taken back, and why
    stop: threading.Event = field(default_factory=threading.Event)

    def drive(self, pool: ThreadPoolExecutor) -> None:
        for blocked, need in self.schedule.doomed():
            self._settle(blocked, Status.BLOCKED, f"needs {need.reference}, which does not run")
        busy: dict[Future[Any], Callable[[Any], None]] = {}
        while True:
            if not self.stop.is_set():
                for gate in self.rolls.due():
                    busy[pool.submit(self.tools.watch, gate, self.stop)] = partial(self._judged, gate)
                for change in self.schedule.take():
                    work = self._back if change.address in self.undoing else self._change
                    busy[pool.submit(work, change)] = partial(self._ended, change)
            if not busy:
                break
            # A signal that comes just before the wait is heard only when it ends: it must not last as long as a gate.
            for future in wait(busy, timeout=1.0, return_when=FIRST_COMPLETED).done:
                busy.pop(future)(future.result())
        for change in self.schedule.rest():
            held = "interrupted before it began" if self.stop.is_set() else "its rollout waits for what waits for it"
            self._settle(change, Status.LEFT, held)

    def _judged(self, gate: Gate, unwell: Mapping[str, str]) -> None:
        """A gate's units were looked at: the next batch begins, or what is behind the gate is left."""
        end = self.rolls.judge(gate, unwell, interrupted=self.stop.is_set())
        if gate.units:
            self.gates.append(end)
            self.observer.gate_ended(end)
        if end.passage is Passage.PASSED:
            if batch := self.rolls.batch(gate):
                self.observer.batch_started(gate.roll, batch)
            return
        if end.passage is Passage.INTERRUPTED:
            return
        where = f"at batch {gate.number}" if gate.number else "before its first batch"
        why = f"rollout {gate.roll.name} was stopped {where}: {end.reason}"
        for row, need in self.rolls.shut(gate):
            self._settle(row, *((Status.BLOCKED, f"needs {need.reference}") if need else (Status.LEFT, why)))
        if end.passage is Passage.ROLLED_BACK:
            back, inside = self.rolls.take_back(gate, self.made, self.tools.undo)
            failed = f"rollout {gate.roll.name} failed {where}: {end.who}"
            self.undoing |= {row.address: failed for row in back}
            for address in inside:
                self._settle(self.made[address], Status.ROLLED_BACK, "gone with its machine")

    def _ended(self, change: Change, outcome: ChangeOutcome) -> None:
        self.outcomes[change.address] = outcome
        self.observer.change_ended(change, outcome)
        if change.address in self.undoing:  # one that fails does not keep the others from going back
            self.schedule.ended(change, good=True)
            return
        if outcome.status not in _GOOD:
            self.rolls.ended(change.address, outcome.status)
        if outcome.status is Status.LEFT:
            for rest, need in self.schedule.abandon(change.place):
                lost = f"{change.place} was lost"
                self._settle(rest, *((Status.BLOCKED, f"needs {need.reference}") if need else (Status.LEFT, lost)))
        for blocked, need in self.schedule.ended(change, outcome.status in _GOOD):
            self._settle(blocked, Status.BLOCKED, f"needs {need.reference}, which did not succeed")

    def _settle(self, change: Change, status: Status, reason: str) -> None:
        if change.address in self.undoing:
            status, reason = Status.FAILED, f"not taken back: {reason}"
        else:
            self.rolls.ended(change.address, status)
        self.outcomes[change.address] = ChangeOutcome(change.address, status, reason)
        self.observer.change_ended(change, self.outcomes[change.address])

    def _change(self, planned: Change) -> ChangeOutcome:
        """Run one change in a worker thread."""
        started = time.monotonic()
        self.observer.change_started(planned)
        status, reason = Status.DONE, ""
        try:
            change = self._current(planned)
            if change.delta.action is Action.NOOP:
                status = Status.ALREADY
            else:
                if self.rolls.reverts(planned.address) and planned.delta.verdict is Verdict.LATER:
                    self._has_way_back(change)
                self.made[planned.address] = change
                self._steps(change, created=planned.delta.action in (Action.CREATE, Action.ADOPT, Action.MOVE))
        except _Beyond as beyond:
            status, reason = Status.BEYOND, str(beyond)
        except StepFailed as failed:
            status, reason = Status.FAILED, str(failed)
        except TransportError as lost:
            status, reason = Status.LEFT, f"{lost.message}; whether the step under way ended is read at the next run"
        except Exception as error:  # a bug in a kind ends its own row, not the run
            status, reason = Status.FAILED, mask.struck(f"vinfra failed: {type(error).__name__}: {error}")
        return ChangeOutcome(planned.address, status, reason, time.monotonic() - started)

    def _has_way_back(self, change: Change) -> None:
        if isinstance(why := self.tools.undo(change), str):
            raise _Beyond(f"{why}, and its rollout says on_failure: rollback")

    def _back(self, row: Change) -> ChangeOutcome:
        """Take one change back in a worker thread; its mark says again what it said before this run."""
        started = time.monotonic()
        self.observer.change_started(row)
        status, reason = Status.ROLLED_BACK, self.undoing[row.address]
        try:
            if row.delta.verdict is not Verdict.OK:
                raise StepFailed(row.delta.reason)
            for step in (*row.steps, Step("note the owner as before", self._former(row))):
                self._step(row, step)
        except (StepFailed, TransportError) as error:
            status, reason = Status.FAILED, f"could not be taken back: {error}"
        except Exception as error:  # a bug in a kind ends its own row, not the others' way back
            status, reason = Status.FAILED, mask.struck(f"could not be taken back: {type(error).__name__}: {error}")
        return ChangeOutcome(row.address, status, reason, time.monotonic() - started)

    def _current(self, planned: Change) -> Change:
        """The row itself, or, when it could not be known before, what is to be done now: never more than planned."""
        if planned.delta.verdict is not Verdict.LATER:
            return planned
        for step in planned.first:
            self._step(planned, step)
        change = self.tools.again(planned)
        if more := beyond(planned.delta, change.delta):
            raise _Beyond(more)
        return change

    def _carry(self, change: Change, last: Step) -> None:
        """What is to be done where it is, then the way; its marks are claimed there before, and released here after.

        A run that is cut off leaves it on one of the two, with a mark there, and the next one clears up on the other.
        """
        if before := change.steps[:-1]:
            self._steps(replace(change, steps=before, goes_to=""), created=False)
        here, there = self.tools.writer(change.place), self.tools.writer(change.goes_to)
        raw = here.ask((ReadMarks(),))[ReadMarks()]
        if not raw.ok:
            raise StepFailed(f"the marks on {change.place} cannot be read: {raw.err.strip()}", 1, "")
        path, marks = path_of(self.plan.blueprint), carried(raw.text, change, self.plan, self.tools.run, who())
        own = [mark for mark in marks if mark.blueprint == self.plan.blueprint]

        def noted(state: State) -> tuple[Append, ...]:
            return tuple(Append(path, replace(mark, state=state).line()) for mark in own)

        self._told(there, "note what comes", noted(State.CLAIMED))
        try:
            self._step(change, last)
        except StepFailed:
            self._told(there, "note that it did not come", noted(State.RELEASED))
            raise
        self._told(there, "note what came", noted(State.OWNED))
        self._told(here, "release marks", noted(State.RELEASED))

    @staticmethod
    def _told(writer: Writer, summary: str, calls: tuple[Append, ...]) -> None:
        result = writer.run(Step(summary, calls)) if calls else None
        if result and result.returncode:
            raise StepFailed(f"{summary}: {result.err.strip()}", result.returncode, result.err)

    def _steps(self, change: Change, *, created: bool) -> None:
        if change.happens:
            for step in change.steps:
                self._step(change, step)
            return
        if change.goes_to:
            self._carry(change, *change.steps[-1:])
            return
        steps = change.steps or (Step("note the owner", ()),)
        if steps[-1].risks_access:  # what the host takes back must not be noted as done
            steps = (*steps, Step("note the owner", ()))
        claim, confirm = self._marks(change, created=created)
        done = (confirm, *self._renamed((self.plan.blueprint, change.address.kind, change.address.name), change.place))
        last = len(steps) - 1
        for number, step in enumerate(steps):
            calls = (*((claim,) if number == 0 else ()), *step.calls, *(done if number == last else ()))
            try:
                self._step(change, step, calls)
            except StepFailed:
                if created and number > 0 and not identity(change, None):
                    # It is there, and was not when the plan was made; what the mark would vouch for stays a claim.
                    self.tools.writer(change.place).run(Step("note the owner", (confirm,)))
                raise

    def _step(self, change: Change, step: Step, calls: tuple[Call, ...] = ()) -> None:
        """Run one step, with other calls than its own if there are. Raises StepFailed."""
        self.observer.step_started(change, step)
        result = self.tools.writer(change.place).run(replace(step, calls=calls or step.calls))
        self.observer.step_ended(change, step, result)
        if result.returncode:
            said = "\n".join((result.err or result.out).strip().splitlines()[-12:])
            said += self._otherwise(change, step)
            raise StepFailed(f"{step.summary}: {said or f'exit status {result.returncode}'}", result.returncode, said)

    def _otherwise(self, change: Change, failed: Step) -> str:
        """Do what a step wants done when it failed; what of that failed too, as more words of the same."""
        if not failed.otherwise:
            return ""
        step = Step(f"after that failed: {failed.summary}", failed.otherwise, timeout=failed.timeout)
        try:
            self._step(change, step)
        except (StepFailed, TransportError) as error:
            return f"\n{error.message}"
        return ""

    def _marks(self, change: Change, *, created: bool) -> tuple[Append, Append]:
        known = self._known(change, change.place) or self._known(change, change.came_from)
        marks = marks_of(change, known, self.plan, self.tools.run, who(), created=created)
        claim, confirm = (Append(path_of(mark.blueprint), mark.line()) for mark in marks)
        return claim, confirm

    def _known(self, change: Change, host: str) -> Mark | None:
        return self.tools.marks.get(host, {}).get((self.plan.blueprint, change.address.kind, change.address.name))

    def _former(self, change: Change) -> tuple[Append, ...]:
        """The mark as this run found it, under its former name too; released where there was none."""
        key = (self.plan.blueprint, change.address.kind, change.address.name)
        old = self.tools.former.get(change.place, {}).get(key)
        known = None if old else self._known(change, change.place)
        released = replace(Mark(*key, State.RELEASED, Birth.FOUND), host=change.place, run=self.tools.run, time=now())
        again = (Append(path_of(old.blueprint), old.line()),) if old else ()
        return (*again, Append(path_of(self.plan.blueprint), (known or released).line()))

    def _renamed(self, key: tuple[str, str, str], host: str) -> tuple[Append, ...]:
        """What the blueprint owned under a former name is released there once it is marked under this one."""
        old = self.tools.former.get(host, {}).get(key)
        return (Append(path_of(old.blueprint), replace(old, state=State.RELEASED).line()),) if old else ()

    def forget(self, host: str) -> None:
        """Release what this blueprint no longer names on a host but may not delete, or what is already gone."""
        path = path_of(self.plan.blueprint)
        ours = {
            Address(mark.kind, host, mark.name): mark
            for mark in self.tools.marks.get(host, {}).values()
            if mark.blueprint == self.plan.blueprint
        }
        stale = [mark for address, mark in ours.items() if address in self.released or self._followed(mark, host)]
        came = {row.address.name for row in self.plan.runnable if row.goes_to == host}  # their marks are new ones
        stale = [mark for mark in stale if mark.name.partition("/")[0] not in came]
        calls: tuple[Append | Exec, ...] = tuple(
            call
            for mark in stale
            for call in (Append(path, replace(mark, state=State.RELEASED).line()), *self._renamed(mark.key, host))
        )
        if self.tools.clean and ours and all(map(self._over, ours)):
            calls = (Exec(("rm", "-f", path)),)
        with suppress(TransportError):  # a host lost by now keeps its marks; the next run releases them
            if calls:
                self.tools.writer(host).run(Step("release marks", calls))
            if host in self.tools.worn and any(row.place == host for row in self.plan.runnable):
                self._rewrite(host, path)

    def _rewrite(self, host: str, path: str) -> None:
        """One line for each mark, put there by a rename.

        Only who holds the lease writes marks, and the host checks that with the step: no line can come in between.
        """
        writer = self.tools.writer(host)
        raw = writer.ask((ReadMarks(),))[ReadMarks()]
        content = compact(raw.text, self.plan.blueprint) if raw.ok else None  # half of the marks is not all of them
        if content:
            writer.run(Step("rewrite the marks", (Write(path, content, "0600"),)))

    def _followed(self, mark: Mark, host: str) -> bool:
        """Whether the mark's object is on another host now, and marked there."""
        address = Address(mark.kind, "", mark.name)
        return address in self.followers and self.followers[address] != host

    @cached_property
    def followers(self) -> dict[Address, str]:
        """What was found elsewhere than it was and is marked there now, with its new host."""
        moves = (change for change in self.plan.changes if change.came_from)
        return {move.address: move.place for move in moves if self._over(move.address)}

    def _over(self, address: Address) -> bool:
        ended = self.outcomes.get(address)
        return address in self.released or (ended is not None and ended.status in _GOOD)

    @cached_property
    def released(self) -> frozenset[Address]:
        """What stays although we once changed it, and leftovers that somebody else removed or still uses."""
        rows = (change for change in self.plan.changes if change.desired is None and not change.pending)
        return frozenset({*self.plan.kept, *(change.address for change in rows)})


@contextmanager
def _interrupts(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP sets `stop`, wherever the driving thread is; the second one raises."""

    def on_interrupt(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup: the terminal may go, and the run goes on
        heard.remove(signal.SIGHUP)
    before = {number: signal.signal(number, on_interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_GOOD = (Status.DONE, Status.ALREADY)


class _Beyond(Exception):
    """A row that was to be known later turned out to be more than the plan said."""
