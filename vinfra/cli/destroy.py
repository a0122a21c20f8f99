"""`vinfra destroy`."""

from functools import partial

from vinfra.cli.commands import new_app
from vinfra.cli.options import (
    Blueprint,
    Cost,
    Extra,
    Forks,
    Inventory,
    Json,
    Limit,
    MaxImpact,
    Site,
    SkipRefused,
    Targets,
    VarFiles,
    Yes,
    request,
)

app = new_app()


@app.command()
def destroy(
    blueprint: Blueprint,
    inventory: Inventory = None,
    extra: Extra = None,
    var_files: VarFiles = None,
    limit: Limit = "",
    target: Targets = None,
    forks: Forks = 50,
    max_impact: MaxImpact = Cost.RESTART,
    skip_refused: SkipRefused = False,
    site: Site = None,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Remove what this blueprint created; what was there before vinfra stays. Shows the plan and asks first."""
    from vinfra.cli.running import carry_out, must_be_agreed

    must_be_agreed("destroy", yes, json)
    from vinfra import engine
    from vinfra.cli.output import Output

    asked = request(blueprint, inventory, extra, var_files, limit, target, forks, site=site)
    act = partial(engine.destroy, asked)
    return carry_out(act, "destroy", blueprint, Output(json), yes, max_impact, skip_refused)
