"""Who may change a host now: one line in a file of the host itself, which lapses unless it is renewed.

`/run/vinfra/lease` holds `EXPIRY TOKEN HOLDER`: seconds of the host's own uptime (so that no two clocks are compared;
0 once it was given back), a word that no other run has, and the holder as JSON. The token stays when the lease ends,
which is how a run learns that somebody else applied since it read the host. A reboot empties /run, and ends the lease.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

LEASE = "/run/vinfra/lease"
# Each script of a step that runs now, as `PID-START` (its process and when that began, as in /proc/PID/stat): it
# outlives a controller that was killed.
STEPS = "/run/vinfra/steps"
# A dead controller's lease ends at most so many seconds after it.
SECONDS = 30
LONGEST = 2 * SECONDS  # what claims to last longer was not written by us: it counts as ended


class Grip(StrEnum):
    """What is done with a lease."""

    TAKE = "take"
    RENEW = "renew"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Holder:
    """A run: its id, who started it, the machine and process (with its birth, for numbers are used again)."""

    run: str = ""
    who: str = ""
    machine: str = ""
    pid: int = 0
    birth: str = ""

    def line(self) -> str:
        """The holder as its part of the lease's line."""
        return json.dumps(asdict(self), ensure_ascii=True, separators=(",", ":"))

    def __str__(self) -> str:
        return f"{self.who or 'somebody'}, run {self.run or 'unknown'}, process {self.pid or 'unknown'}"


NOBODY = Holder()


@dataclass(frozen=True, slots=True)
class Lease:
    """A host's lease as read: its token ("" when there never was one), its holder, and the seconds it still has."""

    token: str = ""
    holder: Holder = NOBODY
    left: int = 0

    @property
    def held(self) -> bool:
        """Whether somebody holds it."""
        return self.left > 0


NOBODYS = Lease()


def parse(text: str, uptime: float | None) -> Lease:
    """A lease's line, on a host that is up for so many seconds. What is not one of ours is nobody's lease.

    Without the uptime a lease that was not given back counts as held.
    """
    expiry, _, rest = text.strip().partition(" ")
    token, _, holder = rest.partition(" ")
    if not expiry.isdecimal() or not token.isalnum():
        return NOBODYS
    left = int(expiry) - int(uptime) if uptime is not None else min(int(expiry), SECONDS)
    return Lease(token, _holder(holder), left if 0 < left <= LONGEST else 0)


def _holder(text: str) -> Holder:
    try:
        data = json.loads(text)
        texts = {name: str(data[name]) for name in ("run", "who", "machine", "birth")}
        return Holder(**texts, pid=int(data["pid"]))
    except (ValueError, TypeError, KeyError):
        return NOBODY
