"""`vinfra unmanaged`."""

from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Forks, Inventory, Json, inventory_file

app = new_app()


@app.command()
def unmanaged(
    pattern: Annotated[str, typer.Argument(metavar="[HOSTS]", help="Hosts, groups or patterns.")] = "all",
    inventory: Inventory = None,
    forks: Forks = 50,
    json: Json = False,
) -> int:
    """Show what no blueprint owns. Touches nothing; exit code 2 when there is something."""
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import document
    from vinfra.report.estate import unmanaged_body, unmanaged_lines
    from vinfra.report.progress import Progress

    output = Output(json)
    with Progress(output.progress_console) as progress:
        found = engine.estates(inventory_file(inventory), pattern, forks, progress).values()
    left = any(not item.owners for estate in found for item in estate.items)
    codes = [ExitCode.DIFFERENCES if left else ExitCode.DONE]
    code = ExitCode.combined([*codes, *(ExitCode.INCOMPLETE for estate in found if estate.dark)])
    output.lines(unmanaged_lines(found))
    output.document(document("unmanaged", code, unmanaged_body(found)))
    return int(code)
