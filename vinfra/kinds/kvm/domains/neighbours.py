"""What two machines of one host cannot both have, and what a network of the blueprint does not have for its cards."""

from collections.abc import Iterator
from typing import Any

from vinfra.kinds.kvm.domains import machine
from vinfra.kinds.kvm.domains.devices import Nic
from vinfra.model import spec as shape
from vinfra.model.kind import Scope


def objection(name: str, desired: machine.Spec, scope: Scope) -> str:
    """The first of it, in a clause; "" for nothing."""
    return next(filter(None, (*_portgroups(desired, scope), *_taken(name, desired, scope))), "")


def alone(desired: shape.Spec) -> Iterator[str]:
    """What it shares with no machine on any host: bridges of one name lead into one network."""
    assert isinstance(desired, machine.Spec)
    return (said for (sort, *_), said in _owned(desired) if sort in ("mac", "address"))


def _portgroups(desired: machine.Spec, scope: Scope) -> Iterator[str]:
    """libvirt takes one that is not there for none at all."""
    for nic in _cards(desired):
        sibling = scope.siblings.get(f"network:{nic.network}") if nic.portgroup is not None else None
        known: Any = getattr(sibling.desired, "portgroups", None) if sibling is not None else None
        if isinstance(known, dict) and nic.portgroup not in known:
            has = ", ".join(sorted(known)) or "none"
            yield f"networks: network {nic.network} has no portgroup {nic.portgroup}; it has {has}"


def _taken(name: str, desired: machine.Spec, scope: Scope) -> Iterator[str]:
    mine = dict(_owned(desired))
    for item in scope.siblings.values():
        other = item.desired
        if item.address.noun == "domain" and item.address.name != name and isinstance(other, machine.Spec):
            yield from (f"{mine[what]} is {item.address.name}'s, too" for what, _ in _owned(other) if what in mine)


def _owned(desired: machine.Spec) -> Iterator[tuple[tuple[str, ...], str]]:
    """What a machine alone can have, and how it is called."""
    for disk in (desired.disks or {}).values() if "disks" not in desired.deferred else ():
        if disk.volume is not None and not disk.shared and not disk.readonly:
            yield ("volume", disk.volume), f"disks: volume {disk.volume}"
    for nic in _cards(desired):
        if nic.mac is not None:
            yield ("mac", nic.mac), f"networks: MAC address {nic.mac}"
        if nic.bridge is not None and nic.address is not None:
            address = nic.address.partition("/")[0]
            yield ("address", nic.bridge, address), f"networks: {address} on bridge {nic.bridge}"


def _cards(desired: machine.Spec) -> tuple[Nic, ...]:
    return () if "networks" in desired.deferred else desired.networks or ()
