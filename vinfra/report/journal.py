"""Each run's journal on the controller: what was begun and how it ended, on disk before it happens.

One file a run, `<state>/runs/<id>.jsonl`, 0600, JSON lines, only appended to. It tells people what happened; what is
on the hosts is told by the hosts' own marks, so a journal that is lost or cut short loses no object. It holds no
content, no value, nothing that a program on a host printed, and nothing of a step but its summary.

What begins is synced before it happens; what ends is not: an end that a power cut took away makes a step look
interrupted that was done, and what it left is read anew in any case.
"""

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import Any, Self

from vinfra.errors import ExitCode, VinfraError
from vinfra.model.change import Change
from vinfra.model.outcome import ChangeOutcome, Status
from vinfra.model.plan import Plan
from vinfra.model.rollout import Batch, GateEnd, Roll
from vinfra.model.step import Step, StepResult
from vinfra.process import birth as process_birth
from vinfra.process import who
from vinfra.report import bounded

FORMAT = 1
KEEP = 200
LARGEST = 64 << 20  # bytes of a blueprint
# Ends that are told in our own words; why a step failed is told by a program on the host, which may say anything.
OURS = (Status.BLOCKED, Status.LEFT)


def state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where vinfra keeps what it remembers: $VINFRA_STATE, else the user's state directory."""
    if named := environment.get("VINFRA_STATE"):
        return Path(named)
    home = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "vinfra"


class Journal:
    """An observer to be entered with `with`; it notes the end in whichever way the run ends.

    The directory must be writable when the run begins. When the disk fills up later the run goes on, for a half-done
    change is worse than a short journal: `trouble` then says so.
    """

    def __init__(self, directory: Path, command: Sequence[str], blueprint: Path) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._gates: dict[str, str] = {}  # why they were not passed, and what is kept of that
        self.trouble = ""
        self.exit_code: ExitCode | None = None
        self.id, self._file = _opened(directory)
        self._write(
            {
                "event": "begin",
                "format": FORMAT,
                "run": self.id,
                "command": list(command),
                "blueprint": str(blueprint),
                "digest": _digest(blueprint),
                "who": who(),
                "pid": os.getpid(),
                "birth": process_birth(os.getpid()),
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = self.exit_code
        if error is not None or code is None:
            code = _code_of(error)
        said = type(error).__name__ if error is not None else ""
        self._write({"event": "end", "exit_code": int(code), "seconds": self._spent(), "error": said}, last=True)
        os.close(self._file)

    def planned(self, plan: Plan) -> None:
        """The plan was shown: whose it is, what it is labelled with, and where it will act."""
        hosts = sorted({change.place for change in plan.runnable})
        told = {"owner": plan.blueprint, "version": plan.digest[:16], "changes": len(plan.runnable), "hosts": hosts}
        labels = {"labels": dict(plan.labels)} if plan.labels else {}
        self._write({"event": "plan", **told, **labels})

    def host_started(self, host: str, rounds: int) -> None:
        """Reading is not journalled."""

    def host_read(self, host: str, seconds: float, error: str) -> None:
        """Only what could not be read is worth a line."""
        if error:
            self._write({"event": "host-unknown", "host": host, "error": error}, sync=False)

    def warned(self, line: str) -> None:
        """It was shown; a plan tells it again."""

    def change_started(self, change: Change) -> None:
        """A change begins."""
        delta = change.delta
        fields = [field.path for field in delta.fields]
        row = {"host": change.place, "action": delta.action.name.lower(), "impact": str(delta.impact), "fields": fields}
        self._write({"event": "change", "address": str(change.address), **row}, sync=False)

    def step_started(self, change: Change, step: Step) -> None:
        """A step is about to run: on disk when this returns."""
        self._write({"event": "step", "address": str(change.address), "step": step.summary})

    def step_ended(self, change: Change, step: Step, result: StepResult) -> None:
        """A step ended. What it printed is not kept, for it may be anything."""
        end = {"returncode": result.returncode, "seconds": round(result.seconds, 3)}
        self._write({"event": "step-end", "address": str(change.address), "step": step.summary, **end}, sync=False)

    def change_ended(self, change: Change, outcome: ChangeOutcome) -> None:
        """A change ended."""
        reason = outcome.reason
        for said, kept in self._gates.items():
            reason = reason.replace(said, kept)
        why = {"why": reason} if outcome.status in OURS else {}
        end = {"status": outcome.status.value, "seconds": round(outcome.seconds, 3), **why}
        self._write({"event": "change-end", "address": str(outcome.address), **end}, sync=False)

    def batch_started(self, roll: Roll, batch: Batch) -> None:
        """A batch begins."""
        self._write({"event": "batch", "rollout": roll.name, "number": batch.number, "units": list(batch.units)})

    def gate_ended(self, end: GateEnd) -> None:
        """A gate was passed or not; why not is kept, in our own words."""
        if end.failed:
            self._gates[end.reason] = end.kept.reason
        told = {"number": end.gate.number, "passage": end.passage.value, "failed": dict(end.kept.failed)}
        self._write({"event": "gate", "rollout": end.gate.roll.name, **told})

    def _spent(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _write(self, record: dict[str, Any], sync: bool = True, last: bool = False) -> None:
        """Add a line. After one that did not fit, only the `last` one is tried again: there may be room by then."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="microseconds"), **record})
        with self._lock:
            if self.trouble and not last:
                return
            try:
                _all(self._file, f"{chr(10) if self.trouble else ''}{line}\n".encode())
                if sync:
                    os.fsync(self._file)
            except OSError as error:
                self.trouble = f"the journal of run {self.id} is not complete: {error.strerror}"


def _all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _opened(directory: Path) -> tuple[str, int]:
    """A new run's id and its file, which a power cut does not take away: its name is on disk as well."""
    folder = directory / "runs"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
            try:
                number = os.open(folder / f"{name}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            except FileExistsError:
                continue
            _sync(folder)
            _sync(directory)
            _retire(folder)
            return name, number
    except OSError as error:
        raise VinfraError(
            f"the journal cannot be written in {folder}: {error.strerror}",
            "nothing was touched; make it writable or name another place in VINFRA_STATE",
        ) from error


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _retire(folder: Path) -> None:
    """Remove the oldest journals. What cannot be removed stays, and what somebody else just removed is gone."""
    found: list[tuple[int, Path]] = []
    for file in folder.glob("[0-9]*Z-*.jsonl"):
        with suppress(OSError):
            status = file.lstat()
            found += [(status.st_mtime_ns, file)] if S_ISREG(status.st_mode) else []
    for _, old in sorted(found)[:-KEEP]:
        with suppress(OSError):
            old.unlink()


def _digest(blueprint: Path) -> str:
    try:
        return hashlib.sha256(bounded.read(blueprint, LARGEST)).hexdigest()[:16]
    except (OSError, ValueError):
        return ""


def _code_of(error: BaseException | None) -> ExitCode:
    if isinstance(error, VinfraError):
        return error.exit_code
    return ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.FAILED
