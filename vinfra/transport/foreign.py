"""What the exceptions of the SSH library and of sockets mean for the user. Nothing foreign leaves a transport."""

import socket

import paramiko
from paramiko import auth_strategy, ssh_exception

from vinfra.errors import HostKeyRefused, LoginRefused, TransportError, Unreachable

# Every exception paramiko declares stands here; a test compares. The first that fits from the top counts.
MEANINGS: tuple[tuple[type[Exception], type[TransportError], str], ...] = (
    (paramiko.BadHostKeyException, HostKeyRefused, "the host key is not the one we know"),
    (paramiko.PasswordRequiredException, LoginRefused, "the private key is protected by a passphrase"),
    (paramiko.BadAuthenticationType, LoginRefused, "the way of logging in is not allowed"),
    (ssh_exception.PartialAuthentication, LoginRefused, "the login wants a second factor"),
    (auth_strategy.AuthFailure, LoginRefused, "the login was refused"),
    (ssh_exception.UnableToAuthenticate, LoginRefused, "the login was refused"),
    (paramiko.AuthenticationException, LoginRefused, "the login was refused"),
    (paramiko.ChannelException, TransportError, "the SSH server refused a session"),
    (ssh_exception.IncompatiblePeer, TransportError, "no encryption that both sides have"),
    (paramiko.ProxyCommandFailure, Unreachable, "the ProxyCommand failed"),
    (ssh_exception.CouldNotCanonicalize, Unreachable, "the name cannot be resolved"),
    (paramiko.ConfigParseError, TransportError, "the SSH configuration cannot be read"),
    (ssh_exception.MessageOrderError, TransportError, "the SSH server broke the protocol"),
    (ssh_exception.NoValidConnectionsError, Unreachable, "nothing listens there"),
    (paramiko.SSHException, Unreachable, "the SSH connection failed"),
    (TimeoutError, Unreachable, "no answer in time"),
    (socket.gaierror, Unreachable, "the name cannot be resolved"),
    (ConnectionRefusedError, Unreachable, "nothing listens there"),
    (ConnectionError, Unreachable, "the connection was lost"),
    (EOFError, Unreachable, "the connection was closed"),
    (OSError, Unreachable, "the connection failed"),
)
FOREIGN = (paramiko.SSHException, OSError, EOFError)

_HINTS: dict[type[TransportError], str] = {
    Unreachable: "check the address, the port and the firewall, then `ssh` there by hand",
    LoginRefused: "check `user`, `key_file` and the host's authorized_keys",
    TransportError: "look at the SSH server's own log",
}


def translated(error: BaseException, where: str, hint: str = "") -> TransportError:
    """Our error for theirs. `where` names the host as the user wrote it, with what was being done."""
    fitting = ((ours, meaning) for kind, ours, meaning in MEANINGS if isinstance(error, kind))
    ours, meaning = next(fitting, (TransportError, type(error).__name__))
    said = " ".join(str(error).split())[:300]
    detail = f" ({said})" if said and said.lower() not in meaning else ""
    return ours(f"{where}: {meaning}{detail}", hint or _HINTS.get(ours, ""))
