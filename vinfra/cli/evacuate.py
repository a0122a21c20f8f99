"""`vinfra evacuate`."""

from functools import partial
from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import (
    Blueprint,
    Cost,
    Extra,
    Forks,
    Full,
    Inventory,
    Json,
    MaxImpact,
    PlanOnly,
    Site,
    SkipRefused,
    VarFiles,
    Yes,
    request,
)

app = new_app()


@app.command()
def evacuate(
    host: Annotated[str, typer.Argument(metavar="HOST", help="The host, or a pattern: all of them are left at once.")],
    file: Blueprint,
    inventory: Inventory = None,
    extra: Extra = None,
    var_files: VarFiles = None,
    forks: Forks = 50,
    max_impact: MaxImpact = Cost.LIVE,
    plan_only: PlanOnly = False,
    skip_refused: SkipRefused = False,
    site: Site = None,
    yes: Yes = False,
    full: Full = False,
    json: Json = False,
) -> int:
    """Carry the machines of a blueprint's fleets from a host to others, as they run; nothing else is changed.

    Shows the plan and asks first. What must stay is named with the reason, and keeps the others there too unless
    --skip-refused. They do not come back by themselves.
    """
    from vinfra.cli.running import carry_out, must_be_agreed, show_plan

    if not plan_only:
        must_be_agreed("evacuate", yes, json)
    from vinfra import engine
    from vinfra.cli.output import Output

    asked = request(file, inventory, extra, var_files, forks=forks, no_prune=False, site=site)
    output = Output(json)
    if plan_only:
        return show_plan(partial(engine.evacuation, asked, host), "evacuate", output, full)
    return carry_out(partial(engine.evacuate, asked, host), "evacuate", file, output, yes, max_impact, skip_refused)
