"""A case for every row of docs/reference/impact.md that can be seen on a hypervisor: what is changed, what it costs."""

from dataclasses import dataclass
from typing import Any

from vinfra.report.impact import REMOVED

#: Kinds whose every row has a case here.
SEEN = ("kvm.domain", "kvm.volume", "kvm.network", "host.service")


@dataclass(frozen=True)
class Case:
    """Fields laid over those of the base blueprint, and what the row must say. `refused`: told, and not done."""

    kind: str
    field: str
    change: dict[str, Any] | str
    impact: str
    refused: bool = False
    says: str = ""
    on: str = ""

    @property
    def row(self) -> tuple[str, str]:
        return self.kind, self.field


UNIT = "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
MACHINE = {
    "image": "tiny",
    "memory": "112MiB",
    "cpu": 1,
    "networks": ["ways", "side"],
    "disks": {"root": "1GiB"},
    "access": {"user": "root"},
    "graphics": "vnc",
    "graphics_password": "at-first",
}
# Any file will do that a host has.
MEDIUM = "/usr/share/common-licenses/GPL-3"
SIDE = {"cidr": "192.168.154.0/24", "mtu": 1400}
DATA = {"size": "16MiB", "format": "raw", "pool": "impact"}
COW = {"image": "tiny", "pool": "impact"}


def domain(name: str, change: dict[str, Any] | str, impact: str, says: str = "", **more: Any) -> Case:
    return Case("kvm.domain", name, change, impact, says=says, **more)


def network(name: str, change: dict[str, Any] | str, impact: str = "restart", **more: Any) -> Case:
    return Case(
        "kvm.network", name, change, impact, says="im-01 cut off meanwhile" if impact == "restart" else "", **more
    )


def service(name: str, change: dict[str, Any] | str, impact: str, says: str = "") -> Case:
    return Case("host.service", name, change, impact, says=says)


def volume(name: str, change: dict[str, Any] | str, impact: str, refused: bool = False, **more: Any) -> Case:
    return Case("kvm.volume", name, change, impact, refused, says="lost" if impact == "data-loss" else "", **more)


#: In the order in which they are tried; each change comes on top of those before it.
DOMAIN = (
    domain("autostart", {"autostart": False}, "live"),
    domain("memory", {"memory": "104MiB"}, "live"),
    domain("disks", {"disks": {"root": "1GiB", "second": "16MiB"}}, "live"),
    domain("networks", {"networks": ["ways", "side", "side"]}, "live"),
    domain("cdroms", {"cdroms": {"install": {"bus": "scsi", "medium": MEDIUM}}}, "live"),
    domain("graphics_password", {"graphics_password": "another"}, "live"),
)
#: All of these in one go: the row says of each field what it costs, and it is one restart.
BOOT = (
    domain("memory", {"memory": "128MiB"}, "restart", "it booted with 112MiB, and more is given only at boot"),
    domain("memory_max", {"memory_max": "160MiB"}, "restart", "only at boot"),
    domain("cpu", {"cpu": 2}, "restart", "it booted with room for 1 CPU"),
    domain("cpu_max", {"cpu_max": 3}, "restart", "only at boot"),
    domain(
        "disks",
        {"disks": {"root": "1GiB", "second": {"size": "16MiB", "bus": "ide"}}},
        "restart",
        "im-01-second.qcow2 moves to another bus only at boot",
    ),
    domain(
        "networks",
        {"networks": ["ways", "side", {"network": "side", "model": "e1000"}]},
        "restart",
        "model: of a card that is there it changes only at boot",
    ),
    domain(
        "cdroms",
        {"cdroms": {"install": {"bus": "ide"}}},
        "restart",
        "a drive on ide is attached only at boot",
    ),
    domain("graphics", {"graphics": {"type": "vnc", "listen": "0.0.0.0"}}, "restart", "only at boot"),
    domain("machine", {"machine": "pc"}, "restart", "only at boot"),
    domain("cpu_model", {"cpu_model": "Nehalem"}, "restart", "only at boot"),
    domain("rng", {"rng": False}, "restart", "only at boot"),
    domain("agent", {"agent": False}, "restart", "only at boot"),
    domain("serial", {"serial": False}, "restart", "only at boot"),
)
POWER = (
    domain("power", {"power": "stopped", "serial": True}, "restart", "it is shut down"),
    domain("cpu", {"cpu": 3}, "live", "it does not run"),
    domain("power", {"power": "running"}, "live"),
    domain(REMOVED, "absent", "replace", "the machine is gone"),
)
NETWORK = (
    network("mode", {"mode": "isolated"}),
    network("cidr", {"cidr": "192.168.155.0/24"}),
    network("dhcp", {"dhcp": False}),
    network("bridge", {"bridge": "impact7"}),
    network("domain", {"domain": "impact.test"}),
    network("stp", {"stp": True}),
    network("dnsmasq", {"dnsmasq": ["no-ping"]}),
    network("mtu", {"mtu": 1300}),
    network("autostart", {"autostart": False}, "live"),
    network(REMOVED, "absent", "live", on="spare"),
)
VOLUME = (
    volume("size", {"size": "32MiB"}, "live"),
    volume("size", {"size": "8MiB"}, "data-loss", refused=True),
    volume("format", {"format": "qcow2"}, "data-loss", refused=True),
    volume("image", {"image": "same"}, "data-loss", refused=True, on="cow"),
    volume("pool", {"pool": "other"}, "data-loss", refused=True),
    volume(REMOVED, "absent", "data-loss"),
)
SERVICE = (
    service("reload_on", {"reload_on": ["file:/etc/impact.conf"]}, "live"),
    service("restart_on", {"restart_on": ["file:/etc/impact.conf"]}, "restart", "it stops and starts"),
    service("enabled", {"enabled": False}, "live"),
    service("masked", {"masked": True, "running": None, "enabled": None}, "live"),
    service("running", {"masked": False, "running": False}, "restart", "it stops"),
    service(REMOVED, "absent", "restart", "it stops"),
)
CASES = (*DOMAIN, *BOOT, *POWER, *NETWORK, *VOLUME, *SERVICE)
