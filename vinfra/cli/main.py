"""`vinfra`: the command line, and the one place that turns errors into exit codes."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from vinfra import __version__
from vinfra.cli import trouble
from vinfra.cli.commands import Commands
from vinfra.errors import ExitCode, VinfraError

app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> int:
    """Describe machines in a blueprint, look at what is there, and make it so."""
    if version:
        typer.echo(f"vinfra {__version__}")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(1)
    return 0


def run(arguments: list[str]) -> int:
    """Run a command line; returns its exit code."""
    try:
        return int(get_command(app)(args=arguments, prog_name="vinfra", standalone_mode=False) or 0)
    except VinfraError as error:
        return trouble.tell(error, arguments)
    except TyperException as error:
        return trouble.tell(trouble.usage(error), arguments)
    except BrokenPipeError:
        return trouble.broken_pipe()
    except OSError as error:
        return trouble.unwritable(error, arguments)
    except Exception as error:
        return trouble.bug(error, arguments)


def main() -> None:
    """The program's entry point."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us; else a connection would get its number
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  as long as we are
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and not stream.closed:  # no character of a name may end the program
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    if code == ExitCode.INTERRUPTED:  # a thread that still waits for a host, or renders, must not hold the terminal
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, AttributeError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
