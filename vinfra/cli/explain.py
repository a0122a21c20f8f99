"""`vinfra explain`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vinfra.cli.commands import COMMANDS, load, new_app
from vinfra.cli.options import Json

app = new_app()


@app.command()
def explain(
    what: Annotated[
        str, typer.Argument(help="A kind, a field of it (`file.mode`), or `vars`; nothing lists the kinds.")
    ] = "",
    write: Annotated[
        Path | None, typer.Option("--write", metavar="DIRECTORY", help="Write the whole reference as Markdown.")
    ] = None,
    json: Json = False,
) -> int:
    """What a kind or one of its fields means, and which variable wins."""
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.kinds.registry import kinds
    from vinfra.report import reference
    from vinfra.report.as_json import document
    from vinfra.text.template import PRECEDENCE

    output = Output(json)
    if write is not None:
        made = _pages()
        write.mkdir(parents=True, exist_ok=True)
        for file, page in made.items():
            (write / file).write_text(page, encoding="utf-8")
        text = f"wrote {', '.join(made)} to {write}"
    elif what == "vars":
        text = "\n".join(["Where a variable comes from; the later one wins:", *(f"  {line}" for line in PRECEDENCE)])
    else:
        text = reference.explain(kinds(), what, output.width)
    output.text(text)
    output.document(document("explain", ExitCode.DONE, {"what": what, "text": text}))
    return 0


def _pages() -> dict[str, str]:
    from vinfra.kinds.host.facts import documented
    from vinfra.kinds.registry import kinds
    from vinfra.model.question import READ_ONLY
    from vinfra.report.fact_pages import facts_page
    from vinfra.report.pages import pages
    from vinfra.report.schema import schemas
    from vinfra.text.template import PRECEDENCE

    made = pages(kinds(), command_docs(), schemas(kinds()), READ_ONLY, PRECEDENCE)
    return {**made, "facts.md": facts_page(documented())}


def command_docs() -> list[Any]:
    """Every command as the reference shows it."""
    found: list[Any] = []
    for name in (name for section in COMMANDS.values() for name in section):
        _collect(load(name), f"vinfra {name}", found)
    return found


def _collect(command: Any, path: str, found: list[Any]) -> None:
    from vinfra.report.pages import Command, Option

    options = []
    for parameter in command.params:
        names = ", ".join([*parameter.opts, *parameter.secondary_opts])
        if parameter.param_type_name == "argument":
            names = parameter.metavar or parameter.name.upper()
        if parameter.name != "help":
            default = parameter.default
            shown = (
                "" if default in (None, False, "", ()) or callable(default) else str(getattr(default, "value", default))
            )
            options.append(Option(names, parameter.help or "", shown))
    usage = " ".join([path, *(piece.strip("{}") for piece in command.collect_usage_pieces(typer.Context(command)))])
    found.append(Command(path, usage, " ".join((command.help or "").split()), tuple(options)))
    for name, inner in getattr(command, "commands", {}).items():
        _collect(inner, f"{path} {name}", found)
