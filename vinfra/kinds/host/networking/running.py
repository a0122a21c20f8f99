"""The interfaces that the kernel has right now, from `ip -j`."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network
from typing import Any

from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec, Question

LINKS = Exec(("ip", "-j", "-d", "addr", "show"))
ROUTES = Exec(("ip", "-j", "route", "show"))
ROUTES6 = Exec(("ip", "-j", "-6", "route", "show"))
SORTS = ("bridge", "vlan", "bond")
# What comes and goes with machines and containers; nobody declares these as ports.
GUESTS = ("tun", "veth", "macvtap", "vxlan")
FOREVER = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Address:
    """One address. `lease` is how long it is valid, in seconds, if it is not for ever: DHCP or a router gave it."""

    text: str
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """One route: "" for no gateway, and None for no metric. `given` if DHCP, a router or the kernel itself made it."""

    to: str
    via: str
    metric: int | None = None
    given: bool = False
    protocol: str = ""
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """One interface. `sort` is "" for what is no bridge, VLAN or bond; `kind` is the kernel's own word."""

    name: str
    kind: str = ""
    up: bool = True
    mtu: int = 0
    mac: str = ""
    master: str = ""
    parent: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()
    ways: tuple[Way, ...] = ()

    @property
    def sort(self) -> str:
        return self.kind if self.kind in SORTS else ""

    @property
    def fixed(self) -> tuple[str, ...]:
        """The addresses that somebody set."""
        return tuple(item.text for item in self.addresses if not item.lease)

    def gateways(self, version: int, wish: str | None = None) -> tuple[Way, ...]:
        """The ways to everywhere that somebody set, or that are as wished for whoever gave them."""
        ways = (way for way in self.ways if way.to == ("0.0.0.0/0", "::/0")[version == 6])
        return tuple(way for way in ways if not way.given or way.via == wish)


Links = Mapping[str, Link]


def ask() -> Iterable[Question]:
    """Links with their addresses, and the main routing tables."""
    return (LINKS, ROUTES, ROUTES6)


def read(answers: Answers) -> Links | Unknown:
    """Every interface by its name. A kernel without IPv6 has no routes of that."""
    for question in (LINKS, ROUTES):
        raw = answers.get(question)
        if raw is None or not raw.ok:
            said = raw.err.strip() if raw else ""
            return Unknown(f"cannot read the interfaces: {said or 'ip gave no answer; is iproute2 installed?'}")
    ways: dict[str, list[Way]] = {}
    for question, all_ in ((ROUTES, "0.0.0.0/0"), (ROUTES6, "::/0")):
        for item in _items(answers[question].text) if question in answers else ():
            if item.get("dev") and item.get("type", "unicast") == "unicast":
                ways.setdefault(str(item["dev"]), []).append(_way(item, all_))
    found = (_link(item, ways) for item in _items(answers[LINKS].text) if item.get("ifname"))
    return {link.name: link for link in found}


def ports(links: Links, master: str, wish: Collection[str] = ()) -> tuple[str, ...]:
    """What is plugged into an interface; machines and containers are left out, unless they are wished for."""
    plugged = (link for link in links.values() if link.master == master)
    return tuple(link.name for link in plugged if link.kind not in GUESTS or link.name in wish)


def guests(links: Links, master: str) -> tuple[str, ...]:
    """The machines' and containers' ends in a bridge."""
    return tuple(link.name for link in links.values() if link.master == master and link.kind in GUESTS)


def _items(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _way(item: Mapping[str, Any], everywhere: str) -> Way:
    to = str(item.get("dst"))
    try:
        target = everywhere if to == "default" else str(ip_network(to, strict=False))
    except ValueError:
        target = to
    protocol, metric = str(item.get("protocol", "")), item.get("metric")
    # The kernel shows IPv6's default metric as a number; nobody wrote that.
    number = None if metric in (None, 0) or (everywhere == "::/0" and metric == 1024) else int(str(metric))
    return Way(
        target,
        str(item.get("gateway", "")),
        number,
        protocol in ("kernel", "dhcp", "ra"),
        protocol,
        "onlink" in (item.get("flags") or ()),
    )


def _link(item: Mapping[str, Any], ways: Mapping[str, Iterable[Way]]) -> Link:
    info = item.get("linkinfo") if isinstance(item.get("linkinfo"), dict) else {}
    assert isinstance(info, dict)
    name, flags = str(item["ifname"]), item.get("flags") or ()
    data = info.get("info_data")
    return Link(
        name=name,
        kind=str(info.get("info_kind", "")),
        up="UP" in flags,
        mtu=int(item.get("mtu") or 0),
        mac=str(item.get("address", "")),
        master=str(item.get("master", "")),
        parent=str(item.get("link", "")),
        options=data if isinstance(data, dict) else {},
        addresses=tuple(_addresses(item.get("addr_info") or ())),
        ways=tuple(ways.get(name, ())),
    )


def _addresses(items: Iterable[Any]) -> Iterable[Address]:
    for item in items:
        if not isinstance(item, dict) or "local" not in item or item.get("scope") in ("link", "host"):
            continue
        valid = int(item.get("valid_life_time", FOREVER))
        text = ip_interface(f"{item['local']}/{item.get('prefixlen', 32)}").with_prefixlen
        yield Address(text, 0 if valid >= FOREVER and not item.get("dynamic") else min(valid, FOREVER - 1))
