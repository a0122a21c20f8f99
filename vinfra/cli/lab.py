"""`vinfra lab up|down|status|image`: throw-away hosts on this machine to try blueprints on, and a guest for them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vinfra.errors import ExitCode

if TYPE_CHECKING:
    from vinfra.lab import Lab

app = typer.Typer(help="Throw-away hosts on this machine, reached over SSH.", no_args_is_help=True)

Name = Annotated[str, typer.Option(help="Which lab; several can run side by side.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def up(
    name: Name = "lab",
    hosts: Annotated[int, typer.Option(help="How many hosts.")] = 2,
    suite: Annotated[str, typer.Option(help="Their Debian release.")] = "bookworm",
    as_json: AsJson = False,
) -> None:
    """Bring a lab up and print how to reach it; does nothing if it runs."""
    from vinfra import lab

    running = lab.up(name, hosts, progress=lambda line: typer.echo(line, err=True), suite=suite)
    _show(running, as_json=as_json)


@app.command()
def down(name: Name = "lab", as_json: AsJson = False) -> None:
    """Take a lab down: nothing of it is left."""
    from vinfra import lab

    was_up = lab.down(name)
    if as_json:
        _document("down", ExitCode.DONE, {"name": name, "was_up": was_up})
    else:
        typer.echo(f"{name} is down" if was_up else f"{name} was not up")


@app.command()
def status(name: Name = "lab", as_json: AsJson = False) -> None:
    """Say whether a lab runs and how to reach its hosts; exits 1 if it does not."""
    from vinfra import lab

    running = lab.status(name)
    if running is None:
        if as_json:
            _document("status", ExitCode.FAILED, {"name": name, "lab": None})
        else:
            typer.echo(f"{name} is not up; bring it up with: vinfra lab up --name {name}")
        raise typer.Exit(ExitCode.FAILED)
    _show(running, as_json=as_json)


@app.command()
def image(
    name: Annotated[str, typer.Option(help="The lab whose key the file for --vars is to name.")] = "",
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FILE", help="Write them as variables: image.path, image.sha256, key."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print where the lab's guest is, a disk image for small virtual machines, and its checksum; makes it if needed."""
    from vinfra import lab

    made = lab.image(progress=lambda line: typer.echo(line, err=True))
    running = lab.status(name) if name else None
    if write is not None:
        told: dict[str, object] = {"image": {"path": str(made.path), "sha256": made.sha256}}
        told |= {"key": str(running.key_file)} if running else {}
        write.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if as_json:
        _document("image", ExitCode.DONE, {"path": str(made.path), "sha256": made.sha256})
        return
    typer.echo(f"image   {_near(made.path)}")
    typer.echo(f"sha256  {made.sha256}")


def _show(running: "Lab", *, as_json: bool) -> None:
    if as_json:
        state = json.loads((running.home / "state.json").read_text())
        told = {key: value for key, value in state.items() if key != "password"}
        _document("status", ExitCode.DONE, {"name": running.name, "lab": told})
        return
    for host in running.hosts.values():
        typer.echo(f"{host.name}  127.0.0.1:{host.port}  {'up' if host.pid else 'off'}")
    typer.echo(f"inventory  {_near(running.inventory)}")
    typer.echo(f"log in     ssh -F {_near(running.ssh_config)} {next(iter(running.hosts))}")
    typer.echo(
        f"accounts   root by key; ops by key or password, and sudo asks for it: see {_near(running.password_file)}"
    )
    typer.echo("packages   apt-get install works; the hosts have no other way out")
    typer.echo(f"take down  vinfra lab down{'' if running.name == 'lab' else f' --name {running.name}'}")


def _document(verb: str, code: ExitCode, body: dict[str, Any]) -> None:
    from vinfra.report.as_json import document, dumps

    typer.echo(dumps(document(f"lab {verb}", code, body)))


def _near(path: Path) -> Path:
    """The path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
