"""Small things that are done to XML again and again."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement

from vinfra.model.values import SIZES

KIB = 1024


def whole(text: str | None) -> int:
    """A number in XML, 0 for what is none."""
    return int(text) if text and text.strip().isdigit() else 0


def bytes_of(text: str | None, unit: str | None) -> int:
    """A size in XML: without a unit libvirt means KiB."""
    return whole(text) * SIZES.get(unit or "KiB", KIB)


def child(tree: Element, path: str) -> Element:
    """The element at a path of tags, made where it is missing."""
    for tag in path.split("/"):
        found = tree.find(tag)
        tree = SubElement(tree, tag) if found is None else found
    return tree


def attribute(tree: Element, path: str, name: str) -> str:
    """An attribute of the first such element, "" for none."""
    found = tree.find(path)
    return "" if found is None else found.get(name, "")


def remove(parent: Element | None, gone: Iterable[Element]) -> None:
    """Take these children out."""
    for item in list(gone):
        assert parent is not None
        parent.remove(item)


def tidy(tree: Element, *tags: str) -> None:
    """Take out children of these names that hold nothing any more."""
    for tag in tags:
        remove(tree, (item for item in tree.findall(tag) if not len(item) and not item.attrib))
