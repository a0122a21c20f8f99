"""`vinfra snapshot create|list|revert|delete`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Inventory, Json, Machines, OneMachine, OnHosts, Yes, inventory_file

if TYPE_CHECKING:
    from vinfra.model.step import Verb

app = new_app(help="Moments of a virtual machine to go back to, kept in its own disks.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Its name.")]


@app.command()
def create(
    machine: OneMachine,
    name: Annotated[str, typer.Option("--name", help="What it is called; the time without it.")] = "",
    inventory: Inventory = None,
    on: OnHosts = "all",
    json: Json = False,
) -> int:
    """Take one. A machine that runs stands still while its memory is written, and goes on from there when reverted."""
    from vinfra import engine
    from vinfra.estate import snapshots

    with engine.reach(inventory_file(inventory), on, machine) as (found, connections):
        made = snapshots.create(connections, found, name)
    return _told(json, "create", found.name, found.host, made, f"Took {made} of {found.name} on {found.host}.")


@app.command("list")
def list_(machines: Machines, inventory: Inventory = None, on: OnHosts = "all", json: Json = False) -> int:
    """Show those that there are, whoever took them."""
    from datetime import UTC, datetime

    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import document
    from vinfra.report.visible import visible

    output, rows = Output(json), list[dict[str, Any]]()
    for machine, those in engine.snapshots(inventory_file(inventory), on, machines).items():
        for one in those:
            time = datetime.fromtimestamp(one.time, UTC).isoformat(timespec="seconds")
            holds = "with its memory" if one.memory else "disks"
            said = f"{holds}{', in files of its own' if one.external else ''}"
            output.text(f"{visible(machine.name)}  {machine.host}  {visible(one.name)}  {time}  {one.state}  {said}")
            facts = {"time": time, "state": one.state, "memory": one.memory, "external": one.external}
            rows.append({"machine": machine.name, "host": machine.host, "name": one.name, **facts})
        if not those:
            output.text(f"{visible(machine.name)}  {machine.host}  none")
    output.document(document("snapshot list", ExitCode.DONE, {"snapshots": rows}))
    return int(ExitCode.DONE)


@app.command()
def revert(
    machine: OneMachine,
    name: Name,
    inventory: Inventory = None,
    on: OnHosts = "all",
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Go back to one: what was written and changed since is lost, its definition too goes back."""
    from vinfra.model.step import Verb

    what = "data-loss: all that {machine} on {host} wrote since {name} is lost"
    return _change(Verb.SNAPSHOT_REVERT, "revert", machine, name, inventory, on, yes, json, what)


@app.command()
def delete(
    machine: OneMachine,
    name: Name,
    inventory: Inventory = None,
    on: OnHosts = "all",
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Delete one; the machine stays as it is."""
    from vinfra.model.step import Verb

    what = "{machine} on {host} cannot go back to {name} any more"
    return _change(Verb.SNAPSHOT_DELETE, "delete", machine, name, inventory, on, yes, json, what)


def _change(
    verb: "Verb",
    command: str,
    machine: str,
    name: str,
    inventory: Path | None,
    on: str,
    yes: bool,
    json: bool,
    what: str,
) -> int:
    from vinfra.cli.running import agreed, must_be_agreed

    must_be_agreed(f"snapshot {command}", yes, json)
    from vinfra import engine
    from vinfra.errors import RefusedError
    from vinfra.estate import snapshots
    from vinfra.report.visible import visible

    with engine.reach(inventory_file(inventory), on, machine) as (found, connections):
        snapshots.named(connections, found, name)
        said = visible(what.format(machine=found.name, host=found.host, name=name))
        if not (yes or agreed(said[0].upper() + said[1:])):
            raise RefusedError("not confirmed, nothing was touched")
        snapshots.change(connections, found, verb, name)
    ended = {
        "revert": f"{found.name} on {found.host} is as it was at {name}.",
        "delete": f"Deleted {name} of {found.name}.",
    }
    return _told(json, command, found.name, found.host, name, ended[command])


def _told(json: bool, command: str, machine: str, host: str, name: str, text: str) -> int:
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import document
    from vinfra.report.visible import visible

    output = Output(json)
    output.text(visible(text))
    body = {"machine": machine, "host": host, "name": name}
    output.document(document(f"snapshot {command}", ExitCode.DONE, body))
    return int(ExitCode.DONE)
