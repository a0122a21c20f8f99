"""What a blueprint says of an interface of a host."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from vinfra.model import spec as shape
from vinfra.model.action import Impact
from vinfra.model.spec import field
from vinfra.model.values import Flag, Seconds, Text, Whole

IFNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
RESTART = Impact.RESTART
MANAGERS = ("ifupdown", "networkd", "netplan", "networkmanager")


def _cidr(value: str) -> str:
    try:
        found = ip_interface(value)
    except ValueError:
        raise ValueError(f"{value!r} is no address; write it like 192.168.10.5/24") from None
    if "/" not in value:
        raise ValueError(f"say how large its network is, such as {value}/{24 if found.version == 4 else 64}")
    return found.with_prefixlen


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is no address; write it like 192.168.10.1") from None


def _target(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError as error:
        raise ValueError(f"{error}; write a network like 10.20.0.0/16") from None


def _mac(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", value.lower()):
        raise ValueError("write a unicast MAC address, such as 52:54:00:1a:2b:3c")
    return value.lower()


def _name(value: str) -> str:
    if not IFNAME.fullmatch(value):
        raise ValueError(f"{value!r}: the kernel takes at most 15 letters, digits, '.', '_' and '-'")
    return value


def _domain(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9])?", value):
        raise ValueError(f"{value!r} is no DNS domain, such as example.net")
    return value


Cidr = Annotated[Text, AfterValidator(_cidr)]
Ip = Annotated[Text, AfterValidator(_address)]
Name = Annotated[Text, AfterValidator(_name)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Route(_Model):
    """A way to a network that is not behind the gateway."""

    to: Annotated[Text, AfterValidator(_target)] = field("The network.", default=...)
    via: Ip = field("Who leads there.", default=...)
    metric: Whole | None = field("Of two ways the one with the lower number is taken.")

    def __str__(self) -> str:
        return f"{self.to} via {self.via}" + ("" if self.metric is None else f" metric {self.metric}")


class Bridge(_Model):
    """A switch in the kernel."""

    ports: tuple[Name, ...] = field(
        "The interfaces that are plugged into it; machines and containers come by themselves.", default=()
    )
    stp: Flag = field("Spanning tree: against loops, at the price of a delay.", default=False)
    forward_delay: Seconds | None = field("How long a port waits before it forwards: 0s without stp, else 15s.")

    @property
    def delay(self) -> int:
        """In seconds, whatever was said."""
        return int(self.forward_delay if self.forward_delay is not None else 15 if self.stp else 0)


class Vlan(_Model):
    """A part of another interface's traffic, by its tag (802.1Q)."""

    id: Whole = field("The tag.", default=...)
    parent: Name = field("The interface that carries it.", default=...)


MODES = Literal["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"]


class Bond(_Model):
    """Several interfaces as one."""

    mode: MODES = field("How they share the work.", default="active-backup")
    ports: tuple[Name, ...] = field("The interfaces.", default=())
    miimon: Whole = field("How often their links are looked at, in milliseconds.", default=100)
    lacp_rate: Literal["slow", "fast"] | None = field("How often 802.3ad talks to the switch.")
    xmit_hash_policy: Literal["layer2", "layer2+3", "layer3+4"] | None = field(
        "What decides which port a packet takes."
    )
    primary: Name | None = field("The port that is taken while it works (active-backup).")


class Spec(shape.Spec):
    """A network interface of the host: what runs now and what comes at boot, in a file of its own."""

    FOLLOWS = ("at boot",)

    addresses: tuple[Cidr, ...] | None = field(
        "Its fixed addresses, all of them; those given by DHCP and link-local ones do not count.",
        impact=RESTART,
        why="connections to an address that goes end",
        when="live where addresses only come",
        examples=(["192.168.10.5/24", "2001:db8::5/64"],),
    )
    exclusive: Flag = field(
        "Take away addresses that are not listed; false where a cluster or keepalived adds its own.",
        default=True,
        compared=False,
    )
    dhcp: Literal["ipv4", "ipv6", "both"] | None = field(
        "Ask for addresses by DHCP as well.", impact=RESTART, why="its addresses are asked for anew"
    )
    gateway: Ip | None = field(
        "The way to everywhere else (IPv4).",
        impact=RESTART,
        why="who comes from elsewhere comes by the former gateway",
        when="live where there was none",
        examples=("192.168.10.1",),
    )
    gateway6: Ip | None = field(
        "The same for IPv6.",
        impact=RESTART,
        why="who comes from elsewhere comes by the former gateway",
        when="live where there was none",
    )
    routes: tuple[Route, ...] | None = field(
        "Ways to other networks; those that others made stay.",
        additive=True,
        examples=([{"to": "10.20.0.0/16", "via": "192.168.10.2"}],),
    )
    mtu: Whole | None = field(
        "The largest packet, in bytes.",
        impact=RESTART,
        why="a network card begins anew",
        when="live on bridges, VLANs and bonds",
    )
    mac: Annotated[Text, AfterValidator(_mac)] | None = field(
        "Its hardware address.", impact=RESTART, why="the others must learn its new address"
    )
    dns: tuple[Ip, ...] | None = field(
        "Name servers; they count from the next boot or its next start on.", examples=(["192.168.10.1"],)
    )
    search: tuple[Annotated[Text, AfterValidator(_domain)], ...] | None = field(
        "Domains that short names are looked up in."
    )
    bridge: Bridge | None = field(
        "It is a bridge.",
        impact=RESTART,
        why="what a port had for addresses goes",
        when="live for stp, forward_delay and ports without addresses",
        examples=({"ports": ["eth1"]},),
    )
    vlan: Vlan | None = field(
        "It is a VLAN.", impact=RESTART, why="it is made anew", examples=({"id": 110, "parent": "eth0"},)
    )
    bond: Bond | None = field(
        "It is a bond.",
        impact=RESTART,
        why="it is made anew",
        when="live for ports without addresses",
        examples=({"mode": "802.3ad", "ports": ["eth1", "eth2"]},),
    )
    up: Flag = field(
        "Whether it is up, now and at boot.",
        default=True,
        impact=RESTART,
        why="it goes down",
        when="live to bring it up",
    )
    manager: Literal["ifupdown", "networkd", "netplan", "networkmanager"] | None = field(
        "Who manages it, where the host leaves that open.", compared=False
    )
    takeover: Flag = field(
        "Comment out what another file says of it; a copy of that file is kept in /var/lib/vinfra/former.",
        default=False,
        compared=False,
    )


Specs = Mapping[str, Spec]


@dataclass(frozen=True, slots=True)
class Plug:
    """What a port is plugged into: a bridge or a bond, and whether it is the bond's first choice."""

    master: str
    sort: str
    primary: bool = False


def sort(desired: Any) -> str:
    """What it is to the kernel: bridge, vlan, bond, or "" for a network card."""
    return next((key for key in ("bridge", "vlan", "bond") if getattr(desired, key, None) is not None), "")


def ports(desired: Any) -> tuple[str, ...]:
    """What is plugged into it."""
    group = getattr(desired, sort(desired) or "bridge", None)
    return tuple(getattr(group, "ports", ()))


def plug(master: str, desired: Spec, port: str) -> Plug:
    """How a port is plugged into a bridge or bond."""
    return Plug(master, sort(desired), desired.bond is not None and desired.bond.primary == port)
