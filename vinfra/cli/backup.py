"""`vinfra backup`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Inventory, Json, OneMachine, OnHosts, inventory_file

app = new_app()


@app.command()
def backup(
    machine: OneMachine,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A folder that is not there yet, on this machine.")],
    inventory: Inventory = None,
    on: OnHosts = "all",
    json: Json = False,
) -> int:
    """Save a virtual machine as of one moment, whoever made it; it goes on meanwhile.

    All its disks, its definition with its passwords, its firmware's variables and whose it is, in files that nobody
    else may read.
    """
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.kinds.kvm.domains.parts import spelled
    from vinfra.report.as_json import document
    from vinfra.report.visible import visible

    output = Output(json)

    def tell(line: str) -> None:
        output.err.print(visible(line), soft_wrap=True)

    found, made = engine.backup(inventory_file(inventory), on, machine, to, tell)
    for note in made.notes:
        output.warn(note)
    how = {"frozen": "while it ran, its file systems at rest", "running": "while it ran, as a power cut would leave it"}
    size, moment = spelled(sum(disk.size for disk in made.disks)), how.get(made.how, "while it was down")
    output.text(f"Saved {visible(found.name)} of {found.host} to {to}: {size}, {moment}.")
    body = {name: value for name, value in asdict(made).items() if name not in ("marks", "version", "vinfra")}
    output.document(document("backup", ExitCode.DONE, {"folder": str(to), "backup": body}))
    return int(ExitCode.DONE)
