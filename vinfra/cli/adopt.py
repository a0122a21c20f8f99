"""`vinfra adopt`."""

from functools import partial
from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import (
    Blueprint,
    Cost,
    Extra,
    Forks,
    Inventory,
    Json,
    Limit,
    Site,
    SkipRefused,
    VarFiles,
    Yes,
    request,
)

app = new_app()


@app.command()
def adopt(
    blueprint: Blueprint,
    address: Annotated[
        list[str],
        typer.Argument(metavar="ADDRESS…", help="What to take over: file:/etc/motd, domain:web-01, 'network:*', '*'."),
    ],
    inventory: Inventory = None,
    extra: Extra = None,
    var_files: VarFiles = None,
    limit: Limit = "",
    forks: Forks = 50,
    skip_refused: SkipRefused = False,
    site: Site = None,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Take over what is declared and there already: from then on it goes when it leaves the blueprint.

    Changes nothing of it but its mark; what differs from the blueprint is for the next apply.
    """
    from vinfra.cli.running import carry_out, must_be_agreed

    must_be_agreed("adopt", yes, json)
    from vinfra import engine
    from vinfra.cli.output import Output

    asked = request(blueprint, inventory, extra, var_files, limit, address, forks, no_prune=True, site=site)
    return carry_out(partial(engine.adopt, asked), "adopt", blueprint, Output(json), yes, Cost.NONE, skip_refused)
