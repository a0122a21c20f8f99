"""Run a plan: hosts side by side, each host's changes one after the other, and nothing after what it needs failed."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from vinfra import mask
from vinfra.errors import StepFailed, TransportError
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change
from vinfra.model.discovery import Marks
from vinfra.model.mark import Birth, Mark, State, compact, path_of
from vinfra.model.outcome import ChangeOutcome, Observer, Status
from vinfra.model.plan import Plan
from vinfra.model.question import ReadMarks
from vinfra.model.schedule import Schedule
from vinfra.model.spec import declared
from vinfra.model.step import Append, Exec, Step, Write
from vinfra.model.transport import Writer


@dataclass(frozen=True, slots=True)
class Tools:
    """What running needs: a writer per host, a fresh look at one row (`again`), the marks found, the run's id.

    `clean` (a destroy): when nothing of the blueprint is left on a host, its mark file goes too. `worn` are the hosts
    whose mark file is due to be rewritten.
    """

    writer: Callable[[str], Writer]
    again: Callable[[Change], Change]
    marks: Mapping[str, Marks]
    run: str
    forks: int = 50
    clean: bool = False
    worn: frozenset[str] = frozenset()


def apply(plan: Plan, tools: Tools, observer: Observer) -> tuple[tuple[ChangeOutcome, ...], bool]:
    """How each runnable change ended, in plan order, and whether the run was interrupted.

    On the first Ctrl-C the changes under way end and the rest is left; a second one raises KeyboardInterrupt.
    """
    run = _Run(plan, tools, observer, Schedule(plan.changes))
    waiting = sum(change.waits for change in plan.runnable)  # they hold no host, and must hold no worker either
    pool = ThreadPoolExecutor(max(1, min(tools.forks, len(plan.hosts))) + waiting, thread_name_prefix="apply")
    try:
        with _interrupts(run.stop):
            run.drive(pool)
            if not run.stop.is_set():
                list(pool.map(run.forget, plan.hosts))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after a second Ctrl-C the caller closes what it waits for
    return tuple(run.outcomes[change.address] for change in plan.runnable), run.stop.is_set()


@dataclass
class _Run:
    """One run. Only the driving thread changes it; workers return outcomes."""

    plan: Plan
    tools: Tools
    observer: Observer
    schedule: Schedule
    outcomes: dict[Address, ChangeOutcome] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def drive(self, pool: ThreadPoolExecutor) -> None:
        for blocked, need in self.schedule.doomed():
            self._settle(blocked, Status.BLOCKED, f"needs {need.reference}, which does not run")
        busy: dict[Future[ChangeOutcome], Change] = {}
        while True:
            if not self.stop.is_set():
                busy |= {pool.submit(self._change, change): change for change in self.schedule.take()}
            if not busy:
                break
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                self._ended(busy.pop(future), future.result())
        for change in self.schedule.rest():
            self._settle(change, Status.LEFT, "interrupted before it began")

    def _ended(self, change: Change, outcome: ChangeOutcome) -> None:
        self.outcomes[change.address] = outcome
        self.observer.change_ended(change, outcome)
        if outcome.status is Status.LEFT:
            for rest, need in self.schedule.abandon(change.place):
                lost = f"{change.place} was lost"
                self._settle(rest, *((Status.BLOCKED, f"needs {need.reference}") if need else (Status.LEFT, lost)))
        for blocked, need in self.schedule.ended(change, outcome.status in (Status.DONE, Status.ALREADY)):
            self._settle(blocked, Status.BLOCKED, f"needs {need.reference}, which did not succeed")

    def _settle(self, change: Change, status: Status, reason: str) -> None:
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
            self.observer.step_started(change, step)
            result = self.tools.writer(change.place).run(replace(step, calls=calls))
            self.observer.step_ended(change, step, result)
            if result.returncode:
                if created and number > 0 and not _identity(change, None):
                    # It is there, and was not when the plan was made; what the mark would vouch for stays a claim.
                    self.tools.writer(change.place).run(Step("note the owner", (confirm,)))
                said = "\n".join((result.err or result.out).strip().splitlines()[-12:])
                raise StepFailed(
                    f"{step.summary}: {said or f'exit status {result.returncode}'}", result.returncode, said
                )

    def _marks(self, change: Change, *, created: bool) -> tuple[Append, Append]:
        """The claim before the act and the confirmation after it.

        `created` says that nothing was there when the plan was made: what a package of this plan brought is ours too.
        """
        address, owner = change.address, self.plan.blueprint
        key = (owner, address.kind, address.name)
        known = self.tools.marks.get(change.place, {}).get(key) or self.tools.marks.get(change.came_from, {}).get(key)
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
        return address in self.released or (ended is not None and ended.status in (Status.DONE, Status.ALREADY))

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
    # That it is secret is noted only where it is so: later readers must not show what stands there.
    return tuple(
        sorted(name for name, value in change.desired if value is not None and (name != "secret" or value is True))
    )
