"""Hosts and their virtual machines at a glance, for people and as JSON."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from vinfra.model.machine import Machine, Site
from vinfra.report.terminal import STYLES, padded
from vinfra.report.visible import several, visible
from vinfra.report.wording import spell

COLOURS = {"running": "green", "shut off": "dim", "crashed": "bold red", "paused": "yellow"}


def status_lines(sites: Iterable[Site]) -> Iterator[Text]:
    """A block a host, a line a machine: name, state, processors, memory, address, owner."""
    sites = list(sites)
    rows = {site.host: [_cells(machine) for machine in site.machines] for site in sites}
    cells = [row for found in rows.values() for row in found]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for number, site in enumerate(sites):
        if number:
            yield Text()
        yield Text.assemble((visible(site.host), "bold"), f"  {_told(site)}")
        if site.error:
            yield Text.assemble("  ", ("? ", STYLES["?"]), visible(site.error))
        for machine, row in zip(site.machines, rows[site.host], strict=True):
            name, state, *rest = [padded(cell, width) for cell, width in zip(row, widths, strict=True)]
            line = Text.assemble(f"  {name}  ", (state, COLOURS.get(machine.state, "")), f"  {'  '.join(rest)}")
            line.rstrip()
            yield line


def _told(site: Site) -> str:
    if site.error:
        return "unknown"
    if site.libvirt:
        return visible(f"{site.system}, no hypervisor ({site.libvirt})".removeprefix(", "))
    running = sum(machine.state == "running" for machine in site.machines)
    told = [site.system, f"{several(site.cpu, 'CPU')}" if site.cpu else "", _size(site.memory)]
    told += [f"{several(len(site.machines), 'machine')}, {running} running" if site.machines else "no machines"]
    return visible(", ".join(filter(None, told)))


def _cells(machine: Machine) -> tuple[str, ...]:
    owner = machine.blueprint or "not ours"
    cpu = several(machine.cpu, "CPU")
    return tuple(map(visible, (machine.name, machine.state, cpu, _size(machine.memory), machine.address or "-", owner)))


def _size(size: int | None) -> str:
    return "" if size is None else spell(size, "bytes") if size < 1 << 30 else f"{size / (1 << 30):.3g}GiB"


def status_body(sites: Mapping[str, Site]) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "hosts": [
            {**asdict(site), "machines": [asdict(machine) for machine in site.machines]} for site in sites.values()
        ]
    }
