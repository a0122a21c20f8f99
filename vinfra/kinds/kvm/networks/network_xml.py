"""A network's XML and what we make of it. Only what differs is written: what others added stays as libvirt has it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.networks import leading, parts
from vinfra.kinds.kvm.networks.leading import child
from vinfra.kinds.kvm.reading import ownership
from vinfra.kinds.kvm.reading.virsh import element
from vinfra.model.action import Impact
from vinfra.model.change import Change
from vinfra.model.kind import Scope
from vinfra.model.step import Step, Verb, Virt

DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"
ElementTree.register_namespace("dnsmasq", DNSMASQ)
_OPTIONS, _OPTION = f"{{{DNSMASQ}}}options", f"{{{DNSMASQ}}}option"
_LISTS = ("hosts", "dns", "txt", "srv", "portgroups")


def parse(xml: str) -> dict[str, Any]:
    """The fields of a network as its XML has them."""
    tree = element(xml)
    bridge, mtu, domain = tree.find("bridge"), tree.find("mtu"), tree.find("domain")
    address = _address(tree)
    return {
        "mode": leading.mode_of(tree),
        "cidr": None if address is None else shown(address),
        "cidr6": _six(tree),
        "dhcp": _dhcp(tree, address),
        **{name: parts.told(tree, name) for name in _LISTS},
        "interface": leading.interface_of(tree),
        "vlan": parts.tags(tree),
        "bridge": None if bridge is None else bridge.get("name"),
        "domain": None if domain is None else domain.get("name"),
        "stp": bridge is None or bridge.get("stp", "on") == "on",
        "dnsmasq": tuple(item.get("value", "") for item in tree.iterfind(f"{_OPTIONS}/{_OPTION}")),
        "mtu": None if mtu is None else int(mtu.get("size", "0")),
    }


def shown(address: IPv4Interface) -> str:
    """The network, or, where the host does not have its first address, that address in it."""
    return str(address.network if address.ip == address.network[1] else address)


def whole(network: IPv4Network) -> str:
    """All addresses that are left for machines."""
    return f"{network[2]}-{network[-2]}"


def _six(tree: Element) -> str | None:
    item = next(tree.iterfind("ip[@family='ipv6']"), None)
    if item is None:
        return None
    address = IPv6Interface(f"{item.get('address')}/{item.get('prefix', '128')}")
    return str(address.network if address.ip == address.network[1] else address)


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
    ranges = sorted(parts.told(tree, "ranges"), key=_first)
    return True if ranges == [whole(address.network)] else ", ".join(ranges) or False


def _first(one: str) -> Any:
    return ip_address(one.partition("-")[0])


def ranges(wish: bool | str, network: IPv4Network) -> list[str]:
    """The ranges that are given out, as the elements have them."""
    said = whole(network) if wish is True else wish or ""
    return [one.strip() for one in said.split(",") if one.strip()]


def in_order(wish: str) -> str:
    """Ranges as they are told of what is there."""
    return ", ".join(sorted((one.strip() for one in wish.split(",")), key=_first))


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
    for key in _LISTS:
        if key in changed and wish.get(key) is not None:
            parts.put(tree, key, wish[key])
    ownership.own(tree, blueprint, f"kvm.network:{name}")
    ElementTree.indent(tree)
    return ElementTree.tostring(tree, "unicode")


def live(xml: str, wish: Mapping[str, Any], changed: Iterable[str]) -> Iterator[tuple[bool, str]]:
    """What is told to a running network, one element after the other: whether it comes, and its XML."""
    tree, address = element(xml), _address(element(xml))
    if "dhcp" in changed and address is not None:
        yield from parts.updates(tree, "ranges", ranges(wish["dhcp"], address.network))
    for key in _LISTS:
        if key in changed:
            yield from parts.updates(tree, key, wish[key])


def _set_cidr(tree: Element, network: str) -> None:
    wish = IPv4Network(network)
    item = _ip(tree)
    if item is None:
        item = SubElement(tree, "ip")
    item.attrib.pop("netmask", None)
    item.attrib.update(address=str(wish[1]), prefix=str(wish.prefixlen))


def _set_cidr6(tree: Element, network: str) -> None:
    wish = IPv6Network(network)
    item = next(tree.iterfind("ip[@family='ipv6']"), None)
    if item is None:
        item = SubElement(tree, "ip", {"family": "ipv6"})
    item.attrib.update(address=str(wish[1]), prefix=str(wish.prefixlen))


def _set_dhcp(tree: Element, wish: bool | str) -> None:
    item, address = _ip(tree), _address(tree)
    if item is None or address is None:
        return
    parts.put(tree, "ranges", ranges(wish, address.network))
    for old in [old for old in item.findall("dhcp") if not len(old)]:
        item.remove(old)


def _set_stp(tree: Element, wish: bool) -> None:
    child(tree, "bridge").attrib.update({"stp": "on"} if wish else {"stp": "off", "delay": "0"})


def _set_dnsmasq(tree: Element, wish: Iterable[str]) -> None:
    for old in tree.findall(_OPTIONS):
        tree.remove(old)
    options = SubElement(tree, _OPTIONS)
    for value in wish:
        SubElement(options, _OPTION, value=value)


_WRITERS: Mapping[str, Any] = {
    "mode": leading.set_mode,
    "interface": leading.set_interface,
    "cidr": _set_cidr,
    "cidr6": _set_cidr6,
    "dhcp": _set_dhcp,
    "bridge": lambda tree, wish: child(tree, "bridge").set("name", wish),
    "vlan": parts.set_tags,
    "domain": lambda tree, wish: child(tree, "domain").set("name", wish),
    "stp": _set_stp,
    "dnsmasq": _set_dnsmasq,
    "mtu": lambda tree, wish: child(tree, "mtu").set("size", str(wish)),
}
