"""Whether a network's addresses make sense, whether the host has room for it, and who is plugged into it."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_interface
from typing import Any
from xml.etree.ElementTree import Element

from vinfra.kinds.compare import bringers
from vinfra.kinds.kvm.networks import network_xml
from vinfra.kinds.kvm.reading.usage import User
from vinfra.kinds.kvm.reading.virsh import DOMAINS, Found, element, found
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec

# Its database server listens there while it runs; ovs-vswitchd goes with it.
OPEN_VSWITCH = Exec(("test", "-S", "/run/openvswitch/db.sock"))


def problem(cidr: str, dhcp: bool | str | None) -> str:
    """What is wrong with a network and the ranges of it that are given out; "" for nothing."""
    try:
        network = IPv4Network(cidr, strict=False)
    except ValueError:
        return f"cidr: {cidr!r} is no IPv4 network; write it like 10.10.0.0/24"
    if str(network) != cidr:
        return f"cidr: write the network, {network}"
    if network.prefixlen > 30:
        return "cidr: there is no room for the host and a machine; /30 is the least"
    return _ranges(network, dhcp) if isinstance(dhcp, str) else ""


def _ranges(network: IPv4Network, dhcp: str) -> str:
    seen = list[tuple[IPv4Address, IPv4Address, str]]()
    for text in map(str.strip, dhcp.split(",")):
        try:
            first, last = map(IPv4Address, text.split("-"))
        except ValueError:
            return f"dhcp: {text!r} is no range; write it like {network_xml.whole(network)}"
        if not network[2] <= first <= last <= network[-2]:
            return f"dhcp: {text} is not within {network_xml.whole(network)}, which is left for machines"
        if other := next((said for low, high, said in seen if first <= high and low <= last), ""):
            return f"dhcp: {other} and {text} have addresses in common"
        seen.append((first, last, text))
    return ""


def switching(answers: Answers) -> bool | None:
    """Whether Open vSwitch runs; None where nobody asked."""
    raw = answers.get(OPEN_VSWITCH)
    return None if raw is None else raw.ok


def _leads(wish: Mapping[str, Any]) -> str | None:
    """The interface of the host that it leads out by, if it is one that others made."""
    key = {"bridge": "bridge", "openvswitch": "bridge", "direct": "interface"}.get(wish["mode"])
    return wish[key] if key else None


def bringers_of(wish: Mapping[str, Any], scope: Scope, notes: Mapping[str, Any]) -> str:
    """What of this plan may bring what the host does not have yet for it; "" when it has it, or nothing may."""
    leads = _leads(wish)
    if leads is None:
        return ""
    switch = wish["mode"] == "openvswitch"
    there = leads in (scope.facts.get("interfaces") or {})
    if there and not (switch and notes["switching"] is False):
        return ""
    found = bringers(scope, f"interface:{leads}", "operation:", "service:", "file:", *(("package:",) if switch else ()))
    what = "Open vSwitch does not run" if there else f"there is no {_noun(wish)} {leads}"
    return f"{what} yet; {found[0]} may bring it" if found else ""


def _noun(wish: Mapping[str, Any]) -> str:
    return "interface" if wish["mode"] == "direct" else "bridge"


def _lacks(wish: Mapping[str, Any], leads: str, interfaces: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    if leads not in interfaces:
        return f"there is no {_noun(wish)} {leads} on this host"
    if wish["mode"] != "openvswitch":
        return ""
    sort = (interfaces[leads] or {}).get("sort")
    if sort == "bridge":
        return f"{leads} is a bridge of the kernel; write mode: bridge, or name one that ovs-vsctl made"
    if notes["switching"] is False:
        return "Open vSwitch does not run on this host; install openvswitch-switch and start it"
    return ""


def clash(name: str, wish: Mapping[str, Any], notes: Mapping[str, Any], one: Found | None, scope: Scope) -> str:
    """Why the host cannot have it beside what it has; "" if it can."""
    bridge, others = wish["bridge"], notes["others"]
    own = network_xml.parse(one.definition)["bridge"] if one is not None else None
    interfaces = {key: link for key, link in (scope.facts.get("interfaces") or {}).items() if key != own}
    if (leads := _leads(wish)) is not None:
        return _lacks(wish, leads, scope.facts.get("interfaces") or {}, notes)
    taken = {network_xml.parse(other.definition)["bridge"]: f"network {other.name}" for other in others}
    taken = {key: f"interface {key}" for key in interfaces} | taken
    if bridge is not None and bridge in taken:
        return f"bridge {bridge} is {taken[bridge]}'s"
    return _overlap(name, wish, others, interfaces, scope)


def _overlap(
    name: str, wish: Mapping[str, Any], others: Iterable[Found], interfaces: Mapping[str, Any], scope: Scope
) -> str:
    wanted = [item for item in scope.siblings.values() if item.address.noun == "network" and item.address.name != name]
    for key, sort in (("cidr", "."), ("cidr6", ":")):
        nets = [(f"network {item.address.name}", getattr(item.desired, key, None)) for item in wanted]
        nets += [(f"network {other.name}", network_xml.parse(other.definition)[key]) for other in others]
        nets += [(f"interface {one}", cidr) for one, link in interfaces.items() for cidr in link.get("addresses") or ()]
        for what, cidr in nets if wish[key] is not None else ():
            if isinstance(cidr, str) and sort in cidr and _same(wish[key], cidr):
                return f"{what} has {cidr} already"
    return ""


def _same(one: str, other: str) -> bool:
    return bool(ip_interface(one).network.overlaps(ip_interface(other).network))


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
