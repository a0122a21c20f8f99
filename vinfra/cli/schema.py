"""`vinfra schema`."""

from pathlib import Path
from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Json
from vinfra.errors import UsageError

app = new_app()


@app.command()
def schema(
    name: Annotated[str, typer.Argument(help="Only this one, such as `blueprint`.")] = "",
    write: Annotated[
        Path | None, typer.Option("--write", metavar="DIRECTORY", help="Write each to a file in it.")
    ] = None,
    json: Json = False,
) -> int:
    """JSON Schemas of blueprints and inventories, for editors. Prints them, or writes them to a directory."""
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.kinds.host.facts import documented
    from vinfra.kinds.registry import kinds
    from vinfra.report.as_json import document, dumps
    from vinfra.report.schema import schemas
    from vinfra.report.schema import write as write_all

    made = {file: text for file, text in schemas(kinds(), documented()).items() if file.startswith(name)}
    if not made:
        raise UsageError(f"no such schema: {name}", "vinfra schema prints all of them")
    output = Output(json)
    if write is not None:
        paths = write_all(kinds(), write, documented())
        output.text(f"wrote {', '.join(path.name for path in paths)} to {write}")
    else:
        output.text(dumps(next(iter(made.values())) if len(made) == 1 else made))
    output.document(document("schema", ExitCode.DONE, {"schemas": made}))
    return 0
