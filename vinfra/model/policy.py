"""What a site allows, whatever a blueprint says: policies, checked on a whole plan before anything of it runs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from vinfra.model.action import Impact
from vinfra.model.address import Address
from vinfra.model.source import Position

MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """A time of the week on the clocks of a zone: weekdays (0 is Monday) and minutes of the day.

    One whose end is not after its beginning goes over midnight and belongs to the day on which it began. `said` is how
    it was written. It goes by what clocks show, so in the night of a change it is as much longer or shorter.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: ZoneInfo
    said: str

    def covers(self, now: datetime) -> bool:
        """Whether a moment, which knows its own zone, is in it."""
        local = now.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday() in self.days, (local - timedelta(days=1)).weekday() in self.days
        if self.start < self.end:
            return today and self.start <= minute < self.end
        return (today and minute >= self.start) or (yesterday and minute < self.end)


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `most` objects may be deleted; with `percent` of those that there are. `kind` "": of all kinds."""

    name: str
    position: Position
    most: int
    percent: bool = False
    kind: str = ""

    def allows(self, going: int, there: int) -> bool:
        """Whether so many of so many may go."""
        return going * 100 <= self.most * there if self.percent else going <= self.most


@dataclass(frozen=True, slots=True)
class Freeze:
    """Nothing that costs `impact` or more may be done within the window (None: ever) on these hosts (None: any)."""

    name: str
    position: Position
    impact: Impact
    window: Window | None = None
    hosts: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A blueprint that is to change anything carries these labels."""

    name: str
    position: Position
    labels: tuple[str, ...]


Policy = Quota | Freeze | Labelled


@dataclass(frozen=True, slots=True)
class Violation:
    """A plan against a policy. `rows` are those that are refused for it; none of them: it is the plan as a whole."""

    policy: str
    position: Position
    reason: str
    rows: tuple[Address, ...] = ()

    def __str__(self) -> str:
        return f"policy {self.policy} ({self.position.file}:{self.position.line}): {self.reason}"
