"""Facts: the system and its name, systemd, packages."""

import shlex
from contextlib import suppress
from typing import Any

from vinfra.kinds.host.facts.told import Told
from vinfra.model.fact import FLAG, TEXT, Fact
from vinfra.model.question import Exec

OS, OTHER_OS, HOSTS = "/etc/os-release", "/usr/lib/os-release", "/etc/hosts"
FILES = (OS, OTHER_OS, HOSTS)
UNAME = Exec(("uname", "-rmn"))
SYSTEMD = Exec(("systemctl", "is-system-running"))
PROGRAMS = (UNAME, SYSTEMD)

FAMILIES = {
    "debian": ("debian", "ubuntu"),
    "redhat": ("rhel", "fedora", "centos"),
    "suse": ("suse", "opensuse", "sles"),
}
MANAGERS = {"debian": "apt", "redhat": "dnf", "suse": "zypper"}
# systemd(1): what is-system-running says while systemd is PID 1 and answers.
STATES = ("initializing", "starting", "running", "degraded", "maintenance", "stopping")

FACTS = (
    Fact("hostname", TEXT, "The host's own name.", "web1"),
    Fact("fqdn", TEXT, "Its full name, as /etc/hosts has it; the resolver is not asked.", "web1.example.org"),
    Fact("kernel", TEXT, "The release of the kernel that runs.", "6.1.0-18-amd64"),
    Fact("arch", TEXT, "The machine's architecture, as `uname -m` says it.", "x86_64"),
    Fact("os.id", TEXT, "The distribution, in one word.", "debian"),
    Fact("os.version", TEXT, "Its version.", "12"),
    Fact("os.codename", TEXT, "The version's name.", "bookworm"),
    Fact("os.family", TEXT, "debian, redhat, suse or other.", "debian"),
    Fact("os.pretty", TEXT, "The distribution as it writes itself.", "Debian GNU/Linux 12 (bookworm)"),
    Fact("package_manager", TEXT, "apt, dnf or zypper.", "apt"),
    Fact("systemd.running", FLAG, "Whether systemd is PID 1 and answers.", True),
    Fact("systemd.state", TEXT, "What `systemctl is-system-running` says.", "running"),
)


def read(told: Told) -> dict[str, Any]:
    """Who it is and what it runs."""
    words = told.said(UNAME).split()
    hostname, kernel, arch = words if len(words) == 3 else (None, None, None)
    system = _release(told.tree.text(OS) or told.tree.text(OTHER_OS))
    state = told.said(SYSTEMD).strip() or None
    return {
        "hostname": hostname,
        "fqdn": _fqdn(hostname, told.tree.text(HOSTS)),
        "kernel": kernel,
        "arch": arch,
        "os": system,
        "package_manager": MANAGERS.get(system["family"] or ""),
        "systemd": {"running": state in STATES, "state": state},
    }


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


def _release(text: str) -> dict[str, str | None]:
    told: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        with suppress(ValueError):
            told[key.strip()] = "".join(shlex.split(value)) if " " not in value else " ".join(shlex.split(value))
    likes = {told.get("ID", ""), *told.get("ID_LIKE", "").split()}
    family = next((name for name, members in FAMILIES.items() if likes & set(members)), "other" if told else None)
    return {
        "id": told.get("ID"),
        "version": told.get("VERSION_ID"),
        "codename": told.get("VERSION_CODENAME"),
        "family": family,
        "pretty": told.get("PRETTY_NAME"),
    }
