"""Answers played back instead of asked, and the wrapper that writes them down from a real host.

A recording is a mapping of host to a list of `{question, returncode, out, err}`, in JSON or YAML. It stands for systems
that are not at hand, and is a test double for users' own kinds.
"""

import base64
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from vinfra.errors import InputError, TransportError
from vinfra.model.question import (
    Exec,
    PyinfraFact,
    Question,
    Raw,
    ReadFile,
    ReadLibvirt,
    ReadLogin,
    ReadMarks,
    ReadTree,
)
from vinfra.model.step import Step, StepResult
from vinfra.model.transport import Reader

_KNOWN: tuple[type, ...] = (Exec, ReadFile, ReadTree, ReadMarks, ReadLibvirt, ReadLogin, PyinfraFact)
_QUESTIONS = {one.__name__: one for one in _KNOWN}
UNANSWERED = Raw(127, b"", "not in the recording")

Hosts = Mapping[str, Mapping[Question, Raw]]


class Recorded:
    """One host, played back. `unknown` is what every question fails with; steps are kept in `ran` and answered by `on`.

    What was not recorded is answered with status 127.
    """

    def __init__(
        self,
        answers: Mapping[Question, Raw],
        unknown: TransportError | None = None,
        on: Callable[[Step], StepResult] = lambda _: StepResult(0),
    ) -> None:
        self._answers = answers
        self._unknown = unknown
        self._on = on
        self.ran: list[Step] = []

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        if self._unknown:
            raise self._unknown
        return {question: self._answers.get(question, UNANSWERED) for question in questions}

    def run(self, step: Step) -> StepResult:
        if self._unknown:
            raise self._unknown
        self.ran.append(step)
        return self._on(step)


class Recording:
    """Passes questions on to real hosts and remembers what they answered."""

    def __init__(self) -> None:
        self._hosts: dict[str, dict[Question, Raw]] = {}
        self._lock = threading.Lock()

    def reader(self, host: str, real: Reader) -> Reader:
        """The host as before, with every answer kept."""
        return _Kept(lambda questions: self._keep(host, real.ask(questions)))

    def save(self, file: Path) -> None:
        """Write all answers as JSON. File contents are in it as the host gave them."""
        with self._lock:
            data = {host: [_written(*pair) for pair in answers.items()] for host, answers in self._hosts.items()}
        file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _keep(self, host: str, answers: Mapping[Question, Raw]) -> Mapping[Question, Raw]:
        with self._lock:
            self._hosts.setdefault(host, {}).update(answers)
        return answers


class _Kept:
    __slots__ = ("ask",)

    def __init__(self, ask: Callable[[Sequence[Question]], Mapping[Question, Raw]]) -> None:
        self.ask = ask


def load(file: Path) -> dict[str, dict[Question, Raw]]:
    """The answers of each host in a recording. Raises InputError."""
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        return {str(host): dict(map(_read, answers)) for host, answers in data.items()}
    except OSError as error:
        raise InputError([f"{file}: {error.strerror}"]) from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError([f"{file}: not a recording: {error}"]) from error


def _written(question: Question, raw: Raw) -> dict[str, Any]:
    asked = {field.name: getattr(question, field.name) for field in fields(question)}
    entry: dict[str, Any] = {"question": {type(question).__name__: asked}, "returncode": raw.returncode}
    try:
        entry["out"] = raw.out.decode("utf-8")
    except UnicodeDecodeError:
        entry["base64"] = base64.b64encode(raw.out).decode()
    return {**entry, "err": raw.err} if raw.err else entry


def _read(entry: Mapping[str, Any]) -> tuple[Question, Raw]:
    ((name, asked),) = entry["question"].items()
    question: Question = _QUESTIONS[name](**{field: _frozen(value) for field, value in (asked or {}).items()})
    out = base64.b64decode(entry["base64"]) if "base64" in entry else str(entry.get("out", "")).encode()
    return question, Raw(int(entry.get("returncode", 0)), out, str(entry.get("err", "")))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else value
