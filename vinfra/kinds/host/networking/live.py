"""From what runs to what is wished for, in commands of ip(8) that may be given twice; and the way back to what ran.

They follow whatever the host's manager of networks has done already, so that all of them end in the same state, and
they alone mend what somebody changed by hand.
"""

from collections.abc import Iterable, Iterator, Mapping

from vinfra.kinds.host.networking import fields
from vinfra.kinds.host.networking.running import Link, Links, Way, guests, ports
from vinfra.model.step import Exec

Argv = tuple[str, ...]

# name, then what `ip link add` needs: only what no daemon has made in its own time is made.
MAKE = """\
name=$1 i=0; shift
until [ -e "/sys/class/net/$name" ] || [ $i -ge 10 ]; do i=$((i + 1)); sleep 0.1; done
[ -e "/sys/class/net/$name" ] || ip link add "$@" || [ -e "/sys/class/net/$name" ]"""
# name: gone, whoever took it away.
GONE = '[ ! -e "/sys/class/net/$1" ] || ip link delete dev "$1" || [ ! -e "/sys/class/net/$1" ]'
# name, tag: gone if it has another tag. systemd-networkd 252 makes a VLAN as it first read of it, until it starts anew.
STALE = """\
[ ! -e "/sys/class/net/$1" ] || case $(ip -d link show dev "$1") in
*" id $2 "*) ;;
*) ip link delete dev "$1" || [ ! -e "/sys/class/net/$1" ] ;;
esac"""
# family, interface, target, gateway, metric: a way that a manager made, with a metric of its own, is left as it is.
LEAD = """\
family=$1 dev=$2 to=$3 via=$4; shift 4
known=$(ip "$family" route show "$to" via "$via" dev "$dev" "$@")
[ -n "$known" ] || exec ip "$family" route replace "$to" via "$via" dev "$dev" proto static "$@"
"""
# The same with what it was like, if none is there at all: a manager that came back gives a metric of its own.
AGAIN = """\
family=$1 dev=$2 to=$3 via=$4; shift 4
known=$(ip "$family" route show "$to" via "$via" dev "$dev")
[ -n "$known" ] || exec ip "$family" route replace "$to" via "$via" dev "$dev" "$@"
"""
# master, port, sort of the master: a bond takes only what is down; what is in it already is left alone.
PLUG = """\
m=$(readlink -- "/sys/class/net/$2/master")
[ "${m##*/}" = "$1" ] || {
[ "$3" != bond ] || ip link set dev "$2" down || exit
ip link set dev "$2" master "$1" || exit
}
ip link set dev "$2" up"""


def gone(name: str) -> Exec:
    """Take a bridge, a VLAN or a bond away."""
    return Exec(("sh", "-c", GONE, "sh", name))


def stale(name: str, tag: int) -> Exec:
    """Take a VLAN away that its manager has just made with a former tag."""
    return Exec(("sh", "-c", STALE, "sh", name, str(tag)))


def make(name: str, desired: fields.Spec) -> Exec:
    """Make a bridge, a VLAN or a bond that is not there."""
    return _make(name, tuple(_addition(name, desired)))


def _make(name: str, words: Argv) -> Exec:
    return Exec(("sh", "-c", MAKE, "sh", name, *words))


def _addition(name: str, desired: fields.Spec) -> Iterator[str]:
    if desired.vlan:
        yield from ("link", desired.vlan.parent)
    yield from ("name", name, "type", fields.sort(desired), *_options(desired))


def _options(desired: fields.Spec) -> Iterator[str]:
    if desired.bridge:
        yield from ("stp_state", str(int(desired.bridge.stp)), "forward_delay", str(desired.bridge.delay * 100))
    if desired.vlan:
        yield from ("id", str(desired.vlan.id))
    if desired.bond:
        yield from ("mode", desired.bond.mode, "miimon", str(desired.bond.miimon))
        for key in ("lacp_rate", "xmit_hash_policy"):
            value = getattr(desired.bond, key)
            yield from (key, value) if value is not None else ()


def toward(name: str, desired: fields.Spec, links: Links) -> Iterator[Exec]:
    """Everything that is declared, from the ports up to the routes."""
    here, sort = links.get(name, Link(name)), fields.sort(desired)
    if desired.bridge:
        yield _ip("link", "set", "dev", name, "type", "bridge", *_options(desired))
    if sort in ("bridge", "bond"):
        yield from _plugged(name, desired, links)
    elif here.master and desired.addresses:
        yield _ip("link", "set", "dev", name, "nomaster")
    if desired.mac is not None and desired.mac != here.mac:
        yield _ip("link", "set", "dev", name, "address", desired.mac)
    if desired.mtu is not None:
        yield _ip("link", "set", "dev", name, "mtu", str(desired.mtu))
    yield _ip("link", "set", "dev", name, "up" if desired.up else "down")
    if not desired.up:
        return
    wish = desired.addresses or ()
    if desired.addresses is not None and desired.exclusive:
        yield from (_ip("addr", "del", old, "dev", name, ok=(0, 2)) for old in here.fixed if old not in wish)
    yield from (_ip("addr", "replace", new, "dev", name) for new in wish)
    yield from _ways(name, desired, here)


def _plugged(name: str, desired: fields.Spec, links: Links) -> Iterator[Exec]:
    sort, wish = fields.sort(desired), fields.ports(desired)
    yield from (_ip("link", "set", "dev", old, "nomaster") for old in ports(links, name, wish) if old not in wish)
    for port in wish:
        yield Exec(("sh", "-c", PLUG, "sh", name, port, sort))
        if port in links and any(links[port].addresses):
            yield _ip("addr", "flush", "dev", port, "scope", "global")
    if desired.bond and desired.bond.primary:
        yield _ip("link", "set", "dev", name, "type", "bond", "primary", desired.bond.primary)


def _ways(name: str, desired: fields.Spec, here: Link) -> Iterator[Exec]:
    for version, gateway in ((4, desired.gateway), (6, desired.gateway6)):
        if gateway is None:
            continue
        former = [way for way in here.gateways(version) if way.via != gateway]
        yield from (_route("del", name, way, ok=(0, 2)) for way in former)
        yield _lead(name, "default", gateway)
    for route in desired.routes or ():
        yield _lead(name, route.to, route.via, route.metric)


def others(name: str, desired: fields.Spec | None, links: Links) -> Iterator[Exec]:
    """The ways to everywhere by other interfaces: a daemon that sets all of them up again may lose one of these."""
    for version, wish in ((4, "gateway"), (6, "gateway6")):
        if getattr(desired, wish, None) is None:
            for link in links.values():
                if link.name not in (name, *fields.ports(desired)):
                    yield from (
                        _lead(link.name, "default", way.via, way.metric) for way in link.gateways(version) if way.via
                    )


def _lead(name: str, to: str, via: str, metric: int | None = None) -> Exec:
    family, number = "-6" if ":" in via else "-4", () if metric is None else ("metric", str(metric))
    return Exec(("sh", "-c", LEAD, "sh", family, name, to, via, *number))


def _route(verb: str, name: str, way: Way, ok: tuple[int, ...] = (0,)) -> Exec:
    to = _target(way)
    family = ("-6",) if ":" in way.to + way.via else ()
    via = ("via", way.via) if way.via else ()
    metric = ("metric", str(way.metric)) if way.metric is not None else ()
    protocol = ("proto", way.protocol) if way.protocol not in ("", "boot", "kernel") else ()
    onlink = ("onlink",) if way.onlink and verb != "del" else ()
    return _ip(*family, "route", verb, to, *via, "dev", name, *metric, *protocol, *onlink, ok=ok)


def _target(way: Way) -> str:
    return "default" if way.to in ("0.0.0.0/0", "::/0") else way.to


def _ip(*words: str, ok: tuple[int, ...] = (0,)) -> Exec:
    return Exec(("ip", *words), ok=ok)


def touched(name: str, desired: fields.Spec | None, links: Links) -> tuple[str, ...]:
    """Whose state a change of an interface may take with it: its own, and that of its ports, old and new."""
    return tuple(dict.fromkeys((name, *fields.ports(desired), *ports(links, name), *guests(links, name))))


def back(names: Iterable[str], desired: Mapping[str, tuple[str, ...]], links: Links) -> Iterator[Argv]:
    """What makes these interfaces run as they ran; `desired` are the addresses that may have come to each since."""
    known = [links[name] for name in names if name in links]
    for link in known:
        if link.sort:
            yield _make(link.name, tuple(_former(link))).argv
    for link in known:
        yield ("ip", "link", "set", "dev", link.name, *(("master", link.master) if link.master else ("nomaster",)))
        if link.sort == "bridge":
            yield ("ip", "link", "set", "dev", link.name, "type", "bridge", *_told(link))
        yield ("ip", "link", "set", "dev", link.name, "mtu", str(link.mtu))
        yield ("ip", "link", "set", "dev", link.name, "up" if link.up else "down")
        there = [item.text for item in link.addresses]
        yield from (
            ("ip", "addr", "del", new, "dev", link.name) for new in desired.get(link.name, ()) if new not in there
        )
        for item in link.addresses:
            lease = ("valid_lft", str(item.lease), "preferred_lft", str(item.lease)) if item.lease else ()
            yield ("ip", "addr", "replace", item.text, "dev", link.name, *lease)
    for link in known:
        # The networks of its own addresses come with them; what leads through a gateway needs those first.
        ways = sorted((way for way in link.ways if way.protocol != "kernel"), key=lambda way: bool(way.via))
        yield from (
            _route("replace", link.name, way).argv if not way.via else _once_more(link.name, way) for way in ways
        )


def _once_more(name: str, way: Way) -> Argv:
    words = _route("replace", name, way).argv
    rest = words[words.index("dev") + 2 :]
    return ("sh", "-c", AGAIN, "sh", "-6" if ":" in way.via else "-4", name, _target(way), way.via, *rest)


def _former(link: Link) -> Iterator[str]:
    if link.sort == "vlan":
        yield from ("link", link.parent)
    yield from ("name", link.name, "type", link.sort)
    yield from _told(link)


def _told(link: Link) -> Iterator[str]:
    told = link.options
    words = {"bridge": ("stp_state", "forward_delay"), "vlan": ("id",), "bond": ("mode", "miimon")}
    yield from (word for key in words[link.sort] if key in told for word in (key, str(told[key])))
