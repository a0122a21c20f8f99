"""From the fields of a domain to what libvirt is to be told of it, on a host that offers this and that."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vinfra.kinds.host.facts.virtualization import flag_of
from vinfra.kinds.kvm.domains import machine
from vinfra.kinds.kvm.domains.drives import Drive
from vinfra.kinds.kvm.domains.machine import Disk, Nic, Spec
from vinfra.kinds.kvm.domains.ports import Port
from vinfra.kinds.kvm.reading.virsh import NETWORKS, POOLS, element, found
from vinfra.kinds.kvm.volumes import storage
from vinfra.model.kind import Answers, Scope
from vinfra.text.complaint import near

# The aspects of a domain that are what the fields of that name say.
SAME = ("cpu", "memory", "machine", "cpu_model", "serial", "rng", "agent")


@dataclass(frozen=True, slots=True)
class Site:
    """What a host has for its domains: the folder of each pool, each network and whether it runs, its interfaces.

    `accelerator` is "kvm", "tcg" or, as long as nobody has tried, "". `interfaces` is None when they are not known.
    """

    accelerator: str
    pools: Mapping[str, str]
    networks: Mapping[str, bool]
    interfaces: frozenset[str] | None


def site(accelerator: str, scope: Scope, answers: Answers) -> Site:
    """What a host has, together with what this blueprint brings there. No pool ever moves to another folder."""
    pools = {name: element(pool.definition).findtext("target/path", "") for name, pool in found(answers, POOLS).items()}
    networks = {name: network.active for name, network in found(answers, NETWORKS).items()}
    for reference, sibling in scope.siblings.items():
        noun, _, name = reference.partition(":")
        if noun == "pool":
            path = getattr(sibling.desired, "path", None)
            _declared(pools, name, path and pools.get(name, path))
        elif noun == "network":
            _declared(networks, name, None if sibling.desired is None else True)
    interfaces = scope.facts.get("interfaces")
    return Site(accelerator, pools, networks, None if interfaces is None else frozenset(interfaces))


def _declared(known: dict[str, Any], name: str, value: Any) -> None:
    """What the blueprint takes away is not there any more for a machine that needs it."""
    if value is None:
        known.pop(name, None)
    else:
        known[name] = value


def wish(name: str, desired: Spec, scope: Scope, place: Site, there: Mapping[str, Any] | None) -> dict[str, Any]:
    """Every aspect (`domain_xml.ASPECTS`) that is managed. `there` is the definition as it is.

    Without a word on the CPU model only a new domain gets one, or one that is accelerated otherwise than before.
    """
    made: dict[str, Any] = {key: getattr(desired, key) for key in SAME}
    if desired.networks is not None:
        made["networks"] = ports_of(name, desired, scope.owner)
    drives = tuple(drive for drive, _ in _drives(name, desired, scope, place))
    if drives or desired.disks is not None:
        made["disks"] = drives
    if there is None or place.accelerator:
        made["accelerator"] = place.accelerator or ("kvm" if _capable(scope) else "tcg")
        before = "tcg" if there is None else there["accelerator"]
        if made["cpu_model"] is None and made["accelerator"] != before:
            made["cpu_model"] = "host-model" if made["accelerator"] == "kvm" else ""
    return {key: value for key, value in made.items() if value is not None}


def _capable(scope: Scope) -> bool:
    return bool(flag_of((scope.facts.get("cpu") or {}).get("flags") or ()))


def ports_of(name: str, desired: Spec, owner: str) -> tuple[Port, ...]:
    """The network cards of a machine; `owner` is its blueprint."""
    return tuple(_port(nic, f"{owner}/{name}") for nic in desired.networks or ())


def _port(nic: Nic, seed: str) -> Port:
    sort, source = ("network", nic.network) if nic.network is not None else ("bridge", nic.bridge)
    return Port(sort, source or "", nic.model, nic.mac or "", seed)


def _drives(name: str, desired: Spec, scope: Scope, place: Site) -> Iterator[tuple[Drive, str]]:
    """Each disk as a file, the seed last, and the pool it lies in; a pool without a folder is no place for it.

    The seed is a virtio disk because the kernels of cloud images may know no other drive.
    """
    for disk_name, disk in machine.disks(desired).items():
        pool, file, sort = _file(f"{name}/{disk_name}", disk, desired, scope)
        yield Drive(f"{place.pools.get(pool, '')}/{file}", disk.bus, sort), pool
    if machine.has_seed(desired):
        file = storage.file_name(f"{name}/{machine.SEED}", "iso")
        yield Drive(f"{place.pools.get(desired.pool, '')}/{file}", format="raw", readonly=True), desired.pool


def _file(own: str, disk: Disk, desired: Spec, scope: Scope) -> tuple[str, str, str]:
    """The pool, the file and the format of a disk: its own volume's, or those of the one that is declared."""
    if disk.volume is None:
        sort = disk.format or "qcow2"
        return disk.pool or desired.pool, storage.file_name(own, sort), sort
    sibling = scope.siblings.get(f"volume:{disk.volume}")
    volume = None if sibling is None else sibling.desired
    sort = getattr(volume, "format", None) or "qcow2"
    return getattr(volume, "pool", None) or storage.DEFAULT, storage.file_name(disk.volume, sort), sort


def objection(name: str, desired: Spec, scope: Scope, place: Site) -> str:
    """What this host lacks for it and the blueprint does not bring; "" for nothing."""
    for nic in desired.networks or ():
        if nic.network is not None and not place.networks.get(nic.network):
            if nic.network in place.networks:
                return f"network {nic.network} does not run; declare it under networks, or start it on the host"
            return _lacks("network", nic.network, place.networks)
        if nic.leased and f"network:{nic.network}" not in scope.siblings:
            said = f"{nic.address} is promised by network {nic.network}, which is not of this blueprint"
            return f"{said}; declare it under networks, or write {nic.address}/24 to have it set in the machine"
        if nic.bridge is not None and place.interfaces is not None and nic.bridge not in place.interfaces:
            return _lacks("bridge", nic.bridge, place.interfaces)
    pools = [pool for _, pool in _drives(name, desired, scope, place) if not place.pools.get(pool)]
    return _lacks("pool", pools[0], place.pools) if pools else ""


def _lacks(noun: str, name: str, known: Mapping[str, Any] | frozenset[str]) -> str:
    has = f"it has {', '.join(sorted(known))}" if known else "it has none"
    advice = "" if noun == "bridge" else f"; declare it under {noun}s"
    return f"there is no {noun} {name} on this host ({has}{near(name, known)}){advice}"
