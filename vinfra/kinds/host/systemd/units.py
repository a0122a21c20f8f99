"""Reading systemd units: one question for all of them, and since when each runs what it runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec
from vinfra.model.step import Exec as Run

PROPERTIES = (
    *("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload", "Result", "Type"),
    *("RemainAfterExit", "CanReload", "ExecMainStartTimestamp", "ActiveEnterTimestamp", "StateChangeTimestamp"),
    *("RequiredBy", "BoundBy", "ConsistsOf"),  # who goes down with it, and up again with its restart (systemd.unit(5))
)
SUFFIXES = ("service", "socket", "timer", "path", "mount", "automount", "target", "slice", "swap")

# States that count as running and as enabled, and those in which enabling means nothing.
ON = ("active", "activating", "reloading")
ENABLED = ("enabled", "alias")
NEVER_ENABLED = {
    "static": "it has no [Install] section: what needs it starts it",
    "indirect": "enabling it enables other units, and not it",
    "generated": "systemd generates it from another file",
    "transient": "it is transient and gone after a reboot",
}
# systemd.unit(5): where unit files are.
FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit as systemd tells it. `started` and `settled` are in seconds since 1970, None when never.

    `followers` are the services that stop when it stops.
    """

    load: str
    active: str
    sub: str
    file_state: str
    stale: bool
    result: str
    runs_once: bool
    reloads: bool
    started: float | None
    settled: float | None
    followers: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """As systemctl words it: `active (running)`, `failed (exit-code)`."""
        return f"{self.active} ({self.result if self.active == 'failed' else self.sub})"


def full(name: str) -> str:
    """A unit's whole name: `nginx` is `nginx.service`."""
    return name if name.rpartition(".")[2] in SUFFIXES and "." in name else f"{name}.service"


def ask(names: Iterable[str]) -> list[Exec]:
    """The question about all these units. Times are asked for in UTC and microseconds (systemd 247 and later)."""
    known = sorted({full(name) for name in names})
    return (
        [Exec(("systemctl", "show", "--timestamp=us+utc", "-p", ",".join(PROPERTIES), "--", *known))] if known else []
    )


def read(names: Iterable[str], answers: Answers) -> dict[str, Unit | Unknown]:
    """Each unit by its full name. systemd answers for units that do not exist, too (`load` is `not-found`)."""
    known = sorted({full(name) for name in names})
    if not known:
        return {}
    raw = answers.get(ask(known)[0])
    blocks = raw.text.strip("\n").split("\n\n") if raw else []
    if raw is None or not raw.ok or len(blocks) != len(known):
        said = raw.err.strip().splitlines() if raw else ["not asked yet"]
        return dict.fromkeys(known, Unknown(f"systemctl: {said[-1] if said else 'gave no answer'}"))
    return {name: _unit(block) for name, block in zip(known, blocks, strict=True)}


def _unit(block: str) -> Unit:
    told = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    return Unit(
        load=told.get("LoadState", ""),
        active=told.get("ActiveState", ""),
        sub=told.get("SubState", ""),
        file_state=told.get("UnitFileState", ""),
        stale=told.get("NeedDaemonReload") == "yes",
        result=told.get("Result", ""),
        runs_once=told.get("Type") == "oneshot" and told.get("RemainAfterExit") == "no",
        reloads=told.get("CanReload") == "yes",
        started=_time(told.get("ExecMainStartTimestamp", "") or told.get("ActiveEnterTimestamp", "")),
        settled=_time(told.get("StateChangeTimestamp", "")),
        followers=tuple(sorted(name for name in _names(told) if name.endswith(".service"))),
    )


def _names(told: Mapping[str, str]) -> set[str]:
    return {name for key in ("RequiredBy", "BoundBy", "ConsistsOf") for name in told.get(key, "").split()}


def following(unit: Unit) -> str:
    """Who else is hit when it stops, in words; "" for nobody."""
    return f"with it, where it runs: {', '.join(unit.followers)}" if unit.followers else ""


def _time(text: str) -> float | None:
    """`Mon 2026-11-23 01:03:17.628820 UTC`; "" and `n/a` for never."""
    try:
        day, clock = text.split()[1:3]
        return datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=UTC).timestamp()
    except (ValueError, IndexError):
        return None


# Where systemd reads units and their drop-ins from (systemd.unit(5)).
def reread(path: str, scope: Scope) -> tuple[Run, ...]:
    """systemd must read a changed unit, template or drop-in before anything is started from it; () for other files."""
    there = (scope.facts.get("systemd") or {}).get("running") and path.startswith(
        tuple(f"{folder}/" for folder in FOLDERS)
    )
    return (Run(("systemctl", "daemon-reload")),) if there else ()
