"""Whether a network's addresses make sense, whether the host has room for it, and who is plugged into it."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any
from xml.etree.ElementTree import Element

from vinfra.kinds.compare import bringers
from vinfra.kinds.kvm.networks import network_xml
from vinfra.kinds.kvm.reading.usage import User
from vinfra.kinds.kvm.reading.virsh import DOMAINS, Found, element, found
from vinfra.model.kind import Answers, Scope


def problem(cidr: str, dhcp: bool | str | None) -> str:
    """What is wrong with a network and the range of it that is given out; "" for nothing."""
    try:
        network = IPv4Network(cidr, strict=False)
    except ValueError:
        return f"cidr: {cidr!r} is no IPv4 network; write it like 10.10.0.0/24"
    if str(network) != cidr:
        return f"cidr: write the network, {network}"
    if network.prefixlen > 30:
        return "cidr: there is no room for the host and a machine; /30 is the least"
    if not isinstance(dhcp, str):
        return ""
    try:
        first, last = map(IPv4Address, dhcp.split("-"))
    except ValueError:
        return f"dhcp: {dhcp!r} is no range; write it like {network_xml.whole(network)}"
    inside = network[2] <= first <= last <= network[-2]
    return "" if inside else f"dhcp: {dhcp} is not within {network_xml.whole(network)}, which is left for machines"


def bringers_of(bridge: str | None, scope: Scope) -> list[str]:
    """What of this plan may bring a bridge that the host does not have; nothing when it has it."""
    there = bridge in (scope.facts.get("interfaces") or {})
    return [] if there else bringers(scope, f"interface:{bridge}", "operation:", "service:", "file:")


def clash(name: str, wish: Mapping[str, Any], others: Iterable[Found], one: Found | None, scope: Scope) -> str:
    """Why the host cannot have it beside what it has; "" if it can."""
    bridge = wish["bridge"]
    own = network_xml.parse(one.definition)["bridge"] if one is not None else None
    interfaces = {key: link for key, link in (scope.facts.get("interfaces") or {}).items() if key != own}
    if wish["mode"] == "bridge":
        return "" if bridge in interfaces else f"there is no bridge {bridge} on this host"
    taken = {network_xml.parse(other.definition)["bridge"]: f"network {other.name}" for other in others}
    taken = {key: f"interface {key}" for key in interfaces} | taken
    if bridge is not None and bridge in taken:
        return f"bridge {bridge} is {taken[bridge]}'s"
    if wish["cidr"] is None:
        return ""
    wanted = (item for item in scope.siblings.values() if item.address.noun == "network" and item.address.name != name)
    nets = [(f"network {item.address.name}", getattr(item.desired, "cidr", None)) for item in wanted]
    nets += [(f"network {other.name}", network_xml.cidr(other.definition)) for other in others]
    nets += [(f"interface {key}", cidr) for key, link in interfaces.items() for cidr in link.get("addresses", ())]
    mine = IPv4Network(wish["cidr"])
    for what, cidr in nets:
        if isinstance(cidr, IPv4Network | str) and "." in str(cidr) and mine.overlaps(IPv4Interface(str(cidr)).network):
            return f"{what} has {cidr} already"
    return ""


def plugged(answers: Answers) -> Mapping[str, tuple[User, ...]]:
    """The domains with a card on each network, by the network's name."""
    result: dict[str, dict[str, User]] = {}
    for name, domain in found(answers, DOMAINS).items():
        for xml in filter(None, (domain.persistent, domain.live)):
            for network, taps in _cards(element(xml)).items():
                result.setdefault(network, {})[name] = User("domain", name, domain.active, tuple(taps))
    return {network: tuple(known.values()) for network, known in result.items()}


def _cards(domain: Element) -> Mapping[str, list[str]]:
    result: dict[str, list[str]] = {}
    for card in domain.iterfind("devices/interface"):
        source, target = card.find("source"), card.find("target")
        if source is not None and (network := source.get("network")):
            tap = "" if target is None else target.get("dev", "")
            result.setdefault(network, []).extend(filter(None, (tap,)))
    return result
