"""What a lab can leave behind when it ends, and its removal: processes, control groups, loop devices."""

import fcntl
import hashlib
import os
import signal
import struct
import time
from contextlib import suppress
from pathlib import Path

from vinfra.errors import VinfraError
from vinfra.lab import kernel

_CGROUPS = Path("/sys/fs/cgroup")
_LOOP_CLR_FD = 0x4C01
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_STATUS = struct.Struct("QQ216x")


def cgroup_of(home: Path) -> str:
    """The control group all hosts of a lab are in."""
    return f"/vinfra-lab-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"


def supervisors(home: Path) -> list[tuple[int, int]]:
    """Supervisors of the lab in that folder, also those which never wrote a state: (pid, start time)."""
    found = []
    wanted = ["-m", "vinfra.lab.supervisor", str(home)]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        pid = int(path.parent.name)
        started = kernel.start_time(pid)
        if words[1:4] == wanted and started is not None:
            found.append((pid, started))
    return found


def end(pid: int, started: int) -> None:
    """Kill a supervisor, and with it, as the kernel sees to it, all of its hosts; returns when they are gone."""
    devices = _devices_of(pid)
    if kernel.start_time(pid) != started:
        return
    detach_loops(devices)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while kernel.start_time(pid) == started:
        if time.monotonic() > deadline:
            raise VinfraError(f"the lab's supervisor (process {pid}) does not end")
        time.sleep(0.01)


def remove_cgroups(name: str) -> None:
    """Remove a lab's control groups, in each hierarchy of version 1 or in the one of version 2."""
    for top in [_CGROUPS / name[1:], *_CGROUPS.glob(f"*{name}")]:
        folders = sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
        for folder in [*folders, top] if top.exists() else []:
            _remove_cgroup(folder)


def _remove_cgroup(folder: Path) -> None:
    for _ in range(100):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            # Its last process is still being taken apart.
            time.sleep(0.02)
        else:
            return


def _devices_of(pid: int) -> set[int]:
    """Numbers of the file systems that only the lab's processes have: in its mount namespace, not in ours."""
    try:
        theirs = Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return set()
    ours = _numbers(Path("/proc/self/mountinfo").read_text())
    return (_numbers(theirs) | _overlay_numbers(pid, theirs)) - ours


def _overlay_numbers(pid: int, mountinfo: str) -> set[int]:
    """An overlay gives files of each layer a device number that no mount shows: ask one file of each."""
    numbers = set()
    for line in mountinfo.splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "overlay":
            for file in ("etc/hostname", "etc/debian_version"):
                with suppress(OSError):
                    numbers.add((Path(f"/proc/{pid}/root{fields[4]}") / file).stat().st_dev)
    return numbers


def _numbers(mountinfo: str) -> set[int]:
    pairs = (line.split()[2].split(":") for line in mountinfo.splitlines())
    return {os.makedev(int(major), int(minor)) for major, minor in pairs}


def detach_loops(devices: set[int]) -> None:
    """Detach the loop devices whose file lies on one of those file systems; loop devices know no namespace."""
    for folder in Path("/sys/block").glob("loop*/loop"):
        try:
            descriptor = os.open(f"/dev/{folder.parent.name}", os.O_RDONLY)
        except OSError:
            continue
        try:
            device, _ = _LOOP_STATUS.unpack(fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, bytes(_LOOP_STATUS.size)))
            if _decode(device) in devices:
                fcntl.ioctl(descriptor, _LOOP_CLR_FD)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def _decode(number: int) -> int:
    """The kernel's packed device number as os.makedev packs it."""
    return os.makedev((number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00))
