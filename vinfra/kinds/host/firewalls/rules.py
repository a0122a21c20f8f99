"""Rules as they are declared, and as plain lines, which every firewall program can hold in its own words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from vinfra.model.values import Text
from vinfra.text.complaint import near

Fate = Literal["allow", "drop", "reject"]
Network = IPv4Network | IPv6Network
Ports = tuple[tuple[int, int], ...]

# What people mean by a name: protocols and ports, as the Internet's registry of services has them.
SERVICES: dict[str, tuple[tuple[str, str], ...]] = {
    "ssh": (("tcp", "22"),),
    "http": (("tcp", "80"),),
    "https": (("tcp", "443"), ("udp", "443")),
    "dns": (("tcp", "53"), ("udp", "53")),
    "dhcp": (("udp", "67"),),
    "ntp": (("udp", "123"),),
    "smtp": (("tcp", "25"),),
    "submission": (("tcp", "587"),),
    "imaps": (("tcp", "993"),),
    "ldap": (("tcp", "389"),),
    "ldaps": (("tcp", "636"),),
    "nfs": (("tcp", "2049"),),
    "iscsi": (("tcp", "3260"),),
    "mysql": (("tcp", "3306"),),
    "postgresql": (("tcp", "5432"),),
    "redis": (("tcp", "6379"),),
    "rdp": (("tcp", "3389"),),
    "vnc": (("tcp", "5900-5999"),),
    "wireguard": (("udp", "51820"),),
    "prometheus-node": (("tcp", "9100"),),
    "libvirt-migration": (("tcp", "49152-49215"),),
}


def _ports(value: Any) -> Any:
    """One number or range, or a list of them."""
    if value is None:
        return None
    items = value if isinstance(value, list | tuple) else [value]
    for item in items:
        first, dash, last = str(item).partition("-")
        numbers = (first, last) if dash else (first,)
        if not all(number.isdigit() and 1 <= int(number) <= 65535 for number in numbers) or int(numbers[-1]) < int(
            first
        ):
            raise ValueError(f"{item} is no port; write a number from 1 to 65535, or a range such as 8000-8010")
    return tuple(str(item) for item in items)


def _networks(value: Any) -> Any:
    """One address or network, or a list of them."""
    items = value if isinstance(value, list | tuple) else [value]
    for item in items:
        try:
            ip_network(str(item))
        except ValueError as error:
            raise ValueError(f"{item} is no network such as 10.0.0.0/8 ({error})") from error
    return tuple(str(item) for item in items)


_MANY = WithJsonSchema({"type": ["string", "number", "array"]})


class Rule(BaseModel):
    """One rule. `ssh` alone is a service, `443/tcp` alone is a port."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: Text | None = Field(None, description="What is known by a name, such as ssh or https.")
    ports: Annotated[tuple[str, ...] | None, BeforeValidator(_ports), _MANY] = Field(
        None, description="Numbers and ranges."
    )
    protocol: Literal["tcp", "udp", "icmp"] | None = Field(None, description="Of ports it is tcp unless said.")
    source: Annotated[tuple[str, ...], BeforeValidator(_networks), _MANY] = Field(
        (), alias="from", description="Networks and addresses it comes from."
    )
    interface: Text | None = Field(None, description="Where it comes in; eth* is every one whose name begins so.")
    action: Fate = Field("allow", description="What becomes of it.")
    comment: Text | None = Field(None, description="Kept with the rule.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        ports, slash, protocol = value.partition("/")
        return {"ports": ports, "protocol": protocol} if slash else {"service": value}

    @model_validator(mode="after")
    def _whole(self) -> "Rule":
        if self.service is not None:
            if self.service not in SERVICES:
                known = near(self.service, SERVICES) or f"; there are {', '.join(SERVICES)}"
                raise ValueError(f"no service {self.service!r}; write ports, such as 8080/tcp{known}")
            if self.ports is not None or self.protocol is not None:
                raise ValueError("a service has its own ports and protocol; leave one of them out")
        if self.ports is not None and self.protocol == "icmp":
            raise ValueError("icmp has no ports")
        if self.interface is not None and not re.fullmatch(r"[A-Za-z0-9_.:-]{1,15}\*?", self.interface):
            raise ValueError("interface: the kernel takes at most 15 letters, digits, '.', '_', ':' and '-'")
        if self.comment is not None and not re.fullmatch(r"[A-Za-z0-9 _.,:;()+=/@#-]{1,80}", self.comment):
            raise ValueError("comment: write at most 80 plain letters, digits and blanks, without quotes")
        if (self.service, self.ports, self.protocol, self.interface) == (None,) * 4 and not self.source:
            raise ValueError("say what it is about: service, ports, protocol, from or interface")
        return self

    def __str__(self) -> str:
        what = self.service or "/".join(filter(None, (",".join(self.ports or ()), self.protocol))) or "everything"
        said = ["" if self.action == "allow" else self.action, what]
        said += [f"from {','.join(self.source)}"] if self.source else []
        said += [f"on {self.interface}"] if self.interface else []
        return " ".join(filter(None, said))


class _Short:
    """In a schema: the model, or a service or port alone."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


OwnRule = Annotated[Rule, _Short()]


@dataclass(frozen=True, slots=True)
class Line:
    """A rule for one protocol ("" for any) and one family of addresses ("" for both, "4" or "6").

    `networks` is empty for any address of the family, `ports` for any port.
    """

    action: str
    protocol: str = ""
    ports: Ports = ()
    family: str = ""
    networks: tuple[str, ...] = ()
    interface: str = ""
    comment: str = ""

    def meets(self, came: "Login", interfaces: Iterable[str]) -> bool:
        """Whether a new login from there is what this line is about. Of an interface nobody knows anything is right."""
        address = ip_address(came.client)
        if self.protocol not in ("", "tcp") or not (self.ports == () or _within(came.port, self.ports)):
            return False
        if self.family and self.family != str(address.version):
            return False
        if self.networks and not any(address in ip_network(network) for network in self.networks):
            return False
        known = list(interfaces)
        return not self.interface or not known or any(_named(self.interface, name) for name in known)


def _named(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _within(port: int, ports: Ports) -> bool:
    return any(first <= port <= last for first, last in ports)


@dataclass(frozen=True, slots=True)
class Login:
    """The way by which we are here: the client's address and our port, as the host sees them."""

    client: str
    server: str
    port: int

    def __str__(self) -> str:
        return f"port {self.port} from {self.client}"


def login(text: str) -> Login | None:
    """What sshd says in SSH_CONNECTION; None for what makes no sense."""
    parts = text.split()
    if len(parts) != 4 or not parts[3].isdigit():
        return None
    client, server = (part.partition("%")[0].removeprefix("::ffff:") for part in (parts[0], parts[2]))
    try:
        return Login(str(ip_address(client)), str(ip_address(server)), int(parts[3]))
    except ValueError:
        return None


def shut_out(came: Login, lines: Sequence[Line], incoming: str, facts: Mapping[str, Any]) -> bool:
    """Whether a new login by the way we came would be turned away. The first line that is about it decides."""
    links = (facts.get("interfaces") or {}).items()
    here = [name for name, link in links if any(item.partition("/")[0] == came.server for item in link["addresses"])]
    decided = next((line.action for line in lines if line.meets(came, here)), incoming)
    return decided != "allow"


def lines(rules: Iterable[Rule]) -> list[Line]:
    """What is declared, in its order. Numbers and networks that overlap are one."""
    return [line for rule in rules for line in _lines(rule)]


def _lines(rule: Rule) -> Iterable[Line]:
    about = SERVICES[rule.service] if rule.service else ((rule.protocol or ("tcp" if rule.ports else ""), ""),)
    for protocol, port in about:
        ports = joined([port] if port else rule.ports or ())
        for family, networks in _families(rule.source):
            yield Line(rule.action, protocol, ports, family, networks, rule.interface or "", rule.comment or "")


def joined(ports: Iterable[str]) -> Ports:
    """Ports in their order, with those that touch made one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(_range(item) for item in ports):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _families(source: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    if not source:
        return [("", ())]
    found = [ip_network(item) for item in source]
    four = [item for item in found if isinstance(item, IPv4Network)]
    six = [item for item in found if isinstance(item, IPv6Network)]
    both: list[tuple[str, list[Network]]] = [
        ("4", [*collapse_addresses(four)]),
        ("6", [*collapse_addresses(six)]),
    ]
    return [
        (family, () if networks[0].prefixlen == 0 else tuple(map(address, networks)))
        for family, networks in both
        if networks
    ]


def address(network: Network) -> str:
    """A network, or its address where it holds only one."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def span(ports: tuple[int, int], dash: str = "-") -> str:
    """A port or a range of them."""
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}{dash}{ports[1]}"
