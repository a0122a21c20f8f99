"""NetworkManager: a keyfile, which is one connection for one interface."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256

from vinfra.kinds.host.networking import fields, files
from vinfra.kinds.host.networking.fields import Plug, Specs
from vinfra.kinds.host.networking.files import Line, Lines
from vinfra.kinds.host.networking.running import Link
from vinfra.model.kind import Answers
from vinfra.model.question import Exec as Ask
from vinfra.model.step import Exec

NAME = "networkmanager"
UNIT = "NetworkManager.service"
FOLDER = "/etc/NetworkManager/system-connections"
MODE = "0600"
ACTIVE = Ask(("nmcli", "-t", "-f", "UUID,DEVICE,FILENAME", "connection", "show", "--active"))
BOND = ("lacp_rate", "xmit_hash_policy", "primary")
# interface, its connection, its new ports: what can be changed without starting anew is, and then new ports are plugged
# in; what starts brings its ports by itself. What takes longer (status 3) goes on meanwhile. A bond that becomes a port
# starts anew, and its own ports with it; a port that ip plugs in meanwhile the daemon loses. So they are waited for,
# eight seconds at most, by what the kernel shows: nmcli would cost a slow host more time than it waits.
UP = """\
dev=$1 own=$2; shift 2
wanted=
for one in /sys/class/net/*/lower_*; do
for port; do [ "${one##*/}" != "lower_$port" ] || one=; done
[ ! -e "$one" ] || wanted="$wanted $one"
done
if [ -e "/sys/class/net/$dev" ] && nmcli --wait 8 device reapply "$dev" >/dev/null 2>&1; then
for port; do nmcli --wait 2 connection up id "vinfra-$port" || [ $? = 3 ] || exit; done
else nmcli --wait 8 connection up uuid "$own" || [ $? = 3 ] || exit
fi
for port; do wanted="$wanted /sys/class/net/$dev/lower_$port"; done
read -r now _ </proc/uptime && end=$((${now%%.*} + 8))
for one in $wanted; do
until [ -e "$one" ]; do
read -r now _ </proc/uptime
[ ${now%%.*} -lt $end ] || break 2
sleep 0.2
done
done"""


def paths(name: str) -> tuple[str, ...]:
    """Its file."""
    return (f"{FOLDER}/vinfra-{name}.nmconnection",)


def uuid(name: str) -> str:
    """The connection's own name, always the same for an interface's."""
    digest = sha256(f"vinfra {name}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def render(name: str, desired: fields.Spec, _specs: Specs, plug: Plug | None = None) -> Mapping[str, str]:
    """The file; a port of a bridge or bond says so in its own."""
    lines, last = ["# Written by vinfra."], ""
    for section, key, value in _pairs(name, desired, plug):
        lines += [] if section == last else ["", f"[{section}]"]
        last = section
        lines.append(f"{key}={value}")
    return {paths(name)[0]: "\n".join(lines) + "\n"}


def _pairs(name: str, desired: fields.Spec, plug: Plug | None) -> Iterator[tuple[str, str, str]]:
    yield "connection", "id", f"vinfra-{name}"
    yield "connection", "uuid", uuid(name)
    yield "connection", "type", fields.sort(desired) or "ethernet"
    yield "connection", "interface-name", name
    yield "connection", "autoconnect", _word(desired.up)
    yield "connection", "autoconnect-priority", "100"
    if fields.sort(desired) in ("bridge", "bond"):
        yield "connection", "autoconnect-slaves", "1"
    if plug:
        yield "connection", "master", plug.master
        yield "connection", "slave-type", plug.sort
    if desired.mtu:
        yield "ethernet", "mtu", str(desired.mtu)
    if desired.mac:
        yield "ethernet", "cloned-mac-address", desired.mac
    if desired.bridge:
        yield "bridge", "stp", _word(desired.bridge.stp)
        yield "bridge", "forward-delay", str(desired.bridge.delay)
    if desired.vlan:
        yield "vlan", "id", str(desired.vlan.id)
        yield "vlan", "parent", desired.vlan.parent
    if desired.bond:
        yield "bond", "mode", desired.bond.mode
        yield "bond", "miimon", str(desired.bond.miimon)
        yield from (("bond", key, str(value)) for key in BOND if (value := getattr(desired.bond, key)))
    if not plug:
        yield from _family(desired, 4)
        yield from _family(desired, 6)


def _family(desired: fields.Spec, version: int) -> Iterator[tuple[str, str, str]]:
    section, other = f"ipv{version}", version == 6
    known = [item for item in desired.addresses or () if (":" in item) is other]
    if desired.dhcp in (section, "both"):
        method = "auto"
    elif known:
        method = "manual"
    else:
        method = "link-local" if other else "disabled"
    yield section, "method", method
    yield from ((section, f"address{number}", item) for number, item in enumerate(known, 1))
    gateway = desired.gateway6 if other else desired.gateway
    if gateway:
        yield section, "gateway", gateway
    routes = [route for route in desired.routes or () if (":" in route.to) is other]
    for number, route in enumerate(routes, 1):
        metric = "" if route.metric is None else f",{route.metric}"
        yield section, f"route{number}", f"{route.to},{route.via}{metric}"
    servers = [item for item in desired.dns or () if (":" in item) is other]
    if servers:
        yield section, "dns", "".join(f"{item};" for item in servers)
    if desired.search and method != "disabled":
        yield section, "dns-search", "".join(f"{item};" for item in desired.search)


def _word(value: bool) -> str:
    return "true" if value else "false"


def dhcp(texts: Mapping[str, str]) -> str | None:
    """What our file asks for by DHCP."""
    found = re.findall(r"^\[(ipv[46])\]\nmethod=auto$", "\n".join(texts.values()), re.MULTILINE)
    return "both" if found[1:] else next(iter(found), None)


def before(_name: str, _desired: fields.Spec, _was: str | None) -> tuple[Exec, ...]:
    """Nothing: the daemon knows what it made."""
    return ()


def count(name: str, desired: fields.Spec, _was: str | None, ports: tuple[str, ...] = ()) -> tuple[Exec, ...]:
    """The daemon reads the files, and brings it up as they say; its ports come with it."""
    load = Exec(("nmcli", "connection", "load", *paths(name), *(path for port in ports for path in paths(port))))
    if not desired.up:
        return (load,)
    return (load, Exec(("sh", "-c", UP, "sh", name, uuid(name), *ports)))


def active(answers: Answers) -> Mapping[str, str]:
    """Which connection each interface has; "" for one that only shows what others made of it."""
    raw = answers.get(ACTIVE)
    found: dict[str, str] = {}
    for line in raw.text.splitlines() if raw is not None and raw.ok else ():
        known, _, rest = line.partition(":")
        device, _, file = rest.partition(":")
        found[device] = known if file.startswith("/etc/") else ""
    return found


def recall(_name: str, _was: str | None, _ports: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The former files are back; the daemon needs a moment to let go."""
    return (("nmcli", "connection", "reload"), ("sleep", "2"))


def resumed(device: str, connection: str) -> tuple[str, ...]:
    """An interface gets its former connection; one that had none is nobody's but the kernel's."""
    if connection:
        return ("nmcli", "--wait", "8", "connection", "up", "uuid", connection, "ifname", device)
    return ("nmcli", "device", "set", device, "managed", "no")


def leave(_name: str, _virtual: bool) -> tuple[Exec, ...]:
    """Before the file goes."""
    return ()


def left(_name: str) -> tuple[Exec, ...]:
    """After the file has gone."""
    return (Exec(("nmcli", "connection", "reload")),)


def claims(name: str, _link: Link | None, lines: Lines) -> Iterator[Line]:
    """Where another file is of this interface."""
    for _, own in files.others(lines, f"{FOLDER}/"):
        yield from (line for line in own if line.text.replace(" ", "") == f"interface-name={name}")


def without(_name: str, _line: Line, text: str) -> str:
    """The file as one comment."""
    return files.commented(text, range(1, len(text.splitlines()) + 1))
