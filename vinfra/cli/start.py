"""`vinfra start`."""

from vinfra.cli.commands import new_app
from vinfra.cli.options import Inventory, Json, Machines, OnHosts
from vinfra.cli.power import switch

app = new_app()


@app.command()
def start(machines: Machines, inventory: Inventory = None, on: OnHosts = "all", json: Json = False) -> int:
    """Start virtual machines that vinfra made; what runs already is left alone."""
    from vinfra.model.step import Verb

    return switch(Verb.DOMAIN_START, "started", machines, inventory, on, 0, json)
