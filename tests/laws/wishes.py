"""Random blueprints: what an operator may write down, one declaration at a time.

Few names, so that things meet: two blueprints want one file, a network's addresses overlap, a disk shrinks.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

SECRET = "correct-horse-battery-staple"  # the value that must never be seen
VARIABLE = "VINFRA_LAWS_SECRET"
KEYS = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1 one", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE2 two"]
HYPERVISORS, PLAIN = ("hv1", "hv2"), ("web1",)
OWNERS = ("one", "two")
FLEETS = ("web", "svc")  # the machines of the second are hosts, of the first owner alone
MACHINES = tuple(f"svc-{number:02}" for number in (1, 2, 3))
ABSENT = "absent"
# What one blueprint may say of a host: section, name, fields.
Item = tuple[str, str, Any]


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these fields, each given or not."""
    return st.fixed_dictionaries({}, optional=fields)


_modes, _owners = st.sampled_from(["0640", "0755"]), st.sampled_from(["ops", "root", "www-data"])
_contents = st.sampled_from(["red\n", "green\n"])
_units = st.booleans()
_SPECS: dict[str, tuple[list[str], st.SearchStrategy[Any]]] = {
    "files": (
        ["/etc/motd", "/srv/app/a.conf", "/srv/app/deep/b.conf", "/etc/systemd/system/app.service", "/etc/ssh/x.conf"],
        st.builds(lambda content, more: {"content": content, **more}, _contents, _some(mode=_modes, owner=_owners)),
    ),
    "files ": (
        ["/srv/app/key"],
        st.builds(lambda more: {"content": {"secret": f"env:{VARIABLE}"}, **more}, _some(mode=_modes)),
    ),
    "directories": (["/srv/app", "/srv/app/deep"], _some(mode=_modes, owner=_owners)),
    "users": (
        ["ops", "dev"],
        _some(
            shell=st.sampled_from(["/bin/sh", "/bin/bash"]),
            groups=st.just(["adm"]),
            authorized_keys=st.lists(st.sampled_from(KEYS), min_size=1, unique=True),
            exclusive_keys=st.just(False),
        ),
    ),
    "sysctl": (["net.ipv4.ip_forward", "vm.swappiness"], st.sampled_from(["0", "1", "60"])),
    "packages": (["nginx", "tree", "bash"], st.just({})),
    "services": (
        ["cron", "nginx", "app"],
        st.builds(lambda running, more: {"running": running, **more}, _units, _some(enabled=_units)),
    ),
}
_lines = st.lists(st.sampled_from(["lan", "dmz"]), max_size=2, unique=True)
_sizes = st.sampled_from(["1GiB", "2GiB"])
_machine: dict[str, st.SearchStrategy[Any]] = {
    "cpu": st.sampled_from([1, 2]),
    "autostart": st.booleans(),
    "power": st.sampled_from(["running", "stopped"]),
}
_VIRTUAL: dict[str, tuple[list[str], st.SearchStrategy[Any]]] = {
    "networks": (
        ["lan", "dmz"],
        st.builds(
            lambda cidr, more: {"cidr": cidr, **more},
            st.sampled_from([*["10.7.0.0/24", "10.8.0.0/24"] * 4, "10.7.0.0/16"]),
            _some(mode=st.sampled_from(["nat", "isolated"]), autostart=st.booleans(), dhcp=st.booleans()),
        ),
    ),
    "pools": (["fast", "fast", "default"], st.sampled_from(["/srv/fast"] * 4 + ["/var/lib/libvirt/images"])),
    "volumes": (
        ["data", "log"],
        st.builds(
            lambda size, more: {"size": size, **more}, _sizes, _some(pool=st.just("fast"), format=st.just("raw"))
        ),
    ),
    "domains": (
        ["db", "cache"],
        st.builds(
            lambda memory, more: {"memory": memory, **more},
            _sizes,
            _some(
                **_machine,
                networks=_lines,
                disks=st.dictionaries(
                    st.sampled_from(["root", "data"]), _sizes | st.sampled_from([{"volume": "data"}, {"volume": "log"}])
                ),
            ),
        ),
    ),
}


def _said(value: Any, more: bool | str | None) -> Any:
    """A thing as it is, or with a guard (a bare value cannot have one), or absent."""
    if more == ABSENT:
        return ABSENT
    return {**value, "protect": more} if isinstance(value, dict) and more is not None else value


def _items(specs: dict[str, tuple[list[str], st.SearchStrategy[Any]]]) -> st.SearchStrategy[Item]:
    return st.sampled_from(sorted(specs)).flatmap(
        lambda section: st.tuples(
            st.just(section.strip()),
            st.sampled_from(specs[section][0]),
            st.builds(_said, specs[section][1], st.sampled_from([*[None] * 6, True, False, ABSENT])),
        )
    )


def needs(item: Item) -> Iterator[Item]:
    """What one mostly says as well; it may be unsaid again."""
    section, name, value = item
    if section in ("files", "directories") and name.startswith("/srv/app/"):
        yield from (("directories", path, {}) for path in ("/srv/app", *(["/srv/app/deep"] if "deep/" in name else [])))
    if section == "services" and name != "cron":
        nginx = ("packages", "nginx", {})
        yield nginx if name == "nginx" else ("files", "/etc/systemd/system/app.service", {"content": "red\n"})
    if isinstance(value, dict):
        yield from [("users", "ops", {})] * (value.get("owner") == "ops")
        yield from [("pools", "fast", "/srv/fast")] * (value.get("pool") == "fast")
        for network in value.get("networks", ()):
            yield ("networks", network, {"cidr": f"10.{7 + (network == 'lan')}.0.0/24"})
        for disk in (disk for disk in value.get("disks", {}).values() if isinstance(disk, dict)):
            yield ("volumes", disk["volume"], {"size": "1GiB"})


def declarations() -> st.SearchStrategy[tuple[str, Item]]:
    """A host, and what is said of it."""
    plain = st.tuples(st.sampled_from([*PLAIN, HYPERVISORS[0]]), _items(_SPECS))
    inside = st.tuples(st.just("fleets.svc"), _items(_SPECS))
    return plain | st.tuples(st.sampled_from(HYPERVISORS), _items(_VIRTUAL)) | inside


def fleets() -> st.SearchStrategy[dict[str, Any]]:
    """A fleet, with as many members as come to mind, here and there."""
    return st.builds(
        lambda count, on, memory, more: {"count": count, "on": on, "memory": memory, "disks": {"root": "1GiB"}, **more},
        st.integers(0, 3),
        st.sampled_from(["hv1:hv2", "hv1:hv2", "hv1", "hv2"]),
        _sizes,
        _some(**_machine, networks=_lines, anti_affinity=st.just("web")),
    )


@dataclass
class Blueprint:
    """One operator's blueprint while it is being edited. Every host stays named, so that leftovers are looked for."""

    owner: str
    folder: Path
    hosts: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    fleets: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / f"{self.owner}.yaml"

    def say(self, host: str, item: Item) -> None:
        section, name, value = item
        parts = self.hosts.setdefault(host, {})
        for more, other, fields in needs(item) if value != ABSENT else ():
            parts.setdefault(more, {}).setdefault(other, fields)
        parts.setdefault(section, {})[name] = value

    def unsay(self, number: int) -> None:
        """One of its declarations is deleted."""
        known = [
            (host, section, name) for host, parts in self.hosts.items() for section in parts for name in parts[section]
        ]
        known += [("", "", name) for name in self.fleets]
        if not known:
            return
        host, section, name = known[number % len(known)]
        (self.hosts[host][section] if host else self.fleets).pop(name)

    def write(self) -> None:
        hosts: dict[str, Any] = {name: {} for name in (*HYPERVISORS, *PLAIN)} | self.hosts
        document = {"blueprint": self.owner, "hosts": hosts, "fleets": self.fleets}
        self.file.write_text(json.dumps(document, indent=1))
