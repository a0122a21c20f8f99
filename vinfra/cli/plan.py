"""`vinfra plan`."""

import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import (
    AllHosts,
    Blueprint,
    Extra,
    Forks,
    Full,
    Inventory,
    Json,
    Limit,
    NoPrune,
    Site,
    Supersede,
    Targets,
    VarFiles,
    request,
)

app = new_app()


@app.command()
def plan(
    blueprint: Blueprint,
    inventory: Inventory = None,
    extra: Extra = None,
    var_files: VarFiles = None,
    limit: Limit = "",
    target: Targets = None,
    forks: Forks = 50,
    no_prune: NoPrune = False,
    supersede: Supersede = False,
    site: Site = None,
    all_hosts: AllHosts = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Save the plan; `vinfra apply FILE` then runs exactly this."),
    ] = None,
    full: Full = False,
    json: Json = False,
) -> int:
    """Show what apply would do. Touches nothing; exit code 2 when there is something to do."""
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.report.as_json import plan_document
    from vinfra.report.interrupted import notes
    from vinfra.report.journal import state_directory
    from vinfra.report.progress import Progress
    from vinfra.report.terminal import plan_lines
    from vinfra.report.visible import visible

    asked = request(blueprint, inventory, extra, var_files, limit, target, forks, no_prune, supersede, site, all_hosts)
    output = Output(json)
    with Progress(output.progress_console) as progress:
        found = engine.plan(asked, progress, now=datetime.now(UTC))
    if out is not None:
        engine.save(asked, found, out)
    found = replace(found, warnings=(*notes(found, state_directory()), *found.warnings))
    output.lines(plan_lines(found, output.width, full))
    if out is not None and any(row.runnable or row.held for row in found.changes):  # held: by a policy, for now
        output.text(f"Saved. To run exactly this: vinfra apply {visible(shlex.quote(str(out)))}")
    output.document(plan_document(found))
    return int(found.exit_code)
