"""Which files and units decide who gets in: the host takes a step on one back unless a new login confirms it."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from vinfra.model.step import Exec, Step

ACCOUNTS = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")

# sshd(8), sudo(8), pam(7), login.access(5), nsswitch.conf(5), hosts_access(5); networks have kinds of their own.
PATTERNS = (
    *ACCOUNTS,
    "/etc/ssh/*",
    "*/.ssh/authorized_keys*",
    "/etc/sudoers",
    "/etc/sudoers.d/*",
    "/etc/sudo.conf",
    "/etc/pam.d/*",
    "/etc/security/*",
    "/etc/nsswitch.conf",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "/etc/nologin",
    "/etc/shells",
    "/etc/network/interfaces*",
    "/etc/netplan/*",
    "/etc/systemd/network/*",
    "/etc/NetworkManager/*",
    "/etc/nftables.conf",
    "/etc/nftables.d/*",
    "/etc/vinfra/firewall.nft",
    "/etc/firewalld/*",
    "/etc/ufw/*",
    "/etc/default/ufw",
)


# Without these nobody gets in any more, or everybody is kept out.
LIFELINES = (
    *("ssh.service", "sshd.service", "ssh.socket", "sshd.socket", "dropbear.service"),
    *("networking.service", "systemd-networkd.service", "NetworkManager.service"),
    *("nftables.service", "firewalld.service", "ufw.service", "iptables.service", "netfilter-persistent.service"),
    "vinfra-firewall.service",
)

# What takes each of systemctl's verbs back, once the files are as they were. A unit that failed to start may have been
# started too often by then for systemd to start it once more.
BACK = {
    "disable": ("enable", "start"),  # as a deletion, which stops it too
    "stop": ("start",),
    "mask": ("unmask", "start"),
    "start": ("stop",),
    "restart": ("restart",),
    "reload": ("restart",),
}


def guards(*paths: str) -> tuple[str, ...]:
    """Those among the paths that decide who gets in."""
    return tuple(path for path in paths if any(fnmatchcase(path, pattern) for pattern in PATTERNS))


def held(steps: Sequence[Step], unit: str, files: tuple[str, ...] = ()) -> list[Step]:
    """A unit's steps, taken back if the way in goes through it, or if it reads `files` that decide who gets in."""
    if not files and unit not in LIFELINES:
        return list(steps)
    return [replace(step, guards=files, again=_back(step, unit)) for step in steps]


def _back(step: Step, unit: str) -> tuple[tuple[str, ...], ...]:
    verbs = (call.argv[1] for call in step.calls if isinstance(call, Exec) and call.argv[0] == "systemctl")
    back = next((BACK[verb] for verb in verbs if verb in BACK), ())
    return tuple(("systemctl", verb, "--", unit) for verb in (("reset-failed", *back) if back else ()))
