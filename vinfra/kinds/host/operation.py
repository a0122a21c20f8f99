"""Any operation of pyinfra, for what no kind covers: planned from its facts, run as its own commands.

It keeps fewer promises than a kind: it leaves no object that could be pruned, and only its commands say what it does.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from vinfra.kinds.compare import SAME, later, own_identity, refused, updated
from vinfra.kinds.host import pyinfra_operation
from vinfra.kinds.host.operations import conditions, terms
from vinfra.kinds.host.operations.terms import SAID, WHEN, Terms
from vinfra.kinds.host.pyinfra_operation import Planned
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question
from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.step import Step
from vinfra.model.values import Plain, Text

NAME = "host.operation"
SECTION = "operations"
SHORTHAND = ""
ORDER = 60
SHARED = False
REMOVAL = Removal(Impact.NONE, when="nothing is undone")

CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}


def _python(value: Any) -> Any:
    """Unquoted scalars as YAML means them, for no field says what an argument is; `0644` has no such meaning."""
    if isinstance(value, dict):
        return {str(key): _python(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_python(item) for item in value]
    if not isinstance(value, Plain):
        return value
    if value in CONSTANTS:
        return CONSTANTS[value]
    if re.fullmatch(r"-?(0|[1-9][0-9]*)", value):
        return int(value)
    return float(value) if re.fullmatch(r"-?[0-9]+\.[0-9]+", value) and not value.endswith("0") else str(value)


def _shown(value: Any) -> Any:
    """What facts make of the arguments comes by here too: nothing secret gets in on that way."""
    if _holds_secret(value):
        raise ValueError("a secret cannot be an argument of an operation: its commands are shown and journalled")
    return _python(value)


Arguments = Annotated[dict[str, Any], BeforeValidator(_shown), WithJsonSchema({"type": "object"})]


class Spec(Terms):
    """One operation of pyinfra, by its name and arguments."""

    operation: Text = field(
        "module.function of pyinfra.operations.",
        default=...,
        impact=Impact.DATA_LOSS,
        why=SAID,
        when=WHEN,
        examples=("files.line",),
    )
    arguments: Arguments | None = field(
        "Its arguments, as pyinfra documents them; its global ones (`_sudo` and the like) are not for blueprints.",
        compared=False,
        examples=({"path": "/etc/fstab", "line": "tmpfs /tmp tmpfs"},),
    )
    unless: tuple[conditions.Condition, ...] | None = field(
        "Nothing is done when one of these holds. Operations that are not idempotent need it.",
        compared=False,
        examples=([{"exists": "/opt/app/.installed"}],),
    )


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a label; the operation exists, takes these arguments, and can be planned."""
    if wrong := terms.name_problem(name):
        return wrong
    if not isinstance(desired, Spec) or {"operation", "arguments"} & desired.deferred:
        return ""
    return pyinfra_operation.problem(desired.operation, desired.arguments or {}, bool(desired.unless))


def _holds_secret(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_secret, value.values()))
    return isinstance(value, Secret) or (isinstance(value, list | tuple) and any(map(_holds_secret, value)))


identity = own_identity


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """What it names in `after` must be declared."""
    return frozenset(getattr(desired, "after", None) or ()), frozenset()


def ask(scope: Scope, answers: Answers) -> Iterable[Question]:
    """What the conditions look at, and the facts that each operation turns out to need."""
    for _, desired in _wanted(scope):
        yield from conditions.ask(desired.unless)
        if not isinstance(conditions.holds(desired.unless, answers, scope), str):
            yield from pyinfra_operation.plan(desired.operation, desired.arguments or {}, answers).needs


def _wanted(scope: Scope) -> list[tuple[str, Spec]]:
    return [(item.address.name, item.desired) for item in scope.wanted if isinstance(item.desired, Spec)]


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when there is nothing to do, absent with the commands among the notes when there is."""
    found: dict[str, Answer] = {item.address.name: Absent() for item in scope.wanted}
    return found | {name: _one(desired, answers, scope) for name, desired in _wanted(scope)}


def _one(desired: Spec, answers: Answers, scope: Scope) -> Answer:
    held = conditions.holds(desired.unless, answers, scope)
    if isinstance(held, Unknown):
        return held
    actual = Spec.model_construct(operation=desired.operation)
    if held is not None:
        return Present(actual, {"held": held})
    planned = pyinfra_operation.plan(desired.operation, desired.arguments or {}, answers)
    if planned.needs:
        return Unknown(f"{planned.needs[0].name} was not answered")
    if planned.failed:
        return Unknown(planned.failed)
    return Absent({"planned": planned}) if planned.calls or planned.problem else Present(actual)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Its commands are the difference. An operation has no inverse: one that left the blueprint undoes nothing."""
    desired = resource.desired
    if not isinstance(desired, Spec):
        return SAME
    moving = sorted(scope.changing.intersection(desired.after or ()))
    if not isinstance(answer, Absent):
        if moving and "held" not in answer_notes(answer):
            bound = FieldChange("commands", None, None, desired.cost, why=SAID)
            return later(Action.UPDATE, f"{moving[0]} changes first", [bound])
        return SAME
    planned: Planned = answer.notes["planned"]
    field_change = FieldChange("commands", None, planned.shown, desired.cost, why=SAID)
    if moving:
        bound = FieldChange("commands", None, None, desired.cost, why=SAID)
        return later(Action.UPDATE, f"{moving[0]} changes first", [bound])
    if planned.problem:
        return refused(Action.UPDATE, planned.problem)
    return updated([field_change])


def answer_notes(answer: Answer) -> Mapping[str, Any]:
    """The notes of an answer that may have none."""
    return answer.notes if isinstance(answer, Present | Absent) else {}


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """pyinfra's commands in one round trip, as it yielded them."""
    desired, planned = change.desired, change.notes["planned"]
    assert isinstance(desired, Spec)
    # The commands are in the plan; the summary goes to the journal, where no argument belongs.
    said = f"{desired.operation}, {len(planned.calls)} command" + ("s" if len(planned.calls) > 1 else "")
    return [Step(said, planned.calls, change.delta.impact)]
