"""A plan: every host's rows, in the order they will run, and the hosts that could not be read."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vinfra.errors import ExitCode
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change
from vinfra.model.policy import Violation
from vinfra.model.rollout import Rolling


@dataclass(frozen=True, slots=True)
class Plan:
    """What apply would do. `hosts` are all hosts in question, in inventory order; `facts` what each told of itself.

    `unknown` says why a host could not be read; `warnings` are lines worth reading; `kept` are objects that left the
    blueprint but were there before vinfra or are used by others, and stay. `seconds` is how long reading took, `digest`
    stands for all files the wish was read from, `commit` is what is checked out there, "" without git. `labels` are the
    blueprint's, `violations` what the policies of the site have against it. `rollouts` are those that hold changes back
    until others proved to be well.
    """

    blueprint: str
    hosts: tuple[str, ...]
    changes: tuple[Change, ...]
    unknown: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    kept: tuple[Address, ...] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    digest: str = ""
    commit: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    rollouts: tuple[Rolling, ...] = ()

    @property
    def pending(self) -> tuple[Change, ...]:
        """The rows that say something."""
        return tuple(change for change in self.changes if change.pending)

    @property
    def runnable(self) -> tuple[Change, ...]:
        """The rows that apply would run."""
        return tuple(change for change in self.changes if change.runnable)

    @property
    def refused(self) -> tuple[Change, ...]:
        """The rows that stop apply before its first step."""
        return tuple(change for change in self.changes if change.delta.verdict is Verdict.REFUSED)

    @property
    def barred(self) -> tuple[Violation, ...]:
        """The policies that it violates as a whole: then none of it runs."""
        return tuple(violation for violation in self.violations if not violation.rows)

    @property
    def objections(self) -> tuple[str, ...]:
        """All that is refused, in a line each."""
        return (*map(str, self.barred), *(f"{row.address}: {row.delta.reason}" for row in self.refused))

    @property
    def there(self) -> dict[str, int]:
        """How many of its objects there are, by kind."""
        return dict(Counter(row.address.kind for row in self.changes if row.actual is not None))

    @property
    def impact(self) -> Impact:
        """What the costliest row costs that apply would run."""
        return max((row.delta.impact for row in self.runnable), default=Impact.NONE)

    @property
    def unread(self) -> tuple[Change, ...]:
        """The rows that could not be read on hosts that answered."""
        return tuple(change for change in self.changes if change.delta.verdict is Verdict.UNKNOWN)

    @property
    def exit_code(self) -> ExitCode:
        """What `plan` and `drift` return; a refused row is a difference, for nothing was asked to run."""
        codes = [ExitCode.DONE]
        if any(change.delta.verdict is not Verdict.UNKNOWN for change in self.pending):
            codes.append(ExitCode.DIFFERENCES)
        if self.unknown or self.unread:
            codes.append(ExitCode.INCOMPLETE)
        return ExitCode.combined(codes)

    def within(self, limit: Impact) -> "Plan":
        """The plan with every row refused that costs more than `limit`, or than its resource itself allows."""
        rows = [
            row.refused(f"{row.delta.impact}: more than --max-impact {limit}")
            if row.runnable and row.delta.impact > max(limit, row.allow)
            else row
            for row in self.changes
        ]
        return replace(self, changes=tuple(rows))

    def counts(self) -> dict[str, int]:
        """How many rows of each sort, worded as the last line of a plan: creates, then the rest by impact."""
        found: dict[str, int] = {}
        for change in self.runnable:
            delta = change.delta
            if delta.action is Action.CREATE:
                word = "create"
            elif delta.action is Action.DELETE:
                word = "delete" if delta.impact < Impact.DATA_LOSS else "delete with data-loss"
            else:
                word = str(delta.impact)
            found[word] = found.get(word, 0) + 1
        return found
