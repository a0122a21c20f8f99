"""`vinfra retire`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Inventory, Json, Yes, inventory_file

if TYPE_CHECKING:
    from vinfra.cli.output import Output
    from vinfra.estate.retire import Retirement

app = new_app()


@app.command()
def retire(
    host: Annotated[str, typer.Argument(metavar="HOST", help="The host, in the inventory still or no more.")],
    inventory: Inventory = None,
    leave_machines: Annotated[
        bool, typer.Option("--leave-machines", help="Also while it holds machines that a blueprint owns.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Give up a host that leaves the inventory: its marks are released, and nothing on it is deleted.

    Of a host that cannot be reached any more this tells which machines were last known there.
    """
    from vinfra.cli.running import agreed, must_be_agreed, without_values

    must_be_agreed("retire", yes, json)
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode, UsageError
    from vinfra.report.as_json import document
    from vinfra.report.estate import owners_lines
    from vinfra.report.journal import Journal, state_directory
    from vinfra.report.last_known import knows, last_known
    from vinfra.report.progress import Progress
    from vinfra.report.runs import runs
    from vinfra.report.visible import several

    output = Output(json)

    def agree(found: "Retirement") -> bool:
        output.lines(owners_lines([found.estate]))
        return yes or agreed(f"Release {several(len(found.estate.marks), 'mark')} on {found.host}")

    line = without_values("retire", sys.argv[2:])
    with Journal(state_directory(), line, Path()) as journal:
        with Progress(output.err) as progress:
            machines = inventory_file(inventory)
            found, released = engine.retire(machines, host, agree, progress, journal.id, leave=leave_machines)
        if found is None and not knows(runs(state_directory()), host):
            raise UsageError(f"{host} is not in the inventory, and no journal here knows it", "is it spelled right?")
        journal.exit_code = ExitCode.INCOMPLETE if found is not None and found.estate.error else ExitCode.DONE
    known = last_known(runs(state_directory()), host) if found is None or found.estate.error else []
    code = journal.exit_code
    if found is not None and not found.estate.error:
        left = [f"{name} of {owner}" for name, owner in found.machines]
        output.text(f"Released {several(released, 'mark')} on {host}; nothing there was deleted.")
        if left:
            output.text(f"It still holds {', '.join(left)}; members of fleets are made again elsewhere.")
    else:
        _gone(output, host, found.estate.error if found else "", [item.machine for item in known])
    there = [{"name": name, "blueprint": owner} for name, owner in (found.machines if found else ())]
    body = {"host": host, "unknown": found.estate.error or None if found else "not in the inventory"}
    hints = [{"name": item.machine, "run": item.run, "time": item.time} for item in known]
    output.document(document("retire", code, {**body, "released": released, "machines": there, "last_known": hints}))
    return int(code)


def _gone(output: "Output", host: str, error: str, machines: list[str]) -> None:
    """What can be said of a host that cannot be asked."""
    why = f"Not read: {error}" if error else f"{host} is not in the inventory, so nobody asks it"
    output.text(f"{why}. What it holds stays as it is, and nothing here needs to be forgotten.")
    if machines:
        output.text(f"Last known there, by the journals of this controller: {', '.join(machines)}.")
        output.text("Those of fleets are made again elsewhere once no host of the inventory could still hold them.")
    else:
        output.text("The journals of this controller know of no machine there.")
