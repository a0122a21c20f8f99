"""Journals read back: which runs there were, and how each ended.

A journal may be cut short, edited, or not be one: a line that is not as ours are is left out and counted, and a file
that does not begin as ours do is named as a stranger.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

from vinfra.errors import ExitCode, UsageError
from vinfra.process import birth as process_birth
from vinfra.report import bounded
from vinfra.report.journal import FORMAT
from vinfra.report.terminal import padded
from vinfra.report.visible import several, visible

STYLES = {"done": "green", "failed": "bold red", "interrupted": "yellow", "running": "cyan"}
ENDS = {
    ExitCode.DONE: "done",
    ExitCode.REFUSED: "refused",
    ExitCode.INCOMPLETE: "incomplete",
    ExitCode.INTERRUPTED: "interrupted",
}
SILENT = "ended without a word"
LARGEST = 256 << 20
# What the values of a line are; the rest of it is passed over.
SHAPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("event", "time", "run", "blueprint", "digest", "who", "birth", "owner", "version"), str),
    **dict.fromkeys(
        ("host", "address", "action", "impact", "step", "status", "error", "why", "rollout", "passage"), str
    ),
    **dict.fromkeys(("format", "pid", "returncode", "exit_code", "changes", "number"), int),
    **dict.fromkeys(("command", "fields", "hosts", "units"), list),
    "seconds": (int, float),
    **dict.fromkeys(("labels", "failed"), dict),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run as its journal tells it."""

    id: str
    begin: dict[str, Any]
    events: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    spoilt: int = 0

    @property
    def owner(self) -> str:
        """The name of its blueprint; "" when it did not come as far as a plan."""
        return next((str(event.get("owner", "")) for event in self.events if event["event"] == "plan"), "")

    @property
    def began(self) -> str:
        """When, in UTC, as people write it."""
        return str(self.begin["time"])[:19].replace("T", " ")

    @property
    def seconds(self) -> float | None:
        """How long it took; None while nobody knows."""
        return self.end.get("seconds")

    @property
    def end(self) -> dict[str, Any]:
        """The end record; empty when there is none."""
        return next((event for event in reversed(self.events) if event.get("event") == "end"), {})

    @property
    def status(self) -> str:
        """done, failed, refused, incomplete, interrupted, running, or "ended without a word"."""
        if self.end:
            return ENDS.get(self.end.get("exit_code", 1), "failed")
        pid, birth = self.begin.get("pid"), self.begin.get("birth")
        return "running" if isinstance(pid, int) and birth and process_birth(pid) == birth else SILENT

    @property
    def labels(self) -> dict[str, Any]:
        """The labels of the blueprint that was run."""
        return next((dict(e["labels"]) for e in self.events if isinstance(e.get("labels"), dict)), {})

    @property
    def counts(self) -> dict[str, int]:
        """How many changes ended in which way; of one that was taken back again that counts."""
        ends = [event for event in self.events if event["event"] == "change-end"]
        return dict(Counter({event.get("address"): str(event.get("status")) for event in ends}.values()))

    @property
    def unfinished(self) -> list[str]:
        """Changes that began and have no end: what a killed run was at."""
        ended = {event.get("address") for event in self.events if event["event"] == "change-end"}
        began = [str(event.get("address")) for event in self.events if event["event"] == "change"]
        return [address for address in dict.fromkeys(began) if address not in ended]

    def last_step(self, address: str) -> str:
        """The step that a change came to, "" if to none."""
        steps = [event for event in self.events if event["event"] == "step" and event.get("address") == address]
        return str(steps[-1].get("step", "")) if steps else ""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A file among the journals that is none of this version, and why."""

    name: str
    why: str


def runs(directory: Path) -> list[Run]:
    """All runs, newest first."""
    return records(directory)[0]


def records(directory: Path) -> tuple[list[Run], list[Stranger]]:
    """All runs, newest first, and the files that are none."""
    read = [read_run(file) for file in files(directory)]
    found = [run for run in read if isinstance(run, Run)]
    found.sort(key=lambda run: (run.begin["time"], run.id), reverse=True)
    return found, [stranger for stranger in read if isinstance(stranger, Stranger)]


def find(directory: Path, name: str) -> Run:
    """The one run whose id begins so; `last` is the newest."""
    known = runs(directory)
    found = known[:1] if name == "last" else [run for run in known if run.id.startswith(name)]
    if len(found) != 1:
        what = "no such run" if not found else f"{len(found)} runs begin with this"
        raise UsageError(f"{what}: {name}", "vinfra runs lists them")
    return found[0]


def files(directory: Path) -> list[Path]:
    """What is there, by name: the oldest run first."""
    try:
        return sorted((directory / "runs").glob("*.jsonl"))
    except OSError:
        return []


def read_run(file: Path) -> Run | Stranger:
    """One file."""
    try:
        lines = bounded.read(file, LARGEST).decode("utf-8", "replace").split("\n")
    except OSError as error:
        return Stranger(file.name, error.strerror or str(error))
    except ValueError as error:
        return Stranger(file.name, str(error))
    begin = parsed(lines[0])
    if begin is None or begin["event"] != "begin":
        return Stranger(file.name, "it does not begin as a journal does")
    if begin.get("format") != FORMAT:
        return Stranger(file.name, f"it has format {begin.get('format')}; this vinfra reads {FORMAT}")
    rest = [line for line in lines[1:] if line]
    events = [event for line in rest if (event := parsed(line)) is not None]
    return Run(file.stem, begin, tuple(events), len(rest) - len(events))


def parsed(line: str) -> dict[str, Any] | None:
    """A line's event, with what we know of it; None for one that is not as ours are."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not {"event", "time"} <= event.keys():
        return None
    known = {key: value for key, value in event.items() if key in SHAPES}
    return known if all(_fits(value, SHAPES[key]) for key, value in known.items()) else None


def _fits(value: Any, shape: type | tuple[type, ...]) -> bool:
    if isinstance(value, list):
        return shape is list and all(isinstance(item, str) for item in value)
    if isinstance(value, dict):
        return shape is dict and all(isinstance(item, str) for item in value.values())
    return isinstance(value, shape) and not isinstance(value, bool)


def run_lines(found: list[Run], strangers: Sequence[Stranger] = (), limit: int = 20) -> list[Text]:
    """A line a run: when, how it ended, how long it took, who, what."""
    lines = [] if found else [Text("No runs yet.")]
    shown = found[:limit]
    wide = max((len(_by(run)) for run in shown), default=0)
    for run in shown:
        told = ", ".join(f"{count} {status}" for status, count in sorted(run.counts.items()))
        status = Text(padded(run.status, len(SILENT)), style=STYLES.get(run.status, "magenta"))
        took = f"{run.seconds:8.1f} s" if run.seconds is not None else " " * 10
        rest = f"  {took}  {padded(_by(run), wide)}  {_command(run)}"
        lines.append(
            Text.assemble(
                visible(run.id), f"  {visible(run.began)}  ", status, rest, (f"  {told}" if told else "", "dim")
            )
        )
    if len(found) > limit:
        lines.append(Text(f"… {len(found) - limit} older; --json has them all", style="dim"))
    if strangers:
        names = "; ".join(f"{visible(item.name)}: {visible(item.why)}" for item in strangers[:3])
        more = "; …" if len(strangers) > 3 else ""
        are = "file there is no journal" if len(strangers) == 1 else "files there are no journals"
        lines.append(Text(f"{len(strangers)} {are} of this version: {names}{more}", style="yellow"))
    return lines


def _by(run: Run) -> str:
    return visible(run.begin.get("who", ""))


def _command(run: Run) -> str:
    return visible(" ".join(run.begin.get("command", [])))


def run_detail(run: Run) -> list[Text]:
    """One run, event by event."""
    begin = run.begin
    owner = f"{visible(run.owner)}, " if run.owner else ""
    lines = [
        Text.assemble((visible(run.id), "bold"), "  ", (run.status, STYLES.get(run.status, "magenta"))),
        Text(f"  command    {_command(run)}"),
        Text(f"  blueprint  {owner}{visible(begin.get('blueprint', ''))}  {visible(begin.get('digest', ''))}"),
        Text(f"  by         {_by(run)}, process {visible(begin.get('pid', ''))}"),
        Text(f"  began      {visible(run.began)} UTC" + (f", took {run.seconds} s" if run.seconds is not None else "")),
    ]
    if run.labels:
        told = (f"{name}={value}" for name, value in run.labels.items())
        lines.append(Text(f"  labels     {visible(', '.join(told))}"))
    lines += [_event(event) for event in run.events]
    if run.spoilt:
        lines.append(Text(f"  {several(run.spoilt, 'line')} of the journal cannot be read", style="yellow"))
    if run.unfinished and run.status != "running":
        lines.append(Text(f"  begun and not ended: {visible(', '.join(run.unfinished))}", style="yellow"))
    return lines


_TOLD = ("owner", "host", "address", "action", "step", "rollout", "number", "passage", "status", "why", "error")


def _event(event: dict[str, Any]) -> Text:
    words = [str(event[key]) for key in _TOLD if event.get(key)]
    if "changes" in event:
        words.append(f"{several(event['changes'], 'change')} on {', '.join(event.get('hosts', []))}")
    words += [", ".join(event["units"])] if event.get("units") else []
    words += [f"{unit}: {reason}" for unit, reason in event.get("failed", {}).items()]
    words += [f"exit status {event['returncode']}"] if event.get("returncode") else []
    words += [f"exit code {event['exit_code']}"] if "exit_code" in event else []
    words += [f"{event['seconds']} s"] if "seconds" in event else []
    return Text(f"  {visible(event['time'][11:23])}  {visible(event['event']):<12}  {visible('  '.join(words))}")
