"""systemd-networkd: a .network file, and a .netdev file for what is no network card."""

import re
from collections.abc import Iterator, Mapping

from vinfra.kinds.host.networking import fields, files
from vinfra.kinds.host.networking.fields import Plug, Specs
from vinfra.kinds.host.networking.files import Line, Lines
from vinfra.kinds.host.networking.running import Link
from vinfra.model.step import Exec

NAME = "networkd"
UNIT = "systemd-networkd.service"
FOLDER = "/etc/systemd/network"
MODE = "0644"
RELOAD = ("networkctl", "reload")
# Until nothing is being configured any more, or for five seconds: what is set meanwhile makes the daemon fail.
SETTLED = """\
sleep 0.3
read -r up _ </proc/uptime && end=$((${up%%.*} + 5))
while networkctl --no-legend --no-pager list | grep -Eq ' (pending|initialized|configuring) *$'; do
read -r up _ </proc/uptime && [ ${up%%.*} -lt $end ] || break
sleep 0.1
done"""
SETTLE = ("sh", "-c", SETTLED)
BOND = {"lacp_rate": "LACPTransmitRate", "xmit_hash_policy": "TransmitHashPolicy"}


def paths(name: str) -> tuple[str, ...]:
    """Its files."""
    return (f"{FOLDER}/80-vinfra-{name}.netdev", f"{FOLDER}/80-vinfra-{name}.network")


def carrier(name: str, parent: str, lines: Lines, declared: bool) -> str:
    """The addition to the parent's file that names a VLAN; "" when no file is the parent's."""
    found = [path for path, _ in files.others(lines, FOLDER, ".network") if _fitting(parent, None, lines[path])]
    file = paths(parent)[1].rpartition("/")[2] if declared else found[0].rpartition("/")[2] if found else ""
    return f"{FOLDER}/{file}.d/vinfra-{name}.conf" if file else ""


def carried(name: str) -> str:
    """What the addition says."""
    return f"[Network]\nVLAN={name}\n"


def render(name: str, desired: fields.Spec, _specs: Specs, plug: Plug | None = None) -> Mapping[str, str]:
    """Its files; a port of a bridge or bond says so in its own."""
    netdev, network = paths(name)
    made = {netdev: _sections(_netdev(name, desired))} if fields.sort(desired) else {}
    return {**made, network: _sections(_network(name, desired, plug))}


def _sections(pairs: Iterator[tuple[str, str, str]]) -> str:
    lines, last = ["# Written by vinfra."], ""
    for section, key, value in pairs:
        lines += [] if section == last else [*([""] if last else []), f"[{section.rstrip('+')}]"]
        last = section
        lines.append(f"{key}={value}")
    return "\n".join(lines) + "\n"


def _netdev(name: str, desired: fields.Spec) -> Iterator[tuple[str, str, str]]:
    yield "NetDev", "Name", name
    yield "NetDev", "Kind", fields.sort(desired)
    if desired.mac:
        yield "NetDev", "MACAddress", desired.mac
    if desired.bridge:
        yield "Bridge", "STP", _word(desired.bridge.stp)
        yield "Bridge", "ForwardDelaySec", str(desired.bridge.delay)
    if desired.vlan:
        yield "VLAN", "Id", str(desired.vlan.id)
    if desired.bond:
        yield "Bond", "Mode", desired.bond.mode
        yield "Bond", "MIIMonitorSec", f"{desired.bond.miimon}ms"
        for key, word in BOND.items():
            if value := getattr(desired.bond, key):
                yield "Bond", word, value


def _network(name: str, desired: fields.Spec, plug: Plug | None) -> Iterator[tuple[str, str, str]]:
    yield "Match", "Name", name
    if desired.mtu:
        yield "Link", "MTUBytes", str(desired.mtu)
    if desired.mac and not fields.sort(desired):
        yield "Link", "MACAddress", desired.mac
    if not desired.up:
        yield "Link", "ActivationPolicy", "always-down"
    if plug:
        yield "Network", plug.sort.capitalize(), plug.master
        if plug.primary:
            yield "Network", "PrimarySlave", "yes"
    else:
        yield from _addressing(desired)


def _addressing(desired: fields.Spec) -> Iterator[tuple[str, str, str]]:
    for address in desired.addresses or ():
        yield "Network", "Address", address
    if desired.dhcp:
        yield "Network", "DHCP", "yes" if desired.dhcp == "both" else desired.dhcp
    for gateway in filter(None, (desired.gateway, desired.gateway6)):
        yield "Network", "Gateway", gateway
    for server in desired.dns or ():
        yield "Network", "DNS", server
    if desired.search:
        yield "Network", "Domains", " ".join(desired.search)
    if not desired.exclusive:
        yield "Network", "KeepConfiguration", "static"
    # A bridge without a machine in it has no carrier, and is to have its addresses all the same.
    yield "Network", "ConfigureWithoutCarrier", _word(fields.sort(desired) == "bridge")
    for number, route in enumerate(desired.routes or ()):
        section = "Route" + "+" * number
        yield section, "Destination", route.to
        yield section, "Gateway", route.via
        if route.metric is not None:
            yield section, "Metric", str(route.metric)


def _word(value: bool) -> str:
    return "yes" if value else "no"


def dhcp(texts: Mapping[str, str]) -> str | None:
    """What our files ask for by DHCP."""
    found = re.search(r"^DHCP=(\w+)$", "\n".join(texts.values()), re.MULTILINE)
    return {"yes": "both"}.get(found[1], found[1]) if found else None


def before(_name: str, _desired: fields.Spec, _was: str | None) -> tuple[Exec, ...]:
    """Nothing: the daemon knows what it made."""
    return ()


def count(_name: str, _desired: fields.Spec, _was: str | None, ports: tuple[str, ...] = ()) -> tuple[Exec, ...]:
    """The daemon reads its files again; that a port has another file now is not always seen by itself."""
    again = (Exec(("networkctl", "reconfigure", *ports)),) if ports else ()
    return (Exec(RELOAD), *again, Exec(SETTLE))


def recall(_name: str, _was: str | None, _ports: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The former files are back; the daemon needs a moment to let go."""
    return (RELOAD, SETTLE)


def leave(_name: str, _virtual: bool) -> tuple[Exec, ...]:
    """Before the files go."""
    return ()


def left(_name: str) -> tuple[Exec, ...]:
    """After the files have gone."""
    return (Exec(RELOAD), Exec(SETTLE))


def claims(name: str, link: Link | None, lines: Lines) -> Iterator[Line]:
    """Files that would be taken for it rather than ours: the first in the order of their names counts."""
    for path, own in files.others(lines, f"{FOLDER}/", ".network"):
        fits = _fitting(name, link, own)
        if fits is not None and path.rpartition("/")[2] < paths(name)[1].rpartition("/")[2]:
            yield fits
    for _, own in files.others(lines, f"{FOLDER}/", ".netdev"):
        yield from (line for line in own if line.text.replace(" ", "") == f"Name={name}")


def _fitting(name: str, link: Link | None, lines: tuple[Line, ...]) -> Line | None:
    section, said = "", []
    for line in lines:
        text = line.text.strip()
        section = text if text.startswith("[") else section
        key, equals, value = text.partition("=")
        if section == "[Match]" and equals and not text.startswith(("#", ";")):
            said.append((line, key.strip(), value.strip()))
    for _, key, value in said:
        if key == "Name" and not files.named(value, name, link):
            return None
        if key in ("MACAddress", "PermanentMACAddress") and not files.named(value, name, link, key):
            return None
        if key == "Type" and (value != "ether" or link is None or link.sort):
            return None
        if key in ("Kind", "Driver", "Path", "Host", "WLANInterfaceType"):
            return None  # not for a network card that somebody names, or not to be told from here
    return said[0][0] if said else None


def without(name: str, line: Line, text: str) -> str:
    """The file as one comment, if it is of this interface alone; "" if it is not."""
    alone = line.text.replace(" ", "") == f"Name={name}" or "MACAddress" in line.text
    return files.commented(text, range(1, len(text.splitlines()) + 1)) if alone else ""
