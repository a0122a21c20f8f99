"""Journals read back: which runs there were, and how each ended."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

from vinfra.errors import ExitCode, UsageError
from vinfra.process import birth as process_birth
from vinfra.report.journal import FORMAT
from vinfra.report.terminal import padded
from vinfra.report.visible import visible

STYLES = {"done": "green", "failed": "bold red", "interrupted": "yellow", "running": "cyan"}
ENDS = {
    ExitCode.DONE: "done",
    ExitCode.REFUSED: "refused",
    ExitCode.INCOMPLETE: "incomplete",
    ExitCode.INTERRUPTED: "interrupted",
}
_TOLD = ("host", "address", "action", "step", "status", "error", "rollout", "number", "passage")
SILENT = "ended without a word"


@dataclass(frozen=True, slots=True)
class Run:
    """One run as its journal tells it."""

    id: str
    begin: dict[str, Any]
    events: tuple[dict[str, Any], ...] = field(default=(), repr=False)

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
    def counts(self) -> dict[str, int]:
        """How many changes ended in which way; of one that was taken back again that counts."""
        ends = [event for event in self.events if event.get("event") == "change-end"]
        return dict(Counter({event.get("address"): str(event.get("status")) for event in ends}.values()))

    @property
    def unfinished(self) -> list[str]:
        """Changes that began and have no end: what a killed run was at."""
        ended = {event.get("address") for event in self.events if event.get("event") == "change-end"}
        began = [str(event.get("address")) for event in self.events if event.get("event") == "change"]
        return [address for address in began if address not in ended]


def runs(directory: Path) -> list[Run]:
    """All runs, newest first. Files of somebody else and lines cut short are passed over."""
    found = [run for file in _files(directory) if (run := _read(file)) is not None]
    return sorted(found, key=lambda run: (str(run.begin.get("time")), run.id), reverse=True)


def find(directory: Path, name: str) -> Run:
    """The one run whose id begins so; `last` is the newest."""
    known = runs(directory)
    found = known[:1] if name == "last" else [run for run in known if run.id.startswith(name)]
    if len(found) != 1:
        what = "no such run" if not found else f"{len(found)} runs begin with this"
        raise UsageError(f"{what}: {name}", "vinfra runs lists them")
    return found[0]


def _files(directory: Path) -> Iterator[Path]:
    try:
        yield from (directory / "runs").glob("*.jsonl")
    except OSError:
        return


def _read(file: Path) -> Run | None:
    try:
        lines = file.read_bytes().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    events = [event for line in lines if (event := _parsed(line)) is not None]
    if not events or events[0].get("event") != "begin" or events[0].get("format") != FORMAT:
        return None
    return Run(file.stem, events[0], tuple(events[1:]))


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def run_lines(found: list[Run], limit: int = 20) -> list[Text]:
    """A line a run."""
    if not found:
        return [Text("No runs yet.")]
    lines = []
    for run in found[:limit]:
        told = ", ".join(f"{count} {status}" for status, count in sorted(run.counts.items()))
        command = visible(" ".join(map(str, run.begin.get("command", []))))
        status = Text(padded(run.status, len(SILENT)), style=STYLES.get(run.status, "magenta"))
        lines.append(Text.assemble(run.id, "  ", status, f"  {command}", (f"  {told}" if told else "", "dim")))
    if len(found) > limit:
        lines.append(Text(f"… {len(found) - limit} older; --json has them all", style="dim"))
    return lines


def run_detail(run: Run) -> list[Text]:
    """One run, event by event."""
    begin = run.begin
    lines = [
        Text.assemble((run.id, "bold"), "  ", (run.status, STYLES.get(run.status, "magenta"))),
        Text(f"  command    {visible(' '.join(map(str, begin.get('command', []))))}"),
        Text(f"  blueprint  {visible(begin.get('blueprint', ''))}  {visible(begin.get('digest', ''))}"),
        Text(f"  by         {visible(begin.get('who', ''))}, process {visible(begin.get('pid', ''))}"),
        Text(f"  began      {visible(begin.get('time', ''))}"),
    ]
    for event in run.events:
        words = [str(event[key]) for key in _TOLD if event.get(key)]
        words += [", ".join(event["units"])] if event.get("units") else []
        words += [f"{unit}: {reason}" for unit, reason in (event.get("failed") or {}).items()]
        words += [f"exit status {event['returncode']}"] if event.get("returncode") else []
        words += [f"exit code {event['exit_code']}"] if "exit_code" in event else []
        words += [f"{event['seconds']} s"] if "seconds" in event else []
        clock = str(event.get("time", ""))[11:23]
        lines.append(Text(f"  {clock}  {visible(event.get('event', '')):<12}  {visible('  '.join(words))}"))
    if run.unfinished and run.status != "running":
        lines.append(Text(f"  begun and not ended: {visible(', '.join(run.unfinished))}", style="yellow"))
    return lines
