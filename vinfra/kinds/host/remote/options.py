"""Options of sshd_config(5): their names, and what `sshd -T` prints of them."""

from collections.abc import Iterable, Mapping

from vinfra.model.spec import Spec
from vinfra.text.complaint import near

# Those of OpenSSH 8.4 to 10.0. A host's own sshd looks at each file before it counts.
_TEXT = """
AcceptEnv AddressFamily AllowAgentForwarding AllowGroups AllowStreamLocalForwarding AllowTcpForwarding AllowUsers
AuthenticationMethods AuthorizedKeysCommand AuthorizedKeysCommandUser AuthorizedKeysFile AuthorizedPrincipalsCommand
AuthorizedPrincipalsCommandUser AuthorizedPrincipalsFile Banner CASignatureAlgorithms ChannelTimeout
ChallengeResponseAuthentication ChrootDirectory Ciphers ClientAliveCountMax ClientAliveInterval Compression
DebianBanner DenyGroups DenyUsers DisableForwarding ExposeAuthInfo FingerprintHash ForceCommand GatewayPorts
GSSAPIAuthentication GSSAPICleanupCredentials GSSAPIKeyExchange GSSAPIKexAlgorithms GSSAPIStoreCredentialsOnRekey
GSSAPIStrictAcceptorCheck HostbasedAcceptedAlgorithms HostbasedAuthentication HostbasedUsesNameFromPacketOnly
HostCertificate HostKey HostKeyAgent HostKeyAlgorithms IgnoreRhosts IgnoreUserKnownHosts IPQoS
KbdInteractiveAuthentication KerberosAuthentication KerberosGetAFSToken KerberosOrLocalPasswd KerberosTicketCleanup
KexAlgorithms ListenAddress LoginGraceTime LogLevel LogVerbose MACs MaxAuthTries MaxSessions MaxStartups ModuliFile
PAMServiceName PasswordAuthentication PermitEmptyPasswords PermitListen PermitOpen PermitRootLogin PermitTTY
PermitTunnel PermitUserEnvironment PermitUserRC PerSourceMaxStartups PerSourceNetBlockSize PerSourcePenalties
PerSourcePenaltyExemptList PidFile Port PrintLastLog PrintMotd PubkeyAcceptedAlgorithms PubkeyAuthentication
PubkeyAuthOptions RDomain RefuseConnection RekeyLimit RequiredRSASize RevokedKeys SecurityKeyProvider SetEnv
SshdAuthPath SshdSessionPath StreamLocalBindMask StreamLocalBindUnlink StrictModes Subsystem SyslogFacility
TCPKeepAlive TrustedUserCAKeys UnusedConnectionTimeout UseDNS UsePAM VersionAddendum X11DisplayOffset X11Forwarding
X11UseLocalhost XAuthLocation
"""
NAMES = _TEXT.split()
BY_NAME = {name.lower(): name for name in NAMES}

# Of these every line counts; of all others only the first.
CUMULATIVE = frozenset(
    {
        *("acceptenv", "allowgroups", "allowusers", "denygroups", "denyusers", "hostcertificate", "hostkey"),
        *("listenaddress", "permitlisten", "permitopen", "port", "setenv", "subsystem"),
    }
)

# Fields of the kind, and their options.
FIELDS = {
    "ports": "Port",
    "listen_addresses": "ListenAddress",
    "permit_root_login": "PermitRootLogin",
    "password_authentication": "PasswordAuthentication",
    "pubkey_authentication": "PubkeyAuthentication",
    "keyboard_interactive": "KbdInteractiveAuthentication",
    "allow_users": "AllowUsers",
    "allow_groups": "AllowGroups",
    "deny_users": "DenyUsers",
    "deny_groups": "DenyGroups",
    "x11_forwarding": "X11Forwarding",
    "agent_forwarding": "AllowAgentForwarding",
    "tcp_forwarding": "AllowTcpForwarding",
    "max_auth_tries": "MaxAuthTries",
    "max_sessions": "MaxSessions",
    "max_startups": "MaxStartups",
    "client_alive_interval": "ClientAliveInterval",
    "client_alive_count_max": "ClientAliveCountMax",
    "login_grace_time": "LoginGraceTime",
    "banner": "Banner",
    "log_level": "LogLevel",
    "use_dns": "UseDNS",
}
OF_OPTION = {option.lower(): name for name, option in FIELDS.items()}


def problem(names: Iterable[str]) -> str:
    """Why these cannot stand under `options`; "" if they can."""
    for name in names:
        if name.lower() in OF_OPTION:
            return f"options: {name} has a field of its own, {OF_OPTION[name.lower()]}"
        if name.lower() in ("match", "include"):
            return f"options: {name} is no option by itself; declare a file in /etc/ssh/sshd_config.d for that"
        if name.lower() not in BY_NAME:
            return f"options: sshd has no {name}{near(name, NAMES) or '; see sshd_config(5)'}"
    return ""


def effective(text: str) -> dict[str, tuple[str, ...]]:
    """What `sshd -T` prints: a line for each option, and one for each value of some."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        found[name] = (*found.get(name, ()), value)
    return found


def of_field(name: str, told: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """A field's values as sshd has them, in the words of `words`; () where it has none."""
    found = told.get(FIELDS[name].lower(), ())
    if name == "listen_addresses":
        return tuple(sorted({value.rpartition(":")[0].strip("[]") for value in found}))
    same = {"without-password": "prohibit-password"}
    return tuple(sorted({same.get(value, value.lower() if name == "log_level" else value) for value in found}))


def words(name: str, wish: object) -> tuple[str, ...]:
    """A field's values as they stand in a file, one a line."""
    if isinstance(wish, tuple):
        return tuple(sorted({str(item).strip("[]") for item in wish}))
    if isinstance(wish, bool):
        return ("yes" if wish else "no",)
    if isinstance(wish, float):
        return (str(int(wish)),)
    return (str(wish).lower() if name == "log_level" else str(wish),)


def text(desired: Spec) -> str:
    """Our file."""
    lines = ["# vinfra's own; sshd takes what it reads first. What is changed here is changed back."]
    for name, option in FIELDS.items():
        if (wish := getattr(desired, name)) is not None:
            lines += [f"{option} {value}" for value in words(name, wish)]
    more = getattr(desired, "options", None) or {}
    lines += [f"{BY_NAME[name.lower()]} {value}" for name, value in sorted(more.items())]
    return "".join(f"{line}\n" for line in lines)
