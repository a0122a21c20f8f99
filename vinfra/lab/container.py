"""One host: an overlay on the shared root filesystem, run by runc with systemd as its first process."""

import json
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vinfra.errors import VinfraError
from vinfra.lab import kernel

#: Folders on a plain file system of their own: what Docker keeps there cannot lie on an overlay.
VOLUMES = ("/var/lib/docker", "/var/lib/containerd")

#: As systemd-nspawn does: the machine's own settings can be read, only those of the host's network changed.
_INIT = """
mount --make-rshared /
for path in /proc/sys /proc/sys/net /sys/devices/virtual/net; do mount --bind $path $path; done
mount -o bind,remount,ro /proc/sys
mount -o bind,remount,ro /sys
exec /sbin/init
"""
_READ_ONLY = ["/proc/sysrq-trigger", "/proc/irq", "/proc/bus"]
_DEVICES = ["/dev/net/tun", "/dev/fuse", "/dev/kvm", "/dev/vhost-net", "/dev/loop-control"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """Where a host lives, and the runc container of that name."""

    name: str
    folder: Path
    rootfs: Path
    cgroup: str
    runtime: Path

    @property
    def upper(self) -> Path:
        """Everything written on the host."""
        return self.folder / "upper"

    @property
    def root(self) -> Path:
        """Where its overlay is mounted."""
        return self.folder / "root"

    def prepare(self, seed: Path) -> None:
        """Make a fresh host: `seed` holds the few files that are its own (keys, name, machine id)."""
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        subprocess.run(["/bin/cp", "-a", "--", f"{seed}/.", str(self.upper)], check=True)
        layers = f"lowerdir={self.rootfs},upperdir={self.upper},workdir={self.folder / 'work'}"
        try:
            # Nobody needs these files after a power cut, so nothing waits for the disk.
            kernel.mount("overlay", self.root, "overlay", 0, f"{layers},volatile")
        except OSError:
            kernel.mount("overlay", self.root, "overlay", 0, layers)
        for volume in VOLUMES:
            (self.folder / "volumes" / Path(volume).name).mkdir(parents=True, exist_ok=True)
        (self.folder / "config.json").write_text(json.dumps(self._config()))

    def wipe(self) -> None:
        """Forget everything written on it. It must not run."""
        kernel.unmount(self.root)
        shutil.rmtree(self.folder)

    def create(self) -> int:
        """Set the container up, not yet running; returns its first process."""
        self.delete()
        pid_file = self.folder / "pid"
        with (self.folder / "console.log").open("ab") as console:
            # The first process keeps these files open: a pipe would never end.
            run = subprocess.run(
                self._runc("create", "--bundle", str(self.folder), "--pid-file", str(pid_file), self.name),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                check=False,
            )
        if run.returncode:
            said = (self.folder / "console.log").read_text(errors="replace").splitlines()[-4:]
            raise VinfraError(f"lab host {self.name} does not start", "\n  ".join(said))
        return int(pid_file.read_text())

    def start(self) -> None:
        """Let its first process go."""
        subprocess.run(self._runc("start", self.name), check=True, capture_output=True)

    def run(self, *command: str, timeout: float = 30) -> str:
        """What a command prints on the host."""
        arguments = self._runc("exec", self.name, *command)
        run = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
        return run.stdout

    def delete(self) -> None:
        """Remove what runc and the kernel still hold of a container that ended."""
        subprocess.run(self._runc("delete", "--force", self.name), check=False, capture_output=True)

    def _runc(self, *arguments: str) -> list[str]:
        return ["runc", "--root", str(self.runtime), *arguments]

    def _config(self) -> dict[str, Any]:
        capabilities = kernel.bounding_capabilities()
        namespaces = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]
        return {
            "ociVersion": "1.0.2",
            "hostname": self.name,
            "root": {"path": str(self.root)},
            "process": {
                "user": {"uid": 0, "gid": 0},
                "cwd": "/",
                "args": ["/bin/sh", "-c", _INIT],
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=runc"],
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            },
            "mounts": self._mounts(),
            "linux": {
                "namespaces": namespaces,
                "cgroupsPath": f"{self.cgroup}/{self.name}",
                "devices": _devices(),
                "resources": {"devices": [{"allow": True, "access": "rwm"}]},
                "readonlyPaths": _READ_ONLY,
            },
        }

    def _mounts(self) -> list[dict[str, Any]]:
        safe = ["nosuid", "noexec", "nodev"]
        mounts = [
            _mount("/proc", "proc", safe),
            _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=64k"]),
            _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            _mount("/dev/shm", "tmpfs", ["nosuid", "nodev", "mode=1777"]),  # noqa: S108 -- the host's own
            _mount("/dev/mqueue", "mqueue", safe),
            _mount("/sys", "sysfs", safe),
            _mount("/sys/fs/cgroup", "cgroup", [*safe, "relatime"]),
            _mount("/run", "tmpfs", ["nosuid", "nodev", "mode=755"]),
            _mount("/run/lock", "tmpfs", [*safe, "mode=1777", "size=5m"]),
            _mount("/tmp", "tmpfs", ["nosuid", "nodev", "mode=1777"]),  # noqa: S108 -- the host's own
        ]
        for volume in VOLUMES:
            source = self.folder / "volumes" / Path(volume).name
            mounts.append({"destination": volume, "type": "bind", "source": str(source), "options": ["bind", "rw"]})
        return mounts


def _mount(target: str, kind: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": options}


def _devices() -> list[dict[str, Any]]:
    found = []
    for path in [*_DEVICES, *(f"/dev/loop{number}" for number in range(8))]:
        try:
            node = os.stat(path)  # noqa: PTH116 -- a device's number is what is wanted
        except OSError:
            continue
        kind = "b" if stat.S_ISBLK(node.st_mode) else "c"
        device = {"path": path, "type": kind, "major": os.major(node.st_rdev), "minor": os.minor(node.st_rdev)}
        found.append(device | {"fileMode": stat.S_IMODE(node.st_mode), "uid": 0, "gid": 0})
    return found
