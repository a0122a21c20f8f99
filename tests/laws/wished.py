"""Whether what a blueprint says is so, by looking at the hosts themselves and not through any part of the product."""

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from tests.laws.wishes import ABSENT, SECRET, Blueprint
from tests.laws.world import Host, World
from vinfra.kinds.host.systemd.units import full
from vinfra.kinds.kvm.volumes.storage import file_name
from vinfra.model.values import SIZES


def check_wish(blueprint: Blueprint, world: World, excused: set[tuple[str, str]]) -> None:
    """All that is declared for a host by its name. `excused`: hosts and references of what could not be done, "" for
    all of a host.
    """
    for name, sections in blueprint.hosts.items():
        if name not in world.hosts or (name, "") in excused:
            continue
        for section, items in ((key, sections[key]) for key in sections.keys() & CHECKS.keys()):
            noun = "sysctl" if section == "sysctl" else "directory" if section == "directories" else section[:-1]
            for item, value in items.items():
                if value != ABSENT and (name, f"{noun}:{item}") not in excused:
                    wrong = CHECKS[section](world.hosts[name], item, value)
                    assert not wrong, f"wished for on {name}: {noun}:{item} {value}, and it is {wrong}"


def _path(host: Host, name: str, value: dict[str, Any]) -> Any:
    entry, content = host.linux.disk.at(name), value.get("content")
    text = SECRET if isinstance(content, dict) else content
    good = (
        entry is not None
        and text in (None, entry.content.decode())
        and int(value.get("mode", "0"), 8) in (0, entry.mode)
        and value.get("owner") in (None, entry.owner)
    )
    return None if good else entry or "not there"


def _user(host: Host, name: str, value: dict[str, Any]) -> Any:
    user = host.linux.users.get(name)
    good = user and value.get("shell") in (None, user.shell) and set(value.get("groups", ())) <= set(user.groups)
    return None if good else user or "not there"


def _sysctl(host: Host, name: str, value: str) -> Any:
    entry = host.linux.disk.entries["/proc/sys/" + name.replace(".", "/")]
    return None if entry.content.decode().strip() == value else entry


def _service(host: Host, name: str, value: dict[str, Any]) -> Any:
    unit = host.linux.units.get(full(name))
    if unit is None:
        return "not there" if value["running"] else None
    return None if value["running"] == unit.active and value.get("enabled") in (None, unit.enabled) else unit


def _network(host: Host, name: str, value: dict[str, Any]) -> Any:
    assert host.node
    network = host.node.connection.networkLookupByName(name)
    live = ElementTree.fromstring(network.XMLDesc())
    address = live.find("ip")
    good = (
        network.isActive()
        and network.autostart() == value.get("autostart", True)
        and address is not None
        and value["cidr"] == f"{address.get('address', '').removesuffix('1')}0/{address.get('prefix')}"
        and (live.find("forward") is None) == (value.get("mode") == "isolated")
    )
    return None if good else network.XMLDesc()


def _volume(host: Host, name: str, value: dict[str, Any]) -> Any:
    assert host.node
    file = file_name(name, value.get("format", "qcow2"))
    found = [volume for path, volume in host.node.files().items() if path.endswith(f"/{file}")]
    return None if [volume for volume in found if volume.info()[1] == _bytes(value["size"])] else found or "not there"


def _domain(host: Host, name: str, value: dict[str, Any]) -> Any:
    assert host.node
    domain = host.node.connection.lookupByName(name)
    tree = ElementTree.fromstring(domain.XMLDesc(2))
    good = (
        domain.isActive() == (value.get("power", "running") == "running")
        and int(tree.findtext("memory", "0")) << 10 == _bytes(value["memory"])
        and int(tree.findtext("currentMemory", "0")) << 10 == _bytes(value["memory"])
        and int(tree.findtext("vcpu", "0")) == value.get("cpu", 1)
        and domain.autostart() == value.get("autostart", True)
    )
    return None if good else domain.XMLDesc(2)


def _bytes(size: str) -> int:
    return int(size[:-3]) * SIZES[size[-3:]]


CHECKS: dict[str, Callable[[Host, str, Any], Any]] = {
    "files": _path,
    "directories": _path,
    "users": _user,
    "packages": lambda host, name, _: None if name in host.linux.packages else "not there",
    "sysctl": _sysctl,
    "services": _service,
    "networks": _network,
    "volumes": _volume,
    "domains": _domain,
}
