"""Proving who we are: private keys loaded once for all hosts, the user's ssh-agent, a password; never a question."""

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import paramiko
from paramiko.agent import AgentSSH
from paramiko.pkey import PublicBlob
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.ssh_util import load_key_with_certificate

from vinfra.errors import LoginRefused, TransportError, Unreachable
from vinfra.transport.foreign import FOREIGN, translated
from vinfra.transport.logins import Login


@dataclass(frozen=True, slots=True)
class Key:
    """A private key, or why it cannot be used."""

    path: str
    key: paramiko.PKey | None = None
    problem: str = ""
    public: bytes = b""


class KeyRing:
    """The private keys of a run: each file is read and parsed once, however many hosts it opens."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str | None], Key] = {}
        self._lock = threading.Lock()

    def load(self, path: str, certificate: str | None) -> Key:
        """The key in a file; one that is missing, protected or unreadable comes back with its problem."""
        with self._lock:
            if (path, certificate) not in self._keys:
                self._keys[path, certificate] = _load(path, certificate)
            return self._keys[path, certificate]


def _load(path: str, certificate: str | None) -> Key:
    try:
        return Key(path, load_key_with_certificate(path, certificate_filename=certificate, allow_prompt=False))
    except PyinfraError as error:
        text = str(error)
        if "encrypted" in text:
            return Key(path, None, "is protected by a passphrase", _public_part(path))
        return Key(path, None, "does not exist" if "No such" in text else "is not a private key")
    except (*FOREIGN, ValueError) as error:
        return Key(path, None, f"cannot be read ({error})")


def _public_part(path: str) -> bytes:
    try:
        return bytes(PublicBlob.from_file(f"{path}.pub").key_blob)
    except (*FOREIGN, ValueError):
        return b""


class Agent(AgentSSH):
    """One connection to the user's ssh-agent. It is not to be shared: its protocol has no way to tell answers apart."""

    def __init__(self, login: Login) -> None:
        super().__init__()
        path = login.agent or "SSH_AUTH_SOCK"
        if path.startswith("$") or path == "SSH_AUTH_SOCK":
            path = os.environ.get(path.lstrip("$"), "")
        if not path or path == "none":
            return
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        try:
            connection.connect(os.path.expanduser(path))  # noqa: PTH111  a socket's address is text
            self._connect(connection)  # type: ignore[attr-defined]
        except FOREIGN:
            connection.close()

    def close(self) -> None:
        """Leave the agent."""
        self._close()  # type: ignore[attr-defined]


@dataclass(slots=True)
class _Attempts:
    """What was tried, for the message when nothing was accepted."""

    tried: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)


def log_in(transport: paramiko.Transport, login: Login, ring: KeyRing, password: str) -> None:
    """Log in over an open transport. Raises LoginRefused or Unreachable."""
    attempts = _Attempts()
    agent = Agent(login)
    try:
        for label, key in _candidates(login, ring, agent, attempts, bool(password)):
            attempts.tried.append(label)
            if _try(transport, login, attempts, key=key):
                return
            if attempts.allowed and "publickey" not in attempts.allowed:
                break
    finally:
        agent.close()
    if password:
        attempts.tried.append("the password")
        if _try(transport, login, attempts, password=password):
            return
    raise _refused(login, attempts)


def _candidates(
    login: Login, ring: KeyRing, agent: Agent, attempts: _Attempts, password: bool
) -> Iterator[tuple[str, paramiko.PKey]]:
    if password and not login.explicit:
        return  # a password in the inventory is a choice: keys would only use up the attempts that the server allows
    loaded = [ring.load(path, login.certificate) for path in login.key_files]
    wanted = {key.key.asbytes() if key.key else key.public for key in loaded} - {b""}
    only = login.explicit or login.identities_only
    held = {key.asbytes(): key for key in agent.get_keys()}
    for blob, agent_key in held.items():
        if not only or blob in wanted:
            yield "a key of ssh-agent", agent_key
    for key in loaded:
        if key.key is not None and key.key.asbytes() not in held:
            yield f"the key {key.path}", key.key
        elif key.problem and (login.explicit or key.problem != "does not exist") and key.public not in held:
            attempts.problems.append(f"{key.path} {key.problem}")


def _try(
    transport: paramiko.Transport,
    login: Login,
    attempts: _Attempts,
    *,
    key: paramiko.PKey | None = None,
    password: str = "",
) -> bool:
    try:
        if key is not None:
            attempts.allowed = transport.auth_publickey(login.user, key)
        else:
            attempts.allowed = transport.auth_password(login.user, password, fallback=False)
        return transport.is_authenticated()
    except paramiko.BadAuthenticationType as error:
        attempts.allowed = error.allowed_types
    except paramiko.AuthenticationException as error:
        if "timeout" in str(error).lower():
            raise Unreachable(f"{login}: no answer to the login in {login.timeout:g} s") from error
        if not transport.is_active():
            raise _closed(login, attempts) from error
    except paramiko.SSHException as error:
        if not transport.is_active():
            raise _closed(login, attempts) from error
        attempts.problems.append(str(error))
    except FOREIGN as error:
        raise translated(error, str(login)) from error
    return False


def _closed(login: Login, attempts: _Attempts) -> TransportError:
    if len(attempts.tried) > 2:
        hint = "too many keys were offered: name the right one in `key_file`"
        return LoginRefused(f"{login}: the server hung up after {len(attempts.tried)} attempts", hint)
    return Unreachable(f"{login}: the server hung up during the login", "look at the SSH server's own log")


def _refused(login: Login, attempts: _Attempts) -> LoginRefused:
    tried = ", ".join(dict.fromkeys(attempts.tried)) or "nothing: there is no key, no ssh-agent and no password"
    message = f"{login}: the login was refused; tried {tried}"
    if attempts.problems:
        message += f"; {'; '.join(dict.fromkeys(attempts.problems))}"
    if any("passphrase" in problem for problem in attempts.problems):
        return LoginRefused(message, "unlock the key first: ssh-add, and let SSH_AUTH_SOCK lead to that agent")
    if attempts.tried == ["the password"] and "keyboard-interactive" in attempts.allowed:
        return LoginRefused(message, "the server wants a dialogue, which vinfra never holds: use a key")
    if attempts.allowed:
        return LoginRefused(message, f"the server allows: {', '.join(attempts.allowed)}")
    return LoginRefused(
        message, "check `user` and `key_file`; the public key belongs into the host's ~/.ssh/authorized_keys"
    )
