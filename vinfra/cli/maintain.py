"""`vinfra maintain`."""

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import (
    Cost,
    Extra,
    Forks,
    Full,
    Inventory,
    Json,
    PlanOnly,
    Site,
    SkipRefused,
    VarFiles,
    Yes,
    inventory_file,
    request,
    site_file,
)
from vinfra.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vinfra.cli.output import Output
    from vinfra.model.request import Request

app = new_app()


class Packages(StrEnum):
    """Which packages are brought up to date."""

    ALL = "all"
    SECURITY = "security"


class Restart(StrEnum):
    """Whether hosts may restart."""

    NEEDED = "needed"
    NEVER = "never"


class Evacuate(StrEnum):
    """What becomes of the virtual machines of a host that restarts."""

    STOP = "stop"
    REFUSE = "refuse"
    MIGRATE = "migrate"


Pattern = Annotated[str, typer.Argument(metavar="PATTERN", help="Hosts, groups or patterns, such as web:!web03.")]
Patch = Annotated[bool, typer.Option("--patch", help="Bring installed packages up to date first.")]
Which = Annotated[
    Packages, typer.Option("--packages", metavar="WHICH", help="Which packages: all, or security updates.")
]
MaxAge = Annotated[str, typer.Option("--max-age", metavar="TIME", help="Older package lists are fetched first.")]
Removals = Annotated[
    bool, typer.Option("--allow-removals", help="Packages may go when others cannot be brought up to date otherwise.")
]
Reboots = Annotated[
    Restart, typer.Option("--reboot", metavar="WHEN", help="needed: where something waits for it; or never.")
]
Machines = Annotated[
    Evacuate,
    typer.Option(
        "--evacuate",
        metavar="HOW",
        help="stop: machines are shut down and started again; refuse: not while some run; migrate: they go elsewhere "
        "first, a host at a time (--blueprint).",
    ),
]
Blueprints = Annotated[
    list[Path] | None,
    typer.Option("--blueprint", metavar="FILE", help="Whose machines are carried to other hosts; repeatable."),
]
Batch = Annotated[
    list[str] | None,
    typer.Option("--batch", metavar="SIZE", help="How many hosts at a time: 1 or 25%; repeated: one after the other."),
]
Health = Annotated[
    list[str] | None,
    typer.Option("--health", metavar="CHECK", help="ssh, tcp:80, a URL, or 'command:program argument'; repeatable."),
]
Monitor = Annotated[str, typer.Option("--monitor", metavar="TIME", help="How long a batch must stay healthy.")]
MaxFail = Annotated[str, typer.Option("--max-fail", metavar="SIZE", help="How many hosts may fail: 0, 1, or 10%.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="TIME", help="How long a host may take to come back.")]
MachineTimeout = Annotated[
    str, typer.Option("--machine-timeout", metavar="TIME", help="How long a machine may take to shut down.")
]


@app.command()
def maintain(
    pattern: Pattern,
    inventory: Inventory = None,
    patch: Patch = False,
    packages: Which = Packages.ALL,
    max_age: MaxAge = "1h",
    allow_removals: Removals = False,
    reboot: Reboots = Restart.NEEDED,
    evacuate: Machines = Evacuate.STOP,
    blueprint: Blueprints = None,
    extra: Extra = None,
    var_files: VarFiles = None,
    batch: Batch = None,
    health: Health = None,
    monitor: Monitor = "0s",
    max_fail: MaxFail = "0",
    timeout: Timeout = "10m",
    machine_timeout: MachineTimeout = "2m",
    plan_only: PlanOnly = False,
    skip_refused: SkipRefused = False,
    site: Site = None,
    forks: Forks = 50,
    yes: Yes = False,
    full: Full = False,
    json: Json = False,
) -> int:
    """Patch hosts and restart those that need it, a batch at a time; the next batch only when the last one is well.

    Run it again after a failure or a kill: hosts that are done have nothing to do, the one in the middle comes first.
    """
    from vinfra.cli.running import carry_out, must_be_agreed, show_plan

    _must_fit(evacuate, blueprint, batch, json)
    if not plan_only:
        must_be_agreed("maintain", yes, json)
    from vinfra import engine
    from vinfra.cli.output import Output

    upgrade = {"packages": packages.value, "max_age": max_age, "allow_removals": allow_removals} if patch else None
    restart = {"when": reboot.value, "timeout": timeout, "machine_timeout": machine_timeout}
    restart["machines"] = "shutdown" if evacuate is Evacuate.STOP else "refuse"
    asked = partial(_request, upgrade, restart, _terms(batch, max_fail, monitor, health), inventory, site, forks)
    output, whole = Output(json), asked(pattern)
    if plan_only:
        return show_plan(partial(engine.plan, whole), "maintain", output, full)
    if evacuate is Evacuate.MIGRATE:
        leave = [request(file, inventory, extra, var_files, forks=forks, site=site) for file in blueprint or ()]
        hosts = {host: asked(host) for host in engine.named(whole.inventory, pattern)}
        return _one_by_one(hosts, leave, output, yes)
    act = partial(engine.apply, whole)
    return carry_out(act, "maintain", whole.blueprint, output, yes, Cost.RESTART, skip_refused)


def _must_fit(evacuate: Evacuate, blueprint: list[Path] | None, batch: list[str] | None, json: bool) -> None:
    if (evacuate is Evacuate.MIGRATE) != bool(blueprint):
        raise UsageError("--evacuate migrate and --blueprint belong together", "name the blueprints of the machines")
    if evacuate is Evacuate.MIGRATE and (batch or ["1"]) != ["1"]:
        raise UsageError("--evacuate migrate takes one host after the other", "leave --batch out")
    if evacuate is Evacuate.MIGRATE and json:
        raise UsageError(
            "--evacuate migrate is several runs, not one document", "leave --json out; `vinfra runs` has them"
        )


def _terms(batch: list[str] | None, max_fail: str, monitor: str, health: list[str] | None) -> dict[str, object]:
    from vinfra.text import maintenance

    terms: dict[str, object] = {"batch": batch or ["1"], "max_fail": max_fail, "monitor": monitor}
    return terms | ({"health": maintenance.health(health)} if health else {})


def _request(
    upgrade: Mapping[str, object] | None,
    restart: Mapping[str, object],
    terms: Mapping[str, object],
    inventory: Path | None,
    site: Path | None,
    forks: int,
    pattern: str,
) -> "Request":
    """It owns nothing, so there is nothing to prune."""
    from vinfra.model.request import Request
    from vinfra.text.maintenance import FILE, Maintenance

    text = Maintenance(pattern, upgrade, restart, terms).blueprint()
    machines, policies = inventory_file(inventory), site_file(site)
    return Request(Path(FILE), text=text, inventory=machines, site=policies, forks=forks, prune=False)


def _one_by_one(hosts: Mapping[str, "Request"], leave: "Sequence[Request]", output: "Output", yes: bool) -> int:
    """Each host that would restart is left by its machines first. The first that fails is the last."""
    from vinfra import engine
    from vinfra.cli.running import carry_out
    from vinfra.model.action import Impact

    for host, asked in hosts.items():
        planned = engine.plan(asked)
        if planned.impact >= Impact.RESTART or planned.refused:
            for blueprint in leave:
                act = partial(engine.evacuate, blueprint, host)
                if code := carry_out(act, "evacuate", blueprint.blueprint, output, yes, Cost.LIVE, False):
                    return code
        act = partial(engine.apply, asked)
        if code := carry_out(act, "maintain", asked.blueprint, output, yes, Cost.RESTART, False):
            return code
    return 0
