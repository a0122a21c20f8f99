"""What of a network's fields cannot be, whatever the host has."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from vinfra.kinds.kvm.networks import network_room, network_xml
from vinfra.kinds.kvm.networks.declared import BORROWED, NEED_ADDRESSES, Spec, promised
from vinfra.kinds.kvm.networks.parts import Lease


def problem(desired: Spec) -> str:
    """Names that libvirt and the kernel take, and fields that make sense in this mode."""
    for key in ("bridge", "interface"):
        value = getattr(desired, key)
        if value is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,15}", value):
            return f"{key}: the kernel takes at most 15 letters, digits, '.', '_' and '-'"
    return _of_ports(desired) or (_borrowed(desired) if desired.mode in BORROWED else _own(desired))


def _of_ports(desired: Spec) -> str:
    groups = desired.portgroups or {}
    tagged = [name for name, group in groups.items() if group.tags() is not None]
    if desired.mode != "openvswitch" and (desired.vlan is not None or tagged):
        what = "vlan" if desired.vlan is not None else f"portgroups: {tagged[0]}"
        other = "on a bridge, make one for the VLAN under interfaces and name that"
        return f"{what}: only an Open vSwitch puts cards into VLANs (mode openvswitch); {other}"
    if "" in groups:
        return "portgroups: one of them has no name"
    if sum(group.default for group in groups.values()) > 1:
        return "portgroups: only one can be the default"
    return ""


def _borrowed(desired: Spec) -> str:
    needed = BORROWED[desired.mode]
    own = [
        key for key in ("cidr", "cidr6", *NEED_ADDRESSES, "mtu", "stp") if getattr(desired, key) not in (None, False)
    ]
    if own:
        owner = {"direct": "is on that interface"}.get(desired.mode, "made the bridge")
        return f"mode {desired.mode}: {', '.join(own)} belong{'' if own[1:] else 's'} to whoever {owner}"
    if odd := [key for key in ("bridge", "interface") if key != needed and getattr(desired, key) is not None]:
        return f"mode {desired.mode}: it has no {odd[0]}; say which {needed} of the host"
    return "" if getattr(desired, needed) else f"mode {desired.mode}: say which {needed} of the host"


def _own(desired: Spec) -> str:
    if desired.interface is not None:
        return "interface: only mode direct leads out by one; write mode: direct"
    if desired.mtu is not None and not 576 <= desired.mtu <= 65535:
        return "mtu: write a number of bytes from 576 to 65535"
    if desired.domain is not None and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", desired.domain):
        return "domain: write a name such as dev.example.net"
    if desired.cidr is None:
        own = [key for key in NEED_ADDRESSES if getattr(desired, key) not in (None, False)]
        needy = f"mode {desired.mode}" if desired.mode != "isolated" else " and ".join(own)
        return f"{needy} needs a cidr, such as 10.10.0.0/24" if needy else _six(desired.cidr6)
    return network_room.problem(desired.cidr, desired.dhcp) or _promises(desired) or _six(desired.cidr6)


def _six(cidr: str | None) -> str:
    if cidr is None:
        return ""
    try:
        network = IPv6Network(cidr, strict=False)
    except ValueError:
        return f"cidr6: {cidr!r} is no IPv6 network; write it like fd00:10:10::/64"
    if str(network) != cidr:
        return f"cidr6: write the network, {network}"
    return "" if network.prefixlen <= 64 else "cidr6: machines make their addresses in 64 bits; write a /64"


def _promises(desired: Spec) -> str:
    found = tuple(promised(desired.hosts or {}))
    return promise_problem(str(desired.cidr), found, "hosts: ")


def promise_problem(cidr: str, found: Iterable[Lease], where: str = "") -> str:
    """Why these addresses cannot all be promised; "" if they can."""
    network, seen = IPv4Network(cidr), list[Lease]()
    for one in found:
        if not network[2] <= IPv4Address(one.address) <= network[-2]:
            return f"{where}{one.name}: {one.address} is not within {network_xml.whole(network)}"
        if (other := next((lease for lease in seen if lease.clashes(one)), None)) is not None:
            same = "address" if other.address == one.address else "MAC address" if other.mac == one.mac else "name"
            return f"{where}{other.name} and {one.name} have one {same}"
        seen.append(one)
    return ""
