"""A restart of a machine with a kernel and a boot loader of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Run, blueprint
from .guest import Guest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# The same kernel once more under the name of a newer one: GRUB takes it, and it goes on to say that it is the old one.
NEWER = """\
set -e; k=$(uname -r); n=$(echo $k | sed 's/-[0-9]*-/-999-/'); [ $k != $n ]
for f in vmlinuz initrd.img; do cp /boot/$f-$k /boot/$f-$n; done
update-grub >/dev/null 2>&1; echo $n
"""


def applied(guest: Guest, file: Path, state: Path) -> None:
    """Where QEMU emulates all of it, a boot takes a minute or two."""
    environment = {**os.environ, "VINFRA_INVENTORY": str(guest.inventory), "VINFRA_STATE": str(state)}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=1100)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{guest.whole.log[-3000:]}"


def wished(folder: Path, **more: Any) -> Path:
    after = {"content": "x", "needs": ["reboot:host"]}
    files = {"/run/after": after, "/srv/before": {"content": "x"}}
    return blueprint(folder, {"guest": {"reboot": {"timeout": "15m"}, "files": files, **more}})


def test_a_kernel_and_an_argument_wait_for_one_restart(guest: Guest, guest_vinfra: Run, tmp_path: Path) -> None:
    guest_vinfra("apply", wished(tmp_path), "--yes")
    assert "nothing to do" in guest_vinfra("plan", wished(tmp_path)).stdout
    newer = guest.run(NEWER).strip()
    before = guest.boot_id
    assert f"kernel {newer} is installed" in guest_vinfra("plan", wished(tmp_path), expect=2).stdout
    guest.run(f"mv /boot/vmlinuz-{newer} /root/")  # now for the argument alone
    file = wished(tmp_path, kernel_arguments={"panic": "7"})
    assert "only if kernel_argument:panic makes it needed" in guest_vinfra("plan", file, expect=2).stdout
    guest.run(f"mv /root/vmlinuz-{newer} /boot/; rm /srv/before /run/after")
    applied(guest, file, tmp_path / "state")
    assert guest.boot_id != before
    running = guest.run("cat /proc/cmdline")
    assert newer in running
    assert "panic=7" in running
    assert guest.run("ls /srv/before /run/after").split() == ["/run/after", "/srv/before"]
    assert guest.run("cut -d' ' -f1 /run/vinfra/lease") == "0\n"
    # By its name it runs an older one still; another restart would not change that.
    assert "nothing to do" in guest_vinfra("plan", file).stdout
