"""A hundred SSH hosts on one machine: one sshd in a namespace of its own, where every 127.0.0.0/8 address is it.

`inside(main)` runs `main` in such a namespace; nothing of it is left when it ends.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from vinfra.lab.rootfs import ensure

PORT = 2222
SSHD = f"""
Port {PORT}
ListenAddress 0.0.0.0
HostKey /fleet/host_key
AuthorizedKeysFile /fleet/user_key.pub
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
MaxStartups 1000:30:2000
MaxSessions 200
PerSourceMaxStartups none
LogLevel ERROR
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Where the fleet is: its hosts' addresses, and the files to log in with."""

    folder: Path
    addresses: tuple[str, ...]

    @property
    def key(self) -> Path:
        return self.folder / "user_key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"


def inside(main: Callable[[], None]) -> None:
    """Call `main` in a network, mount and process namespace of its own (needs root); its folder goes when it ends."""
    if "FLEET_FOLDER" in os.environ:
        return main()
    tree = ensure("bookworm", print).tree
    with TemporaryDirectory(dir="/dev/shm") as folder:
        environment = {**os.environ, "FLEET_FOLDER": folder, "FLEET_TREE": str(tree)}
        apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        done = subprocess.run([*apart, sys.executable, *sys.argv], env=environment, check=False)
    sys.exit(done.returncode)


def start(size: int) -> Fleet:
    """Start the sshd on a root filesystem of the lab's; the fleet lives as long as the namespace."""
    folder, tree = Path(os.environ["FLEET_FOLDER"]), os.environ["FLEET_TREE"]
    for name in ("upper", "work", "root"):
        (folder / name).mkdir()
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    addresses = tuple(f"127.1.{number // 250}.{number % 250 + 1}" for number in range(size))
    public = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text("".join(f"[{address}]:{PORT} {public}\n" for address in addresses))
    (folder / "sshd_config").write_text(SSHD)
    root = folder / "root"
    layers = f"lowerdir={tree},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["mount", "-t", "overlay", "overlay", "-o", layers, str(root)],
        ["mkdir", "-p", f"{root}/fleet", f"{root}/run/sshd"],
        ["mount", "--bind", str(folder), f"{root}/fleet"],
        ["mount", "-t", "proc", "proc", f"{root}/proc"],
        ["mount", "-t", "sysfs", "sysfs", f"{root}/sys"],
        ["mount", "--rbind", "/dev", f"{root}/dev"],
    ):
        subprocess.run(command, check=True)
    # Ansible's modules need the whole standard library; the lab's hosts have Debian's minimal one.
    library = Path(f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}")
    if (root / library.relative_to("/")).exists():
        subprocess.run(["mount", "--bind", str(library), str(root / library.relative_to("/"))], check=True)
    subprocess.Popen(["chroot", str(root), "/usr/sbin/sshd", "-D", "-e", "-f", "/fleet/sshd_config"])
    time.sleep(0.5)
    return Fleet(folder, addresses)
