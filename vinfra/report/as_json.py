"""Every command's result as one JSON document, in the words of the terminal.

A document begins with `vinfra` (the version that wrote it), `format` (rises when a key changes its meaning or goes),
`command` and `exit_code`. New keys may come at any time. Lists are sorted, so that equal states give equal documents
apart from times. Secret values are not in it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from vinfra import __version__
from vinfra.errors import ExitCode, InputError, StepFailed, VinfraError
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, FieldChange
from vinfra.model.mark import Mark
from vinfra.model.outcome import Outcome
from vinfra.model.plan import Plan
from vinfra.model.policy import Violation
from vinfra.model.secret import Secret
from vinfra.model.source import Position, Problem
from vinfra.model.spec import Deferred, Spec
from vinfra.report.content import hidden
from vinfra.report.failures import Failures
from vinfra.report.rollouts import gate_body, rollout_bodies
from vinfra.report.runs import Run
from vinfra.report.wording import HIDDEN

FORMAT = 1

Document = dict[str, Any]


def dumps(document: Document) -> str:
    """The document as text, ASCII only."""
    return json.dumps(document, indent=2, ensure_ascii=True)


def document(command: str, exit_code: ExitCode, body: Mapping[str, Any]) -> Document:
    """A command's document."""
    return {"vinfra": __version__, "format": FORMAT, "command": command, "exit_code": int(exit_code), **body}


def plan_document(plan: Plan, command: str = "plan", exit_code: ExitCode | None = None) -> Document:
    """What `plan` and `drift` found."""
    return document(command, plan.exit_code if exit_code is None else exit_code, plan_body(plan))


def plan_body(plan: Plan) -> Document:
    """The keys of a plan: its hosts, its changes (those that say something) and its counts."""
    order = {host: number for number, host in enumerate(plan.hosts)}
    rows = sorted(plan.pending, key=lambda change: (order.get(change.place, len(order)), change.address))
    return {
        "blueprint": plan.blueprint,
        "hosts": [{"name": host, "unknown": plan.unknown.get(host)} for host in plan.hosts],
        "resources": len(plan.changes),
        "changes": [change_body(change) for change in rows],
        "counts": dict(sorted(plan.counts().items())),
        "refused": len(plan.refused),
        "impact": str(plan.impact),
        "labels": dict(sorted(plan.labels.items())),
        "violations": [violation_body(violation) for violation in plan.violations],
        "unknown": len(plan.unread),
        "kept": sorted(map(str, plan.kept)),
        "rollouts": rollout_bodies(plan),
        "warnings": sorted(plan.warnings),
        "seconds": round(plan.seconds, 3),
    }


def violation_body(violation: Violation) -> Document:
    """A policy that a plan violates; without rows it is the plan as a whole, and then none of it runs."""
    rows = sorted(map(str, violation.rows))
    where = position_body(violation.position)
    return {"policy": violation.policy, "reason": violation.reason, "position": where, "rows": rows}


def change_body(change: Change) -> Document:
    """One row; `mark` is there where a mark is the reason for it."""
    delta = change.delta
    return {
        "address": str(change.address),
        "kind": change.address.kind,
        "host": change.place,
        "name": change.address.name,
        "action": delta.action.name.lower(),
        "verdict": delta.verdict.name.lower(),
        "impact": str(delta.impact),
        "reason": delta.reason,
        "fields": [_field(field) for field in sorted(delta.fields, key=lambda field: field.path)],
        "steps": [{"summary": step.summary, "impact": str(step.impact)} for step in change.steps],
        "after": sorted(map(str, change.after)),
        "position": position_body(change.position),
        **({} if change.mark is None else {"mark": mark_body(change.mark)}),
    }


def mark_body(mark: Mark) -> Document:
    """Whose an object is: who made it so, in which run, when, from which version of the blueprint."""
    keys = ("blueprint", "kind", "name", "host", "fleet", "protect", "run", "time", "who", "commit", "digest")
    told = {key: getattr(mark, key) for key in keys}
    return {**told, "state": mark.state.value, "birth": mark.birth.value, "fields": list(mark.fields)}


def _field(field: FieldChange) -> Document:
    body: Document = {"path": field.path, "impact": str(field.impact), "why": field.why, "secret": hidden(field)}
    if not hidden(field):
        body |= {"desired": plain(field.after), "actual": plain(field.before)}
    return body


def position_body(position: Position) -> Document | None:
    """A place in a file, or null."""
    return {"file": position.file, "line": position.line, "column": position.column} if position.file else None


def plain(value: Any) -> Any:
    """A value in JSON's own types; a secret is named, not told."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, Deferred):
        return {"later": str(value.raw)}
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Spec):
        return plain(dict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)


def outcome_document(outcome: Outcome, command: str, failures: Failures, seconds: float = 0.0) -> Document:
    """How a run ended."""
    ends = sorted(outcome.changes, key=lambda end: end.address)
    counts: dict[str, int] = {}
    rows = []
    for end in ends:
        counts[end.status.value] = counts.get(end.status.value, 0) + 1
        row: Document = {"address": str(end.address), "status": end.status.value, "reason": end.reason}
        row["seconds"] = round(end.seconds, 3)
        if failure := failures.of(end.address):
            told = {"step": failure.step, "returncode": failure.returncode, "remedy": failure.remedy}
            row["failure"] = {**told, "last_words": list(failure.last_words)}
        rows.append(row)
    body = {
        "run": outcome.run,
        "interrupted": outcome.interrupted,
        "reason": outcome.reason,
        "outcomes": rows,
        "gates": [gate_body(end) for end in outcome.gates],
        "ended": dict(sorted(counts.items())),
    }
    return document(command, outcome.exit_code, {**body, "took": round(seconds, 3), "plan": plan_body(outcome.plan)})


def wish_document(
    blueprint: str, files: Iterable[str], hosts: Iterable[str], resources: Iterable[Resource]
) -> Document:
    """What `validate` found."""
    rows = [
        {
            "address": str(resource.address),
            "wanted": "absent" if resource.desired is None else "present",
            "position": position_body(resource.position),
        }
        for resource in sorted(resources, key=lambda resource: resource.address)
    ]
    body = {"blueprint": blueprint, "files": list(files), "hosts": list(hosts), "resources": rows, "problems": []}
    return document("validate", ExitCode.DONE, body)


def facts_document(facts: Mapping[str, Mapping[str, Any] | str], exit_code: ExitCode) -> Document:
    """What hosts told of themselves, or why they did not."""
    hosts = [
        {"name": host, "unknown": told, "facts": None}
        if isinstance(told, str)
        else {"name": host, "unknown": None, "facts": plain(told)}
        for host, told in facts.items()
    ]
    return document("facts", exit_code, {"hosts": hosts})


def run_body(run: Run, events: bool = False) -> Document:
    """One run of the journal."""
    begin = {key: run.begin.get(key) for key in ("time", "command", "blueprint", "digest", "who", "pid")}
    body: Document = {"run": run.id, "status": run.status, **begin, "labels": run.labels}
    body |= {"ended": dict(sorted(run.counts.items())), "owner": run.owner, "seconds": run.seconds}
    body["exit_code"] = run.end.get("exit_code")
    more = {"unfinished": run.unfinished, "unreadable_lines": run.spoilt, "events": list(run.events)}
    return {**body, **more} if events else body


def error_document(error: BaseException, command: str, exit_code: ExitCode) -> Document:
    """Why a command came to nothing; `problems` are those of files."""
    told: Document = {"type": type(error).__name__, "message": str(error), "hint": ""}
    problems: list[Document] = []
    if isinstance(error, VinfraError):
        told |= {"message": error.message, "hint": error.hint}
    if isinstance(error, StepFailed):
        told |= {"returncode": error.returncode, "stderr": error.stderr}
    if isinstance(error, InputError):
        problems = [_problem(problem) for problem in error.problems]
    return document(command, exit_code, {"error": told, "problems": problems})


def _problem(problem: object) -> Document:
    if not isinstance(problem, Problem):
        return {"file": "", "line": 0, "column": 0, "path": "", "message": str(problem)}
    return {**problem.position._asdict(), "path": problem.path, "message": problem.message}
