"""A program that is run once, until something it makes is there or a condition holds.

It keeps fewer promises than a kind: it leaves no object that could be pruned, and only you know what it does.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from vinfra.kinds.compare import SAME, later, own_identity, updated
from vinfra.kinds.host.files import paths
from vinfra.kinds.host.operations import conditions, terms
from vinfra.kinds.host.operations.arguments import Arguments
from vinfra.kinds.host.operations.terms import SAID, WHEN, Terms
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question
from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.step import Call, Exec, Step
from vinfra.model.values import Seconds, Text, Whole

NAME = "host.command"
SECTION = "commands"
SHORTHAND = ""
ORDER = 62
SHARED = False
REMOVAL = Removal(Impact.NONE, when="nothing is undone")


def _environment(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(re.fullmatch(r"[A-Za-z_]\w*", str(key)) for key in value):
        raise ValueError("write names and values, such as {MODE: fast}")
    if any(not isinstance(item, str | int | float | Secret) for item in value.values()):
        raise ValueError("each value is text, or {secret: …}")
    return {str(key): item if isinstance(item, Secret) else _plain(item) for key, item in value.items()}


def _plain(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


Environment = Annotated[dict[str, Any], BeforeValidator(_environment), WithJsonSchema({"type": "object"})]


class Spec(Terms):
    """A program and its arguments, and what tells that it need not run: `creates` or `unless`, or both."""

    run: Arguments = field(
        "The program and its arguments, a list: no shell reads them.",
        default=...,
        impact=Impact.DATA_LOSS,
        why=SAID,
        when=WHEN,
        examples=(["tar", "-xf", "/srv/app.tar", "-C", "/opt/app"],),
    )
    creates: Text | None = field(
        "A path that it makes: it runs only while that is not there, and has failed if it is not there then.",
        compared=False,
        examples=("/opt/app/VERSION",),
    )
    unless: tuple[conditions.Condition, ...] | None = field(
        "Nothing is done when one of these holds.", compared=False, examples=([{"service": "app"}],)
    )
    cwd: Text | None = field("The directory it runs in; / if not given.", compared=False, examples=("/opt/app",))
    env: Environment | None = field(
        "Environment variables; they are no part of its command line.",
        secret=True,
        compared=False,
        examples=({"TOKEN": {"secret": "env:TOKEN"}},),
    )
    user: Text | None = field("Who runs it; root if not given.", compared=False, examples=("deploy",))
    timeout: Seconds = field("After so long it is ended, and has failed.", default=600.0, compared=False)
    ok: tuple[Whole, ...] = field("Exit statuses that are no failure.", default=(0,), compared=False)


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a label; something tells when it need not run."""
    if wrong := terms.name_problem(name):
        return wrong
    if not isinstance(desired, Spec):
        return ""
    if not desired.creates and not desired.unless:
        return "say when it need not run: creates, a path that it makes, or unless, a condition"
    if isinstance(desired.run, tuple) and (not desired.run or not desired.run[0]):
        return "run is empty; write the program and its arguments"
    for key in ("creates", "cwd"):
        value = getattr(desired, key)
        if isinstance(value, str) and value != "/" and (wrong := paths.name_problem(value)):
            return f"{key}: {wrong}"
    if isinstance(desired.timeout, float | int) and desired.timeout < 1:
        return "timeout is at least 1s"
    return ""


identity = own_identity


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """What it names in `after` must be declared; who runs it comes first."""
    user = getattr(desired, "user", None)
    return frozenset(getattr(desired, "after", None) or ()), frozenset({f"user:{user}"} if user else ())


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """What it makes, and what its conditions look at."""
    for _, desired in _wanted(scope):
        yield from paths.ask([desired.creates] if desired.creates else [])
        yield from conditions.ask(desired.unless)


def _wanted(scope: Scope) -> list[tuple[str, Spec]]:
    return [(item.address.name, item.desired) for item in scope.wanted if isinstance(item.desired, Spec)]


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when there is nothing to do."""
    found: dict[str, Answer] = {item.address.name: Absent() for item in scope.wanted}
    return found | {name: _one(desired, answers, scope) for name, desired in _wanted(scope)}


def _one(desired: Spec, answers: Answers, scope: Scope) -> Answer:
    held = conditions.holds(desired.unless, answers, scope)
    if held is None and desired.creates:
        there = paths.read([desired.creates], answers)[desired.creates]
        held = (
            there if isinstance(there, Unknown) else f"{desired.creates} exists" if there != paths.Nothing() else None
        )
    if isinstance(held, Unknown):
        return held
    return Absent() if held is None else Present(Spec.model_construct(run=desired.run), {"held": held})


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Its command line is the difference. It has no inverse: one that left the blueprint undoes nothing."""
    desired = resource.desired
    if not isinstance(desired, Spec) or isinstance(answer, Present):
        return SAME
    if secret := next((value for value in (desired.env or {}).values() if isinstance(value, Secret)), None):
        return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=f"{secret} was not resolved")
    change = FieldChange("run", None, desired.run, desired.cost, why=SAID)
    if moving := sorted(scope.changing.intersection(desired.after or ())):
        return later(Action.UPDATE, f"{moving[0]} changes first", [change])
    return updated([change])


# $1: where it runs; then the program. It is gone into by whoever may, and then run as who it is to be.
IN = 'cd -- "$1" && shift && exec "$@"'
MADE = '[ -e "$1" ] || { echo "it ran, and $1 is not there" >&2; exit 1; }'


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """The program as it is given, then a look at what it was to make."""
    desired = change.desired
    assert isinstance(desired, Spec)
    argv = desired.run
    if desired.user and desired.user != "root":
        argv = ("runuser", "-u", desired.user, "--", *argv)
    environment = tuple((name, str(value)) for name, value in (desired.env or {}).items())
    calls: list[Call] = [Exec(("sh", "-c", IN, "sh", desired.cwd or "/", *argv), env=environment, ok=desired.ok)]
    if desired.creates:
        calls.append(Exec(("sh", "-c", MADE, "sh", desired.creates)))
    # The command line is in the plan; the summary goes to the journal, where no argument belongs.
    said = f"run {desired.run[0]}" + (f" as {desired.user}" if desired.user else "")
    return [Step(said, tuple(calls), change.delta.impact, desired.timeout, secret=bool(desired.env))]
