"""An inventory for others: its hosts, and the virtual machines on them that vinfra can log in to, each with its way."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vinfra.errors import TransportError
from vinfra.estate.vms import as_host
from vinfra.model.inventory import Host, Inventory
from vinfra.model.machine import Machine, Site
from vinfra.report.handed_on import Handed, Way, handed_on
from vinfra.text.pattern import ALL
from vinfra.transport.logins import resolve

MACHINES = "vms"


@dataclass(frozen=True, slots=True)
class Offered:
    """`inventory` has the machines as hosts too. `unread` says of hosts, and of machines, why they could not be had.

    `folder` is where the files belong that `handed` refers to.
    """

    inventory: Inventory
    ways: Mapping[str, Way]
    machines: Mapping[str, Machine]
    unread: Mapping[str, str]
    folder: Path
    handed: Handed


def offer(inventory: Inventory, chosen: Iterable[str], sites: Mapping[str, Site], state: Path) -> Offered:
    """What can be handed on of these hosts, and of the machines found on them."""
    chosen = tuple(chosen)
    unread = {host: f"{host}: its machines are unknown: {site.error}" for host, site in sites.items() if site.error}
    machines = _machines(inventory, sites)
    hosts = dict(inventory.hosts)
    for name, machine in machines.items():
        hosts[name] = replace(as_host(machine, inventory.hosts[machine.host]), name=name)
    whole = Inventory(hosts, {**inventory.groups, ALL: tuple(hosts)}, inventory.file, inventory.warnings)
    ways = {}
    for name, host in hosts.items():
        try:
            ways[name] = _way(host)
        except TransportError as error:
            unread[name] = f"{name}: {error.line}"
    folder = state / "inventories" / hashlib.sha256(str(Path(inventory.file).absolute()).encode()).hexdigest()[:16]
    shown = frozenset((*chosen, *machines))
    return Offered(whole, ways, machines, unread, folder, handed_on(whole, ways, shown, _groups(machines), folder))


def _machines(inventory: Inventory, sites: Mapping[str, Site]) -> dict[str, Machine]:
    """The machines that run and told their address and key, under names that no two have."""
    found = [machine for site in sites.values() for machine in site.machines]
    able = [machine for machine in found if machine.state == "running" and machine.key and machine.address]
    names = [machine.name for machine in able]
    named = {}
    for machine in able:
        alone = names.count(machine.name) == 1 and machine.name not in inventory.hosts
        named[machine.name if alone else f"{machine.name}.{machine.host}"] = machine
    return named


def _way(host: Host) -> Way:
    if host.connection == "local":
        return Way("localhost", 22, "root")
    login = resolve(host)
    return Way(login.address, login.port, login.user, login.via)


def _groups(machines: Mapping[str, Machine]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, machine in machines.items():
        owned = [f"blueprint_{machine.blueprint}"] if machine.blueprint else []
        for group in (MACHINES, f"{MACHINES}_on_{machine.host}", *owned):
            groups.setdefault(re.sub(r"\W", "_", group), []).append(name)
    return groups
