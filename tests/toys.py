"""Toy kinds for the stages' own tests: a number per name, exclusive (`toy.lamp`) or shared (`toy.lib`)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.answer import Absent, Answer, Later, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec, Question, Raw
from vinfra.model.step import Exec as Do
from vinfra.model.step import Step


class Lamp(shape.Spec):
    watt: int | None = shape.field("How bright.")
    note: str | None = shape.field("What it says.")


@dataclass(frozen=True)
class Toy:
    """A host tells of lamp N by `getent lamp N`: exit 2 for none, other errors for unknown, else the watts."""

    NAME: str = "toy.lamp"
    SECTION: str = "lamps"
    SHORTHAND: str = "watt"
    ORDER: int = 10
    SHARED: bool = False
    Spec: type[shape.Spec] = Lamp

    def check(self, name: str, desired: shape.Spec | None) -> str:
        return ""

    def identity(self, name: str) -> str:
        return ""

    def references(self, name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset(), frozenset()

    def question(self, name: str) -> Exec:
        return Exec(("getent", self.NAME, name))

    def ask(self, scope: Scope, answers: Answers) -> Iterable[Question]:
        return [self.question(resource.address.name) for resource in scope.wanted]

    def read(self, scope: Scope, answers: Answers) -> Mapping[str, Answer]:
        return {item.address.name: _answer(answers[self.question(item.address.name)]) for item in scope.wanted}

    def diff(self, resource: Resource, answer: Answer, scope: Scope) -> Delta:
        actual = answer.actual if isinstance(answer, Present) else None
        if resource.desired is None:
            return Delta(Action.DELETE, impact=Impact.LIVE) if actual else Delta(Action.NOOP)
        before, after = getattr(actual, "watt", None), getattr(resource.desired, "watt", None)
        verdict = Verdict.LATER if isinstance(answer, Later) else Verdict.OK
        if before == after and actual is not None and not scope.changing:
            return Delta(Action.NOOP)
        action = Action.UPDATE if actual else Action.CREATE
        return Delta(
            action, (FieldChange("watt", before, after),), Impact.LIVE, verdict, ",".join(sorted(scope.changing))
        )

    def steps(self, change: Change, scope: Scope) -> Sequence[Step]:
        return [Step(f"switch {change.address.name}", (Do(("switch", change.address.name)),))]


def _answer(raw: Raw) -> Answer:
    if raw.returncode == 2:
        return Absent()
    if raw.returncode == 9:
        return Later("the fuse box comes first", "fuse:box")
    return Present(Lamp.model_construct(watt=int(raw.text))) if raw.ok else Unknown(raw.err)


LAMP = Toy()
LIB = Toy(NAME="toy.lib", SECTION="libs", ORDER=5, SHARED=True)
KINDS: dict[str, Any] = {LAMP.NAME: LAMP, LIB.NAME: LIB}
