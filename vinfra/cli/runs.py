"""`vinfra runs`."""

from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Json

app = new_app(invoke_without_command=True)


@app.callback()
def runs(context: typer.Context, json: Json = False) -> int:
    """What was run from here, newest first."""
    return list_runs(json) if context.invoked_subcommand is None else 0


@app.command("list")
def list_runs(json: Json = False) -> int:
    """What was run from here, newest first."""
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report import journal
    from vinfra.report.as_json import document, run_body
    from vinfra.report.runs import records, run_lines

    found, strangers = records(journal.state_directory())
    output = Output(json)
    output.lines(run_lines(found, strangers))
    others = [{"file": stranger.name, "why": stranger.why} for stranger in strangers]
    output.document(document("runs", ExitCode.DONE, {"runs": [run_body(run) for run in found], "strangers": others}))
    return 0


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run's id or its beginning, or `last`.")], json: Json = False
) -> int:
    """One run, event by event."""
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report import journal
    from vinfra.report.as_json import document, run_body
    from vinfra.report.runs import find, run_detail

    found = find(journal.state_directory(), run)
    output = Output(json)
    output.lines(run_detail(found))
    output.document(document("runs show", ExitCode.DONE, {"run": run_body(found, events=True)}))
    return 0
