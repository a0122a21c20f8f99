"""What `start`, `stop` and `reboot` share: do it to machines side by side, and say how each ended."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vinfra.cli.options import inventory_file

if TYPE_CHECKING:
    from vinfra.model.step import Verb

Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=1, help="How long its own system may take to go down.")
]


def switch(
    verb: "Verb", words: str, machines: list[str], inventory: Path | None, on: str, seconds: float, json: bool
) -> int:
    """Do it, and print a line a machine: `web-01  hv1  started`."""
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.estate.vms import Action
    from vinfra.report.as_json import document
    from vinfra.report.visible import visible

    output = Output(json)
    ended = engine.power(inventory_file(inventory), on, machines, Action(verb, seconds))
    code = ExitCode.FAILED if any(error for _, error in ended) else ExitCode.DONE
    width = max((len(machine.name) for machine, _ in ended), default=0)
    for machine, error in ended:
        told = "; ".join(visible(line) for line in error.splitlines()) or words
        output.text(f"{visible(machine.name):<{width}}  {visible(machine.host)}  {told}")
    rows = [{"name": machine.name, "host": machine.host, "error": error} for machine, error in ended]
    output.document(document(str(verb), code, {"machines": rows}))
    return int(code)
