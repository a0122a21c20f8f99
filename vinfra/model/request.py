"""What the user asks for, and what is known of it before the first connection."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vinfra.model.action import Impact
from vinfra.model.blueprint import Blueprint, Resource
from vinfra.model.inventory import Inventory
from vinfra.model.plan import Plan


@dataclass(frozen=True, slots=True)
class Request:
    """What the user points at. `extra` are `-e NAME=VALUE` items, `limit` is a pattern of hosts, `targets` patterns
    of addresses, or with `exact` the addresses themselves. `supersede`: also what was applied from a version that this
    one does not come after. `everywhere`: what left the blueprint is looked for on every host of the inventory.
    """

    blueprint: Path
    inventory: Path | None = None
    var_files: tuple[Path, ...] = ()
    extra: tuple[str, ...] = ()
    limit: str = ""
    targets: tuple[str, ...] = ()
    forks: int = 50
    prune: bool = True
    exact: bool = False
    supersede: bool = False
    everywhere: bool = False


@dataclass(frozen=True, slots=True)
class Consent:
    """How far apply may go. `show` gets the plan; then `confirm` is asked once, if there is a step to run."""

    max_impact: Impact = Impact.RESTART
    skip_refused: bool = False
    show: Callable[[Plan], None] = field(default=lambda _: None)
    confirm: Callable[[Plan], bool] = field(default=lambda _: True)


@dataclass(frozen=True, slots=True)
class Wish:
    """Everything known before the first connection: the blueprint, the inventory, and one resource per object."""

    blueprint: Blueprint
    inventory: Inventory
    resources: tuple[Resource, ...]
