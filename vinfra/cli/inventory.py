"""`vinfra inventory`."""

from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Forks, Inventory, Json, inventory_file

app = new_app()


@app.command()
def inventory(
    pattern: Annotated[str, typer.Argument(help="Hosts, groups or patterns of the inventory.")] = "all",
    inventory: Inventory = None,
    whole: Annotated[bool, typer.Option("--list", help="Print it as Ansible's dynamic inventories do.")] = False,
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="Print one host's variables, likewise.")] = "",
    no_machines: Annotated[
        bool, typer.Option("--no-machines", help="Connect to nothing: the inventory's hosts alone.")
    ] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask NetBox again, however young its answer is.")] = False,
    forks: Forks = 50,
    json: Json = False,
) -> int:
    """Show the hosts of an inventory of any sort, and the virtual machines that answered vinfra, for people or Ansible.

    With --list or --host it is a dynamic inventory: a script of two lines that calls it is an inventory of Ansible's.
    """
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode, UsageError
    from vinfra.report.as_json import document, dumps
    from vinfra.report.handed_on import write
    from vinfra.report.hosts import hosts_body, hosts_lines
    from vinfra.report.progress import Progress

    if whole and host:
        raise UsageError("--list and --host do not go together", "--list has the variables of every host")
    output = Output(json or whole or bool(host))
    with Progress(output.progress_console, quiet=output.json) as progress:
        offered = engine.offered(
            inventory_file(inventory), pattern, forks, progress, machines=not no_machines, refresh=refresh
        )
    if not (whole or host):
        code = ExitCode.INCOMPLETE if offered.unread else ExitCode.DONE
        rows = offered.inventory.hosts, offered.ways, {name: found.host for name, found in offered.machines.items()}
        output.lines(hosts_lines(*rows))
        for line in offered.unread.values():
            output.warn(line)
        output.document(document("inventory", code, hosts_body(*rows)))
        return int(code)
    write(offered.folder, offered.handed.files)
    for line in (*offered.unread.values(), *offered.handed.warnings):
        output.warn(line)
    hostvars = offered.handed.body["_meta"]["hostvars"]
    if host and host not in hostvars:
        raise UsageError(f"there is no host {host!r} in the inventory")
    typer.echo(dumps(hostvars[host] if host else offered.handed.body))
    return int(ExitCode.DONE)
