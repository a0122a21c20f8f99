"""What hosts tell of themselves, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from vinfra.report.terminal import STYLES
from vinfra.report.visible import visible
from vinfra.report.wording import spell


def facts_lines(hosts: Mapping[str, Mapping[str, Any] | str], screen: int | None = None) -> Iterator[Text]:
    """A block a host, a line a fact, under the names that templates use; a text instead of facts says why not.

    On a screen a long value is cut; a pipe gets all of it.
    """
    for number, (host, told) in enumerate(hosts.items()):
        if number:
            yield Text()
        yield Text(visible(host), style="bold")
        if isinstance(told, str):
            yield Text.assemble("  ", ("? ", STYLES["?"]), visible(told))
            continue
        rows = list(_flat(told, "facts"))
        width = min(40, max((len(name) for name, _ in rows), default=0))
        for name, value in rows:
            line = Text.assemble("  ", (f"{visible(name):<{width}}", "dim"), "  ", value)
            if screen:
                line.truncate(screen, overflow="ellipsis")
            yield line


def _flat(value: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{path}.{key}")
        else:
            yield f"{path}.{key}", spell(item)
