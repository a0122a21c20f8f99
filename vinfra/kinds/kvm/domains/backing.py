"""What a domain's memory is made of in its XML: huge pages, and the balloon that takes some back."""

from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains.elements import KIB, attribute, bytes_of, child, remove, tidy

PAGES = {"2MiB": 2 << 20, "1GiB": 1 << 30}
NONE = "none"


def hugepages(tree: Element) -> str:
    """The size of its pages, "none" without them. What is said of single nodes is told as it stands."""
    item = tree.find("memoryBacking/hugepages")
    if item is None:
        return NONE
    return ", ".join(map(_page, item.iterfind("page"))) or "the host's own size"


def _page(item: Element) -> str:
    size = bytes_of(item.get("size"), item.get("unit"))
    text = next((name for name, known in PAGES.items() if known == size), f"{size}B")
    return text + (f" for node {item.get('nodeset')}" if item.get("nodeset") else "")


def set_hugepages(tree: Element, wish: str) -> None:
    """Pages of one size for all of its memory, or the usual ones."""
    backing = child(tree, "memoryBacking")
    remove(backing, backing.findall("hugepages"))
    if wish != NONE:
        SubElement(child(backing, "hugepages"), "page", {"size": str(PAGES[wish] // KIB), "unit": "KiB"})
    tidy(tree, "memoryBacking")


def balloon(tree: Element) -> bool:
    """Whether the host can ask for memory back while it runs."""
    return attribute(tree, "devices/memballoon", "model") not in ("", NONE)


def set_balloon(tree: Element, wish: bool) -> None:
    """libvirt adds one to a definition that says nothing, so that there is none must be said."""
    devices = child(tree, "devices")
    remove(devices, devices.findall("memballoon"))
    SubElement(devices, "memballoon", {"model": "virtio" if wish else NONE})
