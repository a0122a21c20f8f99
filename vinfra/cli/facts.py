"""`vinfra facts`."""

from typing import Annotated

import typer

from vinfra.cli.commands import new_app
from vinfra.cli.options import Forks, Inventory, Json, inventory_file

app = new_app()


@app.command()
def facts(
    pattern: Annotated[str, typer.Argument(help="Hosts, groups or patterns of the inventory.")] = "all",
    inventory: Inventory = None,
    only: Annotated[
        str, typer.Option("--only", metavar="TOPICS", help="Only these topics, such as cpu,memory; of every host.")
    ] = "",
    fact: Annotated[
        list[str] | None,
        typer.Option(
            "--fact", metavar="NAME", help="Only this fact, such as facts.cpu.model; `facts`: all; repeatable."
        ),
    ] = None,
    forks: Forks = 50,
    json: Json = False,
) -> int:
    """Show what hosts tell of themselves, which templates see as `facts`. --json has all of it."""
    from vinfra import engine
    from vinfra.cli.output import Output
    from vinfra.errors import ExitCode
    from vinfra.report.as_json import facts_document
    from vinfra.report.facts import facts_lines
    from vinfra.report.progress import Progress

    topics = tuple(filter(None, (topic.strip() for topic in only.split(","))))
    wanted = _known(topics, fact or [])
    output = Output(json)
    with Progress(output.progress_console) as progress:
        states = engine.facts(inventory_file(inventory), pattern, forks, progress)
    told = {host: state.error or state.facts for host, state in states.items()}
    code = ExitCode.INCOMPLETE if any(state.error for state in states.values()) else ExitCode.DONE
    output.lines(facts_lines(told, output.width, topics, wanted))
    output.document(facts_document(told, code))
    return int(code)


def _known(topics: tuple[str, ...], names: list[str]) -> list[str]:
    """The facts without their prefix. Raises UsageError for a topic or a fact that there is none of."""
    from vinfra.errors import UsageError
    from vinfra.kinds.host.facts import documented
    from vinfra.model.fact import outline, stands_for_any
    from vinfra.text.complaint import near

    every = documented()
    for topic in topics:
        if topic not in every:
            raise UsageError(f"there is no topic {topic!r}{near(topic, every)}", f"topics are {', '.join(every)}")
    tree = outline(fact for known in every.values() for fact in known)
    found = []
    for name in names:
        path = "" if name == "facts" else name.removeprefix("facts.")
        node = tree
        for part in filter(None, path.split(".")):
            if not isinstance(node, dict) or part not in node:
                raise UsageError(
                    f"there is no fact {name!r}{near(part, node if isinstance(node, dict) else ())}",
                    "docs/reference/facts.md has all",
                )
            node = node[part]
            if isinstance(node, dict) and any(map(stands_for_any, node)):
                break  # below are names that only hosts know, and those may hold dots
        found.append(path)
    return found
