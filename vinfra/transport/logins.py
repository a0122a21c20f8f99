"""Where and as whom to log in: the inventory's word first, then the user's ssh_config, then the defaults."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko.config
from pyinfra.connectors.sshuserclient.client import SSHClient, get_ssh_config

from vinfra import mask
from vinfra.errors import TransportError
from vinfra.model.inventory import Host
from vinfra.model.secret import Secret
from vinfra.transport.foreign import FOREIGN, translated
from vinfra.transport.hostkeys import SYSTEM_FILE, Policy, name_in_file

_DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


@dataclass(frozen=True, slots=True)
class Login:
    """All that a connection needs. `key_name` is the host's name in known_hosts; `via` the hops before it, in order.

    `explicit` says that `key_files` holds the inventory's own choice, so that nothing else is tried.
    """

    host: str
    address: str
    port: int
    user: str
    policy: Policy
    key_name: str
    timeout: float
    key_files: tuple[str, ...] = ()
    explicit: bool = False
    certificate: str | None = None
    agent: str | None = None
    identities_only: bool = False
    password: Secret | None = None
    keepalive: int = 0
    proxy_command: str = ""
    via: tuple[str, ...] = ()

    def __str__(self) -> str:
        port = "" if self.port == 22 else f":{self.port}"
        there = f"{self.user}@{self.address}{port}"
        return there if self.host in (self.address, there) else f"{self.host} ({there})"


def resolve(host: Host) -> Login:
    """The login of an inventory's host. Raises TransportError when ssh_config cannot be read."""
    asked = host.address or host.name
    config = _ssh_config(asked)
    address = config.get("hostname", asked)
    port = host.port or int(config.get("port", 22))
    files = (host.known_hosts,) if host.known_hosts else tuple(config.get("userknownhostsfile", "").split())
    files = files or ("~/.ssh/known_hosts",)
    via = host.jump or tuple(hop for hop in config.get("proxyjump", "").split(",") if hop and hop.lower() != "none")
    command = config.get("proxycommand", "")
    return Login(
        host=host.name,
        address=address,
        port=port,
        user=host.user or config.get("user", "root"),
        policy=Policy(host.host_key, (*map(_expanded, files), *([] if host.known_hosts else [SYSTEM_FILE]))),
        key_name=name_in_file(config.get("hostkeyalias", address), 22 if "hostkeyalias" in config else port),
        timeout=host.connect_timeout,
        key_files=_key_files(host, config),
        explicit=host.key_file is not None,
        certificate=next(iter(config.get("certificatefile", ())), None),
        agent=config.get("identityagent"),
        identities_only=config.get("identitiesonly", "no") == "yes",
        password=host.password,
        keepalive=int(config.get("serveraliveinterval", 0)),
        proxy_command="" if via or command.lower() == "none" else command,
        via=via,
    )


def hop(spec: str, target: Host, find: Callable[[str], Host | None]) -> Host:
    """A hop as a host: one of the inventory, or made of `user@address:port`, with the target's key policy and key."""
    found = find(spec)
    if found is not None:
        if found.connection != "ssh":
            raise TransportError(f"{target.name}: {spec} cannot be a jump host: it is not reached by SSH")
        return found
    try:
        address, parts = SSHClient.derive_shorthand(_Lookup(), spec)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise TransportError(
            f"{target.name}: {spec!r} is no jump host", "write a host, or user@address:port"
        ) from error
    pinned = target.host_key not in ("strict", "accept-new")
    return replace(
        target,
        name=spec,
        address=str(address).strip("[]"),
        user=parts.get("username") or "",
        port=int(parts.get("port") or 0),
        jump=(),
        host_key="strict" if pinned else target.host_key,
        password=None,
    )


class _MatchExec:
    """Runs the commands of `Match exec` lines; pyinfra's own way works in one thread of a process only."""

    @staticmethod
    def run(command: str, **_: Any) -> Any:
        argv = ["/bin/sh", "-c", command]
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=10,
                check=False,
                env=mask.environment(),
            )
        except (OSError, subprocess.TimeoutExpired):
            return SimpleNamespace(ok=False)
        return SimpleNamespace(ok=done.returncode == 0)


paramiko.config.invoke = _MatchExec  # type: ignore[attr-defined]


class _Lookup:
    """For pyinfra's parser of jump hosts: what ssh_config says of the hop is asked later, as for every login."""

    def lookup(self, _: str) -> dict[str, Any]:
        return {"port": 0}


def _ssh_config(host: str) -> dict[str, Any]:
    try:
        config = get_ssh_config(None)
        return dict(config.lookup(host)) if config else {}
    except FOREIGN as error:
        raise translated(error, "~/.ssh/config", "correct the file") from error
    except (KeyError, ValueError) as error:
        raise TransportError(f"~/.ssh/config: {error}", "correct the file") from error


def _key_files(host: Host, config: dict[str, Any]) -> tuple[str, ...]:
    if host.key_file is not None:
        return (_expanded(host.key_file),)
    return tuple(map(_expanded, config.get("identityfile") or _DEFAULT_KEYS))


def _expanded(path: str) -> str:
    return str(Path(path).expanduser())
