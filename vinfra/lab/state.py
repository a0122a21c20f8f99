"""What a running lab is, as its supervisor writes it down and everybody else reads it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vinfra.lab import kernel


@dataclass(frozen=True, slots=True)
class LabHost:
    """One host. `port` on 127.0.0.1 leads to its sshd; `pid` is its PID 1 seen from this machine, 0 when it is off.

    `upper` is the folder that holds everything written on the host since it was made (its overlay's upper layer), as a
    path that can be read from this machine while the lab runs.
    """

    name: str
    address: str
    port: int
    pid: int
    upper: str


@dataclass(frozen=True, slots=True)
class Lab:
    """A running lab. Accounts: root by key; `ops` by key or password, with sudo by that password."""

    name: str
    home: Path
    pid: int
    started: int
    suite: str
    password: str
    hosts: Mapping[str, LabHost] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        """The inventory file to give to `vinfra -i`."""
        return self.home / "inventory.yaml"

    @property
    def key_file(self) -> Path:
        """The private key that root and `ops` accept."""
        return self.home / "id_ed25519"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: the hosts by their names."""
        return self.home / "ssh_config"

    @property
    def password_file(self) -> Path:
        """The password of `ops`, for `sudo_password: {secret: "file:…"}`."""
        return self.home / "password"

    @property
    def known_hosts(self) -> Path:
        """The hosts' keys, exact from the first connection."""
        return self.home / "known_hosts"

    @property
    def namespace(self) -> int:
        """A process whose /proc/PID/ns holds the lab's mount and pid namespaces: its supervisor."""
        return self.pid

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs; it is compared by start time, as process ids come round again."""
        return kernel.start_time(self.pid) == self.started

    def save(self) -> None:
        """Write the state so that a reader sees the old or the new one, never half."""
        record = asdict(self) | {"home": str(self.home)}
        replace(self.home / "state.json", json.dumps(record, indent=1) + "\n")


def read(home: Path) -> Lab | None:
    """The lab in that folder, running or dead; None when there is none."""
    try:
        record: dict[str, Any] = json.loads((home / "state.json").read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    hosts = {name: LabHost(**host) for name, host in record.pop("hosts").items()}
    return Lab(**record | {"home": home, "hosts": hosts})


def replace(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file in one move."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)
