"""Run a plan: hosts side by side, each host's changes one after the other, and nothing after what it needs failed."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, NamedTuple

from vinfra.errors import StepFailed, TransportError
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change, Undo
from vinfra.model.discovery import Marks
from vinfra.model.mark import Birth, Mark, State, compact, path_of
from vinfra.model.outcome import ChangeOutcome, Observer, Status
from vinfra.model.plan import Plan
from vinfra.model.question import ReadMarks
from vinfra.model.rolling import Rolls
from vinfra.model.rollout import Gate, GateEnd, Passage
from vinfra.model.schedule import Schedule
from vinfra.model.spec import declared
from vinfra.model.step import Append, Call, Exec, Step, Write
from vinfra.model.transport import Writer


@dataclass(frozen=True, slots=True)
class Tools:
    """What running needs: a writer per host, a fresh look at one row (`again`), the marks found, the run's id.

    `clean` (a destroy): when nothing of the blueprint is left on a host, its mark file goes too. `worn` are the hosts
    whose mark file is due to be rewritten. `watch` tells which units of a gate are not well, `undo` how a change of
    this run is taken back.
    """

    writer: Callable[[str], Writer]
    again: Callable[[Change], Change]
    marks: Mapping[str, Marks]
    run: str
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
            status, reason = Status.FAILED, f"vinfra failed: {type(error).__name__}: {error}"
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
            for step in (*row.steps, Step("note the owner as before", (self._former(row),))):
                self._step(row, step)
        except (StepFailed, TransportError) as error:
            status, reason = Status.FAILED, f"could not be taken back: {error}"
        except Exception as error:  # a bug in a kind ends its own row, not the others' way back
            status, reason = Status.FAILED, f"could not be taken back: {type(error).__name__}: {error}"
        return ChangeOutcome(row.address, status, reason, time.monotonic() - started)

    def _current(self, planned: Change) -> Change:
        """The row itself, or, when it could not be known before, what is to be done now: never more than planned."""
        if planned.delta.verdict is not Verdict.LATER:
            return planned
        change = self.tools.again(planned)
        now, bound = change.delta, planned.delta
        if now.verdict is not Verdict.OK:
            raise _Beyond(now.reason or "still not known")
        # A bound without a value (what an operation would do) is open: the operation itself is what was agreed to.
        agreed = {item.path: item.after for item in bound.fields}
        # What is made anew, at no cost to anybody, also gets what its kind gives to each new one (a file's mode).
        anew = now.action is bound.action is Action.CREATE and now.impact is Impact.NONE
        more = {
            item.path
            for item in now.fields
            if item.after != agreed.get(item.path, item.after if anew else ...) and _bound(agreed, item.path)
        }
        heavier = now.action in (Action.DELETE, Action.REPLACE) and now.action is not bound.action
        if now.action is not Action.NOOP and (more or heavier or now.impact > bound.impact):
            what = " ".join((now.action.name.lower(), *sorted(more)))
            raise _Beyond(
                f"would {what} ({now.impact}); the plan said at most {bound.action.name.lower()} ({bound.impact})"
            )
        return change

    def _steps(self, change: Change, *, created: bool) -> None:
        steps = change.steps or (Step("note the owner", ()),)
        if steps[-1].risks_access:  # what the host takes back must not be noted as done
            steps = (*steps, Step("note the owner", ()))
        claim, confirm = self._marks(change, created=created)
        last = len(steps) - 1
        for number, step in enumerate(steps):
            calls = (*((claim,) if number == 0 else ()), *step.calls, *((confirm,) if number == last else ()))
            try:
                self._step(change, step, calls)
            except StepFailed:
                if created and number > 0 and not _identity(change, None):
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
            raise StepFailed(f"{step.summary}: {said or f'exit status {result.returncode}'}", result.returncode, said)

    def _marks(self, change: Change, *, created: bool) -> tuple[Append, Append]:
        """The claim before the act and the confirmation after it.

        `created` says that nothing was there when the plan was made: what a package of this plan brought is ours too.
        """
        address, owner = change.address, self.plan.blueprint
        known = self._known(change, change.place) or self._known(change, change.came_from)
        claim = Mark(
            blueprint=owner,
            kind=address.kind,
            name=address.name,
            state=State.CLAIMED,
            birth=known.birth if known else Birth.CREATED if created else Birth.FOUND,
            host=change.place,
            fields=_managed(change),
            identity=_identity(change, known),
            digest=self.plan.digest[:16],
            commit=self.plan.commit,
            protect=change.protect,
            run=self.tools.run,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            fleet=change.fleet,
        )
        confirm = replace(claim, state=State.OWNED)
        if change.delta.action is Action.DELETE:
            # What was ours stays ours when deleting it fails.
            claim = replace(claim, state=known.state if known else State.CLAIMED, fleet=known.fleet if known else "")
            confirm = replace(claim, state=State.RELEASED)
        return Append(path_of(owner), claim.line()), Append(path_of(owner), confirm.line())

    def _known(self, change: Change, host: str) -> Mark | None:
        return self.tools.marks.get(host, {}).get((self.plan.blueprint, change.address.kind, change.address.name))

    def _former(self, change: Change) -> Append:
        """The mark as this run found it; released where there was none."""
        known = self._known(change, change.place) or replace(
            Mark(self.plan.blueprint, change.address.kind, change.address.name, State.RELEASED, Birth.FOUND),
            host=change.place,
            run=self.tools.run,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return Append(path_of(self.plan.blueprint), known.line())

    def forget(self, host: str) -> None:
        """Release what this blueprint no longer names on a host but may not delete, or what is already gone."""
        path = path_of(self.plan.blueprint)
        ours = {
            Address(mark.kind, host, mark.name): mark
            for mark in self.tools.marks.get(host, {}).values()
            if mark.blueprint == self.plan.blueprint
        }
        stale = [mark for address, mark in ours.items() if address in self.released or self._followed(mark, host)]
        calls: tuple[Append | Exec, ...] = tuple(
            Append(path, replace(mark, state=State.RELEASED).line()) for mark in stale
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
        content = compact(writer.ask((ReadMarks(),))[ReadMarks()].text, self.plan.blueprint)
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
    """The first Ctrl-C or SIGTERM sets `stop`, wherever the driving thread is; the second one raises."""

    def on_interrupt(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, on_interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_GOOD = (Status.DONE, Status.ALREADY)


class _Beyond(Exception):
    """A row that was to be known later turned out to be more than the plan said."""


def _bound(agreed: Mapping[str, Any], path: str) -> bool:
    return path not in agreed or agreed[path] is not None


def _identity(change: Change, known: Mark | None) -> dict[str, str]:
    """The values that the mark must keep; when the object goes or is left as it is, those it kept so far."""
    if change.desired is None or (known and change.delta.action is Action.ADOPT):
        return dict(known.identity) if known else {}
    shape = type(change.desired)
    return {
        name: str(value) for name, value in change.desired if value is not None and declared(shape, name, "identity")
    }


def _managed(change: Change) -> tuple[str, ...]:
    if change.desired is None:
        return ()
    return tuple(sorted(name for name, value in change.desired if value is not None))
