"""What a backup of a machine is made of, from its definition; and the definition under another name."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from vinfra.kinds.kvm.reading.virsh import element
from vinfra.model.mark import GUEST_NAMESPACE, NAMESPACE

_OURS = (f"{{{NAMESPACE}}}", f"{{{GUEST_NAMESPACE}}}")


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a definition. `target` is its name inside the machine (vda), `path` its file, "" if it is none."""

    target: str
    path: str
    format: str
    readonly: bool = False
    encrypted: bool = False


def disks(xml: str) -> tuple[Disk, ...]:
    """The disks, in libvirt's order. What stands in a drive (CD-ROM, floppy) is no part of the machine."""
    found = element(xml).iterfind("devices/disk")
    return tuple(_disk(item) for item in found if item.get("device", "disk") in ("disk", "lun"))


def _disk(item: Element) -> Disk:
    source, driver, target = item.find("source"), item.find("driver"), item.find("target")
    return Disk(
        target="" if target is None else target.get("dev", ""),
        path="" if source is None else source.get("file", source.get("dev", "")),
        format="raw" if driver is None else driver.get("type", "raw"),
        readonly=item.find("readonly") is not None,
        encrypted=item.find(".//encryption") is not None,
    )


def nvram(xml: str) -> str:
    """The file of its firmware's variables, "" for none."""
    return (element(xml).findtext("os/nvram") or "").strip()


def has_tpm(xml: str) -> bool:
    """Whether it has a TPM that is emulated, whose state lies beside its disks."""
    return element(xml).find("devices/tpm/backend[@type='emulator']") is not None


def backup_xml(xml: str, files: Mapping[str, str]) -> str:
    """What libvirt is told of a backup: the disks of `files` (by target) are written there whole, the others not."""
    tree = Element("domainbackup", mode="push")
    parent = SubElement(tree, "disks")
    for item in element(xml).iterfind("devices/disk/target"):
        name = item.get("dev", "")
        if name not in files:
            SubElement(parent, "disk", name=name, backup="no")
            continue
        disk = SubElement(parent, "disk", name=name, backup="yes", type="file")
        SubElement(disk, "target", file=files[name])
        SubElement(disk, "driver", type="qcow2")
    return tostring(tree, "unicode")


def moved(xml: str, files: Mapping[str, str]) -> str:
    """The definition with its disks elsewhere: `files` by old path."""
    tree = deepcopy(element(xml))
    _put(tree, files)
    return tostring(tree, "unicode")


def _put(tree: Element, files: Mapping[str, str]) -> None:
    for source in tree.iterfind("devices/disk/source"):
        if (path := source.get("file", "")) in files:
            source.set("file", files[path])


def renamed(xml: str, name: str, files: Mapping[str, str]) -> str:
    """The definition as another machine's: its name, no uuid and MAC address yet, nobody's; `files` by old path."""
    tree = deepcopy(element(xml))
    old = tree.findtext("name", "")
    for item in tree.iterfind("name"):
        item.text = name
    for tag in ("uuid", "genid", "title"):
        for item in tree.findall(tag):
            tree.remove(item)
    for system in tree.findall("sysinfo/system"):  # a uuid in there must be the machine's own
        for entry in system.findall("entry[@name='uuid']"):
            system.remove(entry)
    for card in tree.iterfind("devices/interface"):
        for mac in card.findall("mac"):
            card.remove(mac)
    for metadata in tree.findall("metadata"):
        for item in [item for item in metadata if item.tag.startswith(_OURS)]:
            metadata.remove(item)
    _put(tree, files)
    for item in tree.iterfind("os/nvram"):
        item.text = _own(item.text or "", old, name)
    for log in tree.iterfind("devices//log[@file]"):
        log.set("file", _own(log.get("file", ""), old, name))
    return tostring(tree, "unicode")


def _own(path: str, old: str, new: str) -> str:
    """The path of a file that belongs to one machine alone, for another one."""
    folder, slash, leaf = path.strip().rpartition("/")
    return f"{folder}{slash}{leaf.replace(old, new, 1) if leaf.startswith(old) else f'{new}-{leaf}'}"


def volume_of(file: str, old: str, new: str) -> str:
    """The name of a machine's volume for another machine."""
    return f"{new}{file.removeprefix(old)}" if file.startswith((f"{old}-", f"{old}.")) else f"{new}-{file}"
