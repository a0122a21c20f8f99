"""A domain's disks in its XML. A disk is known by its source; where it stands in the list means nothing.

Drives without a disk of their own (CD-ROM, floppy) are not read and stay. What is changed in place keeps its address on
the bus, and so its name inside the machine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains import sources
from vinfra.kinds.kvm.domains.sources import Remote

# libvirt's names of disks by their bus; the others (scsi, sata, usb) share one prefix.
PREFIXES = {"virtio": "vd", "ide": "hd"}
OWN = ("qcow2", "raw", "iso")


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk. `source` is the path of its file, or what else tells it apart; `under` are the files below that one.

    `secret`: the uuid of what opens it, if it is encrypted. `remote`: of one in a Ceph pool, how to get there.
    """

    source: str
    bus: str = "virtio"
    format: str = "qcow2"
    readonly: bool = False
    under: tuple[str, ...] = field(default=(), compare=False)
    secret: str = field(default="", compare=False)
    remote: Remote | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.source + ("" if self.bus == "virtio" else f" {self.bus}")


def drives(tree: Element) -> tuple[Drive, ...]:
    """The disks, in libvirt's order."""
    return tuple(map(_drive, _disks(tree)))


def same_drives(wish: Sequence[Drive], found: Sequence[Drive]) -> bool:
    """Whether these are the disks that are wished for, in whatever order. A secret that nobody speaks of stays."""
    locks = {drive.source: drive.secret for drive in found}
    return set(wish) == set(found) and all(drive.secret in ("", locks[drive.source]) for drive in wish)


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


def _drive(item: Element) -> Drive:
    source, target, driver = item.find("source"), item.find("target"), item.find("driver")
    keys = ("file", "dev", "protocol", "pool", "volume", "name", "dir")
    said = [] if source is None else [source.get(key, "") for key in keys]
    return Drive(
        source=" ".join(filter(None, said)),
        bus="" if target is None else target.get("bus", ""),
        format="raw" if driver is None else driver.get("type", "raw"),
        readonly=item.find("readonly") is not None,
        under=tuple(found.get("file", "") for found in item.iterfind(".//backingStore/source")),
        secret=sources.secret(item),
    )


def set_drives(tree: Element, wish: Sequence[Drive]) -> None:
    """Exactly these disks. One that moves to another bus is made anew; a new one gets the next free name there."""
    parent = tree.find("devices")
    assert parent is not None
    there: dict[str, Element] = {}
    wanted = {(drive.source, drive.bus) for drive in wish}
    for item in _disks(tree):
        if (_drive(item).source, _drive(item).bus) in wanted:
            there[_drive(item).source] = item
        else:
            parent.remove(item)
    for drive in wish:
        item = there[drive.source] if drive.source in there else _made(tree, parent, drive)
        _shaped(item, drive)
    # What libvirt would choose by itself is unknown to the kernels of cloud images.
    if any(drive.bus == "scsi" for drive in wish) and parent.find("controller[@type='scsi']") is None:
        SubElement(parent, "controller", {"type": "scsi", "model": "virtio-scsi"})


def _made(tree: Element, parent: Element, drive: Drive) -> Element:
    taken = {target.get("dev") for target in tree.iterfind("devices/disk/target")}
    prefix = PREFIXES.get(drive.bus, "sd")
    name = next(f"{prefix}{letters}" for letters in _letters() if f"{prefix}{letters}" not in taken)
    sort, key = ("block", "dev") if drive.source.startswith("/dev/") else ("file", "file")
    item = SubElement(parent, "disk", {"type": "network" if drive.remote else sort, "device": "disk"})
    SubElement(item, "driver", {"name": "qemu"})
    if drive.remote:
        sources.write(item, drive.source, drive.remote)
    else:
        SubElement(item, "source", {key: drive.source})
    SubElement(item, "target", {"dev": name, "bus": drive.bus})
    return item


def _shaped(item: Element, drive: Drive) -> None:
    driver, flag = item.find("driver"), item.find("readonly")
    if driver is None:
        driver = SubElement(item, "driver", {"name": "qemu"})
    driver.set("type", drive.format)
    if drive.secret:
        sources.lock(item, drive.secret)
    if drive.readonly and flag is None:
        SubElement(item, "readonly")
    elif flag is not None and not drive.readonly:
        item.remove(flag)


def _letters() -> Iterator[str]:
    """`a` to `z`, then `aa` and so on."""
    for number in count():
        first, last = divmod(number, 26)
        yield (chr(ord("a") + first - 1) if first else "") + chr(ord("a") + last)
