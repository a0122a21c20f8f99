"""Runs that were killed: what they had begun when nobody heard of them again. It is told, and hinders nothing."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vinfra.model.mark import State
from vinfra.model.plan import Plan
from vinfra.report.runs import SILENT, Run, files, parsed, read_run
from vinfra.report.visible import several

HEAD = 1 << 16  # of a journal, to see whose it is
MANY = 3
ANEW = "what it left is read anew"


def notes(plan: Plan, directory: Path) -> tuple[str, ...]:
    """What a plan's blueprint was in the middle of: here, by the journals; from elsewhere, by the hosts' marks."""
    there = files(directory)
    return (*_killed_here(plan.blueprint, there), *_begun_elsewhere(plan, frozenset(file.stem for file in there)))


def _killed_here(blueprint: str, there: list[Path]) -> Iterator[str]:
    """Each killed run since the last one that ended."""
    ours = [(time, file) for file in there for time, owner in [_head(file)] if owner == blueprint]
    for _, file in sorted(ours, reverse=True):
        run = read_run(file)
        if not isinstance(run, Run):
            continue
        if run.end and (run.end.get("exit_code") == 0 or run.counts):  # one that was refused has ended nothing
            return
        if run.status == SILENT and (run.unfinished or run.counts):
            yield f"run {run.id} by {run.begin.get('who', 'somebody')} {SILENT} {_during(run)}; {ANEW}"


def _head(file: Path) -> tuple[str, str]:
    """When a run came to a plan, and whose it is: "" for one that came to none, and for what is no journal."""
    with suppress(OSError, ValueError):
        if file.is_file():
            with file.open("rb") as stream:
                for line in stream.read(HEAD).decode("utf-8", "replace").split("\n"):
                    event = parsed(line) or {}
                    if event.get("event") == "plan":
                        return event["time"], event.get("owner", "")
    return "", ""


def _during(run: Run) -> str:
    begun = run.unfinished
    named = [f"{address}{step and f' ({step})'}" for address in begun[:MANY] for step in [run.last_step(address)]]
    clock = str(run.events[-1]["time"])[:19].replace("T", " ")
    if not begun:  # at a gate, or between two changes
        planned = next((event.get("changes", 0) for event in run.events if event["event"] == "plan"), 0)
        return f"after {clock} UTC, when {sum(run.counts.values())} of {several(planned, 'change')} had ended"
    return f"after {clock} UTC, during {_several(named, len(begun))}"


def _begun_elsewhere(plan: Plan, here: frozenset[str]) -> Iterator[str]:
    claims: dict[str, dict[str, None]] = {}
    for change in plan.changes:
        for mark in change.marks:
            if mark.state is State.CLAIMED and mark.blueprint == plan.blueprint and mark.run not in here:
                claims.setdefault(mark.run, {})[str(change.address)] = None
    for run, addresses in sorted(claims.items()):
        named = _several(list(addresses)[:MANY], len(addresses))
        whose = f"run {run or 'unknown'}, of which there is no journal here,"
        yield f"{whose} began {named} and did not end it: it failed, was killed or is still at work; {ANEW}"


def _several(named: list[str], count: int) -> str:
    more = count - len(named)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
