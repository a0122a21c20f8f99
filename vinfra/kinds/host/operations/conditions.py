"""Typed conditions under which nothing is to be done: what exists, contains, is installed or runs."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, model_validator

from vinfra.kinds.host.files import paths
from vinfra.kinds.host.packages import installed
from vinfra.kinds.host.systemd import units
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Question, ReadFile
from vinfra.model.values import Text

LARGEST = 1 << 20


class Contains(BaseModel):
    """A file and a text that is somewhere in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Text
    text: Text


class Condition(BaseModel):
    """Exactly one of: a path that exists, a file that contains a text, an installed package, a unit that runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exists: Text | None = None
    contains: Contains | None = None
    package: Text | None = None
    service: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> "Condition":
        if sum(value is not None for _, value in self) != 1:
            raise ValueError("write exactly one of exists, contains, package and service")
        return self


def ask(conditions: Iterable[Condition] | None) -> Iterable[Question]:
    """What they look at."""
    return [question for condition in conditions or () for question in _asked(condition)]


def _asked(condition: Condition) -> Iterable[Question]:
    if condition.exists is not None:
        return paths.ask([condition.exists])
    if condition.contains is not None:
        return [ReadFile(condition.contains.path, LARGEST)]
    if condition.package is not None:
        return installed.ask([condition.package])
    return units.ask([condition.service or ""])


def holds(conditions: Iterable[Condition] | None, answers: Answers, scope: Scope) -> str | Unknown | None:
    """The condition that holds, in words; None when none does."""
    for condition in conditions or ():
        held = _held(condition, answers, scope)
        if held is not None:
            return held
    return None


def _held(condition: Condition, answers: Answers, scope: Scope) -> str | Unknown | None:
    if (path := condition.exists) is not None:
        found = paths.read([path], answers)[path]
        return found if isinstance(found, Unknown) else f"{path} exists" if isinstance(found, paths.Found) else None
    if condition.contains is not None:
        raw = answers.get(ReadFile(condition.contains.path, LARGEST))
        if raw is None or raw.returncode not in (0, 2):
            return Unknown(f"cannot read {condition.contains.path}: {raw.err.strip() if raw else 'not asked yet'}")
        return f"{condition.contains.path} contains it" if raw.ok and condition.contains.text in raw.text else None
    if (name := condition.package) is not None:
        package = installed.read([name], answers, scope.facts)[name]
        return package if isinstance(package, Unknown) else f"{name} is installed" if package else None
    unit = units.read([condition.service or ""], answers)[units.full(condition.service or "")]
    return unit if isinstance(unit, Unknown) else f"{condition.service} runs" if unit.active == "active" else None
