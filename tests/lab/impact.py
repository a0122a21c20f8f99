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
SWITCH = {"mode": "openvswitch", "bridge": "impact0"}
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
    domain("memory_max", {"memory_max": "128MiB"}, "restart", "only at boot"),
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
    domain("topology", {"topology": {"cores": 3}}, "restart", "only at boot"),
    domain("cpu_features", {"cpu_features": {"sse4.2": "disable"}}, "restart", "only at boot"),
    domain("numa", {"numa": [{"cpus": "0-2", "memory": "128MiB"}]}, "restart", "only at boot"),
    domain("pinning", {"pinning": {"cpus": {"1": "0"}, "emulator": "0"}}, "restart", "only at boot"),
    domain("tpm", {"tpm": "tpm-tis"}, "restart", "only at boot"),
    domain("video", {"video": "vga"}, "restart", "only at boot"),
    domain("watchdog", {"watchdog": "i6300esb"}, "restart", "only at boot"),
    domain("balloon", {"balloon": False}, "restart", "only at boot"),
)
#: What this host cannot do, and what is decided once: told with its cost, and not done.
TOLD = (
    domain("hugepages", {"hugepages": "2MiB"}, "restart", "huge pages of 2MiB", refused=True),
    domain("devices", {"devices": {"pci": ["00fe:fe:1f.7"]}}, "restart", refused=True),
    domain("firmware", {"firmware": "efi"}, "replace", "a system is installed for one firmware", refused=True),
    domain("secure_boot", {"secure_boot": True, "firmware": "efi"}, "replace", "a system is installed", refused=True),
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
    network("cidr6", {"cidr6": "fd00:155::/64"}),
    network("dhcp", {"dhcp": ["192.168.155.20-192.168.155.29", "192.168.155.100-192.168.155.199"]}, "live"),
    network("hosts", {"hosts": {"printer": "192.168.155.9"}}, "live"),
    network("dns", {"dns": {"gw.impact.test": "192.168.155.1"}}, "live"),
    network("txt", {"txt": {"site": "a1"}}, "live"),
    network("srv", {"srv": {"_ldap._tcp": "ldap.impact.test 389"}}, "live"),
    network("portgroups", {"portgroups": {"rest": {"default": True}}}, "live"),
    network("bridge", {"bridge": "impact7"}),
    network("domain", {"domain": "impact.test"}),
    network("stp", {"stp": True}),
    network("dnsmasq", {"dnsmasq": ["no-ping"]}),
    network("mtu", {"mtu": 1300}),
    network("autostart", {"autostart": False}, "live"),
    Case("kvm.network", "interface", {"mode": "direct", "cidr": None, "interface": "eth0"}, "restart", on="spare"),
    Case("kvm.network", "vlan", SWITCH | {"interface": None, "vlan": 110}, "restart", on="spare"),
    network(REMOVED, "absent", "live", on="spare"),
)
VOLUME = (
    volume("size", {"size": "32MiB"}, "live"),
    volume("size", {"size": "8MiB"}, "data-loss", refused=True),
    volume("format", {"format": "qcow2"}, "data-loss", refused=True),
    volume("image", {"image": "same"}, "data-loss", refused=True, on="cow"),
    volume("pool", {"pool": "other"}, "data-loss", refused=True),
    volume("encryption", {"encryption": {"passphrase": {"secret": "env:IMPACT_SECRET"}}}, "data-loss", refused=True),
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
CASES = (*DOMAIN, *BOOT, *TOLD, *POWER, *NETWORK, *VOLUME, *SERVICE)
