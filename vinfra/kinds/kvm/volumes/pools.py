"""The types of pools: what each is made of, as a blueprint says it and as libvirt's XML has it."""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from vinfra.kinds.host.files import paths
from vinfra.kinds.kvm.domains.sources import CEPH, Remote
from vinfra.kinds.kvm.reading.virsh import element
from vinfra.kinds.kvm.volumes import secrets
from vinfra.model.spec import Deferred

BY_PATH = "/dev/disk/by-path"
# What a pool of each type must say, and what it may say.
FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dir": (("path",), ()),
    "logical": (("volume_group",), ()),
    "netfs": (("path", "host", "export"), ("format",)),
    "iscsi": (("host", "target"), ("port", "user", "password")),
    "rbd": (("monitors", "ceph_pool"), ("user", "password")),
}
# libvirt's own word for how a login to such a pool works, and for what its secret is of.
LOGINS = {"iscsi": ("chap", "iscsi", "target"), "rbd": ("ceph", "ceph", "name")}
#: What makes a pool that pool: with another of these it is another one.
SHAPE = ("path", "volume_group", "host", "port", "export", "format", "target", "monitors", "ceph_pool", "user")
_HOST = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*|[0-9a-fA-F:]*:[0-9a-fA-F:.]*"
)
# RFC 3720, 3.2.6.3: the year and month in which somebody had the domain, the domain reversed, any name.
_TARGET = re.compile(r"iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-z0-9-]+(\.[a-z0-9-]+)*(:[a-z0-9._:-]+)?|eui\.[0-9A-F]{16}")


def home(wish: Any) -> str:
    """Where the volumes of a pool that is wished for will be (`storage.Pool.path`); "" for none."""
    sort = getattr(wish, "type", None)
    if sort == "logical":
        return f"/dev/{wish.volume_group}"
    if sort == "iscsi":
        return BY_PATH
    return (wish.ceph_pool if sort == "rbd" else getattr(wish, "path", None)) or ""


def found_home(xml: str) -> str:
    """The same of a pool that is there."""
    tree = element(xml)
    if tree.get("type") == "rbd":
        return tree.findtext("source/name", "")
    group = tree.findtext("source/name", "") if tree.get("type") == "logical" else ""
    return tree.findtext("target/path", "") or (f"/dev/{group}" if group else "")


def place(xml: str) -> str:
    """Where its volumes are as the sources of disks begin (`Drive.source`)."""
    home = found_home(xml)
    return CEPH + home if home and element(xml).get("type") == "rbd" else home


def remote(xml: str) -> Remote | None:
    """How to get to the volumes of a pool in Ceph."""
    tree = element(xml)
    if tree.get("type") != "rbd":
        return None
    monitors = tuple((host.get("name", ""), host.get("port", "")) for host in tree.iterfind("source/host"))
    auth, secret = tree.find("source/auth"), tree.find("source/auth/secret")
    return Remote(
        monitors, "" if auth is None else auth.get("username", ""), "" if secret is None else secret.get("uuid", "")
    )


def problem(desired: Any) -> str:
    """What is wrong with the fields of a pool; "" for nothing."""
    must, may = FIELDS[desired.type]
    given = [name for name in (*SHAPE, "password") if getattr(desired, name) is not None]
    if missing := next((name for name in must if name not in given), ""):
        return f"{missing}: a pool of type {desired.type} needs it"
    if odd := next((name for name in given if name not in (*must, *may)), ""):
        return f"{odd}: a pool of type {desired.type} has none; it has {', '.join((*must, *may))}"
    if (desired.user is None) != (desired.password is None):
        return "give user and password together"
    told = {name: getattr(desired, name) for name in given if not isinstance(getattr(desired, name), Deferred)}
    return next(filter(None, (_CHECKS[name](value) for name, value in told.items() if name in _CHECKS)), "")


def _host(value: str) -> str:
    return "" if _HOST.fullmatch(value) else f"host: {value!r} is no name or address of a host"


def _monitors(value: tuple[str, ...]) -> str:
    if not value:
        return "monitors: name at least one"
    for monitor in value:
        host, port = split(monitor)
        if not _HOST.fullmatch(host) or (port and not _port_ok(port)):
            return f"monitors: {monitor!r}: write a host or host:port, such as mon1.example.net:6789"
    return ""


def _port_ok(port: str) -> bool:
    return port.isdigit() and 0 < int(port) < 65536


def split(monitor: str) -> tuple[str, str]:
    """Host and port of a monitor; an IPv6 address with a port stands in brackets."""
    if found := re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::(.*))?", monitor):
        return found[1], found[2] or ""
    host, _, port = monitor.partition(":") if monitor.count(":") == 1 else (monitor, "", "")
    return host, port


def _matched(name: str, pattern: str, advice: str) -> Any:
    return lambda value: "" if re.fullmatch(pattern, value) else f"{name}: {advice}"


_CHECKS: dict[str, Any] = {
    "path": paths.name_problem,
    "host": _host,
    "port": lambda value: "" if _port_ok(str(value)) else "port: write a number from 1 to 65535",
    "monitors": _monitors,
    "volume_group": _matched(
        "volume_group", r"(?!-|\.{1,2}$)[A-Za-z0-9+_.-]{1,127}", "write the name of a volume group, such as vg0"
    ),
    "ceph_pool": _matched("ceph_pool", r"[A-Za-z0-9_.][A-Za-z0-9_.-]*", "write the name of a Ceph pool, such as vms"),
    "export": _matched("export", r"[^\s'\"<>]+", "write what the server exports, such as /export/vms, without spaces"),
    "target": lambda value: (
        ""
        if _TARGET.fullmatch(value)
        else f"target: {value!r} is no iSCSI name; write one such as iqn.2003-01.org.example:store"
    ),
    "user": _matched("user", r"[A-Za-z0-9][A-Za-z0-9._:-]{0,222}", "write the name of a login, such as libvirt"),
}


def xml(name: str, desired: Any) -> str:
    """The definition of a pool."""
    tree = Element("pool", type=desired.type)
    SubElement(tree, "name").text = name
    sort = desired.type
    if sort != "dir":
        _source(SubElement(tree, "source"), name, desired)
    path = {"iscsi": BY_PATH, "logical": f"/dev/{desired.volume_group}"}.get(sort, desired.path)
    if path:
        SubElement(SubElement(tree, "target"), "path").text = path
    return tostring(tree, "unicode")


def _source(source: Element, name: str, desired: Any) -> None:
    for monitor in desired.monitors or ():
        host, colon = split(monitor)
        SubElement(source, "host", {"name": host} | ({"port": colon} if colon else {}))
    if desired.host:
        port = {"port": str(desired.port)} if desired.port is not None else {}
        SubElement(source, "host", {"name": desired.host} | port)
    if desired.target:
        SubElement(source, "device", path=desired.target)
    if desired.export:
        SubElement(source, "dir", path=desired.export)
    if desired.volume_group or desired.ceph_pool:
        SubElement(source, "name").text = desired.volume_group or desired.ceph_pool
    if desired.user:
        auth = SubElement(source, "auth", type=LOGINS[desired.type][0], username=desired.user)
        SubElement(auth, "secret", uuid=secrets.of_pool(name))
    if desired.type == "netfs":
        SubElement(source, "format", type=desired.format or "auto")


def parse(text: str) -> dict[str, Any]:
    """The fields of a pool from its XML; those it has none of are None."""
    tree = element(text)
    sort, hosts = tree.get("type", ""), tree.findall("source/host")
    told: dict[str, Any] = {"type": sort, **dict.fromkeys(SHAPE)}
    if sort in ("dir", "netfs"):
        told["path"] = tree.findtext("target/path", "")
    if sort == "logical":
        told["volume_group"] = tree.findtext("source/name") or found_home(text).removeprefix("/dev/")
    if sort == "rbd":
        told["monitors"] = tuple(_monitor(host.attrib) for host in hosts)
        told["ceph_pool"] = tree.findtext("source/name")
    if sort in ("netfs", "iscsi") and hosts:
        told["host"] = hosts[0].get("name")
        told["port"] = int(hosts[0].get("port", "0")) or None
    for key, path in (("export", "source/dir"), ("target", "source/device")):
        if sort == {"export": "netfs", "target": "iscsi"}[key] and (found := tree.find(path)) is not None:
            told[key] = found.get("path")
    if sort == "netfs":
        shape = tree.find("source/format")
        told["format"] = "auto" if shape is None else shape.get("type")
    if (auth := tree.find("source/auth")) is not None:
        told["user"] = auth.get("username")
    return told


def _monitor(host: Mapping[str, str]) -> str:
    name, port = host.get("name", ""), host.get("port", "")
    name = f"[{name}]" if ":" in name and port else name
    return f"{name}:{port}" if port else name
