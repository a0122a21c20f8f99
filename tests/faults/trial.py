"""One fault at one point of a run, and what must be true after one more run."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from functools import cached_property
from pathlib import Path
from typing import IO, Self

from vinfra import lab as lab_module
from vinfra.lab import Lab, LabHost

from ..lab.conftest import ROOT
from .look import seen

# A lease lasts 30 s beyond its holder; whoever waits for it looks once a second, and a look takes its time here.
LONGEST_WAIT = 45.0
Point = dict[str, object]
Fault = Callable[["Running"], None]


@dataclass(frozen=True)
class Done:
    """A run that ended, by itself or not."""

    code: int
    said: str
    waited: float
    ticks: tuple[tuple[str, int], ...]


@dataclass
class Bench:
    """Hosts to make faults on, and vinfra as its user calls it."""

    lab: Lab
    folder: Path
    clear: Callable[[LabHost], None] | None = None
    names: tuple[str, ...] = ()

    @property
    def hosts(self) -> list[LabHost]:
        """As they are now: a host that was booted again has another first process."""
        now = lab_module.status(self.lab.name)
        assert now is not None
        return [host for host in now.hosts.values() if not self.names or host.name in self.names]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def begin(self, arguments: Sequence[object], point: Point | None = None) -> "Running":
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        environment = {"VINFRA_INVENTORY": str(self.lab.inventory), "VINFRA_STATE": str(self.folder / "state")}
        order = {"arguments": [*map(str, arguments)], "environment": environment, "folder": str(folder)}
        return Running(self, self.server.begin({**order, **(point or {})}), folder)

    @cached_property
    def server(self) -> "Server":
        return Server()

    def run(self, *arguments: object, expect: int | None = 0) -> Done:
        """A run that nobody disturbs."""
        done = self.begin(arguments).end(400)
        assert expect in (None, done.code), f"{arguments}: exit {done.code}, not {expect}\n{done.said}"
        return done

    def reset(self) -> None:
        """Every host as if nobody had ever been there."""
        for host in self.hosts:
            if self.clear:
                self.clear(host)
            else:
                lab_module.reset(self.lab, host.name)


class Server:
    """Makes a process of each run: see the driver. One at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.driver"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def begin(self, order: dict[str, object]) -> "Process":
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Process(self._process.stdout)

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()
        self._process.wait()


class Process:
    """One run's process, followed through the server's answers."""

    def __init__(self, answers: IO[str] | None) -> None:
        assert answers
        self._answers = answers
        self._pid = int(answers.readline())
        self._code: int | None = None

    def poll(self, seconds: float = 0.0) -> int | None:
        """The exit code, once it has ended; negative for a signal."""
        if self._code is None and select.select([self._answers], [], [], seconds)[0]:
            self._code = int(self._answers.readline())
        return self._code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self._pid, signal.SIGKILL)
            self.poll(60)


@dataclass
class Running:
    """A run under way."""

    bench: Bench
    process: Process
    folder: Path

    @property
    def stands(self) -> bool:
        """Whether it stands still here."""
        return (self.folder / "reached").exists()

    def reached(self) -> bool:
        """Whether it came to its point; False when it ended without."""
        while self.process.poll() is None:
            if self.stands or any(_flag(host).exists() for host in self.bench.hosts):
                return True
            time.sleep(0.01)
        return False

    def kill(self) -> None:
        self.process.kill()

    def go_on(self) -> None:
        (self.folder / "go").touch()

    def end(self, limit: float = 200) -> Done:
        code = self.process.poll(limit)
        self.process.kill()
        assert code is not None, f"no end in {limit:g} s:\n{(self.folder / 'output').read_text()}"
        waited = self.folder / "waited"
        ticks = self.folder / "ticks"
        return Done(
            code,
            (self.folder / "output").read_text(),
            float(waited.read_text()) if waited.exists() else 0.0,
            tuple(tuple(json.loads(line)) for line in ticks.read_text().splitlines()) if ticks.exists() else (),
        )


def _flag(host: LabHost, more: str = "") -> Path:
    return Path(f"/proc/{host.pid}/root/run/vinfra-fault{more}")


def kill(running: Running) -> None:
    """SIGKILL, as `kill -9` or the kernel's OOM killer sends it."""
    running.kill()


@dataclass
class Trial:
    """A scenario: how to make the hosts ready, and the run that is disturbed; and how its trials went."""

    bench: Bench
    ready: Callable[[], None]
    command: tuple[object, ...]
    first: str = ""
    problems: list[str] = field(default_factory=list)
    waited: float = 0.0
    tried: int = 0

    def reference(self) -> tuple[Done, list[list[str]]]:
        """The run undisturbed, and what is there after it."""
        self.ready()
        done = self.bench.run(*self.command)
        return done, self.look()

    def look(self) -> list[list[str]]:
        return [seen(host) for host in self.bench.hosts]

    def try_all(
        self,
        points: Sequence[Point],
        fault: Fault,
        want: list[list[str]],
        *,
        mend: Callable[[], None] = lambda: None,
        codes: Sequence[int] = (-9,),
        words: str = "",
    ) -> None:
        """Each point from the start; what is wrong is collected, and raised at the end.

        `mend` undoes the fault. `codes` are the exit codes that the disturbed run may have, `words` what it must say
        when it did not succeed.
        """
        assert points
        for point in points:
            self.ready()
            self.tried += 1
            began = time.monotonic()
            try:
                self._try(point, fault, want, mend, codes, words)
            except AssertionError as wrong:
                self.problems.append(f"{point}: {wrong}")
                with (self.bench.folder / "problems").open("a") as stream:
                    stream.write(f"{self.command} {self.problems[-1]}\n\n")
            print(f"{point}: {len(self.problems)} problems so far, {time.monotonic() - began:.1f} s")
        assert not self.problems, "\n\n".join(self.problems)

    def _try(
        self,
        point: Point,
        fault: Fault,
        want: list[list[str]],
        mend: Callable[[], None],
        codes: Sequence[int],
        words: str,
    ) -> None:
        running = self.bench.begin(self.command, point)
        try:
            assert running.reached(), f"never came there\n{running.end().said}"
            fault(running)
            running.go_on()
            first = running.end()
        finally:
            running.kill()
        mend()
        self.first = _ending(self.first, first.code)
        assert first.code in codes, f"exit {first.code}, not one of {codes}\n{first.said}"
        assert first.code in (0, -9) or words in first.said, f"it does not say {words!r}\n{first.said}"
        again = self.next_run(overlap="pause" in point and first.code == -9)
        self.waited = max(self.waited, again.waited)
        assert again.code == 0, f"the next run ends with {again.code}\n{first.said}\n{again.said}"
        assert again.waited < LONGEST_WAIT, f"waited {again.waited:.0f} s for the lease"
        self.wake()
        self.same(want, f"after\n{first.said}\n{again.said}")
        if self.command[0] == "apply":
            plan = self.bench.run("plan", self.command[1], expect=None)
            assert (plan.code, "nothing to do" in plan.said) == (0, True), f"the second plan is not empty\n{plan.said}"

    def next_run(self, *, overlap: bool) -> Done:
        """The run after. `overlap`: a script of the killed one goes on when this one has planned and not yet begun."""
        running = self.bench.begin(self.command, {"tick": 0} if overlap else None)
        if overlap:
            until = time.monotonic() + 4  # or it waits for that script
            while time.monotonic() < until and running.process.poll() is None and not running.stands:
                time.sleep(0.02)
            self.wake()
        running.go_on()
        return running.end(400)

    def wake(self) -> None:
        """What pauses on a host goes on, and comes to its end."""
        for host in self.bench.hosts:
            if _flag(host).exists():
                _flag(host, "-go").touch()
                while _flag(host).exists():
                    time.sleep(0.02)
                time.sleep(0.5)

    def same(self, want: list[list[str]], when: str) -> None:
        until = time.monotonic() + 5
        while (now := self.look()) != want and time.monotonic() < until:
            time.sleep(0.3)
        diff = [line for old, new in zip(want, now, strict=True) for line in unified_diff(old, new, n=0, lineterm="")]
        assert not diff, "\n".join(["not as after an undisturbed run:", *diff[:40], when])


def _ending(before: str, code: int) -> str:
    now = "killed" if code == -9 else f"exit {code}"
    return ", ".join(sorted({*filter(None, before.split(", ")), now}))


def ticks(done: Done) -> list[Point]:
    """At every boundary."""
    return [{"tick": number} for number in range(len(done.ticks))]


def pauses(done: Done) -> list[Point]:
    """Between any two calls of a script."""
    return [
        {"pause": [number, call]}
        for number, (label, calls) in enumerate(done.ticks)
        if "the lease" not in label
        for call in range(calls - 1)
    ]


def some(points: Sequence[Point], count: int) -> list[Point]:
    """So many of them, evenly spread."""
    return [points[index * len(points) // count] for index in range(min(count, len(points)))]


def said(where: Callable[[Done], Sequence[Point]]) -> str:
    """What sort of points these are, for the table."""
    return (where.__doc__ or "").rstrip(".").lower()
