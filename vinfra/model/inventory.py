"""The machines: hosts, the groups they are in, and how to log in to each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vinfra.model.secret import Secret
from vinfra.model.source import NOWHERE, Position


@dataclass(frozen=True, slots=True)
class Host:
    """One machine. An empty `user` and a `port` of 0 leave it to ssh_config, and then to root and 22.

    `variables` are the group's and the host's own, already merged.

    `connection` is "local" only for the machine vinfra runs on, and "guest" for a virtual machine of the blueprint,
    whose address and key are known once it answers. `address` is where SSH connects (default: the name).
    `jump` names other hosts of the inventory or `user@address:port`, in the order they are passed. `host_key` is
    "strict" (known_hosts decides, the default), "accept-new" (learn an unknown one, refuse a changed one) or a pinned
    public key line such as "ssh-ed25519 AAAA…". `sudo` is whether root is reached by sudo; None: unless the user is
    root. `connect_timeout` in seconds. `groups` are those it is in, parents first, without `all`.
    """

    name: str
    connection: Literal["ssh", "local", "guest"] = "ssh"
    address: str = ""
    port: int = 0
    user: str = ""
    key_file: str | None = None
    password: Secret | None = None
    jump: tuple[str, ...] = ()
    host_key: str = "strict"
    known_hosts: str | None = None
    sudo: bool | None = None
    sudo_password: Secret | None = None
    connect_timeout: float = 10.0
    variables: Mapping[str, Any] = field(default_factory=dict)
    position: Position = NOWHERE
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts by name, in file order, and each group's hosts. Group `all` holds every host.

    `warnings` are lines worth reading: hosts that were left out, a copy that is old.
    """

    hosts: Mapping[str, Host]
    groups: Mapping[str, tuple[str, ...]]
    file: str = ""
    warnings: tuple[str, ...] = ()


# Whose inventories are read: our own, and those of other tools.
OWN = "vinfra"
ANSIBLE = "ansible"
PYINFRA = "pyinfra"
NETBOX = "netbox"
SORTS = (OWN, ANSIBLE, PYINFRA, NETBOX)


class Source(NamedTuple):
    """An inventory as it is named: `-i FILE`, or `-i ansible:FILE` to say whose it is. `sort` is "" for not said."""

    sort: str
    file: Path

    def __str__(self) -> str:
        return f"{self.sort}:{self.file}" if self.sort else str(self.file)

    @property
    def absolute(self) -> str:
        """The same, as it can be found from anywhere."""
        return str(Source(self.sort, self.file.absolute()))


def source(named: Path) -> Source:
    """What an inventory's name on the command line says."""
    sort, colon, rest = str(named).partition(":")
    if colon and rest and sort in SORTS:
        return Source(sort, Path(rest))
    return Source("", named)
