"""ifupdown: a stanza for each address, in a file of /etc/network/interfaces.d.

Bridges, VLANs and bonds are made by ip(8), so that no package beside iproute2 is needed.
"""

import re
from collections.abc import Iterator, Mapping

from vinfra.kinds.host.networking import fields, files
from vinfra.kinds.host.networking.fields import Plug, Specs
from vinfra.kinds.host.networking.files import Line, Lines
from vinfra.kinds.host.networking.running import Link
from vinfra.model.step import Exec

NAME = "ifupdown"
UNIT = "networking.service"
MAIN, FOLDER = "/etc/network/interfaces", "/etc/network/interfaces.d"
STANZA = re.compile(
    r"\s*(iface|auto|mapping|allow-\S+|no-auto-down|no-scripts|source|source-directory|template|rename)\b"
)
MODE = "0644"


def paths(name: str) -> tuple[str, ...]:
    """Its file."""
    return (f"{FOLDER}/vinfra-{name}",)


def unread(name: str, lines: Lines) -> str:
    """Why a file there would not be read, in a sentence; "" if it is."""
    for line in lines.get(MAIN, ()):
        words = line.text.split()
        where = words[1].removeprefix("/etc/network/").rstrip("/") if len(words) == 2 else ""
        if words[:1] == ["source"] and where == "interfaces.d/*":
            return ""
        if words[:1] == ["source-directory"] and where in ("interfaces.d", "interfaces.d/*"):
            odd = "" if re.fullmatch(r"[\w-]+", name) else f"{line} reads no file with a dot in its name"
            return f"{odd}; write `source {FOLDER}/*` there instead" if odd else ""
    return f"{MAIN} does not read {FOLDER}; add the line `source {FOLDER}/*` to it"


def render(name: str, desired: fields.Spec, _specs: Specs, _plug: Plug | None = None) -> Mapping[str, str]:
    """The file; a port needs none, for the bridge or bond takes it."""
    stanzas = list(_stanzas(desired))
    lines = ["# Written by vinfra."]
    lines += [f"auto {name}"] if desired.up else []
    for number, (method, own) in enumerate(stanzas):
        lines += [f"iface {name} {method}"]
        lines += [f"    {line}" for line in (*own, *(_once(name, desired, stanzas) if number == 0 else ()))]
    return {paths(name)[0]: "\n".join(lines) + "\n"}


def _stanzas(desired: fields.Spec) -> Iterator[tuple[str, tuple[str, ...]]]:
    first = {"inet": desired.gateway, "inet6": desired.gateway6}
    for address in desired.addresses or ():
        family = "inet6" if ":" in address else "inet"
        gateway = first.pop(family, None)
        yield f"{family} static", (f"address {address}", *((f"gateway {gateway}",) if gateway else ()))
    if desired.dhcp in ("ipv4", "both"):
        yield "inet dhcp", ()
    if desired.dhcp in ("ipv6", "both"):
        yield "inet6 dhcp", ()
    if not desired.addresses and desired.dhcp is None:
        yield "inet manual", ()


def _once(name: str, desired: fields.Spec, stanzas: list[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    yield from (f"pre-up {line}" for line in _made(name, desired))
    if desired.mac:
        yield f"pre-up ip link set dev {name} address {desired.mac}"
    if desired.mtu:
        yield f"pre-up ip link set dev {name} mtu {desired.mtu}"
    if stanzas[0][0] == "inet manual" and desired.up:
        yield f"up ip link set dev {name} up"
    said = " ".join(line for _, own in stanzas for line in own)
    for family, gateway in (("", desired.gateway), ("-6 ", desired.gateway6)):
        if gateway and f"gateway {gateway}" not in said:
            yield f"up ip {family}route replace default via {gateway} dev {name}"
    for route in desired.routes or ():
        metric = "" if route.metric is None else f" metric {route.metric}"
        yield f"up ip {'-6 ' if ':' in route.to else ''}route replace {route.to} via {route.via} dev {name}{metric}"
    if desired.dns:
        yield f"dns-nameservers {' '.join(desired.dns)}"
    if desired.search:
        yield f"dns-search {' '.join(desired.search)}"
    if fields.sort(desired):
        yield f"post-down ip link delete dev {name}"


def _made(name: str, desired: fields.Spec) -> Iterator[str]:
    there = f"[ -e /sys/class/net/{name} ] ||"
    if desired.vlan:
        parent = desired.vlan.parent
        yield f"[ -e /sys/class/net/{parent} ] || ifup {parent}"
        yield f"ip link set dev {parent} up"
        yield f"{there} ip link add link {parent} name {name} type vlan id {desired.vlan.id}"
    if desired.bridge:
        yield f"{there} ip link add name {name} type bridge"
        stp, delay = int(desired.bridge.stp), desired.bridge.delay * 100
        yield f"ip link set dev {name} type bridge stp_state {stp} forward_delay {delay}"
    if desired.bond:
        told = [("mode", desired.bond.mode), ("miimon", str(desired.bond.miimon))]
        told += [
            (key, str(getattr(desired.bond, key)))
            for key in ("lacp_rate", "xmit_hash_policy")
            if getattr(desired.bond, key)
        ]
        yield f"{there} ip link add name {name} type bond {' '.join(word for pair in told for word in pair)}"
    for port in fields.ports(desired):
        yield f"[ -e /sys/class/net/{port} ] || ifup {port}"
        down = f"ip link set dev {port} down && " if desired.bond else ""
        yield f"[ -e /sys/class/net/{name}/lower_{port} ] || {{ {down}ip link set dev {port} master {name}; }}"
        yield f"ip link set dev {port} up"
    if desired.bond and desired.bond.primary:
        yield f"ip link set dev {name} type bond primary {desired.bond.primary}"


def dhcp(texts: Mapping[str, str]) -> str | None:
    """What our file asks for by DHCP."""
    text = "\n".join(texts.values())
    found = [version for version, word in (("ipv4", "inet dhcp"), ("ipv6", "inet6 dhcp")) if f" {word}\n" in text]
    return "both" if found[1:] else next(iter(found), None)


def before(name: str, desired: fields.Spec, was: str | None) -> tuple[Exec, ...]:
    """While the former file is there: a client of DHCP that is not wanted any more ends.

    A new one starts from nothing: an address of the same network that goes after it would take the lease with it.
    """
    calls: tuple[Exec, ...] = (Exec(("ifdown", "--force", name)),) if was and was != desired.dhcp else ()
    if desired.dhcp and was != desired.dhcp and desired.addresses is not None and desired.exclusive:
        calls += (Exec(("ip", "addr", "flush", "dev", name, "scope", "global"), ok=(0, 1)),)
    return calls


def count(name: str, desired: fields.Spec, was: str | None, _ports: tuple[str, ...] = ()) -> tuple[Exec, ...]:
    """ifup does what is missing and notes that it is up; a client of DHCP that runs already is left alone."""
    if not desired.up or (was and was == desired.dhcp):
        return ()
    return (Exec(("ifup", "--force", name)),)


def recall(name: str, was: str | None, _ports: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The former files are back: only DHCP needs more than ip(8) does."""
    return (("ifup", "--force", name),) if was else ()


def leave(name: str, virtual: bool) -> tuple[Exec, ...]:
    """Before the file goes; a network card stays up until the next boot."""
    return (Exec(("ifdown", "--force", name)),) if virtual else ()


def left(_name: str) -> tuple[Exec, ...]:
    """After the file has gone."""
    return ()


def claims(name: str, _link: Link | None, lines: Lines) -> Iterator[Line]:
    """Where another file says something of it."""
    for _, own in files.others(lines, MAIN):
        yield from (line for line in own if line.text.split()[:2] == ["iface", name])


def without(name: str, line: Line, text: str) -> str:
    """The file with its stanzas as comments."""
    gone, inside = [], False
    for number, told in enumerate(text.splitlines(), 1):
        words = told.split()
        if STANZA.match(told):
            inside = words[:2] == ["iface", name]
            if words[0] != "iface" and words[1:] == [name]:
                gone.append(number)
        if inside and words:
            gone.append(number)
    shared = [number for number, told in enumerate(text.splitlines(), 1) if _lists(told, name)]
    rest = files.commented(text, gone).splitlines()
    for number in shared:
        rest[number - 1] = " ".join(word for word in rest[number - 1].split() if word != name)
    return "".join(f"{told}\n" for told in rest)


def _lists(text: str, name: str) -> bool:
    words = text.split()
    return len(words) > 2 and (words[0] == "auto" or words[0].startswith("allow-")) and name in words[1:]
