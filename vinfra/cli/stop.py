"""`vinfra stop`."""

from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Inventory, Json, Machines, OnHosts
from vinfra.cli.power import Timeout, switch

app = new_app()


@app.command()
def stop(
    machines: Machines,
    inventory: Inventory = None,
    on: OnHosts = "all",
    timeout: Timeout = 120,
    power_cut: Annotated[
        bool, typer.Option("--power-cut", help="Switch off at once; what is unsaved is lost.")
    ] = False,
    json: Json = False,
) -> int:
    """Shut down virtual machines that vinfra made, by their own system; one that does not go down is left running."""
    from vinfra.model.step import Verb

    verb = Verb.DOMAIN_DESTROY if power_cut else Verb.DOMAIN_SHUTDOWN
    return switch(verb, "stopped", machines, inventory, on, timeout, json)
