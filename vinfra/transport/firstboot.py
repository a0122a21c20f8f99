"""Waiting until cloud-init is done on a machine, by the files in which it notes how far it is.

`cloud-init status` reads the same ones; they are there for everybody to read, and have had one form since 2017. What is
in them belongs to this boot: /run is empty after the next.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vinfra.errors import TransportError
from vinfra.model.question import Raw, ReadFile
from vinfra.model.transport import Reader

STATUS = ReadFile("/run/cloud-init/status.json")
RESULT = ReadFile("/run/cloud-init/result.json")
OUTPUT = ReadFile("/var/log/cloud-init-output.log", 4096, last=True)
_STAGES = ("init-local", "init", "modules-config", "modules-final")
_POLL = 1.0
_LINES = 5  # with what stands around them, as many as a report shows


class Unfinished(Exception):
    """cloud-init ended in error, or did not end in time."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far cloud-init is: done, or at a `stage`; what went wrong, and what it got over."""

    done: bool
    stage: str = ""
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def settled(reader: Reader, name: str, deadline: float) -> str:
    """Wait for its end; what it got over is the answer, "" for nothing. Raises Unfinished; a reboot is waited for."""
    last = Progress(done=False)
    while True:
        try:
            answers = reader.ask([STATUS, RESULT])
            last = read(answers[STATUS], answers[RESULT])
        except TransportError:
            if time.monotonic() > deadline:  # it may have been told to reboot when it is done
                raise
            time.sleep(_POLL)
            continue
        if last.errors and last.done:
            raise Unfinished(_failed(reader, name, last))
        if last.done:
            return "".join(f"cloud-init of {name} warns: {line}\n" for line in last.warnings)
        if time.monotonic() > deadline:
            at = f"is still at {last.stage}" if last.stage else "has not begun"
            raise Unfinished(f"{name} answers by SSH, but its cloud-init {at}\n{_ADVICE}")
        time.sleep(_POLL)


_AGAIN = "what it did is done: correct the data, and `on_change: replace` makes the machine anew"
_ADVICE = "look at /var/log/cloud-init-output.log there; `timeout` under access says how long it may take"


def read(status: Raw, result: Raw) -> Progress:
    """What the two files tell. Without the first there is no cloud-init, or it was switched off."""
    if not status.ok:
        return Progress(done=True)
    told = _parsed(status)
    stages = [(name, told[name]) for name in _STAGES if isinstance(told.get(name), Mapping)]
    errors = tuple(f"{name}: {line}" for name, stage in stages for line in _listed(stage.get("errors")))
    warnings = tuple(dict.fromkeys(line for _, stage in stages for line in _warned(stage)))
    return Progress(result.ok, str(told.get("stage") or ""), errors, warnings)


def _parsed(raw: Raw) -> Mapping[str, Any]:
    """It is written in place of the one before, but may be of a newer form."""
    try:
        told = json.loads(raw.text)
    except json.JSONDecodeError:
        return {}
    inner = told.get("v1") if isinstance(told, dict) else None
    return inner if isinstance(inner, dict) else {}


def _listed(value: Any) -> list[str]:
    return [" ".join(str(item).split()) for item in value] if isinstance(value, list) else []


def _warned(stage: Mapping[str, Any]) -> Iterator[str]:
    """Since 23.4: messages by how bad they are. Those of deprecated keys are for the author, and stop nothing."""
    found = stage.get("recoverable_errors")
    for lines in (found if isinstance(found, Mapping) else {}).values():
        yield from _listed(lines)


def _failed(reader: Reader, name: str, last: Progress) -> str:
    said = reader.ask([OUTPUT])[OUTPUT]
    lines = [line for line in said.text.splitlines() if line.strip()][-_LINES:] if said.ok else []
    shown = "".join(f"\n  {line}" for line in lines)
    ending = f"\nthe end of its output:{shown}" if lines else "\nlook at /var/log/cloud-init-output.log there"
    return f"cloud-init of {name} ended in error: {'; '.join(last.errors)}{ending}\n{_AGAIN}"
