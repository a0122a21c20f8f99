"""Facts: network interfaces, what each of them is, and the default route."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any, Literal

from vinfra.kinds.host.facts.system import UNAME
from vinfra.kinds.host.facts.told import MOST, Told, items, objects, pairs, whole, word
from vinfra.model.fact import FLAG, TEXT, TEXTS, WHOLE, Fact
from vinfra.model.question import Exec
from vinfra.model.tree import Tree

NET = "/sys/class/net"
OWN = ("address", "mtu", "operstate", "carrier", "speed", "duplex", "uevent")
DEVICE = ("device/uevent", "device/numa_node", "device/sriov_totalvfs", "device/sriov_numvfs")
MASTER, MODE = "master/uevent", "bonding/mode"
VLANS, ROUTES = "/proc/net/vlan/config", "/proc/net/route"
FILES = (*(f"{NET}/*/{leaf}" for leaf in (*OWN, *DEVICE, MASTER, MODE)), VLANS, ROUTES)
LINKS = (f"{NET}/*",)
ADDRESSES = Exec(("ip", "-j", "-d", "addr", "show"))
PROGRAMS = (ADDRESSES,)
UP, REJECT = 0x1, 0x200  # linux/route.h
BIG_ENDIAN = frozenset({"ppc64", "s390x", "mips", "mips64", "armeb", "aarch64_be"})
PCI = re.compile(r"/([0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])/")

FACTS = (
    Fact("addresses", TEXTS, "Every address that others can reach it by.", ["192.0.2.2", "2001:db8::2"]),
    Fact("default.interface", TEXT, "The interface of the default route of IPv4.", "eth0"),
    Fact("default.gateway", TEXT, "Its gateway.", "192.0.2.1"),
    Fact("interfaces.INTERFACE.addresses", TEXTS, "Addresses with their prefixes.", ["192.0.2.2/24"]),
    Fact("interfaces.INTERFACE.mac", TEXT, "Its MAC address.", "52:54:00:12:34:56"),
    Fact("interfaces.INTERFACE.mtu", WHOLE, "The largest packet.", 1500, "bytes"),
    Fact("interfaces.INTERFACE.state", TEXT, "up, down, unknown …", "up"),
    Fact(
        "interfaces.INTERFACE.sort",
        TEXT,
        "physical, loopback, bridge, bond, vlan, veth, tun …: what `ip -d link` calls it, physical for a device.",
        "physical",
    ),
    Fact(
        "interfaces.INTERFACE.carrier", FLAG, "Whether a cable with a live other end is in it; None while down.", True
    ),
    Fact("interfaces.INTERFACE.speed", WHOLE, "Its speed, where it has one.", 10000, "Mbit/s"),
    Fact("interfaces.INTERFACE.duplex", TEXT, "full or half.", "full"),
    Fact("interfaces.INTERFACE.driver", TEXT, "The driver of its device.", "i40e"),
    Fact("interfaces.INTERFACE.pci", TEXT, "The address of its device on the PCI bus.", "0000:3b:00.0"),
    Fact("interfaces.INTERFACE.numa_node", WHOLE, "The node that its device hangs on.", 0),
    Fact("interfaces.INTERFACE.master", TEXT, "The bridge or bond that it is a port of.", "br0"),
    Fact("interfaces.INTERFACE.ports", TEXTS, "The ports of a bridge or bond.", ["eno1", "eno2"]),
    Fact("interfaces.INTERFACE.mode", TEXT, "How a bond spreads what it sends.", "802.3ad"),
    Fact("interfaces.INTERFACE.vlan", WHOLE, "The number of a VLAN.", 110),
    Fact("interfaces.INTERFACE.parent", TEXT, "The interface that a VLAN or the like stands on.", "bond0"),
    Fact("interfaces.INTERFACE.virtual_functions", WHOLE, "How many virtual functions it has (SR-IOV).", 8),
    Fact("interfaces.INTERFACE.most_virtual_functions", WHOLE, "How many it can have.", 64),
)


def read(told: Told) -> dict[str, Any]:
    """What `ip` tells, and what /sys adds; without an `ip` that speaks JSON no addresses."""
    tree = told.tree
    links = {name: link for link in items(told.said(ADDRESSES)) if (name := word(link.get("ifname")))}
    found = tree.below(NET, *OWN, *DEVICE, MASTER, MODE)
    vlans = _vlans(tree.text(VLANS))
    names = list(dict.fromkeys([*links, *(name for name in found if "uevent" in found[name])]))[:MOST]
    interfaces = {name: _interface(name, links.get(name), found.get(name, {}), tree, vlans) for name in names}
    for name, one in interfaces.items():
        if (master := interfaces.get(one["master"] or "")) is not None:
            master["ports"] = [*(master["ports"] or ()), name]
    reachable = [address for link in links.values() for address in _addresses(link, "global")]
    return {
        "interfaces": interfaces or None,
        "addresses": [address.partition("/")[0] for address in reachable] if links else None,
        "default": _default(tree.text(ROUTES), told.said(UNAME).split()[-1:]),
    }


def _default(text: str, arch: list[str]) -> dict[str, str | None]:
    """Of /proc/net/route: its numbers are in hexadecimal, addresses as they lie in memory."""
    order: Literal["big", "little"] = "big" if BIG_ENDIAN.intersection(arch) else "little"
    found: list[tuple[int, str, str | None]] = []
    for words in map(str.split, text.splitlines()[1:]):
        numbers = [whole(item, 16) for item in (words[1:4] + words[7:8] if len(words) > 7 else ())]
        metric = whole(words[6]) if numbers else None
        if len(numbers) == 4 and None not in (*numbers, metric) and numbers[0] == numbers[3] == 0:
            flags, gateway = numbers[2] or 0, numbers[1] or 0
            if flags & UP and not flags & REJECT and 0 <= gateway < 1 << 32:
                address = str(IPv4Address(gateway.to_bytes(4, order))) if gateway else None
                found.append((metric or 0, words[0], address))
    _, interface, gateway_address = min(found, key=lambda route: route[0], default=(0, None, None))
    return {"interface": interface, "gateway": gateway_address}


def _addresses(link: Mapping[str, Any], scope: str = "") -> list[str]:
    known = [item for item in objects(link.get("addr_info")) if word(item.get("local"))]
    return [f"{item['local']}/{item.get('prefixlen')}" for item in known if not scope or item.get("scope") == scope]


def _interface(
    name: str,
    link: Mapping[str, Any] | None,
    files: Mapping[str, str],
    tree: Tree,
    vlans: Mapping[str, tuple[int | None, str]],
) -> dict[str, Any]:
    told = link or {}
    info = told.get("linkinfo")
    info = info if isinstance(info, dict) else {}
    data = info.get("info_data")
    number, parent = vlans.get(name, (whole(data.get("id")) if isinstance(data, dict) else None, ""))
    event, device = (pairs(files.get(leaf, ""), "=") for leaf in ("uevent", DEVICE[0]))
    place = PCI.findall(f"{tree.links.get(f'{NET}/{name}', '')}/")
    node, speed = whole(files.get(DEVICE[1], "")), whole(files.get("speed", ""))
    return {
        "addresses": None if link is None else _addresses(link),
        "mac": word(told.get("address")) or files.get("address") or None,
        "mtu": whole(told.get("mtu", files.get("mtu"))),
        "state": (word(told.get("operstate")) or files.get("operstate") or "").lower() or None,
        "sort": _sort(name, word(info.get("info_kind")), event.get("DEVTYPE"), DEVICE[0] in files, name in vlans),
        "carrier": {"1": True, "0": False}.get(files.get("carrier", "")),
        "speed": speed if speed is not None and speed > 0 else None,
        "duplex": files.get("duplex") if files.get("duplex") in ("full", "half") else None,
        "driver": device.get("DRIVER"),
        "pci": device.get("PCI_SLOT_NAME") or (place[-1] if place else None),
        "numa_node": node if node is not None and node >= 0 else None,
        "master": word(told.get("master")) or pairs(files.get(MASTER, ""), "=").get("INTERFACE"),
        "ports": None,
        "mode": next(iter(files.get(MODE, "").split()), None),
        "vlan": number,
        "parent": parent or word(told.get("link")),
        "virtual_functions": whole(files.get(DEVICE[3], "")),
        "most_virtual_functions": whole(files.get(DEVICE[2], "")),
    }


def _sort(name: str, said: str | None, devtype: str | None, device: bool, vlan: bool) -> str:
    if said:
        return said
    return devtype or ("vlan" if vlan else "physical" if device else "loopback" if name == "lo" else "virtual")


def _vlans(text: str) -> dict[str, tuple[int | None, str]]:
    """Of /proc/net/vlan/config: the number and the parent of each."""
    rows = ([cell.strip() for cell in line.split("|")] for line in text.splitlines())
    return {row[0]: (whole(row[1]), row[2]) for row in rows if len(row) == 3 and whole(row[1]) is not None}
