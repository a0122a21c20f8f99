"""From the fields of a domain to what libvirt is to be told of it, on a host that offers this and that."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.kinds.host.facts.virtualization import flag_of
from vinfra.kinds.kvm.domains import board, domain_xml, machine
from vinfra.kinds.kvm.domains.backing import PAGES
from vinfra.kinds.kvm.domains.drives import Drive
from vinfra.kinds.kvm.domains.machine import Disk, Nic, Spec
from vinfra.kinds.kvm.domains.ports import Port
from vinfra.kinds.kvm.domains.sources import Remote
from vinfra.kinds.kvm.reading.offers import UNSEEN, UNTOLD, Offers, Plugged, offers, plugged
from vinfra.kinds.kvm.reading.virsh import DOMAINS, NETWORKS, POOLS, Found, found
from vinfra.kinds.kvm.volumes import pools as kinds_of_pools
from vinfra.kinds.kvm.volumes import secrets, storage
from vinfra.model.kind import Answers, Scope
from vinfra.text.complaint import near

# The aspects of a domain that are what the fields of that name say.
SAME = ("cpu", "memory", "machine", "cpu_model", "serial", "rng", "agent", *board.FIELDS)


@dataclass(frozen=True, slots=True)
class Site:
    """What a host has for its domains: the folder of each pool, each network and whether it runs, its interfaces.

    `accelerator` is "kvm", "tcg" or, as long as nobody has tried, "". `interfaces` is None when they are not known.
    `offers` is what its QEMU can do, `plugged` its devices, `pages` how many huge pages its machines take, by size.
    `remotes`: of a pool in Ceph, how to get there.
    """

    accelerator: str
    pools: Mapping[str, str]
    networks: Mapping[str, bool]
    interfaces: frozenset[str] | None
    offers: Offers = UNTOLD
    plugged: Plugged = UNSEEN
    pages: Mapping[str, int] = field(default_factory=dict)
    remotes: Mapping[str, Remote] = field(default_factory=dict)


def site(accelerator: str, scope: Scope, answers: Answers) -> Site:
    """What a host has, together with what this blueprint brings there. No pool ever moves to another folder."""
    sources = {name: pool.definition for name, pool in found(answers, POOLS).items()}
    pools = {name: kinds_of_pools.place(xml) for name, xml in sources.items()}
    remotes = {name: remote for name, xml in sources.items() if (remote := kinds_of_pools.remote(xml)) is not None}
    networks = {name: network.active for name, network in found(answers, NETWORKS).items()}
    for reference, sibling in scope.siblings.items():
        noun, _, name = reference.partition(":")
        if noun == "pool":
            xml = "" if sibling.desired is None else kinds_of_pools.xml(name, sibling.desired)
            _declared(pools, name, pools.get(name, kinds_of_pools.place(xml)) if xml else None)
            if xml and name not in remotes and (remote := kinds_of_pools.remote(xml)) is not None:
                remotes[name] = remote
        elif noun == "network":
            _declared(networks, name, None if sibling.desired is None else True)
    interfaces = scope.facts.get("interfaces")
    known = None if interfaces is None else frozenset(interfaces)
    more = offers(answers), plugged(answers), pages(scope, found(answers, DOMAINS)), remotes
    return Site(accelerator, pools, networks, known, *more)


def pages(scope: Scope, there: Mapping[str, Found]) -> dict[str, int]:
    """How many huge pages of each size this blueprint's machines here take beyond those that they have now."""
    result: dict[str, int] = {}
    for item in scope.wanted:
        desired, domain = item.desired, there.get(item.address.name)
        size = desired.hugepages if isinstance(desired, Spec) and desired.power != "stopped" else None
        if size in PAGES:
            assert isinstance(desired, Spec)
            live = domain_xml.parse(domain.live) if domain is not None and domain.active else None
            has = live["memory"].most // PAGES[size] if live is not None and live["hugepages"] == size else 0
            result[size] = result.get(size, 0) + max(board.most(desired)[1] // PAGES[size] - has, 0)
    return result


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
    if there is None and desired.firmware == "efi":  # without a word libvirt takes whatever it finds first
        made["secure_boot"] = bool(desired.secure_boot)
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
        pool, volume, sort, locked = _volume(f"{name}/{disk_name}", disk, desired, scope)
        home = place.pools.get(pool, "")
        path = f"{home}/{storage.file_name(volume, sort, home)}"
        secret = secrets.of_volume(path) if locked else ""
        yield Drive(path, disk.bus, sort, secret=secret, remote=place.remotes.get(pool)), pool
    if machine.has_seed(desired):
        file, home = storage.file_name(f"{name}/{machine.SEED}", "iso"), place.pools.get(desired.pool, "")
        yield Drive(f"{home}/{file}", format="raw", readonly=True, remote=place.remotes.get(desired.pool)), desired.pool


def _volume(own: str, disk: Disk, desired: Spec, scope: Scope) -> tuple[str, str, str, bool]:
    """The pool, the name, the format of a disk's volume, and whether it is encrypted: its own, or a declared one."""
    if disk.volume is None:
        return disk.pool or desired.pool, own, disk.format or "qcow2", False
    sibling = scope.siblings.get(f"volume:{disk.volume}")
    volume = None if sibling is None else sibling.desired
    sort, locked = getattr(volume, "format", None) or "qcow2", getattr(volume, "encryption", None) is not None
    return getattr(volume, "pool", None) or storage.DEFAULT, disk.volume, sort, locked


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
