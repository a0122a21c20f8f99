"""What hosts tell of themselves, for people: sections of one host, a table of many, or single facts by their names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from vinfra.report.fact_sections import sections, share, size
from vinfra.report.terminal import STYLES, padded
from vinfra.report.visible import visible
from vinfra.report.wording import spell

Hosts = Mapping[str, Mapping[str, Any] | str]

HEAD = ("HOST", "SYSTEM", "KERNEL", "INSIDE", "CPUS", "LOAD", "MEMORY", "AVAILABLE", "/ USED")
LABEL = 16
NOTHING = "-"


def facts_lines(
    hosts: Hosts, screen: int | None = None, only: Sequence[str] = (), wanted: Sequence[str] = ()
) -> Iterator[Text]:
    """The facts in `wanted` of each host; else the sections in `only`; else one host in sections, many in a table.

    On a screen a long line is cut; a pipe gets all of it. A text instead of facts says why there are none.
    """
    if wanted:
        lines = _single(hosts, [name.removeprefix("facts.") for name in wanted])
    elif only or len(hosts) == 1:
        lines = _sections(hosts, tuple(only))
    else:
        lines = _table(HEAD, {host: told if isinstance(told, str) else _overview(told) for host, told in hosts.items()})
    for line in lines:
        if screen:
            line.truncate(screen, overflow="ellipsis")
        yield line


def _sections(hosts: Hosts, only: tuple[str, ...]) -> Iterator[Text]:
    for number, (host, told) in enumerate(hosts.items()):
        if number:
            yield Text()
        yield Text(visible(host), style="bold")
        if isinstance(told, str):
            yield _unknown(told)
            continue
        for name, lines in sections(told, only):
            for place, line in enumerate(lines):
                yield Text.assemble("  ", (f"{'' if place else name:<{LABEL}}", "dim"), line)


def _unknown(why: str) -> Text:
    return Text.assemble("  ", ("? ", STYLES["?"]), visible(why))


def _overview(told: Mapping[str, Any]) -> list[str]:
    memory, usage = told.get("memory") or {}, told.get("usage") or {}
    root = (told.get("filesystems") or {}).get("/") or {}
    load = (usage.get("load") or {}).get("five")
    cells = (
        (told.get("os") or {}).get("pretty"),
        told.get("kernel"),
        told.get("virtualization"),
        (told.get("cpu") or {}).get("count"),
        None if load is None else f"{load:g}",
        size(memory.get("total")),
        size(memory.get("available")),
        share(root.get("used"), root.get("size")),
    )
    return [NOTHING if cell in (None, "") else visible(cell) for cell in cells]


def _table(head: Sequence[str], rows: Mapping[str, Sequence[str] | str]) -> Iterator[Text]:
    """A line a host; what a host could not be asked stands in its line, across all columns."""
    known = [[visible(host), *row] for host, row in rows.items() if not isinstance(row, str)]
    widths = [max(map(cell_len, column)) for column in zip(*known, strict=True)]
    widths = [max(width, len(title)) for width, title in zip(widths or [0] * len(head), head, strict=True)]
    widths[0] = max(widths[0], *(cell_len(visible(host)) for host in rows), 0)
    yield Text(_row(head, widths), style="dim")
    for host, row in rows.items():
        name = padded(visible(host), widths[0])
        if isinstance(row, str):
            yield Text.assemble(f"{name}  ", ("? ", STYLES["?"]), visible(row))
        else:
            yield Text(_row([visible(host), *row], widths))


def _row(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(padded(cell, width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _single(hosts: Hosts, names: Sequence[str]) -> Iterator[Text]:
    """A column a fact; where one is more than a value, a block a host and a line a fact below it."""
    found = {
        host: told if isinstance(told, str) else [at(told, name) for name in names] for host, told in hosts.items()
    }
    values = [value for told in found.values() if not isinstance(told, str) for value in told]
    if not any(isinstance(value, Mapping) for value in values):
        rows = {host: told if isinstance(told, str) else list(map(_cell, told)) for host, told in found.items()}
        yield from _table(("HOST", *names), rows)
        return
    for number, (host, told) in enumerate(found.items()):
        if number:
            yield Text()
        yield Text(visible(host), style="bold")
        if isinstance(told, str):
            yield _unknown(told)
            continue
        rows_below = [row for name, value in zip(names, told, strict=True) for row in _flat(value, f"facts.{name}")]
        width = min(48, max((len(visible(name)) for name, _ in rows_below), default=0))
        for name, value in rows_below:
            yield Text.assemble("  ", (f"{visible(name):<{width}}", "dim"), "  ", value)


def _cell(value: Any) -> str:
    return NOTHING if value is None else ", ".join(map(spell, value)) if isinstance(value, list) else spell(value)


def at(told: Any, path: str) -> Any:
    """A fact by its path, None for none; `` is all of them. Names may hold dots, so the longest that fits counts."""
    if not path:
        return told
    if not isinstance(told, Mapping):
        return None
    fitting = [key for key in told if path == key or path.startswith(f"{key}.")]
    return at(told[max(fitting, key=len)], path[len(max(fitting, key=len)) + 1 :]) if fitting else None


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}")
    else:
        yield path, NOTHING if value is None else spell(value)
