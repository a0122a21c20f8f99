"""`vinfra ssh`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Inventory, OneMachine, OnHosts, inventory_file

app = new_app()


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def ssh(
    machine: OneMachine,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND…", help="Run this instead of a login shell.")
    ] = None,
    inventory: Inventory = None,
    on: OnHosts = "all",
    user: Annotated[str, typer.Option("--user", "-l", help="Who logs in; as its blueprint says.")] = "",
    key_file: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The private key; the inventory's.")
    ] = None,
    direct: Annotated[bool, typer.Option("--direct", help="Straight to its address, not through its host.")] = False,
) -> int:
    """Log in to a virtual machine that once answered vinfra, through its host, with its host key pinned."""
    from vinfra import engine
    from vinfra.cli.terminal import interactive, size, talk

    with engine.reach(inventory_file(inventory), on, machine) as (found, connections):
        connections.join(engine.login(found, user, key_file, direct=direct, inventory=inventory_file(inventory)))
        kind = os.environ.get("TERM", "vt100") if interactive() else ""
        words = command[1:] if command and command[0] == "--" else command
        return talk(connections.terminal(found.name, " ".join(words or ()), kind, size()))
