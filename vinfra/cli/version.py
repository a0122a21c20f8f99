"""`vinfra version`."""

import sys

from vinfra import __version__
from vinfra.cli.commands import new_app
from vinfra.cli.options import Json

app = new_app()


@app.command()
def version(json: Json = False) -> int:
    """Which vinfra this is, and on which Python."""
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import document

    python = ".".join(map(str, sys.version_info[:3]))
    output = Output(json)
    output.text(f"vinfra {__version__} on Python {python}")
    output.document(document("version", ExitCode.DONE, {"python": python}))
    return 0
