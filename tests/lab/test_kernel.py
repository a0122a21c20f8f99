"""Modules, arguments and huge pages of a kernel of its own: what a container has not."""

from pathlib import Path

import pytest

from .conftest import Run, blueprint, changes
from .guest import Guest

SET = {
    "kernel_modules": {"br_netfilter": True, "dummy": {"options": {"numdummies": "2"}}, "floppy": False},
    "sysctl": {"net.bridge.bridge-nf-call-iptables": "0"},
    "hugepages": {"2MiB": 16},
    "kernel_arguments": {"vinfra_probe": "on", "vinfra_flag": ""},
}


def test_modules_are_loaded_kept_out_and_refused(guest: Guest, guest_vinfra: Run, tmp_path: Path) -> None:
    wish = {"kernel_modules": SET["kernel_modules"], "sysctl": SET["sysctl"]}
    file = blueprint(tmp_path, {"guest": wish})
    # The key comes with a module of this very plan.
    rows = {row["name"]: row for row in changes(guest_vinfra("plan", file, "--json", expect=2))}
    assert rows["net.bridge.bridge-nf-call-iptables"]["verdict"] == "later"
    guest_vinfra("apply", file, "--yes")
    assert "nothing to do" in guest_vinfra("plan", file).stdout
    assert guest.run(
        "ls -d /sys/module/br_netfilter /sys/class/net/dummy1 && sysctl -n net.bridge.bridge-nf-call-iptables"
    )
    assert guest.ssh("modprobe floppy").returncode != 0
    # What systemd does at boot, it does with our file as well.
    guest.run("rmmod dummy && systemctl restart systemd-modules-load && ls -d /sys/class/net/dummy1")

    guest.run("ip link add type bridge; modprobe -r br_netfilter; rmmod dummy")
    rows = {row["name"]: row for row in changes(guest_vinfra("plan", file, "--json", expect=2))}
    assert [field["path"] for field in rows["br_netfilter"]["fields"]] == ["loaded"]
    guest_vinfra("apply", file, "--yes")

    for module, said in (("bridge", "in use: by br_netfilter"), ("nosuch", "has no module nosuch")):
        odd = blueprint(tmp_path, {"guest": {"kernel_modules": {module: module == "nosuch"}}}, "odd")
        assert said in guest_vinfra("plan", odd, "--json", expect=2).stdout
    guest_vinfra("destroy", file, "--yes")
    assert guest.run("ls /etc/modules-load.d /etc/modprobe.d").count("vinfra") == 0


@pytest.mark.slow
def test_hugepages_are_counted_now_and_at_boot(guest: Guest, guest_vinfra: Run, tmp_path: Path) -> None:
    count = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    file = blueprint(tmp_path, {"guest": {"hugepages": {"2MiB": {"nodes": {"0": "8", "1": "4"}}}}})
    guest_vinfra("apply", file, "--yes")
    assert "nothing to do" in guest_vinfra("plan", file).stdout
    assert guest.run(f"cat {count}").strip() == "12"
    guest.run(f"echo 0 >{count} && systemd-tmpfiles --create --prefix=/sys && grep -x 12 {count}")

    greedy = blueprint(tmp_path, {"guest": {"hugepages": {"2MiB": 5000}}}, "greedy")
    assert "MiB of memory are free" in guest_vinfra("plan", greedy, "--json", expect=2).stdout
    # Memory is there for one of them, but not in one piece.
    huge = blueprint(tmp_path, {"guest": {"hugepages": {"1GiB": 1}}}, "huge")
    assert "fragmented" in guest_vinfra("apply", huge, "--yes", expect=1).stdout
    assert guest.ssh("ls /etc/tmpfiles.d/90-vinfra-hugepages-1GiB.conf").returncode != 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_argument_counts_after_a_reboot(guest: Guest, guest_vinfra: Run, tmp_path: Path) -> None:
    file = blueprint(tmp_path, {"guest": {"kernel_arguments": SET["kernel_arguments"], "hugepages": SET["hugepages"]}})
    guest.run("printf '#!/bin/sh\\nexit 1\\n' >/etc/grub.d/09_broken; chmod +x /etc/grub.d/09_broken")
    before = guest.run("sha256sum /boot/grub/grub.cfg")
    guest_vinfra("apply", file, "--yes", expect=1)
    assert guest.run("sha256sum /boot/grub/grub.cfg") == before
    guest.run("rm /etc/grub.d/09_broken")

    assert "counts after a reboot" in guest_vinfra("apply", file, "--yes").stdout
    assert "nothing to do" in guest_vinfra("plan", file).stdout
    assert "vinfra_probe" not in guest.run("cat /proc/cmdline")
    guest.reboot()
    assert {"vinfra_probe=on", "vinfra_flag"} <= set(guest.run("cat /proc/cmdline").split())
    assert guest.run("cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").strip() == "16"
    guest_vinfra("destroy", file, "--yes")
    assert "vinfra" not in guest.run("cat /boot/grub/grub.cfg")
