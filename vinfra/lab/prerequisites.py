"""What the lab needs of this machine, asked before anything is made."""

import os
import shutil
from pathlib import Path

from vinfra.errors import VinfraError

#: program → the Debian package that holds it. None of them starts a service.
PROGRAMS = {
    "runc": "runc",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
    "gpgv": "gpgv",
}
APT_HELPER = Path("/usr/lib/apt/apt-helper")


def check() -> None:
    """Raise one error that names everything missing."""
    if os.geteuid() != 0:
        raise VinfraError("the lab makes namespaces and mounts, which only root may", "run it as root or with sudo")
    if not APT_HELPER.exists():
        raise VinfraError("the lab needs a Debian or Ubuntu machine: apt is missing here")
    filesystems = Path("/proc/filesystems").read_text().split()
    if "overlay" not in filesystems and not _loads("overlay"):
        raise VinfraError("the lab's hosts are overlay mounts, which this kernel does not offer", "modprobe overlay")
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing:
        names = " ".join(missing)
        raise VinfraError(f"the lab needs packages that are not installed: {names}", f"apt-get install -y {names}")


def _loads(module: str) -> bool:
    return any(Path("/lib/modules", os.uname().release).rglob(f"{module}.ko*"))
