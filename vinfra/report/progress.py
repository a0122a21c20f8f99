"""A run while it goes on: on a terminal the counters and what is at work or failed, elsewhere a line a change.

Discovery stays silent for its first second. Events come from any thread; what is drawn is a copy under a lock.
"""

import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from vinfra.model.address import Address
from vinfra.model.change import Change
from vinfra.model.outcome import ChangeOutcome, Status
from vinfra.model.plan import Plan
from vinfra.model.rollout import Batch, GateEnd, Roll
from vinfra.model.step import Step, StepResult
from vinfra.report.rollouts import batch_line, gate_line
from vinfra.report.terminal import padded
from vinfra.report.visible import several, visible

ROWS = 30
PER_SECOND = 4
PATIENCE = 1.0
# How often a pipe is told how far reading has come.
LINE_EVERY = 10.0
SIGNS = {Status.DONE: "green", Status.ALREADY: "green", Status.FAILED: "bold red", Status.BLOCKED: "yellow"}


@dataclass(slots=True)
class _Working:
    change: Change
    since: float
    step: str = ""


@dataclass(slots=True)
class _Seen:
    """What events have told so far."""

    reading: dict[str, float] = field(default_factory=dict)
    read: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    working: dict[Address, _Working] = field(default_factory=dict)
    failed: list[ChangeOutcome] = field(default_factory=list)
    ended: int = 0
    over: set[Address] = field(default_factory=set)
    total: int = 0
    applying: bool = False
    rollouts: dict[str, str] = field(default_factory=dict)


class Progress:
    """An observer to be entered with `with`; leaving it clears what it drew."""

    def __init__(self, console: Console, patience: float = PATIENCE, quiet: bool = False) -> None:
        self._console = console
        self._patience = patience
        drawable = console.is_terminal and not console.is_dumb_terminal
        self._drawn = drawable and not quiet
        self._lines = not drawable and not quiet
        self._lock = threading.RLock()
        self._seen = _Seen()
        self._began = self._told = time.monotonic()
        self._spinner = Spinner("dots")
        self._live: Live | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if self._drawn:
            self._timer = threading.Timer(self._patience, self._draw)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Stop drawing, so that something else can be printed or asked; the next change goes on drawing."""
        with self._lock:
            timer, self._timer = self._timer, None
            live, self._live = self._live, None
        if timer is not None:
            timer.cancel()
        if live is not None:
            with suppress(OSError):
                live.stop()

    def expect(self, plan: Plan) -> None:
        """From here on the plan's changes are counted."""
        self.pause()
        with self._lock:
            self._seen.total = len(plan.runnable)
            self._seen.applying = True

    def _draw(self) -> None:
        with self._lock:
            if self._live is not None or not self._drawn:
                return
            self._live = Live(
                console=self._console, get_renderable=self._picture, refresh_per_second=PER_SECOND, transient=True
            )
            try:
                self._live.start()
            except OSError:
                self._drawn = False

    def host_started(self, host: str, rounds: int) -> None:
        """Count it as being read."""
        with self._lock:
            self._seen.reading.setdefault(host, time.monotonic())

    def host_read(self, host: str, seconds: float, error: str) -> None:
        """Count it as read; a pipe is told now and then."""
        with self._lock:
            self._seen.reading.pop(host, None)
            self._seen.read += 1
            if error:
                self._seen.lost[host] = error
            now = time.monotonic()
            if self._lines and not self._seen.applying and now - self._told > LINE_EVERY:
                self._told = now
                self._say(f"read {several(self._seen.read, 'host')}, {len(self._seen.reading)} being read")

    def change_started(self, change: Change) -> None:
        """Show it as at work."""
        with self._lock:
            self._seen.applying = True
            self._seen.working[change.address] = _Working(change, time.monotonic())
        if self._drawn:
            self._draw()

    def step_started(self, change: Change, step: Step) -> None:
        """Show which step it is at."""
        with self._lock:
            working = self._seen.working.get(change.address)
            if working is not None:
                working.step = step.summary

    def step_ended(self, change: Change, step: Step, result: StepResult) -> None:
        """The change's end tells."""

    def change_ended(self, change: Change, outcome: ChangeOutcome) -> None:
        """Count it; a pipe gets its line."""
        with self._lock:
            self._seen.working.pop(change.address, None)
            self._seen.ended += outcome.address not in self._seen.over  # one that is taken back ends twice
            self._seen.over.add(outcome.address)
            if outcome.status not in (Status.DONE, Status.ALREADY):
                self._seen.failed.append(outcome)
            if self._lines:
                total = f"/{self._seen.total}" if self._seen.total else ""
                reason = f"  {visible(outcome.reason)}" if outcome.reason else ""
                self._say(
                    f"[{self._seen.ended}{total}] {outcome.status.value:<7} {visible(outcome.address)}"
                    f"  {outcome.seconds:.1f} s{reason}"
                )

    def warned(self, line: str) -> None:
        """Said beside the result, whatever that is."""
        sys.stderr.write(f"warning: {visible(line)}\n")

    def batch_started(self, roll: Roll, batch: Batch) -> None:
        """Show which units are at it."""
        self._told_of(roll.name, batch_line(roll.name, batch))

    def gate_ended(self, end: GateEnd) -> None:
        """Show whether they are well."""
        self._told_of(end.gate.roll.name, gate_line(end))

    def _told_of(self, name: str, line: str) -> None:
        with self._lock:
            self._seen.rollouts[name] = line
            if self._lines:
                self._say(line)

    def _say(self, line: str) -> None:
        try:
            self._console.file.write(line + "\n")
            self._console.file.flush()
        except OSError:  # the reader went away; the run does not
            self._lines = False

    def _picture(self) -> RenderableType:
        with self._lock:
            seen = self._seen
            rows = self._work_rows() if seen.applying else self._read_rows()
            head = self._counters()
        self._spinner.update(text=head)
        room = max(1, min(ROWS, self._console.height - 3))
        cut = [*rows[: room - 1], Text(f"  … {len(rows) - room + 1} more", style="dim")] if len(rows) > room else rows
        for row in cut:
            row.truncate(max(10, self._console.width - 1), overflow="ellipsis")
        return Group(self._spinner, *cut)

    def _counters(self) -> Text:
        seen, spent = self._seen, time.monotonic() - self._began
        clock = f"{int(spent) // 60}:{int(spent) % 60:02}"
        if not seen.applying:
            lost = f", {len(seen.lost)} unknown" if seen.lost else ""
            if not seen.read and not seen.reading:
                return Text(f"reading files · {clock}")
            return Text(f"reading hosts · {seen.read} read, {len(seen.reading)} being read{lost} · {clock}")
        good = seen.ended - len(seen.failed)
        text = Text.assemble("applying · ", (f"{good}", "green"), f"/{seen.total or '?'} done")
        if seen.failed:
            text.append(f", {len(seen.failed)} not", style="bold red")
        return text.append(f", {len(seen.working)} at work · {clock}")

    def _read_rows(self) -> list[Text]:
        now = time.monotonic()
        lost = [
            Text.assemble(("  ? ", "bold magenta"), f"{visible(h)}  {visible(e)}") for h, e in self._seen.lost.items()
        ]
        slow = sorted(self._seen.reading.items(), key=lambda item: item[1])
        return lost + [Text(f"    {visible(host)}  {now - since:.0f} s") for host, since in slow]

    def _work_rows(self) -> list[Text]:
        now = time.monotonic()
        rows = [
            Text.assemble(
                (f"  {end.status.value:<8}", SIGNS.get(end.status, "magenta")),
                f"{visible(end.address)}  {visible(end.reason)}",
            )
            for end in self._seen.failed
        ]
        rows += [Text(f"  {line}", style="bold") for line in self._seen.rollouts.values()]
        names = {address: f"{visible(address.host)}  {visible(address.reference)}" for address in self._seen.working}
        width = min(44, max(map(len, names.values()), default=0))
        for address, working in self._seen.working.items():
            step = visible(working.step)
            rows.append(Text(f"    {padded(names[address], width)}  {now - working.since:4.0f} s  {step}"))
        return rows
