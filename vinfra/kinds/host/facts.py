"""What a Linux host tells of itself: the facts that templates use. A fact that cannot be read is None.

facts.os.id "debian" · .version "12" · .codename "bookworm" · .family debian|redhat|suse|other · .pretty
facts.kernel "6.1.0-18-amd64" · .arch "x86_64" · .hostname "web1" · .fqdn · .virtualization "kvm", "docker", "none"
facts.systemd.running · .systemd.state "running", "degraded" · .package_manager apt|dnf|zypper
facts.cpu.count · .cpu.model · .cpu.flags [..] · .memory.total · .memory.available (bytes)
facts.certificates.web {expires (seconds since 1970), days, names, issuer}: vinfra's own, in /etc/ssl/vinfra
facts.uptime (seconds) · .now (seconds since 1970)
facts.addresses ["192.0.2.2", ..] · .default.interface · .default.gateway
facts.interfaces.eth0 {addresses, mac, mtu, state}
facts.disks.vda {size (bytes), type, model, serial, rotational, mountpoints}
"""

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from vinfra.kinds.host.certificates import pems
from vinfra.model.kind import Answers
from vinfra.model.question import Exec, Question, ReadFile

OS = ReadFile("/etc/os-release")
HOSTS = ReadFile("/etc/hosts")
CPUINFO = ReadFile("/proc/cpuinfo", limit=8192)
MEMINFO = ReadFile("/proc/meminfo")
UPTIME = ReadFile("/proc/uptime")
UNAME = Exec(("uname", "-rmn"))
CPUS = Exec(("nproc",))
NOW = Exec(("date", "+%s.%N"))
VIRTUAL = Exec(("systemd-detect-virt",))
SYSTEMD = Exec(("systemctl", "is-system-running"))
ADDRESSES = Exec(("ip", "-j", "addr", "show"))
ROUTES = Exec(("ip", "-j", "route", "show"))
DISKS = Exec(("lsblk", "-J", "-b", "-o", "NAME,SIZE,TYPE,MODEL,SERIAL,ROTA,MOUNTPOINT"))

FAMILIES = {
    "debian": ("debian", "ubuntu"),
    "redhat": ("rhel", "fedora", "centos"),
    "suse": ("suse", "opensuse", "sles"),
}
MANAGERS = {"debian": "apt", "redhat": "dnf", "suse": "zypper"}
# systemd(1): what is-system-running says while systemd is PID 1 and answers.
STATES = ("initializing", "starting", "running", "degraded", "maintenance", "stopping")


def ask() -> Iterable[Question]:
    """Everything, in the first round."""
    return (
        *(OS, HOSTS, CPUINFO, MEMINFO, UPTIME, UNAME, CPUS, NOW, VIRTUAL, SYSTEMD, ADDRESSES, ROUTES, DISKS),
        pems.OURS,
    )


def read(answers: Answers) -> Mapping[str, Any]:
    """The facts; each part on its own, so that one odd answer leaves the others whole."""
    facts: dict[str, Any] = {}
    for part in (_system, _software, _processor, _memory, _clock, _network, _disks):
        facts |= part(lambda question: _text(answers, question))
    return facts | {"certificates": pems.facts(answers, facts["now"])}


Text = Callable[[Question], str]


def _text(answers: Answers, question: Question) -> str:
    """Standard output, "" when there is none. Some programs answer with a status other than 0 (`degraded`)."""
    raw = answers.get(question)
    return raw.text if raw is not None else ""


def _system(text: Text) -> dict[str, Any]:
    words = text(UNAME).split()
    hostname, kernel, arch = words if len(words) == 3 else (None, None, None)
    return {"hostname": hostname, "kernel": kernel, "arch": arch, "fqdn": _fqdn(hostname, text(HOSTS))}


def _fqdn(hostname: str | None, hosts: str) -> str | None:
    """What /etc/hosts says, as `hostname -f` does; the resolver is not asked."""
    if hostname and "." in hostname:
        return hostname
    for line in hosts.splitlines():
        names = line.partition("#")[0].split()[1:]
        full = [name for name in names if hostname and name.startswith(f"{hostname}.")]
        if full:
            return full[0]
    return None


def _software(text: Text) -> dict[str, Any]:
    told: dict[str, str] = {}
    for line in text(OS).splitlines():
        key, _, value = line.partition("=")
        with suppress(ValueError):
            told[key.strip()] = "".join(shlex.split(value)) if " " not in value else " ".join(shlex.split(value))
    likes = {told.get("ID", ""), *told.get("ID_LIKE", "").split()}
    family = next((name for name, members in FAMILIES.items() if likes & set(members)), "other" if told else None)
    state = text(SYSTEMD).strip() or None
    return {
        "os": {
            "id": told.get("ID"),
            "version": told.get("VERSION_ID"),
            "codename": told.get("VERSION_CODENAME"),
            "family": family,
            "pretty": told.get("PRETTY_NAME"),
        },
        "package_manager": MANAGERS.get(family or ""),
        "systemd": {"running": state in STATES, "state": state},
        "virtualization": text(VIRTUAL).strip() or None,
    }


def _processor(text: Text) -> dict[str, Any]:
    told = _pairs(text(CPUINFO), ":")
    flags = told.get("flags") or told.get("Features")
    return {
        "cpu": {
            "count": _number(text(CPUS)),
            "model": told.get("model name") or told.get("Model"),
            "flags": flags.split() if flags else None,
        }
    }


def _memory(text: Text) -> dict[str, Any]:
    told = _pairs(text(MEMINFO), ":")

    def size(key: str) -> int | None:
        number = _number(told.get(key, "").removesuffix("kB"))
        return None if number is None else int(number) * 1024

    return {"memory": {"total": size("MemTotal"), "available": size("MemAvailable")}}


def _clock(text: Text) -> dict[str, Any]:
    uptime = (text(UPTIME).split() or [""])[0]
    return {"uptime": _number(uptime, float), "now": _number(text(NOW), float)}


def _network(text: Text) -> dict[str, Any]:
    interfaces: dict[str, Any] = {}
    for link in _json(text(ADDRESSES)):
        known = [item for item in link.get("addr_info", []) if isinstance(item, dict) and item.get("local")]
        interfaces[str(link.get("ifname"))] = {
            "addresses": [f"{item['local']}/{item.get('prefixlen')}" for item in known],
            "mac": link.get("address"),
            "mtu": link.get("mtu"),
            "state": str(link.get("operstate", "")).lower() or None,
            "global": [item["local"] for item in known if item.get("scope") == "global"],
        }
    addresses = [address for link in interfaces.values() for address in link.pop("global")]
    default = next((route for route in _json(text(ROUTES)) if route.get("dst") == "default"), {})
    return {
        "interfaces": interfaces or None,
        "addresses": addresses if interfaces else None,
        "default": {"interface": default.get("dev"), "gateway": default.get("gateway")},
    }


def _disks(text: Text) -> dict[str, Any]:
    disks = {
        str(item.get("name")): {
            "size": _number(item.get("size")),
            "type": item.get("type"),
            "model": (item.get("model") or "").strip() or None,
            "serial": item.get("serial"),
            "rotational": item.get("rota") in (True, "1"),
            "mountpoints": _mounts(item),
        }
        for item in _json(text(DISKS), "blockdevices")
    }
    return {"disks": disks or None}


def _mounts(item: Mapping[str, Any]) -> list[str]:
    own = [item["mountpoint"]] if item.get("mountpoint") else []
    return [*own, *(mount for child in item.get("children", []) for mount in _mounts(child))]


def _json(text: str, key: str = "") -> list[dict[str, Any]]:
    try:
        value = json.loads(text)
        items = value[key] if key else value
    except (ValueError, KeyError, TypeError):
        return []
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _pairs(text: str, mark: str) -> dict[str, str]:
    """The first value of each key."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(mark)
        found.setdefault(key.strip(), value.strip())
    return found


def _number(value: Any, sort: type = int) -> Any:
    try:
        return sort(str(value).strip())
    except ValueError:
        return None
