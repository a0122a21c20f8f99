"""From the fields of a domain to what libvirt is to be told of it, on a host that offers this and that."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.kinds.host.facts.virtualization import flag_of
from vinfra.kinds.kvm import image
from vinfra.kinds.kvm.domains import board, graphics, machine
from vinfra.kinds.kvm.domains.backing import PAGES
from vinfra.kinds.kvm.domains.devices import Cdrom, Disk, Nic
from vinfra.kinds.kvm.domains.domain_xml import ASPECTS, parse
from vinfra.kinds.kvm.domains.drives import OPTIONS, Drive
from vinfra.kinds.kvm.domains.graphics import Screen
from vinfra.kinds.kvm.domains.machine import Spec
from vinfra.kinds.kvm.domains.media import Medium
from vinfra.kinds.kvm.domains.ports import Port, Rates
from vinfra.kinds.kvm.domains.processors import Amount
from vinfra.kinds.kvm.domains.sources import Remote
from vinfra.kinds.kvm.reading.offers import UNSEEN, UNTOLD, Offers, Plugged, offers, plugged
from vinfra.kinds.kvm.reading.virsh import DOMAINS, NETWORKS, POOLS, Found, element, found
from vinfra.kinds.kvm.volumes import pools as kinds_of_pools
from vinfra.kinds.kvm.volumes import secrets, storage
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec, Question
from vinfra.text.complaint import near

# The aspects of a domain that are what the fields of that name say.
SAME = ("cpu_max", "memory_max", "graphics_password", "machine", "cpu_model", "serial", "rng", "agent", *board.FIELDS)


@dataclass(frozen=True, slots=True)
class Site:
    """What a host has for its domains: the folder of each pool, each network and whether it runs, its interfaces.

    `accelerator` is "kvm", "tcg" or, as long as nobody has tried, "". `interfaces` is None when they are not known.
    `offers` is what its QEMU can do, `plugged` its devices, `pages` how many huge pages its machines take, by size.
    `remotes`: of a pool in Ceph, how to get there.
    `lacking` are the files for CD-ROM drives that are not there, `screens` the ports of screens, each with its domain.
    """

    accelerator: str
    pools: Mapping[str, str]
    networks: Mapping[str, bool]
    interfaces: frozenset[str] | None
    offers: Offers = UNTOLD
    plugged: Plugged = UNSEEN
    pages: Mapping[str, int] = field(default_factory=dict)
    remotes: Mapping[str, Remote] = field(default_factory=dict)
    lacking: frozenset[str] = frozenset()
    screens: frozenset[tuple[str, str]] = frozenset()


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
    lacking = frozenset(path for path, ask in _files(scope) if ask in answers and not answers[ask].ok)
    more = offers(answers), plugged(answers), pages(scope, found(answers, DOMAINS)), remotes
    return Site(accelerator, pools, networks, known, *more, lacking, frozenset(_screens(scope, answers)))


def pages(scope: Scope, there: Mapping[str, Found]) -> dict[str, int]:
    """How many huge pages of each size this blueprint's machines here take beyond those that they have now."""
    result: dict[str, int] = {}
    for item in scope.wanted:
        desired, domain = item.desired, there.get(item.address.name)
        size = desired.hugepages if isinstance(desired, Spec) and desired.power != "stopped" else None
        if size in PAGES:
            assert isinstance(desired, Spec)
            live = parse(domain.live) if domain is not None and domain.active else None
            has = live["memory"].most // PAGES[size] if live is not None and live["hugepages"] == size else 0
            result[size] = result.get(size, 0) + max(board.most(desired)[1] // PAGES[size] - has, 0)
    return result


def ask(scope: Scope) -> Iterator[Question]:
    """Whether the files are there that go into CD-ROM drives, unless this blueprint brings them."""
    return (question for _, question in _files(scope))


def _files(scope: Scope) -> Iterator[tuple[str, Question]]:
    specs = [item.desired for item in scope.wanted if isinstance(item.desired, Spec)]
    media = {drive.medium for spec in specs if isinstance(spec.cdroms, dict) for drive in spec.cdroms.values()}
    for path in sorted(path for path in media if path.startswith("/")):
        brought = scope.siblings.get(f"file:{path}")
        if brought is None or brought.desired is None:
            yield path, Exec(("test", "-e", path))


def _screens(scope: Scope, answers: Answers) -> Iterator[tuple[str, str]]:
    """Where one is declared that counts, and not where it is served by now."""
    wanted = {item.address.name: item.desired for item in scope.wanted if isinstance(item.desired, Spec)}
    declared = {name: spec.graphics.port for name, spec in wanted.items() if spec.graphics is not None}
    yield from ((port, name) for name, port in declared.items() if port != "auto")
    for name, domain in found(answers, DOMAINS).items():
        for xml in filter(None, (domain.persistent, domain.live)) if name not in declared else ():
            yield from ((port, name) for port in graphics.ports_in_use(element(xml)))


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
    if there is None and desired.firmware == "efi":  # without a word libvirt takes whatever it finds first
        made["secure_boot"] = bool(desired.secure_boot)
    made["cpu"] = Amount(desired.cpu, desired.cpu_max or 0)
    made["memory"] = Amount(desired.memory, desired.memory_max or desired.memory)
    if desired.cdroms is not None:
        made["cdroms"] = tuple(_medium(drive, scope, place) for drive in desired.cdroms.values())
    if (screen := desired.graphics) is not None:
        made["graphics"] = () if screen.type == "none" else (Screen(screen.type, screen.listen, screen.port),)
    drives = tuple(drive for drive, _ in _drives(name, desired, scope, place))
    if drives or desired.disks is not None:
        made["disks"] = drives
    if there is None or place.accelerator:
        made["accelerator"] = place.accelerator or ("kvm" if _capable(scope) else "tcg")
        before = "tcg" if there is None else there["accelerator"]
        if made["cpu_model"] is None and made["accelerator"] != before:
            made["cpu_model"] = "host-model" if made["accelerator"] == "kvm" else ""
    return {key: made[key] for key in ASPECTS if made.get(key) is not None}


def _capable(scope: Scope) -> bool:
    return bool(flag_of((scope.facts.get("cpu") or {}).get("flags") or ()))


def ports_of(name: str, desired: Spec, owner: str) -> tuple[Port, ...]:
    """The network cards of a machine; `owner` is its blueprint."""
    return tuple(_port(nic, f"{owner}/{name}") for nic in desired.networks or ())


def _port(nic: Nic, seed: str) -> Port:
    sort, source = ("network", nic.network) if nic.network is not None else ("bridge", nic.bridge)
    given = nic.bandwidth
    rates: tuple[Rates, Rates] | None = None
    if given is not None:
        rates = (given.inbound.kib if given.inbound else (), given.outbound.kib if given.outbound else ())
    told = {name: getattr(nic, name) for name in ("portgroup", "link", "queues", "mtu", "boot")}
    return Port(sort, source or "", nic.model, nic.mac or "", seed, bandwidth=rates, **told)


def _medium(drive: Cdrom, scope: Scope, place: Site) -> Medium:
    wish = _image(drive, scope)
    file = drive.medium
    if wish is not None:
        file = f"{place.pools.get(wish.pool, '')}/{image.file_name(drive.image, wish.sha256, wish.format)}"
    return Medium(file, drive.bus or "", drive.boot)


def _image(drive: Cdrom, scope: Scope) -> image.Spec | None:
    sibling = scope.siblings.get(f"image:{drive.image}") if drive.image else None
    return sibling.desired if sibling is not None and isinstance(sibling.desired, image.Spec) else None


def _drives(name: str, desired: Spec, scope: Scope, place: Site) -> Iterator[tuple[Drive, str]]:
    """Each disk as a file, the seed last, and the pool it lies in; a pool without a folder is no place for it.

    The seed is a virtio disk because the kernels of cloud images may know no other drive.
    """
    for disk_name, disk in machine.disks(desired).items():
        pool, volume, sort, locked = _volume(f"{name}/{disk_name}", disk, desired, scope)
        home = place.pools.get(pool, "")
        path = f"{home}/{storage.file_name(volume, sort, home)}"
        told: dict[str, Any] = {name: getattr(disk, name) for name in (*OPTIONS, "boot", "readonly")}
        limits = None if disk.iotune is None else tuple(sorted(disk.iotune.given.items()))
        secret = secrets.of_volume(path) if locked else ""
        yield Drive(path, disk.bus, sort, limits=limits, secret=secret, remote=place.remotes.get(pool), **told), pool
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
    if pools:
        return _lacks("pool", pools[0], place.pools)
    shared = [
        drive.source for drive, _ in _drives(name, desired, scope, place) if drive.shared and drive.format != "raw"
    ]
    if shared:
        return f"{shared[0]} cannot be shared: only a raw volume can be used by several machines at once"
    return _unloadable(desired, scope, place) or _unserved(name, desired, place)


def _unloadable(desired: Spec, scope: Scope, place: Site) -> str:
    """Why a medium cannot be put into its drive."""
    for own, drive in (desired.cdroms or {}).items():
        wish = _image(drive, scope)
        if drive.image and wish is None:
            return f"cdroms: {own}: there is no image {drive.image} in the blueprint; write a path or declare it"
        if wish is not None and wish.format != "raw":
            return f"cdroms: {own}: image {drive.image} is of format {wish.format}; an ISO image is declared as raw"
        if drive.medium in place.lacking:
            return f"cdroms: {own}: there is no {drive.medium} on this host"
    return ""


def _unserved(name: str, desired: Spec, place: Site) -> str:
    """Why its screen cannot be served as is said."""
    screen, password = desired.graphics, desired.graphics_password
    others = sorted(other for port, other in place.screens if screen and port == screen.port and other != name)
    if screen is not None and others:
        return f"graphics: port {screen.port} is that of {others[0]}'s screen; choose another one, or auto"
    if screen is not None and screen.type == "vnc" and len(str(password or "").encode()) > graphics.VNC_PASSWORD:
        return f"graphics_password: vnc takes at most {graphics.VNC_PASSWORD} characters, and would ignore the rest"
    return ""


def _lacks(noun: str, name: str, known: Mapping[str, Any] | frozenset[str]) -> str:
    has = f"it has {', '.join(sorted(known))}" if known else "it has none"
    advice = "" if noun == "bridge" else f"; declare it under {noun}s"
    return f"there is no {noun} {name} on this host ({has}{near(name, known)}){advice}"
