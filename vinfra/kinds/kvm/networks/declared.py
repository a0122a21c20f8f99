"""What a blueprint says of a network: its fields, and those as its XML has them."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema, model_validator

from vinfra.kinds.kvm.domains.devices import Shortened, as_mac, short_for
from vinfra.kinds.kvm.networks.parts import Group, Lease, Record, Tags
from vinfra.model import spec as shape
from vinfra.model.action import Impact
from vinfra.model.spec import field
from vinfra.model.values import Flag, Text, Whole

DOWN: dict[str, Any] = {
    "impact": Impact.RESTART,
    "why": "it goes down and up again",
    "when": "live while it does not run",
}
# Fields that only a network with addresses of its own can have.
NEED_ADDRESSES = ("dhcp", "domain", "dnsmasq", "hosts", "dns", "txt", "srv")
# Modes whose switch others made; the interface of the host that each leads out by is the field beside it.
BORROWED = {"bridge": "bridge", "openvswitch": "bridge", "direct": "interface"}


def _dhcp(value: Any) -> bool | str:
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    ranges = [part.partition("-") for part in str(value).split(",")]
    if not all(dash for _, dash, _ in ranges):
        raise ValueError("write true, false or a range such as 10.10.0.100-10.10.0.199, or a list of them")
    return ", ".join(f"{first.strip()}-{last.strip()}" for first, _, last in ranges)


def _option(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]*(=[^\x00-\x1f]*)?", value):
        raise ValueError("write an option as dnsmasq's configuration file has it, such as no-ping")
    return value


def _address(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise ValueError(f"{str(value)!r} is no IPv4 address; write one such as 10.10.0.50") from None


def _called(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9])?", value):
        raise ValueError(f"{str(value)!r} is no host name; write one such as gw or gw.dev.example.net")
    return value


def _service(value: str) -> str:
    if not re.fullmatch(r"_[a-z0-9-]+\._(tcp|udp)(\.[A-Za-z0-9.-]+)?", value):
        raise ValueError(f"{str(value)!r} is no service; write one such as _ldap._tcp or _ldap._tcp.example.net")
    return value


def _target(value: str) -> str:
    words = value.split()
    numbers = words[1:]
    if not 2 <= len(words) <= 4 or not all(item.isdigit() and int(item) < 1 << 16 for item in numbers):
        raise ValueError("write TARGET PORT, and a priority and a weight if need be: ldap.example.net 389 10 5")
    while len(words) > 2 and words[-1] == "0":
        words.pop()
    return " ".join(words)


def _vlan(value: int) -> int:
    if not 1 <= value <= 4094:
        raise ValueError("write the number of a VLAN, from 1 to 4094")
    return value


Dhcp = Annotated[bool | str, BeforeValidator(_dhcp), WithJsonSchema({"type": ["boolean", "string", "array"]})]
Vlan = Annotated[Whole, AfterValidator(_vlan)]
Address = Annotated[Text, AfterValidator(_address)]
HostName = Annotated[Text, AfterValidator(_called)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Promise(_Model):
    """An address that is promised to a machine."""

    address: Address = field("Its address.", default=...)
    mac: Annotated[Text, AfterValidator(as_mac)] | None = field("Its MAC address; without it the name decides.")


class Vlans(_Model):
    """VLANs of a port: one, or several of a trunk."""

    vlan: Vlan | None = field("The VLAN that a card is in, which it gets untagged.")
    vlans: tuple[Vlan, ...] | None = field("Instead, those that it gets tagged.")
    native: Vlan | None = field("The one of `vlans` that it gets untagged.")

    @model_validator(mode="after")
    def _whole(self) -> "Vlans":
        if self.vlan is not None and self.vlans is not None:
            raise ValueError("give either vlan or vlans")
        if self.vlans is not None and not self.vlans:
            raise ValueError("vlans: name at least one")
        if self.native is not None and self.native not in (self.vlans or ()):
            raise ValueError("native: write one of vlans")
        return self

    def tags(self) -> Tags | None:
        """Them as libvirt has them, None for none."""
        if self.vlan is not None:
            return Tags((self.vlan,))
        return Tags(tuple(sorted(set(self.vlans))), self.native or 0, trunk=True) if self.vlans else None


class Portgroup(Vlans):
    """What the cards that name it get of the network."""

    default: Flag = field("Whether cards that name none are in it.", default=False)


OwnPromise = Annotated[Promise, short_for("address"), Shortened()]
OwnVlans = Annotated[Vlans, short_for("vlan"), Shortened()]
OwnPortgroup = Annotated[Portgroup, short_for("vlan"), Shortened()]


class Spec(shape.Spec):
    """A network that virtual machines are plugged into. It always runs."""

    mode: Literal["nat", "isolated", "routed", "bridge", "openvswitch", "direct"] = field(
        "How it leads out: by the host's own address, not at all, by routes to it, as part of a bridge or of an Open "
        "vSwitch that it has, or straight by one of its interfaces (macvtap).",
        default="nat",
        **DOWN,
    )
    cidr: Text | None = field("Its addresses, of which the host takes the first.", **DOWN, examples=("10.10.0.0/24",))
    cidr6: Text | None = field(
        "Its IPv6 addresses, of which the host takes the first; machines make their own from what it announces.",
        **DOWN,
        examples=("fd00:10:10::/64",),
    )
    dhcp: Dhcp | None = field(
        "Whether libvirt gives out its addresses, or which of them; all where there is a cidr and nothing is said.",
        examples=(False, "10.10.0.100-10.10.0.199", ["10.10.0.20-10.10.0.29", "10.10.0.100-10.10.0.199"]),
    )
    hosts: dict[HostName, OwnPromise] | None = field(
        "Addresses that are promised, by the name that a machine asks under: `NAME: ADDRESS`, or `{address, mac}`. "
        "Machines of this blueprint that name an address for their card need not stand here.",
        examples=({"printer": "10.10.0.9", "camera": {"address": "10.10.0.8", "mac": "52:54:00:1a:2b:3c"}},),
    )
    dns: dict[HostName, Address] | None = field(
        "Names that its DNS server knows, with their addresses.", examples=({"gw.dev.example.net": "10.10.0.1"},)
    )
    txt: dict[HostName, Text] | None = field(
        "Texts that its DNS server tells of a name.", examples=({"site": "rack a1"},)
    )
    srv: dict[Annotated[Text, AfterValidator(_service)], Annotated[Text, AfterValidator(_target)]] | None = field(
        "Services that its DNS server knows: `TARGET PORT`, then a priority and a weight if need be.",
        examples=({"_ldap._tcp": "ldap.dev.example.net 389"},),
    )
    bridge: Text | None = field(
        "The host's bridge (modes bridge and openvswitch), or what the one that libvirt makes is called.", **DOWN
    )
    interface: Text | None = field(
        "The host's interface that it leads out by (mode direct).", **DOWN, examples=("eth1",)
    )
    vlan: OwnVlans | None = field(
        "The VLAN of its cards, or `{vlans, native}` for a trunk (mode openvswitch). What is plugged in stays as it is "
        "until it is plugged in again.",
        **DOWN,
        examples=(110,),
    )
    portgroups: dict[Text, OwnPortgroup] | None = field(
        "Groups of cards by name: a VLAN, or `{vlan}` or `{vlans, native}`, and `default`. What is plugged in stays as "
        "it is until it is plugged in again.",
        examples=({"servers": 110, "trunk": {"vlans": [110, 120], "native": 110}, "rest": {"default": True}},),
    )
    domain: Text | None = field("The DNS suffix of its machines.", **DOWN, examples=("dev.example.net",))
    stp: Flag = field("Spanning tree on its bridge, which costs each machine seconds.", default=False, **DOWN)
    dnsmasq: tuple[Annotated[Text, AfterValidator(_option)], ...] | None = field(
        "Options for the dnsmasq that serves it, as its configuration file has them.",
        **DOWN,
        examples=(["no-ping"],),
    )
    mtu: Whole | None = field("The largest packet, in bytes.", **DOWN)
    autostart: Flag = field("Start it with the host.", default=True)


def promised(hosts: Mapping[str, Promise]) -> Iterator[Lease]:
    """The leases that a blueprint names."""
    return (Lease(one.address, name, one.mac or "") for name, one in hosts.items())


def records(said: Mapping[str, str] | None) -> tuple[Record, ...] | None:
    """Names of the DNS server, as the network's XML has them."""
    return None if said is None else tuple(sorted(Record(name, told) for name, told in said.items()))


def groups(said: Mapping[str, Portgroup] | None) -> tuple[Group, ...] | None:
    """Portgroups, as the network's XML has them."""
    return None if said is None else tuple(sorted(Group(name, one.tags(), one.default) for name, one in said.items()))


def as_written(key: str, value: Any) -> Any:
    """What was read of a network, as a blueprint writes it."""
    if key == "hosts":
        return {one.name or one.mac.replace(":", "-"): _short(address=one.address, mac=one.mac) for one in value}
    if key in ("dns", "txt", "srv"):
        return {one.name: one.told for one in value}
    if key == "portgroups":
        return {one.name: _ports(one.tags) | ({"default": True} if one.default else {}) for one in value}
    if key == "vlan":
        return _ports(value)
    return list(value) if isinstance(value, tuple) else value


def _short(**fields: str) -> dict[str, str]:
    return {key: value for key, value in fields.items() if value}


def _ports(tags: Tags | None) -> dict[str, Any]:
    if tags is None:
        return {}
    if not tags.trunk:
        return {"vlan": tags.vlans[0]}
    return {"vlans": list(tags.vlans)} | ({"native": tags.native} if tags.native else {})
