"""Elements of a domain's XML: finding, making and dropping them, and the turn in which a device is tried at boot."""

from collections.abc import Iterable
from copy import deepcopy
from xml.etree.ElementTree import Element, SubElement

from vinfra.model.values import SIZES

KIB = 1024


def whole(text: str | None) -> int:
    """A number in XML, 0 for what is none."""
    return int(text) if text and text.strip().isdigit() else 0


def bytes_of(text: str | None, unit: str | None) -> int:
    """A size in XML: without a unit libvirt means KiB."""
    return whole(text) * SIZES.get(unit or "KiB", KIB)


def child(parent: Element, path: str) -> Element:
    """The element at a path of tags, made where it is missing."""
    for tag in path.split("/"):
        found = parent.find(tag)
        parent = SubElement(parent, tag) if found is None else found
    return parent


def attribute(item: Element, path: str, name: str) -> str:
    """An attribute of an element below, "" where either is missing."""
    found = item.find(path)
    return "" if found is None else found.get(name, "")


def flag(item: Element, tag: str, wish: bool) -> None:
    """An empty element that is there or not."""
    found = item.find(tag)
    if wish and found is None:
        SubElement(item, tag)
    elif found is not None and not wish:
        item.remove(found)


def remove(parent: Element | None, gone: Iterable[Element]) -> None:
    """Take these children out."""
    for item in list(gone):
        assert parent is not None
        parent.remove(item)


def tidy(tree: Element, *tags: str) -> None:
    """Take out children of these names that hold nothing any more."""
    for tag in tags:
        remove(tree, (item for item in tree.findall(tag) if not len(item) and not item.attrib))


def devices(tree: Element) -> Element:
    """The parent of all devices."""
    return child(tree, "devices")


def turn(item: Element) -> int | None:
    """When a device is tried at boot: 1 is the first."""
    order = attribute(item, "boot", "order")
    return int(order) if order.isdigit() else None


def set_turn(tree: Element, item: Element, wish: int | None) -> None:
    """That turn, which no other device has then. libvirt takes no `os/boot` beside it."""
    if wish is None:
        return
    for old in tree.findall("os/boot"):
        child(tree, "os").remove(old)
    for other in devices(tree):
        if other is not item and turn(other) == wish:
            other.remove(child(other, "boot"))
    child(item, "boot").set("order", str(wish))


def portable(item: Element) -> Element:
    """A device as a running domain takes it: without what libvirt made up for this run, and no turn, which is over."""
    made = deepcopy(item)
    for tag in ("alias", "backingStore", "boot", *(("target",) if item.tag == "interface" else ())):
        for old in made.findall(tag):
            made.remove(old)
    for source in made.findall("source"):
        for name in ("index", "portid", *(("bridge",) if made.get("type") == "network" else ())):
            source.attrib.pop(name, None)
    return made
