"""`vinfra apply`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import (
    AllHosts,
    Cost,
    Extra,
    Forks,
    Inventory,
    Json,
    Limit,
    MaxImpact,
    NoPrune,
    Site,
    SkipRefused,
    Supersede,
    Targets,
    VarFiles,
    Yes,
    request,
    site_file,
)
from vinfra.errors import UsageError

app = new_app()


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The blueprint, or a plan saved by plan --out.")],
    inventory: Inventory = None,
    extra: Extra = None,
    var_files: VarFiles = None,
    limit: Limit = "",
    target: Targets = None,
    forks: Forks = 50,
    no_prune: NoPrune = False,
    supersede: Supersede = False,
    all_hosts: AllHosts = False,
    max_impact: MaxImpact = Cost.RESTART,
    skip_refused: SkipRefused = False,
    site: Site = None,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Make it so. Shows the plan and asks first; a saved plan is refused when reality has moved since."""
    from vinfra.cli.running import carry_out, must_be_agreed

    must_be_agreed("apply", yes, json)
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.report.plan_file import is_plan

    if is_plan(file):
        if inventory or var_files or limit or target or no_prune or supersede or all_hosts:
            raise UsageError(f"{file} is a saved plan: it already says on what it acts", "leave these options out")
        act = partial(engine.apply_saved, file, extra=tuple(extra or ()), site=site_file(site), forks=forks)
    else:
        asked = request(file, inventory, extra, var_files, limit, target, forks, no_prune, supersede, site, all_hosts)
        act = partial(engine.apply, asked)
    return carry_out(act, "apply", file, Output(json), yes, max_impact, skip_refused)
