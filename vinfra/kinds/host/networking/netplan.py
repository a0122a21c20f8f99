"""netplan: a YAML file of its own, which netplan turns into networkd's or NetworkManager's."""

import re
from collections.abc import Iterator, Mapping

from vinfra.kinds.host.networking import fields, files
from vinfra.kinds.host.networking.fields import Plug, Specs
from vinfra.kinds.host.networking.files import Line, Lines
from vinfra.kinds.host.networking.networkd import SETTLE
from vinfra.kinds.host.networking.running import Link
from vinfra.model.step import Exec

NAME = "netplan"
UNIT = ""
FOLDER = "/etc/netplan"
MODE = "0600"
SECTIONS = {"bridge": "bridges", "vlan": "vlans", "bond": "bonds", "": "ethernets"}
# `netplan apply` is slow, wants udevd (a container has none) and sets up every interface again; networkd needs less.
# Where the files together make no sense, the first command says so, and nothing is done.
APPLIED = """\
netplan generate || exit
if systemctl is-active --quiet NetworkManager; then exec netplan apply; fi
systemctl start systemd-networkd && networkctl reload"""
APPLY = ("sh", "-c", APPLIED)
BOND = {"lacp_rate": "lacp-rate", "xmit_hash_policy": "transmit-hash-policy", "primary": "primary"}
PLAIN = re.compile(r"(?!.*(true|false|yes|no|on|off|null)$)[A-Za-z][A-Za-z0-9._/-]*")


# netplan has a bridge made with its mtu. The kernel does not count that as somebody's wish: the first port takes the
# bridge to its own. What networkd sets on the bridge itself stays, and it does that where the bridge is made without.
UNMADE = "# Written by vinfra.\n[NetDev]\nMTUBytes=0\n"


def paths(name: str) -> tuple[str, ...]:
    """Its file, and an addition to what netplan makes of it."""
    return (f"{FOLDER}/90-vinfra-{name}.yaml", f"/etc/systemd/network/10-netplan-{name}.netdev.d/vinfra-{name}.conf")


def render(name: str, desired: fields.Spec, specs: Specs, plug: Plug | None = None) -> Mapping[str, str]:
    """The file. netplan reads file by file, so what it stands on is named in it as well, as far as netplan needs it."""
    found: dict[str, list[str]] = {}
    for other in (*fields.ports(desired), *((desired.vlan.parent,) if desired.vlan else ())):
        below = specs.get(other, fields.Spec())
        own = f"{{id: {below.vlan.id}, link: {_text(below.vlan.parent)}}}" if below.vlan else "{}"
        found.setdefault(SECTIONS[fields.sort(below)], []).append(f"    {_text(other)}: {own}")
    lines = [f"      {line}" for line in _lines(desired, plug)]
    found.setdefault(SECTIONS[fields.sort(desired)], []).extend([f"    {_text(name)}:{'' if lines else ' {}'}", *lines])
    sections = [line for section, own in found.items() for line in (f"  {section}:", *own)]
    text = "\n".join(["# Written by vinfra.", "network:", "  version: 2", *sections]) + "\n"
    yaml, addition = paths(name)
    return {yaml: text, **({addition: UNMADE} if desired.bridge and desired.mtu else {})}


def _lines(desired: fields.Spec, plug: Plug | None) -> Iterator[str]:
    yield from _made(desired)
    if desired.mtu:
        yield f"mtu: {desired.mtu}"
    if desired.mac:
        yield f"macaddress: {_text(desired.mac)}"
    if not desired.up:
        yield 'activation-mode: "off"'
    yield from () if plug else _addressing(desired)


def _made(desired: fields.Spec) -> Iterator[str]:
    if desired.vlan:
        yield f"id: {desired.vlan.id}"
        yield f"link: {_text(desired.vlan.parent)}"
    if fields.sort(desired) in ("bridge", "bond"):
        yield f"interfaces: {_list(fields.ports(desired))}"
        yield "parameters:"
    if desired.bridge:
        yield f"  stp: {_word(desired.bridge.stp)}"
        yield f"  forward-delay: {desired.bridge.delay}"
    if desired.bond:
        yield f"  mode: {_text(desired.bond.mode)}"
        yield f"  mii-monitor-interval: {desired.bond.miimon}"
        yield from (f"  {word}: {_text(value)}" for key, word in BOND.items() if (value := getattr(desired.bond, key)))


def _addressing(desired: fields.Spec) -> Iterator[str]:
    if desired.addresses:
        yield f"addresses: {_list(desired.addresses)}"
    for version in ("4", "6"):
        if desired.dhcp in (f"ipv{version}", "both"):
            yield f"dhcp{version}: true"
    ways = [("default" if ":" not in via else "::/0", via, None) for via in (desired.gateway, desired.gateway6) if via]
    ways += [(route.to, route.via, route.metric) for route in desired.routes or ()]  # type: ignore[misc]
    if ways:
        yield "routes:"
    for to, via, metric in ways:
        yield f"- to: {_text(to)}"
        yield f"  via: {_text(via)}"
        if metric is not None:
            yield f"  metric: {metric}"
    if desired.dns or desired.search:
        yield "nameservers:"
        yield f"  addresses: {_list(desired.dns or ())}"
        yield f"  search: {_list(desired.search or ())}"


def _text(value: str) -> str:
    return value if PLAIN.fullmatch(value) else f'"{value}"'


def _list(values: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _word(value: bool) -> str:
    return "true" if value else "false"


def dhcp(texts: Mapping[str, str]) -> str | None:
    """What our file asks for by DHCP."""
    text = "\n".join(texts.values())
    found = [f"ipv{version}" for version in ("4", "6") if f"dhcp{version}: true" in text]
    return "both" if found[1:] else next(iter(found), None)


def before(_name: str, _desired: fields.Spec, _was: str | None) -> tuple[Exec, ...]:
    """Nothing: netplan knows what it made."""
    return ()


def count(_name: str, _desired: fields.Spec, _was: str | None, _ports: tuple[str, ...] = ()) -> tuple[Exec, ...]:
    """Turned into what the daemon reads, all files together, and applied; what netplan does not take stops it first."""
    return (Exec(APPLY), Exec(SETTLE))


def recall(_name: str, _was: str | None, _ports: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The former files are back; the daemon needs a moment to let go."""
    return (APPLY, SETTLE)


def leave(_name: str, _virtual: bool) -> tuple[Exec, ...]:
    """Before the file goes."""
    return ()


def left(_name: str) -> tuple[Exec, ...]:
    """After the file has gone."""
    return (Exec(APPLY), Exec(SETTLE))


def claims(name: str, _link: Link | None, lines: Lines) -> Iterator[Line]:
    """Where another file says something of it."""
    for _, own in files.others(lines, f"{FOLDER}/", ".yaml"):
        yield from (line for line in own if _key(line.text) == name and _indent(line.text) > 0)


def _key(text: str) -> str:
    return text.partition("#")[0].strip().partition(":")[0].strip().strip("\"'") if ":" in text else ""


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def without(_name: str, line: Line, text: str) -> str:
    """The file with its block as a comment, and what is around it as well if nothing is left in that."""
    lines, inner = text.splitlines(), line.number - 1
    gone = set(_block(lines, inner))
    while (above := next((item for item in range(inner - 1, -1, -1) if _opens(lines, item, inner)), None)) is not None:
        if set(_block(lines, above)) - {above} - gone - _blank(lines):
            break
        gone.add(above)
        inner = above
    return files.commented(text, (number + 1 for number in gone))


def _opens(lines: list[str], number: int, inner: int) -> bool:
    return bool(_key(lines[number])) and _indent(lines[number]) < _indent(lines[inner])


def _block(lines: list[str], start: int) -> Iterator[int]:
    yield start
    for number in range(start + 1, len(lines)):
        if lines[number].strip() and _indent(lines[number]) <= _indent(lines[start]):
            return
        if lines[number].strip():
            yield number


def _blank(lines: list[str]) -> set[int]:
    return {number for number, text in enumerate(lines) if not text.strip() or text.lstrip().startswith("#")}
