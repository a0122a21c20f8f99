"""`vinfra status`."""

from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Forks, Inventory, Json, inventory_file

app = new_app()


@app.command()
def status(
    pattern: Annotated[str, typer.Argument(help="Hosts, groups or patterns of the inventory.")] = "all",
    inventory: Inventory = None,
    forks: Forks = 50,
    json: Json = False,
) -> int:
    """Show hosts, the virtual machines on them, whoever made those, and their addresses. Touches nothing."""
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import document
    from vinfra.report.progress import Progress
    from vinfra.report.status import status_body, status_lines

    output = Output(json)
    with Progress(output.progress_console) as progress:
        sites = engine.sites(inventory_file(inventory), pattern, forks, progress)
    code = ExitCode.INCOMPLETE if any(site.error for site in sites.values()) else ExitCode.DONE
    output.lines(status_lines(sites.values()))
    output.document(document("status", code, status_body(sites)))
    return int(code)
