"""A domain's XML and what we make of it, aspect by aspect: how it is read, whether it will do, how it is written.

Reading is lenient. Writing changes the aspects that are asked for and nothing else: addresses, other people's metadata
and devices added by hand stay as libvirt has them.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains import channels, drives, graphics, hotplug, media, ports, processors
from vinfra.kinds.kvm.domains.elements import child
from vinfra.kinds.kvm.domains.processors import Amount
from vinfra.kinds.kvm.reading import ownership
from vinfra.kinds.kvm.reading.virsh import element

# Whose prefixes are seen most in other people's XML; without this they would be written as ns0 and so on.
ElementTree.register_namespace("libosinfo", "http://libosinfo.org/xmlns/libvirt/domain/1.0")
ElementTree.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")

SKELETON = """<domain><os><type>hvm</type><boot dev="hd"/></os><features><acpi/><apic/></features>
<devices><memballoon model="virtio"/></devices></domain>"""
TYPES = {"kvm": "kvm", "tcg": "qemu"}
# A short name of a machine type, and what libvirt turns it into when it defines a domain: pc-q35-7.2.
MACHINES = {"q35": "pc-q35-", "pc": "pc-i440fx-"}
# Devices that never sit on PCI Express.
PORTLESS = ("serial", "console", "graphics", "emulator", "tpm", "watchdog")
MODES = ("host-model", "host-passthrough", "maximum")
ONBOARD = ("pci", "usb", "ide", "sata")
# Ports of PCI Express that a new machine has beyond those of its own devices, for what is plugged in as it runs.
SPARE = 8


def _accelerator(tree: Element) -> str:
    sort = tree.get("type", "")
    return next((name for name, value in TYPES.items() if value == sort), sort)


def _cpu_model(tree: Element) -> str:
    item = tree.find("cpu")
    if item is None:
        return ""
    return item.findtext("model", "") if item.get("mode", "custom") == "custom" else item.get("mode", "")


def _set_cpu_model(tree: Element, wish: str) -> None:
    """Topology and the like stay. "" leaves the choice to libvirt."""
    item = child(tree, "cpu")
    for tag in ("model", "vendor", "feature"):
        for old in item.findall(tag):
            item.remove(old)
    item.attrib.clear()
    if wish in MODES:
        item.set("mode", wish)
    elif wish:
        item.attrib.update(mode="custom", match="exact")
        SubElement(item, "model", {"fallback": "forbid"}).text = wish
    elif not len(item):
        tree.remove(item)


def _machine(tree: Element) -> str:
    item = tree.find("os/type")
    return "" if item is None else item.get("machine", "")


def _fits_machine(wish: str, found: str) -> bool:
    return wish == found or found.startswith(MACHINES.get(wish, f"{wish}-"))


def _set_machine(tree: Element, wish: str) -> None:
    """On another board nothing has its old place, and other controllers belong to it: libvirt chooses them again."""
    before = _machine(tree)
    child(tree, "os/type").set("machine", wish)
    if not before or ("q35" in before) == ("q35" in wish):
        return
    parent = child(tree, "devices")
    for item in list(parent):
        if item.tag == "controller" and item.get("type") in ONBOARD:
            parent.remove(item)
        for address in item.findall("address[@type='pci']"):
            item.remove(address)


def _equal(wish: Any, found: Any) -> bool:
    return bool(wish == found)


def _current(wish: Amount, found: Amount) -> bool:
    return wish.current == found.current


def _write_accelerator(tree: Element, wish: str) -> None:
    tree.set("type", TYPES[wish])


@dataclass(frozen=True, slots=True)
class Aspect:
    """How one field of a domain stands in its XML.

    `fits(wish, found)` says whether a definition will do, `runs(wish, found)` whether what runs will. `live(tree,
    wish)` tells what makes good a difference of what runs, or why only a boot does; without it only a boot does.
    """

    read: Callable[[Element], Any]
    write: Callable[[Element, Any], None]
    fits: Callable[[Any, Any], bool] = _equal
    runs: Callable[[Any, Any], bool] = _equal
    live: hotplug.Live | None = None


ASPECTS: dict[str, Aspect] = {
    "accelerator": Aspect(_accelerator, _write_accelerator),
    "cpu": Aspect(processors.cpus, processors.set_cpus, _current, _current, hotplug.cpus),
    "cpu_max": Aspect(processors.cpu_max, processors.set_cpu_max),
    "memory": Aspect(processors.memory, processors.set_memory, processors.fits_memory, _current, hotplug.memory),
    "memory_max": Aspect(processors.memory_max, processors.set_memory_max),
    "machine": Aspect(_machine, _set_machine, _fits_machine, _fits_machine),
    # A running domain shows what host-model came to on its host.
    "cpu_model": Aspect(_cpu_model, _set_cpu_model, runs=lambda wish, found: wish in ("host-model", found)),
    "disks": Aspect(drives.drives, drives.set_drives, drives.same_drives, drives.running_drives, hotplug.disks),
    "cdroms": Aspect(media.media, media.set_media, media.same_media, media.running_media, hotplug.cdroms),
    "networks": Aspect(ports.ports, ports.set_ports, ports.same_ports, ports.running_ports, hotplug.networks),
    "graphics": Aspect(graphics.screens, graphics.set_screens),
    "graphics_password": Aspect(
        graphics.noted, graphics.set_password, graphics.is_password, graphics.is_password, hotplug.password
    ),
    "serial": Aspect(channels.has_serial, channels.set_serial),
    "rng": Aspect(channels.has_rng, channels.set_rng),
    "agent": Aspect(channels.has_agent, channels.set_agent),
}


def parse(xml: str) -> dict[str, Any]:
    """Every aspect of a domain, by name, as its XML has it."""
    tree = element(xml)
    return {name: aspect.read(tree) for name, aspect in ASPECTS.items()}


def shown(value: Any, wish: Any) -> Any:
    """The value of an aspect as a row shows it; of an amount the number that is not as it should be."""
    if isinstance(value, Amount):
        return value.current if value is wish or value.current != wish.current else value.most
    return tuple(map(str, value)) if isinstance(value, tuple) else value


def size(xml: str) -> tuple[int, int]:
    """The virtual CPUs and the bytes of memory that a domain may take."""
    tree = element(xml)
    return processors.whole(tree.findtext("vcpu", "1")), processors.memory(tree).most


def build(name: str, wish: Mapping[str, Any], owner: tuple[str, str]) -> str:
    """The XML of a new domain. `owner`: the blueprint and the address that it carries as its mark."""
    tree = ElementTree.fromstring(SKELETON)  # noqa: S314  our own text
    SubElement(tree, "name").text = name
    _write(tree, wish, wish, owner)
    ElementTree.indent(tree)
    return ElementTree.tostring(tree, encoding="unicode")


def patch(xml: str, wish: Mapping[str, Any], changed: Iterable[str], owner: tuple[str, str]) -> str:
    """The definition with the aspects named in `changed` as they are wished for."""
    tree = deepcopy(element(xml))
    _write(tree, wish, changed, owner)
    return ElementTree.tostring(tree, encoding="unicode")


def _write(tree: Element, wish: Mapping[str, Any], changed: Iterable[str], owner: tuple[str, str]) -> None:
    for name in changed:
        ASPECTS[name].write(tree, wish[name])
    if tree.find("devices/controller[@type='pci']") is None and "q35" in _machine(tree):
        _spare_ports(tree)
    ownership.own(tree, *owner)


def _spare_ports(tree: Element) -> None:
    """libvirt itself gives a machine no more ports than it has devices."""
    parent = child(tree, "devices")
    SubElement(parent, "controller", {"type": "pci", "index": "0", "model": "pcie-root"})
    for _ in range(SPARE + sum(item.tag not in PORTLESS for item in parent)):
        SubElement(parent, "controller", {"type": "pci", "model": "pcie-root-port"})
