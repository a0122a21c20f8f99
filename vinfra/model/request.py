"""What the user asks for, and what is known of it before the first connection."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vinfra.model.action import Impact
from vinfra.model.blueprint import Blueprint, Resource
from vinfra.model.inventory import Inventory
from vinfra.model.plan import Plan
from vinfra.model.policy import Policy


@dataclass(frozen=True, slots=True)
class Request:
    """What the user points at. `extra` are `-e NAME=VALUE` items, `limit` is a pattern of hosts, `targets` patterns
    of addresses, or with `exact` the addresses themselves; `only` then are the hosts that are read, None for all where
    these may be. `supersede`: also what was applied from a version that this one does not come after. `site` is the
    site file; None for the one beside the inventory, if there is one. `everywhere`: what left the blueprint is looked
    for on every host of the inventory. `text` is the blueprint itself when it is in no file; `blueprint` is then only
    what it is called. `leaving` are
    hosts that are to be without machines of the blueprint.
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
    only: frozenset[str] | None = None
    supersede: bool = False
    site: Path | None = None
    everywhere: bool = False
    text: str = ""
    leaving: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Consent:
    """How far apply may go. `show` gets the plan; then `confirm` is asked once, if there is a step to run.

    `now` is the clock that policies are held against.
    """

    max_impact: Impact = Impact.RESTART
    skip_refused: bool = False
    show: Callable[[Plan], None] = field(default=lambda _: None)
    confirm: Callable[[Plan], bool] = field(default=lambda _: True)
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Wish:
    """Everything known before the first connection: blueprint, inventory, one resource per object, the policies."""

    blueprint: Blueprint
    inventory: Inventory
    resources: tuple[Resource, ...]
    policies: tuple[Policy, ...] = ()
