"""Which files and units decide who gets in: the host takes a step on one back unless a new login confirms it."""

from fnmatch import fnmatchcase

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
    "/etc/nftables.conf",
)


# Without these nobody gets in any more, or everybody is kept out.
LIFELINES = (
    *("ssh.service", "sshd.service", "ssh.socket", "sshd.socket", "dropbear.service"),
    *("networking.service", "systemd-networkd.service", "NetworkManager.service"),
    *("nftables.service", "firewalld.service", "ufw.service", "iptables.service", "netfilter-persistent.service"),
)


def lifeline(unit: str) -> bool:
    """Whether the way in depends on a unit."""
    return unit in LIFELINES


def guards(*paths: str) -> tuple[str, ...]:
    """Those among the paths that decide who gets in."""
    return tuple(path for path in paths if any(fnmatchcase(path, pattern) for pattern in PATTERNS))
