"""The stages in order. This is the only module that knows every part and wires them together.

    load → validate → expand → discover → place → diff → plan → apply → report
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vinfra.model.action import Impact
from vinfra.model.blueprint import Blueprint, Resource
from vinfra.model.inventory import Inventory
from vinfra.model.outcome import Observer, Observers, Outcome
from vinfra.model.plan import Plan


@dataclass(frozen=True, slots=True)
class Request:
    """What the user points at. `extra` are `-e NAME=VALUE` items, `targets` patterns of addresses, `limit` of hosts."""

    blueprint: Path
    inventory: Path | None = None
    var_files: tuple[Path, ...] = ()
    extra: tuple[str, ...] = ()
    limit: str = ""
    targets: tuple[str, ...] = ()
    forks: int = 50
    prune: bool = True


@dataclass(frozen=True, slots=True)
class Consent:
    """How far apply may go. `confirm` is asked once, with the plan, before the first step."""

    max_impact: Impact = Impact.RESTART
    skip_refused: bool = False
    confirm: Callable[[Plan], bool] = field(default=lambda _: True)


@dataclass(frozen=True, slots=True)
class Wish:
    """Everything known before the first connection: the blueprint, the inventory, and one resource per object."""

    blueprint: Blueprint
    inventory: Inventory
    resources: tuple[Resource, ...]


def validate(request: Request) -> Wish:
    """Load, validate and expand. Raises InputError with every problem of every file."""
    raise NotImplementedError


def plan(request: Request, observer: Observer = Observers()) -> Plan:
    """Everything up to the plan. Touches nothing."""
    raise NotImplementedError


def apply(request: Request, consent: Consent, observer: Observer = Observers(), run: str = "") -> Outcome:
    """Plan, ask for consent, run. Raises RefusedError before the first step when the plan holds what may not run."""
    raise NotImplementedError


def destroy(request: Request, consent: Consent, observer: Observer = Observers(), run: str = "") -> Outcome:
    """Remove all that this blueprint created; what was there before stays."""
    raise NotImplementedError


def save(request: Request, plan: Plan, file: Path) -> None:
    """Write a plan file (0600, versioned JSON, no secrets)."""
    raise NotImplementedError


def apply_saved(file: Path, consent: Consent, observer: Observer = Observers(), run: str = "") -> Outcome:
    """Run a saved plan, or refuse: another blueprint, inventory or reality than it was made for."""
    raise NotImplementedError


def facts(inventory: Path | None, pattern: str, forks: int = 50) -> Mapping[str, Mapping[str, Any] | str]:
    """The facts of each host, or why it could not be read."""
    raise NotImplementedError


