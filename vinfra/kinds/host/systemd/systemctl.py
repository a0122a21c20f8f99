"""Steps of systemctl, verb by verb, and those that bring a unit back to what it was."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from vinfra.model.action import Impact
from vinfra.model.step import Exec, Step

REREAD = Step("systemd reads its unit files again", (Exec(("systemctl", "daemon-reload")),))


@dataclass(frozen=True, slots=True)
class State:
    """What a unit was before it was changed."""

    running: bool
    enabled: bool
    masked: bool


def call(said: str, unit: str, impact: Impact, *verb: str) -> Step:
    """One verb."""
    return Step(f"{said} {unit}", (Exec(("systemctl", *verb, "--", unit)),), impact)


def up(verb: str, unit: str, impact: Impact) -> Step:
    """`status` decides, not the verb: it fails unless the unit is up after half a second, and shows its last lines."""
    status = ("systemctl", "--no-pager", "--full", "--lines=10", "status", "--", unit)
    calls = (Exec(("systemctl", verb, "--", unit), ok=(0, 1)), Exec(("sleep", "0.5")), Exec(status))
    return Step(f"{verb} {unit} and see it stay up", calls, impact)


def back(unit: str, was: State, changed: Collection[str]) -> Iterator[Step]:
    """From whatever was changed to what the unit was. What is masked can be neither enabled nor started."""
    if "unit file" in changed:
        yield REREAD
    if "masked" in changed and not was.masked:
        yield call("unmask", unit, Impact.LIVE, "unmask")
    if "enabled" in changed:
        verb = "enable" if was.enabled else "disable"
        yield call(verb, unit, Impact.LIVE, verb)
    if was.running and set(changed) & {"running", "restart_on", "masked", "unit file"}:
        again = up("restart", unit, Impact.RESTART)
        # What it was changed to may have failed so often that systemd would not start it once more.
        yield replace(again, calls=(Exec(("systemctl", "reset-failed", "--", unit), ok=(0, 1)), *again.calls))
    elif was.running and "reload_on" in changed:
        yield call("reload", unit, Impact.LIVE, "reload")
    elif "running" in changed:
        yield call("stop", unit, Impact.RESTART, "stop")
    if "masked" in changed and was.masked:
        yield call("mask", unit, Impact.RESTART, "mask")
