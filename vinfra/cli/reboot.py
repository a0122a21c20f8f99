"""`vinfra reboot`."""

from vinfra.cli.commands import new_app
from vinfra.cli.options import Inventory, Json, Machines, OnHosts
from vinfra.cli.power import Timeout, switch

app = new_app()


@app.command()
def reboot(
    machines: Machines, inventory: Inventory = None, on: OnHosts = "all", timeout: Timeout = 120, json: Json = False
) -> int:
    """Restart virtual machines that vinfra made: shut down by their own system, then started. Never a power cut."""
    from vinfra.model.step import Verb

    return switch(Verb.DOMAIN_REBOOT, "restarted", machines, inventory, on, timeout, json)
