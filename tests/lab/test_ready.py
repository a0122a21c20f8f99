"""Everything a server needs before it carries virtual machines, in one apply on a whole machine."""

import pytest

from .conftest import ROOT, Run
from .guest import Guest

READY = ROOT / "blueprints/machine/ready.yaml"
LOOK = {
    "findmnt -no SOURCE /var/lib/libvirt/images": "/dev/mapper/vg0-images",
    "swapon --noheadings --show=NAME": "/dev/dm-",
    "ls /sys/class/net/br0/brif": "bond0",
    "hostname -f": "hv1.example.net",
    "nft list table inet vinfra": "49152-49215",
    "cat /proc/cmdline": "transparent_hugepage=madvise",
    "cat /proc/sys/net/bridge/bridge-nf-call-iptables": "0",
    "grep HugePages_Total /proc/meminfo": "16",
    "systemctl is-active vinfra-trim.timer": "active",
    "sshd -T": "passwordauthentication no",
}


def one_apply(machine: Guest, vinfra: Run) -> None:
    before = machine.boot_id
    vinfra("apply", READY, "--yes")
    assert "nothing to do" in vinfra("plan", READY).stdout
    assert machine.boot_id != before
    for command, found in LOOK.items():
        assert found in machine.run(command), command


@pytest.mark.slow
@pytest.mark.timeout(1700)
def test_a_blank_machine_is_ready_after_one_apply_and_stays_so(guest: Guest, guest_vinfra: Run) -> None:
    one_apply(guest, guest_vinfra)


@pytest.mark.slow
@pytest.mark.timeout(1700)
def test_so_is_one_of_the_next_release(guest_trixie: Guest, guest_vinfra: Run) -> None:
    one_apply(guest_trixie, guest_vinfra)
