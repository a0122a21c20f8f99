"""The hosts of an inventory as a table and as JSON: how each is reached, and what it is in."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from vinfra.model.inventory import Host
from vinfra.report.handed_on import Way
from vinfra.report.terminal import padded
from vinfra.report.visible import visible


def hosts_lines(hosts: Mapping[str, Host], ways: Mapping[str, Way], machines: Mapping[str, str]) -> Iterator[Text]:
    """A line a host: name, where and as whom, by which way, and its groups. `machines` are on which hosts."""
    rows = [_cells(hosts[name], way, machines.get(name, "")) for name, way in ways.items()]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for name, *rest in rows:
        cells = [padded(cell, width) for cell, width in zip(rest, widths[1:], strict=True)]
        line = Text.assemble((padded(name, widths[0]), "bold"), "  ", "  ".join(cells))
        line.rstrip()
        yield line


def _cells(host: Host, way: Way, on: str) -> tuple[str, ...]:
    port = "" if way.port == 22 else f":{way.port}"
    there = "this machine" if host.connection == "local" else f"{way.user}@{way.address}{port}"
    through = f"via {', '.join(way.via)}" if way.via else ""
    return tuple(map(visible, (host.name, there, through, f"on {on}" if on else ", ".join(host.groups))))


def hosts_body(hosts: Mapping[str, Host], ways: Mapping[str, Way], machines: Mapping[str, str]) -> dict[str, Any]:
    """The same for JSON. Variables are not in it: `--list` has them."""
    return {
        "hosts": [
            {
                "name": name,
                "connection": hosts[name].connection,
                "address": way.address,
                "port": way.port,
                "user": way.user,
                "via": list(way.via),
                "groups": list(hosts[name].groups),
                "machine_on": machines.get(name),
            }
            for name, way in ways.items()
        ]
    }
