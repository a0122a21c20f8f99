"""Whose a domain or a network is: an element in its libvirt metadata, so that it travels with the object.

The claims of an apply live in the host's mark file like those of every kind (docs/decisions/0007).
"""

from collections.abc import Sequence
from xml.etree import ElementTree

from vinfra.kinds.kvm.reading.virsh import Found, element
from vinfra.model.action import Impact
from vinfra.model.answer import Answer, Present
from vinfra.model.change import Change
from vinfra.model.kind import Scope
from vinfra.model.mark import NAMESPACE
from vinfra.model.step import Step, Verb, Virt

ElementTree.register_namespace("vinfra", NAMESPACE)
_OWNER = f"{{{NAMESPACE}}}owner"
# Of a domain that nobody made: it may be declared as it is, but is not changed.
UNMARKED = "it carries no mark; adopt it, or give yours another name"


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


def carried(answer: Answer) -> str:
    """The blueprint in the metadata of a domain or a network, which is among the answer's notes."""
    found = (answer.notes.get("domain") or answer.notes.get("found")) if isinstance(answer, Present) else None
    return owner(found.definition)[0] if isinstance(found, Found) else ""


def own_domain(change: Change, scope: Scope) -> Sequence[Step]:
    """Its metadata, in the definition and in what runs."""
    name = change.address.name
    mark = ElementTree.Element(_OWNER, {"blueprint": scope.owner, "address": str(change.address)})
    call = Virt(Verb.DOMAIN_METADATA, name, xml=ElementTree.tostring(mark, "unicode"))
    return [Step(f"note the owner in the metadata of {name}", (call,), Impact.NONE)]


def stranger(domain: Found, scope: Scope) -> str:
    """Whose a domain is if it is not this blueprint's. Its own mark counts more than the one on the host."""
    blueprint, _ = owner(domain.definition)
    if blueprint in {scope.owner, *scope.formerly}:
        return ""
    if blueprint:
        return f"blueprint {blueprint} has it"
    marks = scope.marks.get(domain.name, ())
    return "" if any(mark.blueprint == scope.owner for mark in marks) else UNMARKED


def former(network: Found, scope: Scope) -> str:
    """Whose a network is, "" when this blueprint made it or took it over."""
    blueprint = owner(network.definition)[0]
    marks = scope.marks.get(network.name, ())
    mine = any(mark.blueprint == scope.owner and mark.ours for mark in marks)
    if blueprint in {scope.owner, *scope.formerly} or (mine and not blueprint):
        return ""
    return f"it was made by blueprint {blueprint}" if blueprint else "it was there before, and no blueprint made it"
