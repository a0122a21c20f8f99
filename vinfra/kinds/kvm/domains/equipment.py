"""Devices in a domain's XML: those of the host that it has for itself, its video card, its watchdogs.

What is changed in place keeps its address on the bus as long as it is on the same one.
"""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains.elements import child, remove
from vinfra.kinds.kvm.domains.parts import HostDevices, Watchdog

ADDRESS = ("domain", "bus", "slot", "function")
NONE, ONBOARD = "none", "itco"
OFF_BUS = ("none", "ramfb")


def host_devices(tree: Element) -> HostDevices:
    """By PCI address, and by USB vendor and product; a USB device that is named by its port is told so."""
    pci, usb = (tuple(sorted(name for kind, name, _ in _found(tree) if kind == sort)) for sort in ("pci", "usb"))
    return HostDevices.model_construct(pci=pci, usb=usb)


def _found(tree: Element) -> Iterator[tuple[str, str, Element]]:
    for item in tree.iterfind("devices/hostdev"):
        source, sort = item.find("source"), item.get("type", "")
        if source is not None and sort in ("pci", "usb"):
            yield sort, _pci(source) if sort == "pci" else _usb(source), item


def _pci(source: Element) -> str:
    address = source.find("address")
    known = {} if address is None else address.attrib
    domain, bus, slot, function = (known.get(name, "0x0").removeprefix("0x") for name in ADDRESS)
    return f"{domain:0>4}:{bus:0>2}:{slot:0>2}.{function}".lower()


def _usb(source: Element) -> str:
    vendor, product, address = source.find("vendor"), source.find("product"), source.find("address")
    if vendor is not None and product is not None:
        return ":".join(item.get("id", "").removeprefix("0x").rjust(4, "0") for item in (vendor, product)).lower()
    return "" if address is None else f"bus {address.get('bus')} device {address.get('device')}"


def set_host_devices(tree: Element, wish: HostDevices) -> None:
    """Exactly these of the sorts that are named; libvirt takes a PCI device from its driver and gives it back."""
    devices = child(tree, "devices")
    for sort in ("pci", "usb"):
        wanted: tuple[str, ...] | None = getattr(wish, sort)
        if wanted is None:
            continue
        there = {name: item for kind, name, item in _found(tree) if kind == sort}
        remove(devices, (item for name, item in there.items() if name not in wanted))
        for name in wanted:
            if name not in there:
                _made(devices, sort, name)


def _made(devices: Element, sort: str, name: str) -> None:
    item = SubElement(devices, "hostdev", {"mode": "subsystem", "type": sort})
    source = SubElement(item, "source")
    if sort == "pci":
        item.set("managed", "yes")
        numbers = name.replace(".", ":").split(":")
        SubElement(source, "address", {key: f"0x{part}" for key, part in zip(ADDRESS, numbers, strict=True)})
    else:
        vendor, product = name.split(":")
        SubElement(source, "vendor", {"id": f"0x{vendor}"})
        SubElement(source, "product", {"id": f"0x{product}"})


def video(tree: Element) -> str:
    """The model of its first video card."""
    item = tree.find("devices/video/model")
    return NONE if item is None else item.get("type", "")


def set_video(tree: Element, wish: str) -> None:
    """That model; libvirt chooses how much memory it has. That there is none must be said, or graphics bring one."""
    item = child(tree, "devices/video")
    model = child(item, "model")
    model.attrib.clear()
    model.set("type", wish)
    if wish == NONE:
        devices = child(tree, "devices")
        remove(devices, devices.findall("video")[1:])
    if wish in OFF_BUS:
        remove(item, item.findall("address"))


def watchdogs(tree: Element) -> tuple[Watchdog, ...]:
    """All of them: a board may have one by itself."""
    return tuple(map(_watchdog, tree.iterfind("devices/watchdog")))


def _watchdog(item: Element) -> Watchdog:
    return Watchdog.model_construct(model=item.get("model", ""), action=item.get("action", "reset"))


def same_watchdog(wish: Watchdog, found: Sequence[Watchdog]) -> bool:
    """Whether it is this one, beside what belongs to the board."""
    others = [item for item in found if item.model != ONBOARD]
    if wish.model == NONE:
        return not others
    return wish in found and all(item == wish for item in others)


def set_watchdog(tree: Element, wish: Watchdog) -> None:
    """Only this one, beside what belongs to the board."""
    devices = child(tree, "devices")
    there = [item for item in devices.findall("watchdog") if item.get("model") == wish.model]
    kept = (wish.model, ONBOARD)
    remove(devices, [item for item in devices.findall("watchdog") if item.get("model") not in kept])
    if wish.model != NONE:
        item = there[0] if there else SubElement(devices, "watchdog", {"model": wish.model})
        item.set("action", wish.action)
