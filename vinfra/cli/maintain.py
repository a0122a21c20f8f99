"""`vinfra maintain`."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Cost, Forks, Full, Inventory, Json, Site, SkipRefused, Yes, inventory_file, site_file

if TYPE_CHECKING:
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


@app.command()
def maintain(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="Hosts, groups or patterns, such as web:!web03.")],
    inventory: Inventory = None,
    patch: Annotated[bool, typer.Option("--patch", help="Bring installed packages up to date first.")] = False,
    packages: Annotated[
        Packages, typer.Option("--packages", metavar="WHICH", help="Which packages: all, or security updates.")
    ] = Packages.ALL,
    max_age: Annotated[
        str, typer.Option("--max-age", metavar="TIME", help="Package lists older than this are fetched first.")
    ] = "1h",
    allow_removals: Annotated[
        bool,
        typer.Option("--allow-removals", help="Packages may go when others cannot be brought up to date otherwise."),
    ] = False,
    reboot: Annotated[
        Restart, typer.Option("--reboot", metavar="WHEN", help="needed: hosts restart where something waits for it.")
    ] = Restart.NEEDED,
    evacuate: Annotated[
        Evacuate,
        typer.Option(
            "--evacuate",
            metavar="HOW",
            help="stop: machines are shut down and started again; refuse: no restart while some run.",
        ),
    ] = Evacuate.STOP,
    batch: Annotated[
        list[str] | None,
        typer.Option(
            "--batch", metavar="SIZE", help="How many hosts at a time: 1 or 25%; repeated: one after the other."
        ),
    ] = None,
    health: Annotated[
        list[str] | None,
        typer.Option(
            "--health", metavar="CHECK", help="ssh, tcp:80, a URL, or 'command:program argument'; repeatable."
        ),
    ] = None,
    monitor: Annotated[
        str, typer.Option("--monitor", metavar="TIME", help="How long a batch must stay healthy before the next.")
    ] = "0s",
    max_fail: Annotated[
        str, typer.Option("--max-fail", metavar="SIZE", help="How many hosts may fail: 0, 1, or 10%.")
    ] = "0",
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="How long a host may take to come back.")
    ] = "10m",
    machine_timeout: Annotated[
        str, typer.Option("--machine-timeout", metavar="TIME", help="How long a machine may take to shut down.")
    ] = "2m",
    plan_only: Annotated[
        bool, typer.Option("--plan-only", "-n", help="Show what would be done; touch nothing.")
    ] = False,
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
    from vinfra.cli.running import carry_out, must_be_agreed
    from vinfra.text import maintenance

    if not plan_only:
        must_be_agreed("maintain", yes, json)
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.model.request import Request

    upgrade = {"packages": packages.value, "max_age": max_age, "allow_removals": allow_removals} if patch else None
    machines = {Evacuate.STOP: "shutdown", Evacuate.REFUSE: "refuse"}[evacuate]
    restart = {"when": reboot.value, "machines": machines, "timeout": timeout, "machine_timeout": machine_timeout}
    terms = {"batch": batch or ["1"], "max_fail": max_fail, "monitor": monitor}
    terms |= {"health": maintenance.health(health)} if health else {}
    asked = Request(
        blueprint=Path(maintenance.FILE),
        text=maintenance.Maintenance(pattern, upgrade, restart, terms).blueprint(),
        inventory=inventory_file(inventory),
        site=site_file(site),
        forks=forks,
        prune=False,
    )
    output = Output(json)
    if plan_only:
        return _show(asked, output, full)
    act = partial(engine.apply, asked)
    return carry_out(act, "maintain", asked.blueprint, output, yes, Cost.RESTART, skip_refused)


def _show(asked: "Request", output: "Output", full: bool) -> int:
    from datetime import UTC, datetime

    from vinfra import engine
    from vinfra.report.as_json import plan_document
    from vinfra.report.progress import Progress
    from vinfra.report.terminal import plan_lines

    with Progress(output.progress_console) as progress:
        found = engine.plan(asked, progress, now=datetime.now(UTC))
    output.lines(plan_lines(found, output.width, full))
    output.document(plan_document(found, "maintain"))
    return int(found.exit_code)
