"""A domain's disks in its XML. A disk is known by its source; where it stands in the list means nothing.

Drives without a disk of their own (CD-ROM, floppy) are not read and stay. What is changed in place keeps its address on
the bus, and so its name inside the machine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains import sources
from vinfra.kinds.kvm.domains.elements import attribute, child, flag, set_turn, turn
from vinfra.kinds.kvm.domains.limits import Iotune
from vinfra.kinds.kvm.domains.sources import Remote

# libvirt's names of disks by their bus; the others (scsi, sata, usb) share one prefix.
PREFIXES = {"virtio": "vd", "ide": "hd"}
OWN = ("qcow2", "raw", "iso")
# What libvirt says of how the host handles a disk's file, and of what the machine sees of it.
DRIVER = ("cache", "io", "discard")
LIMITS = tuple(Iotune.model_fields)
OPTIONS = (*DRIVER, "serial", "shared")


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk. `source` is the path of its file, or what else tells it apart; `under` are the files below that one.

    `secret`: the uuid of what opens it, if it is encrypted. `remote`: of one in a Ceph pool, how to get there.
    Of one that is wished for, None means any. `limits` are libvirt's iotune; `boot` is its turn.
    """

    source: str
    bus: str = "virtio"
    format: str = "qcow2"
    readonly: bool = False
    under: tuple[str, ...] = field(default=(), compare=False)
    shared: bool | None = None
    cache: str | None = None
    io: str | None = None
    discard: str | None = None
    serial: str | None = None
    limits: tuple[tuple[str, int], ...] | None = None
    boot: int | None = None
    secret: str = field(default="", compare=False)
    remote: Remote | None = field(default=None, compare=False)

    def __str__(self) -> str:
        said = [self.source, "" if self.bus == "virtio" else self.bus, "read-only" if self.readonly else ""]
        said += [f"{name}={value}" for name in OPTIONS if (value := getattr(self, name))]
        said += [f"{name}={value}" for name, value in self.limits or ()]
        said += [f"boot={self.boot}" if self.boot else ""]
        return " ".join(filter(None, said))

    def accepts(self, found: "Drive") -> bool:
        """Whether a disk that is there is what is meant."""
        same = all(wish is None or wish == getattr(found, name) for name, wish in self._meant())
        return same and self.secret in ("", found.secret)  # a secret that nobody speaks of stays

    def _meant(self) -> Iterator[tuple[str, object]]:
        names = ("source", "bus", "format", "readonly", "limits", "boot", *OPTIONS)
        return ((name, getattr(self, name)) for name in names)


def drives(tree: Element) -> tuple[Drive, ...]:
    """The disks, in libvirt's order."""
    return tuple(map(drive, _disks(tree)))


def same_drives(wish: Sequence[Drive], found: Sequence[Drive]) -> bool:
    """Whether these are the disks that are wished for, in whatever order."""
    there = {drive.source: drive for drive in found}
    return len(wish) == len(found) and all(own.source in there and own.accepts(there[own.source]) for own in wish)


def running_drives(wish: Sequence[Drive], found: Sequence[Drive]) -> bool:
    """Whether a running domain has them; in which turn they are tried counts when it starts next."""
    return same_drives([replace(drive, boot=None) for drive in wish], found)


def snapshots(wish: Sequence[Drive], found: Sequence[Drive]) -> Iterator[tuple[str, str]]:
    """The files that stand on a disk that is wished for, and that disk: going back to it would lose what came since.

    libvirt tells what is below only while the domain runs. It calls a snapshot like its disk, but for the extension.
    """
    for drive in found:
        for own in wish:
            stem, _, extension = drive.source.rpartition(".")
            named = stem == own.source.rpartition(".")[0] and extension not in OWN
            if own.source in drive.under or named:
                yield drive.source, own.source


def _disks(tree: Element) -> list[Element]:
    return [item for item in tree.iterfind("devices/disk") if item.get("device", "disk") == "disk"]


def source(item: Element) -> str:
    """The path of a drive's file, or what else tells it apart; "" for an empty drive."""
    there = item.find("source")
    keys = ("file", "dev", "protocol", "pool", "volume", "name", "dir")
    return " ".join(there.get(key, "") for key in keys if there.get(key)) if there is not None else ""


def drive(item: Element) -> Drive:
    """A disk as its element has it."""
    limits = [(limit.tag, int(limit.text or 0)) for limit in item.iterfind("iotune/*") if (limit.text or "").isdigit()]
    driver: dict[str, Any] = {name: attribute(item, "driver", name) or None for name in DRIVER}
    return Drive(
        source=source(item),
        bus=attribute(item, "target", "bus"),
        format=attribute(item, "driver", "type") or "raw",
        readonly=item.find("readonly") is not None,
        under=tuple(found.get("file", "") for found in item.iterfind(".//backingStore/source")),
        shared=item.find("shareable") is not None,
        serial=item.findtext("serial"),
        limits=tuple(sorted((name, value) for name, value in limits if value and name in LIMITS)),
        boot=turn(item),
        secret=sources.secret(item),
        **driver,
    )


def set_drives(tree: Element, wish: Sequence[Drive]) -> None:
    """Exactly these disks. One that moves to another bus is made anew; a new one gets the next free name there."""
    parent = tree.find("devices")
    assert parent is not None
    there: dict[str, Element] = {}
    wanted = {(drive.source, drive.bus) for drive in wish}
    for item in _disks(tree):
        if (source(item), attribute(item, "target", "bus")) in wanted:
            there[source(item)] = item
        else:
            parent.remove(item)
    for own in wish:
        item = there[own.source] if own.source in there else made(tree, "disk", own.bus, own.source, own.remote)
        _shaped(item, own)
        set_turn(tree, item, own.boot)
    add_controller(tree, [own.bus for own in wish])


def add_controller(tree: Element, buses: Sequence[str]) -> None:
    """What SCSI drives are attached to; the one that libvirt would choose is unknown to kernels of cloud images."""
    parent = tree.find("devices")
    assert parent is not None
    if "scsi" in buses and parent.find("controller[@type='scsi']") is None:
        SubElement(parent, "controller", {"type": "scsi", "index": "0", "model": "virtio-scsi"})


def made(tree: Element, sort: str, bus: str, source: str, remote: Remote | None = None) -> Element:
    """A new drive, with the next free name there is for its bus."""
    parent = tree.find("devices")
    assert parent is not None
    taken = {target.get("dev") for target in tree.iterfind("devices/disk/target")}
    prefix = PREFIXES.get(bus, "sd")
    name = next(f"{prefix}{letters}" for letters in _letters() if f"{prefix}{letters}" not in taken)
    kind, key = ("block", "dev") if source.startswith("/dev/") else ("file", "file")
    item = SubElement(parent, "disk", {"type": "network" if remote else kind, "device": sort})
    SubElement(item, "driver", {"name": "qemu"})
    if remote:
        sources.write(item, source, remote)
    elif source:
        SubElement(item, "source", {key: source})
    SubElement(item, "target", {"dev": name, "bus": bus})
    return item


def _shaped(item: Element, own: Drive) -> None:
    """What is None stays as it is."""
    driver = item.find("driver")
    if driver is None:
        driver = SubElement(item, "driver", {"name": "qemu"})
    driver.set("type", own.format)
    if own.secret:
        sources.lock(item, own.secret)
    for name in DRIVER:
        if (value := getattr(own, name)) is not None:
            driver.set(name, value)
    flag(item, "readonly", own.readonly)
    if own.shared is not None:
        flag(item, "shareable", own.shared)
    if own.serial is not None:
        child(item, "serial").text = own.serial
    if own.limits is not None:
        limit(item, own.limits)


def limit(item: Element, limits: Sequence[tuple[str, int]]) -> None:
    """Exactly these limits. What a burst may last is not ours."""
    there = child(item, "iotune")
    for old in [found for found in there if found.tag in LIMITS]:
        there.remove(old)
    for name, value in limits:
        SubElement(there, name).text = str(value)
    if not len(there):
        item.remove(there)


def _letters() -> Iterator[str]:
    """`a` to `z`, then `aa` and so on."""
    for number in count():
        first, last = divmod(number, 26)
        yield (chr(ord("a") + first - 1) if first else "") + chr(ord("a") + last)
