"""`vinfra facts`."""

from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Forks, Inventory, Json, inventory_file

app = new_app()


@app.command()
def facts(
    pattern: Annotated[str, typer.Argument(help="Hosts, groups or patterns of the inventory.")] = "all",
    inventory: Inventory = None,
    forks: Forks = 50,
    json: Json = False,
) -> int:
    """Show what hosts tell of themselves: what templates see as `facts`."""
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import facts_document
    from vinfra.report.facts import facts_lines
    from vinfra.report.progress import Progress

    output = Output(json)
    with Progress(output.progress_console) as progress:
        states = engine.facts(inventory_file(inventory), pattern, forks, progress)
    told = {host: state.error or state.facts for host, state in states.items()}
    code = ExitCode.INCOMPLETE if any(state.error for state in states.values()) else ExitCode.DONE
    output.lines(facts_lines(told, output.width))
    output.document(facts_document(told, code))
    return int(code)
