"""Which step of a change failed, and what the target said: an observer that the end of a run is told from."""

import threading
from dataclasses import dataclass

from vinfra.model.address import Address
from vinfra.model.change import Change
from vinfra.model.outcome import ChangeOutcome
from vinfra.model.rollout import Batch, GateEnd, Roll
from vinfra.model.step import Step, StepResult

TAIL = 8

# What the target says, and what its owner can do about it; the first that occurs is given.
REMEDIES = (
    ("no space left on device", "free some space on the host, then apply again"),
    ("read-only file system", "the host's file system is read-only: look at its kernel log, then apply again"),
    ("could not get lock", "another package manager is at work on the host: wait for it, then apply again"),
    ("temporary failure resolving", "the host cannot resolve names: look at its /etc/resolv.conf"),
    ("unable to locate package", "the host's package sources do not have it: look at the name and at its sources"),
    ("unable to fetch", "the host cannot reach its package sources: look at its network and proxy"),
    ("command not found", "a program is missing on the host: declare its package and let this one come after it"),
    ("no such file or directory", "something it needs is missing on the host: declare it too"),
    ("permission denied", "the login may not do this: see `sudo` in the inventory"),
    ("timed out", "it took longer than the step may: apply again, or look at what holds it"),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that did not end well."""

    step: str
    returncode: int
    last_words: tuple[str, ...]

    @property
    def remedy(self) -> str:
        """What can be done about it, as far as the target's words tell."""
        said = "\n".join(self.last_words).lower()
        return next((remedy for sign, remedy in REMEDIES if sign in said), "")


class Failures:
    """Remembers the step that failed, by address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: dict[Address, Failure] = {}

    def of(self, address: Address) -> Failure | None:
        """The failing step of a change, if one failed."""
        with self._lock:
            return self._failed.get(address)

    def host_started(self, host: str, rounds: int) -> None:
        """Not of interest."""

    def host_read(self, host: str, seconds: float, error: str) -> None:
        """Not of interest."""

    def warned(self, line: str) -> None:
        """Not of interest."""

    def change_started(self, change: Change) -> None:
        """Not of interest."""

    def step_started(self, change: Change, step: Step) -> None:
        """Not of interest."""

    def step_ended(self, change: Change, step: Step, result: StepResult) -> None:
        """Keep what a failing step said last, unless it may hold a secret."""
        if result.returncode == 0:
            return
        said = (result.err.strip() or result.out.strip()).splitlines()
        words = ("(not shown: the step holds a secret)",) if step.secret else tuple(said[-TAIL:])
        with self._lock:
            self._failed[change.address] = Failure(step.summary, result.returncode, words)

    def change_ended(self, change: Change, outcome: ChangeOutcome) -> None:
        """Not of interest."""

    def batch_started(self, roll: Roll, batch: Batch) -> None:
        """Not of interest."""

    def gate_ended(self, end: GateEnd) -> None:
        """Not of interest."""
