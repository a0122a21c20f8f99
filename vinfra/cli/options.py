"""The options that several commands take, and what they make."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vinfra.errors import UsageError

if TYPE_CHECKING:
    from vinfra.model.request import Request

Blueprint = Annotated[Path, typer.Argument(metavar="BLUEPRINT", help="The blueprint file.")]
Inventory = Annotated[
    Path | None,
    typer.Option(
        "-i",
        "--inventory",
        metavar="FILE",
        help="The inventory, or ansible:FILE, pyinfra:FILE, netbox:FILE; $VINFRA_INVENTORY, else this machine alone.",
    ),
]
Site = Annotated[
    Path | None,
    typer.Option(
        "--site", metavar="FILE", help="The site's policies; $VINFRA_SITE, else vinfra-site.yaml beside the inventory."
    ),
]
Extra = Annotated[
    list[str] | None,
    typer.Option("-e", "--extra", metavar="NAME=VALUE|@FILE", help="A variable, above all others; repeatable."),
]
VarFiles = Annotated[
    list[Path] | None, typer.Option("-f", "--vars", metavar="FILE", help="A file of variables; repeatable.")
]
Limit = Annotated[
    str, typer.Option("--limit", metavar="PATTERN", help="Only hosts, groups or patterns, such as web:!web03.")
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", metavar="ADDRESS", help="Only objects of this address, such as 'file:/etc/*'; repeatable."
    ),
]
Machines = Annotated[
    list[str], typer.Argument(metavar="MACHINE…", help="Names or patterns: web-01, hv1/web-01, 'web-*'.")
]
OneMachine = Annotated[str, typer.Argument(metavar="MACHINE", help="Its name, or hv1/web-01.")]
OnHosts = Annotated[str, typer.Option("--on", metavar="PATTERN", help="Look only on these hosts of the inventory.")]
Forks = Annotated[int, typer.Option("--forks", metavar="NUMBER", min=1, max=1000, help="How many hosts at a time.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
NoPrune = Annotated[bool, typer.Option("--no-prune", help="Leave alone what has left the blueprint.")]
AllHosts = Annotated[
    bool, typer.Option("--all-hosts", help="Look for what left the blueprint on every host of the inventory.")
]
Supersede = Annotated[
    bool, typer.Option("--supersede", help="Also change what a version was applied to that this one comes not after.")
]
Full = Annotated[bool, typer.Option("--full", help="Every host and every changed line, nothing folded.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where nobody can answer.")]
PlanOnly = Annotated[bool, typer.Option("--plan-only", "-n", help="Show what would be done; touch nothing.")]
SkipRefused = Annotated[bool, typer.Option("--skip-refused", help="Do the rest when something is refused.")]


class Cost(StrEnum):
    """The impacts, as --max-impact takes them."""

    NONE = "none"
    LIVE = "live"
    RESTART = "restart"
    REPLACE = "replace"
    DATA_LOSS = "data-loss"


MaxImpact = Annotated[
    Cost,
    typer.Option(
        "--max-impact", metavar="IMPACT", help="Refuse what costs more: none, live, restart, replace, data-loss."
    ),
]


def inventory_file(given: Path | None) -> Path | None:
    """The inventory to use: what was given, else what the environment names, else none."""
    named = os.environ.get("VINFRA_INVENTORY")
    return given or (Path(named) if named else None)


def site_file(given: Path | None) -> Path | None:
    """The site file that is named, here or in the environment."""
    named = os.environ.get("VINFRA_SITE")
    return given or (Path(named) if named else None)


def request(
    blueprint: Path,
    inventory: Path | None,
    extra: list[str] | None = None,
    var_files: list[Path] | None = None,
    limit: str = "",
    targets: list[str] | None = None,
    forks: int = 50,
    no_prune: bool = False,
    supersede: bool = False,
    site: Path | None = None,
    all_hosts: bool = False,
) -> "Request":
    """What the engine is asked."""
    from vinfra.model.request import Request

    for item in extra or ():
        if "=" not in item and not item.startswith("@"):
            raise UsageError(f"-e {item}: no value", "write -e NAME=VALUE, or -e @FILE for a file of variables")
    return Request(
        blueprint=blueprint,
        inventory=inventory_file(inventory),
        var_files=tuple(var_files or ()),
        extra=tuple(extra or ()),
        limit=limit,
        targets=tuple(targets or ()),
        forks=forks,
        prune=not no_prune,
        supersede=supersede,
        site=site_file(site),
        everywhere=all_hosts,
    )
