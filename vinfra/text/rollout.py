"""Rollouts as written, under a host pattern or in a fleet: their terms checked, and each unit in one at most."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vinfra.errors import InputError
from vinfra.model.blueprint import Resource
from vinfra.model.kind import Kinds, Reversible
from vinfra.model.rollout import OnFailure, Roll, Rollout
from vinfra.model.source import Locator, Pointer, Problem
from vinfra.text.complaint import Complaints, pathway, sort_of
from vinfra.text.expression import has_template, placed
from vinfra.text.fields import build
from vinfra.text.names import located
from vinfra.text.template import Variables


@dataclass(frozen=True, slots=True)
class Written:
    """A rollout where it stands: its name (the pattern or fleet), its units in order, and what is said of it."""

    name: str
    units: tuple[str, ...]
    value: Any
    scope: Mapping[str, Any]
    pointer: Pointer
    source: Locator
    noun: str = "host"


def rolls(
    written: Iterable[Written], silent: Mapping[str, str], top: Mapping[str, Any], complaints: Complaints
) -> tuple[Roll, ...]:
    """The rollouts that are sound; what is wrong with the others is told.

    `silent` are machines that nobody can log in to, each with its fleet; `top` are var files' and -e's variables.
    """
    found: list[Roll] = []
    taken: dict[str, Roll] = {}
    for item in written:
        terms = _terms(item, top, complaints)
        if terms is None:
            continue
        position = item.source.position(item.pointer, key=True)
        dumb = frozenset(unit for unit in item.units if unit in silent)
        roll = Roll(item.name, item.units, terms, item.noun, position, dumb)
        if terms.health and (unit := next((unit for unit in item.units if unit in dumb), None)):
            message = (
                f"fleet {silent[unit]} has no `access:`, so nobody can ask {unit}; give it one, or leave health out"
            )
            complaints.add(item.source, (*item.pointer, "health"), message, key=True)
        if unit := next((unit for unit in item.units if unit in taken), None):
            message = f"{unit} is in the rollout at {taken[unit].position} too; a {item.noun} is rolled out once"
            complaints.add(item.source, item.pointer, message, key=True)
            continue
        taken |= dict.fromkeys(item.units, roll)
        found.append(roll)
    return tuple(found)


def _terms(item: Written, top: Mapping[str, Any], complaints: Complaints) -> Rollout | None:
    value = {} if item.value is None else item.value
    if not isinstance(value, dict):
        message = f"write how to roll out, such as {{batch: 25%, health: [ssh]}}, not {sort_of(value)}"
        complaints.add(item.source, item.pointer, message)
        return None
    before = len(complaints)
    if has_template(value):
        value = _rendered(item, value, top, complaints)
    if len(complaints) > before:
        return None
    made = build(Rollout, value, Path(item.source.position(item.pointer).file).parent)
    if isinstance(made, Rollout):
        return made
    for fault in made:
        complaints.add(item.source, (*item.pointer, *fault.pointer), fault.message, key=fault.key)
    return None


def _rendered(item: Written, value: dict[str, Any], top: Mapping[str, Any], complaints: Complaints) -> Any:
    """With the variables of its file: a rollout is of all its units, and knows none of a host."""
    written = located(value, item.source, item.pointer, complaints)
    try:
        return Variables(item.scope, top).render(written)
    except InputError as error:
        told = placed(error, item.source.position(item.pointer), pathway(item.pointer)).problems
        complaints.take(*(problem for problem in told if isinstance(problem, Problem)))
        return value


def one_way(rollouts: Iterable[Roll], resources: Iterable[Resource], kinds: Kinds) -> list[Problem]:
    """What has no way back and stands where a rollout may have to go back."""
    back = {unit: roll for roll in rollouts if roll.terms.on_failure is OnFailure.ROLLBACK for unit in roll.units}
    found: dict[Problem, None] = {}
    for resource in resources if back else ():
        unit = resource.demand.member if resource.demand and resource.demand.member in back else resource.place
        if unit in back and resource.desired is not None and not isinstance(kinds[resource.address.kind], Reversible):
            told = f"{resource.address.kind} has no way back, and the rollout at {back[unit].position} says"
            message = f"{told} on_failure: rollback; use on_failure: stop"
            found[Problem(resource.position, resource.address.reference, message)] = None
    return list(found)
