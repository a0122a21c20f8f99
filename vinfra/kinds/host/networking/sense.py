"""What of an interface's declaration makes no sense, before any host is asked."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network

from vinfra.kinds.host.networking import fields


def problem(name: str, desired: fields.Spec) -> str:
    """What makes no sense, in a sentence; "" for nothing."""
    return next(filter(None, _problems(name, desired)), "")


def _problems(name: str, desired: fields.Spec) -> Iterator[str]:
    kinds = [key for key in ("bridge", "vlan", "bond") if getattr(desired, key) is not None]
    if kinds[1:]:
        yield f"it cannot be a {kinds[0]} and a {kinds[1]}; declare two interfaces"
    if name in fields.ports(desired) or (desired.vlan and desired.vlan.parent == name):
        yield "it cannot stand on itself"
    doubled = [port for port in fields.ports(desired) if fields.ports(desired).count(port) > 1]
    if doubled:
        yield f"port {doubled[0]} is named twice"
    told = re.fullmatch(r"(.+)\.([0-9]+)", name)
    if told and desired.vlan and told.groups() != (desired.vlan.parent, str(desired.vlan.id)):
        yield f"vlan: {name} would be VLAN {told[2]} of {told[1]}; name it otherwise"
    if desired.vlan and not 1 <= desired.vlan.id <= 4094:
        yield "vlan: write an id from 1 to 4094"
    if desired.bridge and not 0 <= desired.bridge.delay <= 30:
        yield "bridge: forward_delay is at most 30s"
    if desired.bridge and desired.bridge.stp and desired.bridge.delay < 2:
        yield "bridge: with stp, forward_delay is at least 2s"
    if desired.bond and desired.bond.lacp_rate and desired.bond.mode != "802.3ad":
        yield "bond: lacp_rate is for mode 802.3ad"
    if desired.bond and desired.bond.primary and desired.bond.primary not in desired.bond.ports:
        yield f"bond: primary {desired.bond.primary} is none of its ports"
    least = 1280 if any(":" in item for item in desired.addresses or ()) else 68
    if desired.mtu is not None and not least <= desired.mtu <= 65535:
        yield f"mtu: write a number of bytes from {least} to 65535" + (" (IPv6 needs 1280)" if least > 68 else "")
    yield from _addressing(desired)


def _addressing(desired: fields.Spec) -> Iterator[str]:
    known = [ip_interface(item) for item in desired.addresses or ()]
    twice = [item for item in known if [other.ip for other in known].count(item.ip) > 1]
    if twice:
        yield f"addresses: {twice[0].ip} is named twice"
    odd = [item for item in known if item.ip.is_loopback or item.ip.is_multicast or item.ip.is_unspecified]
    if odd:
        yield f"addresses: {odd[0]} is no address of an interface"
    ends = [item for item in known if item.version == 4 and item.network.prefixlen < 31]
    ends = [item for item in ends if item.ip in (item.network.network_address, item.network.broadcast_address)]
    if ends:
        yield f"addresses: {ends[0]} is its network's own or its broadcast address"
    for key, version in (("gateway", 4), ("gateway6", 6)):
        value = getattr(desired, key)
        if value is not None and ip_address(value).version != version:
            yield f"{key}: {value} is no IPv{version} address"
        elif value is not None:
            yield _unreachable(key, ip_address(value), desired)
    for route in desired.routes or ():
        if ip_network(route.to).prefixlen == 0:
            yield "routes: the way to everywhere is `gateway`"
        elif ip_network(route.to).version != ip_address(route.via).version:
            yield f"routes: {route}: one is IPv4, the other IPv6"
        else:
            yield _unreachable("routes", ip_address(route.via), desired)


def _unreachable(key: str, address: IPv4Address | IPv6Address, desired: fields.Spec) -> str:
    if address.is_link_local or desired.dhcp in (f"ipv{address.version}", "both"):
        return ""
    known = [ip_interface(item) for item in desired.addresses or ()]
    if any(address == item.ip for item in known):
        return f"{key}: {address} is its own address"
    inside = any(address in item.network for item in known if item.version == address.version)
    return "" if inside else f"{key}: {address} is in none of the networks of its addresses"
