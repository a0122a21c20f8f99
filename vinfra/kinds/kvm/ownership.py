"""Whose a domain or a network is: an element in its libvirt metadata, so that it travels with the object.

The claims of an apply live in the host's mark file like those of every kind (docs/decisions/0007).
"""

from xml.etree import ElementTree

from vinfra.kinds.kvm.virsh import element
from vinfra.model.mark import NAMESPACE

ElementTree.register_namespace("vinfra", NAMESPACE)
_OWNER = f"{{{NAMESPACE}}}owner"


def owner(xml: str) -> tuple[str, str]:
    """The blueprint and the address that an object's XML carries, both "" when it has none."""
    mark = element(xml).find(f"metadata/{_OWNER}")
    return ("", "") if mark is None else (mark.get("blueprint", ""), mark.get("address", ""))


def own(tree: ElementTree.Element, blueprint: str, address: str) -> None:
    """Put the mark into an object's tree; other metadata stays."""
    metadata = tree.find("metadata")
    if metadata is None:
        metadata = ElementTree.SubElement(tree, "metadata")
    for old in metadata.findall(_OWNER):
        metadata.remove(old)
    ElementTree.SubElement(metadata, _OWNER, {"blueprint": blueprint, "address": address})
