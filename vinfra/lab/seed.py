"""What makes each host itself: name, keys, accounts' passwords; laid over the root filesystem before its first boot."""

import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

from vinfra.errors import VinfraError
from vinfra.lab.network import GATEWAY, address_of

OPS = 1000


def new_key(path: Path, comment: str) -> str:
    """Make an ed25519 key pair; returns the public half."""
    arguments = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    run = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if run.returncode:
        raise VinfraError(f"ssh-keygen failed: {run.stderr.strip()}")
    return path.with_suffix(".pub").read_text().strip()


def shadow(tree: Path, password: str) -> str:
    """The root filesystem's /etc/shadow with the password of `ops` set."""
    arguments = ["chroot", str(tree), "openssl", "passwd", "-6", "-stdin"]
    run = subprocess.run(arguments, input=password + "\n", capture_output=True, text=True, check=False)
    if run.returncode:
        raise VinfraError(f"no password could be made for ops: {run.stderr.strip()}")
    lines = []
    for line in (tree / "etc/shadow").read_text().splitlines():
        fields = line.split(":")
        lines.append(":".join([fields[0], run.stdout.strip(), *fields[2:]]) if fields[0] == "ops" else line)
    return "\n".join(lines) + "\n"


def plant(folder: Path, name: str, names: Sequence[str], authorized_key: str, passwords: str) -> str:
    """Write the host's own files into `folder`; returns its public host key."""
    # An overlay takes a folder's mode and owner from its upper layer, so they must be right here.
    for path, mode, owner in (
        (".", 0o755, 0),
        ("etc/ssh", 0o755, 0),
        ("etc", 0o755, 0),
        ("root/.ssh", 0o700, 0),
        ("root", 0o700, 0),
        ("home/ops/.ssh", 0o700, OPS),
        ("home/ops", 0o700, OPS),
        ("home", 0o755, 0),
    ):
        (folder / path).mkdir(parents=True, exist_ok=True)
        (folder / path).chmod(mode)
        os.chown(folder / path, owner, owner)
    public = new_key(folder / "etc/ssh/ssh_host_ed25519_key", f"root@{name}")
    known = [f"{address_of(number)} {other}" for number, other in enumerate(names, 1)]
    hosts = "\n".join(["127.0.0.1 localhost", "::1 localhost", f"{GATEWAY} mirror", *known]) + "\n"
    _write(folder / "etc/hosts", hosts, 0o644)
    _write(folder / "etc/hostname", f"{name}\n", 0o644)
    _write(folder / "etc/machine-id", f"{secrets.token_hex(16)}\n", 0o444)
    _write(folder / "etc/shadow", passwords, 0o640, group=42)
    _write(folder / "root/.ssh/authorized_keys", f"{authorized_key}\n", 0o600)
    _write(folder / "home/ops/.ssh/authorized_keys", f"{authorized_key}\n", 0o600, owner=OPS, group=OPS)
    return public


def _write(path: Path, text: str, mode: int, owner: int = 0, group: int = 0) -> None:
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, owner, group)
