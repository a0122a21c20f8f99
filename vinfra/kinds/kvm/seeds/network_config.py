"""cloud-init's network configuration: what is wrong with one, and the one that a machine's own addresses make.

https://docs.cloud-init.io/en/latest/reference/network-config.html
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface
from typing import Any

from vinfra.kinds.kvm.seeds.cloud_config import Fault, Pointer, mapping, sort_of
from vinfra.text.complaint import near

_M, _L, _T, _F, _N = "a mapping", "a list", "text", "true or false", "a number"
_DEVICES = ("ethernets", "bonds", "bridges", "vlans", "wifis", "tunnels", "vrfs")
_TOP = {"version": (_N, _T), "renderer": (_T,), **dict.fromkeys(_DEVICES, (_M,))}
_SORTS = ("physical", "bond", "bridge", "vlan", "loopback", "nameserver", "route", "infiniband")
_DEVICE = {
    **dict.fromkeys(("match", "nameservers", "parameters", "dhcp4-overrides", "dhcp6-overrides"), (_M,)),
    **dict.fromkeys(("addresses", "routes", "interfaces", "routing-policy", "link-local"), (_L,)),
    **dict.fromkeys(("set-name", "renderer", "gateway4", "gateway6", "link", "macaddress"), (_T,)),
    **dict.fromkeys(("optional", "wakeonlan", "critical"), (_F,)),
    **dict.fromkeys(("dhcp4", "dhcp6", "accept-ra", "ipv6-privacy"), (_F, _T)),
    "mtu": (_N,),
    "id": (_N,),
}
# In place of a MAC address: the one of the machine's card of that number.
_CARD = re.compile(r"card ([0-9]+)")


def faults(config: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with a network configuration of version 1 or 2; it may stand below `network`."""
    if set(config) == {"network"} and isinstance(config["network"], Mapping):
        yield from (Fault(("network", *at), said) for at, said in faults(config["network"]))
        return
    version = str(config.get("version", ""))
    if version == "1":
        yield from _first(config)
    elif version == "2":
        yield from mapping(config, _TOP, ())
        for sort in _DEVICES:
            devices = config.get(sort)
            for name, device in devices.items() if isinstance(devices, Mapping) else ():
                yield from _second(device, (sort, name))
    else:
        yield Fault(("version",) if "version" in config else (), "say version: 2, or 1 for the older form")


def _first(config: Mapping[str, Any]) -> Iterator[Fault]:
    items = config.get("config")
    if not isinstance(items, list | tuple):
        if items != "disabled":
            yield Fault(("config",) if items is not None else (), "config: write a list of interfaces and the like")
        return
    for number, item in enumerate(items):
        sort = item.get("type") if isinstance(item, Mapping) else None
        if sort is None:
            yield Fault(("config", number), "say its type, such as physical")
        elif isinstance(sort, str) and sort not in _SORTS:
            yield Fault(("config", number, "type"), f"write one of {', '.join(_SORTS)}{near(sort, _SORTS)}")


def _second(device: Any, at: Pointer) -> Iterator[Fault]:
    if sort_of(device) not in (_M, ""):
        yield Fault(at, "write a mapping")
        return
    yield from mapping(device, _DEVICE, at)
    addresses = device.get("addresses") if isinstance(device, Mapping) else None
    for number, address in enumerate(addresses if isinstance(addresses, list | tuple) else ()):
        if isinstance(address, str) and not _is_address(address):
            yield Fault((*at, "addresses", number), "write an address with its prefix, such as 10.10.0.50/24")


def _is_address(text: str) -> bool:
    try:
        ip_interface(text)
    except ValueError:
        return False
    return "/" in text


def generated(cards: Sequence[Any]) -> dict[str, Any] | None:
    """The configuration that a machine's own addresses make, None without any; other cards ask by DHCP."""
    if not any(card.address and "/" in card.address for card in cards):
        return None
    return {"version": 2, "ethernets": {f"eth{number}": _card(number, card) for number, card in enumerate(cards)}}


def _card(number: int, card: Any) -> dict[str, Any]:
    """Known by its MAC address, and called by its number: not every system can find it when it keeps its own name."""
    known: dict[str, Any] = {"match": {"macaddress": f"card {number}"}, "set-name": f"eth{number}"}
    if not card.address or "/" not in card.address:
        return known | {"dhcp4": True}
    known |= {"dhcp4": False, "addresses": [card.address]}
    if card.gateway:
        known["routes"] = [{"to": "0.0.0.0/0", "via": card.gateway}]
    return known | ({"nameservers": {"addresses": list(card.nameservers)}} if card.nameservers else {})


def beyond(config: Any, cards: int) -> int | None:
    """The number of a card that the configuration names and the machine does not have."""
    if isinstance(config, Mapping):
        config = list(config.values())
    if isinstance(config, list | tuple):
        return next((number for item in config if (number := beyond(item, cards)) is not None), None)
    named = _CARD.fullmatch(config) if isinstance(config, str) else None
    return int(named[1]) if named and int(named[1]) >= cards else None


def addressed(config: Any, macs: Sequence[str]) -> Any:
    """The configuration with the MAC addresses of the machine's cards in it."""
    if isinstance(config, Mapping):
        return {key: addressed(item, macs) for key, item in config.items()}
    if isinstance(config, list | tuple):
        return [addressed(item, macs) for item in config]
    number = _CARD.fullmatch(config) if isinstance(config, str) else None
    return macs[int(number[1])] if number and int(number[1]) < len(macs) else config
