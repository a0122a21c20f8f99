"""Who and what this process is, told apart from all others: for journals and leases."""

import getpass
import os
import socket
from pathlib import Path


def who() -> str:
    """The user and the machine, and who asked sudo."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    asked = os.environ.get("SUDO_USER")
    return f"{user}{f' (sudo by {asked})' if asked else ''}@{socket.gethostname()}"


def machine() -> str:
    """What tells this machine, and this container on it, from others: whose process numbers mean the same."""
    try:
        name = Path("/etc/machine-id").read_text(encoding="ascii").strip()
        return f"{name or socket.gethostname()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()}/{os.getpid()}"


def birth(pid: int) -> str:
    """When a process began, told apart from another of the same number later; "" when there is none that lives."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{boot}/{status[19]}" if len(status) > 19 and status[0] not in "ZX" else ""
