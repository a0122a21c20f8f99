"""`vinfra restore`."""

from pathlib import Path
from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Inventory, Json, inventory_file

app = new_app()


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a backup.")],
    inventory: Inventory = None,
    name: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Make a copy of that name, which is nobody's, instead.")
    ] = "",
    on: Annotated[str, typer.Option("--on", metavar="HOST", help="On this host instead of where it was.")] = "",
    start: Annotated[bool, typer.Option("--start", help="Start it as well.")] = False,
    json: Json = False,
) -> int:
    """Make a virtual machine from its backup, once every byte of that was found to be as it was written.

    Nothing that is there is written over. Under its own name it belongs to its blueprint again; a copy gets a uuid and
    MAC addresses of its own.
    """
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import document
    from vinfra.report.visible import visible

    output = Output(json)

    def tell(line: str) -> None:
        output.err.print(visible(line), soft_wrap=True)

    made, host, found = engine.restore(inventory_file(inventory), folder, name, on, tell, start=start)
    for note in found.notes:
        output.warn(note)
    ours = found.blueprint and made == found.machine
    state = "It runs." if start else "It is down: vinfra start." if ours else "It is down."
    output.text(f"{visible(made)} is on {host} as it was at {found.time}. {state}")
    body = {"folder": str(folder), "machine": made, "host": host, "time": found.time, "started": start}
    output.document(document("restore", ExitCode.DONE, body))
    return int(ExitCode.DONE)
