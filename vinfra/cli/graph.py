"""`vinfra graph`."""

from enum import StrEnum
from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Blueprint, Extra, Inventory, Json, VarFiles, request

app = new_app()


class Form(StrEnum):
    """What a drawing is written in."""

    DOT = "dot"
    MERMAID = "mermaid"
    SVG = "svg"


@app.command()
def graph(
    blueprint: Blueprint,
    inventory: Inventory = None,
    extra: Extra = None,
    var_files: VarFiles = None,
    form: Annotated[Form, typer.Option("--format", help="What to write.")] = Form.DOT,
    json: Json = False,
) -> int:
    """Draw what comes before what, without connecting to anything."""
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import document
    from vinfra.report.graph import graph_body, graph_of, render

    wish = engine.validate(request(blueprint, inventory, extra, var_files))
    drawn = graph_of(wish.resources)
    output = Output(json)
    output.text(render(drawn, form.value))
    output.document(document("graph", ExitCode.DONE, graph_body(drawn)))
    return 0
