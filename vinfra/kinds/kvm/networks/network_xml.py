"""A network's XML and what we make of it. Only what differs is written: what others added stays as libvirt has it."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.reading import ownership
from vinfra.kinds.kvm.reading.virsh import element
from vinfra.model.action import Impact
from vinfra.model.change import Change
from vinfra.model.kind import Scope
from vinfra.model.step import Step, Verb, Virt

DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"
ElementTree.register_namespace("dnsmasq", DNSMASQ)
_OPTIONS, _OPTION = f"{{{DNSMASQ}}}options", f"{{{DNSMASQ}}}option"
# How libvirt calls them; a network that is isolated has no <forward> at all.
MODES = {"nat": "nat", "routed": "route", "bridge": "bridge"}
# All that a network on somebody else's bridge can have.
_BARE = ("name", "uuid", "metadata", "forward", "bridge")


def parse(xml: str) -> dict[str, Any]:
    """The fields of a network as its XML has them."""
    tree = element(xml)
    bridge, mtu, domain = tree.find("bridge"), tree.find("mtu"), tree.find("domain")
    address = _address(tree)
    return {
        "mode": _mode(tree.find("forward")),
        "cidr": None if address is None else shown(address),
        "dhcp": _dhcp(tree, address),
        "bridge": None if bridge is None else bridge.get("name"),
        "domain": None if domain is None else domain.get("name"),
        "stp": bridge is not None and bridge.get("stp", "on") == "on",
        "dnsmasq": tuple(item.get("value", "") for item in tree.iterfind(f"{_OPTIONS}/{_OPTION}")),
        "mtu": None if mtu is None else int(mtu.get("size", "0")),
    }


def shown(address: IPv4Interface) -> str:
    """The network, or, where the host does not have its first address, that address in it."""
    return str(address.network if address.ip == address.network[1] else address)


def whole(network: IPv4Network) -> str:
    """All addresses that are left for machines."""
    return f"{network[2]}-{network[-2]}"


def cidr(xml: str) -> IPv4Network | None:
    """The network's addresses, None when it has none."""
    address = _address(element(xml))
    return None if address is None else address.network


def _mode(forward: Element | None) -> str:
    if forward is None:
        return "isolated"
    said = forward.get("mode", "nat")
    return next((name for name, value in MODES.items() if value == said), said)


def _ip(tree: Element) -> Element | None:
    return next((item for item in tree.iterfind("ip") if item.get("family", "ipv4") == "ipv4"), None)


def _address(tree: Element) -> IPv4Interface | None:
    item = _ip(tree)
    if item is None:
        return None
    length = item.get("prefix") or item.get("netmask") or "32"
    return IPv4Interface(f"{item.get('address')}/{length}")


def _dhcp(tree: Element, address: IPv4Interface | None) -> bool | str:
    item = _ip(tree)
    if item is None or address is None:
        return False
    ranges = [f"{one.get('start')}-{one.get('end')}" for one in item.iterfind("dhcp/range")]
    return True if ranges == [whole(address.network)] else ", ".join(ranges) or False


def build(name: str, wish: Mapping[str, Any], blueprint: str) -> str:
    """The XML of a new network."""
    tree = Element("network")
    SubElement(tree, "name").text = name
    return _written(tree, name, wish, wish, blueprint)


def patch(xml: str, name: str, wish: Mapping[str, Any], changed: Iterable[str], blueprint: str) -> str:
    """The definition with the fields named in `changed` as they are wished for."""
    return _written(deepcopy(element(xml)), name, wish, changed, blueprint)


def own(change: Change, scope: Scope) -> Sequence[Step]:
    """Its metadata, in the definition alone: what runs is not touched, and of a transient one there is none."""
    name, one = change.address.name, change.notes["found"]
    call = Virt(Verb.NETWORK_DEFINE, name, xml=patch(one.definition, name, {}, (), scope.owner))
    return [Step(f"note the owner in the metadata of network {name}", (call,), Impact.NONE)] if one.persistent else []


def _written(tree: Element, name: str, wish: Mapping[str, Any], changed: Iterable[str], blueprint: str) -> str:
    for key, write in _WRITERS.items():
        if key in changed and wish.get(key) is not None:
            write(tree, wish[key])
    if "dhcp" not in changed and "cidr" in changed and wish.get("dhcp") is not None:
        _set_dhcp(tree, wish["dhcp"])
    ownership.own(tree, blueprint, f"kvm.network:{name}")
    ElementTree.indent(tree)
    return ElementTree.tostring(tree, "unicode")


def _child(tree: Element, tag: str) -> Element:
    there = tree.find(tag)
    return SubElement(tree, tag) if there is None else there


def _set_mode(tree: Element, mode: str) -> None:
    if _mode(tree.find("forward")) == "bridge":
        _child(tree, "bridge").attrib.pop("name", None)  # that one is not libvirt's to make
    if mode == "isolated":
        for old in tree.findall("forward"):
            tree.remove(old)
        return
    forward = _child(tree, "forward")
    forward.set("mode", MODES[mode])
    for old in forward.findall("nat") if mode != "nat" else ():
        forward.remove(old)
    if mode == "bridge":
        for other in [item for item in tree if item.tag not in _BARE]:
            tree.remove(other)
        for key in ("stp", "delay"):
            _child(tree, "bridge").attrib.pop(key, None)


def _set_cidr(tree: Element, network: str) -> None:
    wish = IPv4Network(network)
    item = _ip(tree)
    if item is None:
        item = SubElement(tree, "ip")
    item.attrib.pop("netmask", None)
    item.attrib.update(address=str(wish[1]), prefix=str(wish.prefixlen))


def _set_dhcp(tree: Element, wish: bool | str) -> None:
    item, address = _ip(tree), _address(tree)
    if item is None or address is None:
        return
    dhcp = _child(item, "dhcp")
    for old in dhcp.findall("range"):
        dhcp.remove(old)
    if wish is False:
        item.remove(dhcp)
        return
    first, _, last = (whole(address.network) if wish is True else str(wish)).partition("-")
    dhcp.insert(0, Element("range", {"start": str(IPv4Address(first)), "end": str(IPv4Address(last))}))


def _set_stp(tree: Element, wish: bool) -> None:
    _child(tree, "bridge").attrib.update({"stp": "on"} if wish else {"stp": "off", "delay": "0"})


def _set_dnsmasq(tree: Element, wish: Iterable[str]) -> None:
    for old in tree.findall(_OPTIONS):
        tree.remove(old)
    options = SubElement(tree, _OPTIONS)
    for value in wish:
        SubElement(options, _OPTION, value=value)


_WRITERS: Mapping[str, Any] = {
    "mode": _set_mode,
    "cidr": _set_cidr,
    "dhcp": _set_dhcp,
    "bridge": lambda tree, wish: _child(tree, "bridge").set("name", wish),
    "domain": lambda tree, wish: _child(tree, "domain").set("name", wish),
    "stp": _set_stp,
    "dnsmasq": _set_dnsmasq,
    "mtu": lambda tree, wish: _child(tree, "mtu").set("size", str(wish)),
}
