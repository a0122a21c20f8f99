"""`vinfra import`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Inventory, Json, inventory_file
from vinfra.errors import UsageError

app = new_app()


@app.command()
def import_(
    host: Annotated[str, typer.Argument(metavar="HOST", help="A host of the inventory.")],
    inventory: Inventory = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write it there; never over a file that exists.")
    ] = None,
    json: Json = False,
) -> int:
    """Write a blueprint of what is on a host, whose plan is empty. Touches nothing there.

    What a blueprint owns already is left out, and so is what no blueprint can say; comments tell of both.
    """
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import document
    from vinfra.report.progress import Progress

    if write is not None and (write.exists() or write.is_symlink()):
        raise UsageError(f"{write} exists already, and is not written over", "name another file")
    output = Output(json)
    with Progress(output.err) as progress:
        text, found = engine.import_host(inventory_file(inventory), host, progress)
    code = ExitCode.INCOMPLETE if found.dark else ExitCode.DONE
    for noun, reason in sorted(found.unread.items()):
        output.warn(f"{host}: {noun}: {reason}")
    if found.error:
        output.warn(f"not read: {found.error}")
    elif write is not None:
        _write(write, text)
        output.text(f"Written to {write}. Its plan is empty; vinfra adopt {write} '*' takes over what is in it.")
    else:
        output.text(text)
    told = {"host": host, "unknown": found.error or None, "blueprint": text or None, "file": str(write or "") or None}
    output.document(document("import", code, {**told, "unread": dict(sorted(found.unread.items()))}))
    return int(code)


def _write(file: Path, text: str) -> None:
    """A new file that only its owner may read: what is on a host need not be everybody's to know."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)
