"""Which files decide who gets in: a step that changes one is taken back by the host unless a new login confirms it."""

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


def guards(*paths: str) -> tuple[str, ...]:
    """Those among the paths that decide who gets in."""
    return tuple(path for path in paths if any(fnmatchcase(path, pattern) for pattern in PATTERNS))
