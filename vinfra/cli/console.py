"""`vinfra console`."""

from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Inventory, OneMachine, OnHosts, inventory_file

app = new_app()


@app.command()
def console(
    machine: OneMachine,
    inventory: Inventory = None,
    on: OnHosts = "all",
    force: Annotated[bool, typer.Option("--force", help="Take it from whoever has it open.")] = False,
) -> int:
    """Open the serial console of a virtual machine, whoever made it. Ctrl-] leaves it."""
    from vinfra import engine
    from vinfra.cli.terminal import ESCAPE, talk

    with engine.reach(inventory_file(inventory), on, machine) as (found, connections):
        open_console = connections.console(found.host, found.name, force=force)
        typer.echo(f"Console of {found.name} on {found.host}; Ctrl-] leaves it.", err=True)
        return talk(open_console, ESCAPE)
