"""`vinfra owners`."""

from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Forks, Inventory, Json, inventory_file

app = new_app()


@app.command()
def owners(
    pattern: Annotated[str, typer.Argument(metavar="[HOSTS]", help="Hosts, groups or patterns.")] = "all",
    inventory: Inventory = None,
    blueprint: Annotated[
        str, typer.Option("--blueprint", metavar="NAME", help="Only what this blueprint owns, by its name.")
    ] = "",
    forks: Forks = 50,
    json: Json = False,
) -> int:
    """Show the marks on hosts: which blueprint owns what, who applied it, when, in which run. Touches nothing."""
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import document
    from vinfra.report.estate import owners_body, owners_lines
    from vinfra.report.progress import Progress

    output = Output(json)
    with Progress(output.progress_console) as progress:
        found = engine.estates(inventory_file(inventory), pattern, forks, progress, listing=False).values()
    code = ExitCode.INCOMPLETE if any(estate.error or estate.complaints for estate in found) else ExitCode.DONE
    output.lines(owners_lines(found, blueprint))
    output.document(document("owners", code, owners_body(found, blueprint)))
    return int(code)
