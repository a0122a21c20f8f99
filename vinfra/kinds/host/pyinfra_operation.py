"""What one of pyinfra's operations would do on a host, found out without a connection.

An operation is a generator that looks at facts and yields commands. It is run against the answers we have. A fact that
was not asked yet is noted and stands in with its default, so that one run finds as many of them as possible; only a run
in which nothing was missing counts. pyinfra is imported here alone, and only when a blueprint holds an operation.
"""

import importlib
import inspect
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha1
from typing import Any

from vinfra.model.kind import Answers
from vinfra.model.question import PyinfraFact
from vinfra.model.step import SCRATCH, Call, Shell, Write

# Commands that are no shell text: a Python function, a file for this machine, another program of this machine.
CLOSED = {"FunctionCommand": "Python functions", "FileDownloadCommand": "downloads", "RsyncCommand": "rsync"}
NO_PROGRAM = 127
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Planned:
    """What an operation would do, or the facts it still needs, or why it cannot be planned. `shown` hides secrets."""

    calls: tuple[Call, ...] = ()
    shown: tuple[str, ...] = ()
    needs: tuple[PyinfraFact, ...] = ()
    problem: str = ""
    failed: str = ""


def problem(name: str, arguments: Mapping[str, Any], guarded: bool) -> str:
    """Why an operation cannot be used like this; "" if it can. `guarded`: it has an `unless`."""
    function = _function(name)
    if function is None:
        return f"pyinfra has no operation {name}; write module.function, such as files.line"
    used = set(function.__code__.co_names)
    for command, words in CLOSED.items():
        if command in used or name.startswith("python."):
            return f"{name} works with {words if command in used else 'Python functions'}, which a plan cannot hold"
    if not getattr(function, "is_idempotent", True) and not guarded:
        return f"{name} would run every time; say when it is done with `unless`"
    if foreign := sorted(key for key in arguments if key.startswith("_")):
        return f"{foreign[0]} is one of pyinfra's global arguments; vinfra decides how commands run"
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        return f"{name}: {error}"
    return ""


def _function(name: str) -> Any:
    """The generator inside an operation, None when there is no such operation."""
    module, _, attribute = name.partition(".")
    if not (module.isidentifier() and attribute.isidentifier()):
        return None
    try:
        found = getattr(importlib.import_module(f"pyinfra.operations.{module}"), attribute, None)
    except ImportError:
        return None
    return getattr(found, "_inner", None)


@lru_cache(maxsize=1)
def _state() -> Any:
    """pyinfra knows one state per process, and its operations find it there."""
    api, context = importlib.import_module("pyinfra.api"), importlib.import_module("pyinfra.context")
    state_class = importlib.import_module("pyinfra.api.state").State
    logging.getLogger("pyinfra").setLevel(logging.CRITICAL)
    state = state_class(api.Inventory((["planning"], {})), api.Config())
    context.ctx_state.set(state)
    return state


@dataclass
class _Run:
    """One run of one operation: what it was told, and what it asked for in vain."""

    answers: Answers
    needs: list[PyinfraFact] = field(default_factory=list)
    failed: str = ""
    temporary: int = 0

    def fact(self, kind: Any, *args: Any, **kwargs: Any) -> Any:
        """Stands in for pyinfra's Host.get_fact."""
        if not hasattr(kind, "command"):  # a short fact: a view on another one
            return kind().process_data(self.fact(kind.fact, *args, **kwargs))
        given = {key: value for key, value in kwargs.items() if not key.startswith("_")}
        fact = kind()
        bound = inspect.signature(fact.command).bind(*args, **given).arguments if callable(fact.command) else {}
        question = PyinfraFact(kind.name, tuple(sorted((key, _frozen(value)) for key, value in bound.items())))
        raw = self.answers.get(question)
        if raw is None:
            self.needs.append(question)
            return fact.default()
        if callable(fact.command):
            fact.command(**bound)  # some facts remember their arguments for `process`
        lines = raw.text.splitlines()
        if raw.returncode == NO_PROGRAM and not lines:
            return fact.default()
        if not raw.ok:
            self.failed = self.failed or f"{kind.name}: {raw.err.strip() or f'exit status {raw.returncode}'}"
            return fact.default()
        return fact.process(lines) if lines else fact.default()

    def temporary_name(self, hash_key: str | None = None, *_: Any, **__: Any) -> str:
        """Stands in for Host.get_temp_filename: the same name in every run, for it may become part of a question."""
        self.temporary += 1
        return f"{SCRATCH}/{sha1((hash_key or str(self.temporary)).encode(), usedforsecurity=False).hexdigest()}"


def _frozen(value: Any) -> Any:
    """Questions are keys, so their arguments must be hashable."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def plan(name: str, arguments: Mapping[str, Any], answers: Answers) -> Planned:
    """What the operation would do, as far as the answers tell."""
    function = _function(name)
    if function is None:
        return Planned(problem=f"pyinfra has no operation {name}")
    context = importlib.import_module("pyinfra.context")
    run = _Run(answers)
    with _lock:  # the state is shared, and a run takes no time worth sharing
        host = _host(run)
        before = context.ctx_host.get() if context.ctx_host.isset() else None
        context.ctx_host.set(host)
        try:
            calls, shown = _calls(function, arguments)
        except Exception as error:
            if not run.needs:
                return Planned(problem=f"{name}: {error}", failed=run.failed)
            calls, shown = (), ()
        finally:
            context.ctx_host.set(before)
    if run.needs:
        return Planned(needs=tuple(dict.fromkeys(run.needs)))
    return Planned(calls, shown, failed=run.failed)


def _host(run: _Run) -> Any:
    state = _state()
    host_class = importlib.import_module("pyinfra.api.host").Host
    host = host_class("planning", state.inventory, [], connector_cls=object)
    host.state = state
    host.get_fact = run.fact
    host.get_temp_filename = run.temporary_name
    host.noop = lambda *_: None
    host.log = lambda *_, **__: None
    return host


def _calls(function: Any, arguments: Mapping[str, Any]) -> tuple[tuple[Call, ...], tuple[str, ...]]:
    command_module = importlib.import_module("pyinfra.api.command")
    calls: list[Call] = []
    shown: list[str] = []
    for item in function(**arguments):
        command = command_module.StringCommand(item.strip()) if isinstance(item, str) else item
        extra = sorted(key for key, value in getattr(command, "connector_arguments", {}).items() if value)
        if extra:
            raise ValueError(f"it wants {extra[0]} for one of its commands, which a plan cannot hold")
        if isinstance(command, command_module.FileUploadCommand):
            calls.append(Write(str(command.dest), _content(command.src)))
            shown.append(f"write {command.dest}")
        elif isinstance(command, command_module.StringCommand):
            calls.append(Shell(command.get_raw_value()))
            shown.append(command.get_masked_value())
        else:
            raise NotImplementedError(f"it yields a {type(command).__name__}, which a plan cannot hold")
    return tuple(calls), tuple(shown)


def _content(source: Any) -> bytes:
    """The upload's content, read by pyinfra's own means from what it was given."""
    with importlib.import_module("pyinfra.api.util").get_file_io(source) as file:
        data = file.read()
    return data.encode() if isinstance(data, str) else bytes(data)
