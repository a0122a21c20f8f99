"""The whole machine that tests of kernels, disks and networks have as host: what it promises them."""

import json
import time

import pytest

from .guest import Guest


def test_it_is_as_promised(guest: Guest) -> None:
    assert guest.ssh("systemctl is-system-running --wait || systemctl list-units --failed").stdout == "running\n"
    assert abs(float(guest.run("date +%s.%N")) - time.time()) < 5
    disks = json.loads(guest.run("lsblk --json --bytes --output NAME,SIZE,FSTYPE"))["blockdevices"]
    assert {disk["name"]: disk["size"] for disk in disks if disk["name"] != "vda"} == dict.fromkeys(
        ("vdb", "vdc", "vdd"), 512 << 20
    )
    assert guest.run("ip -4 -brief address show eth0").split()[2] == "10.77.0.11/24"
    assert guest.run("modprobe -a 8021q bonding dm_mod nf_tables xfs && echo loaded").strip() == "loaded"
    inactive = "NetworkManager systemd-networkd firewalld ufw nftables"
    assert set(guest.ssh(f"systemctl is-active {inactive}").stdout.split()) == {"inactive"}
    programs = (
        "lvs mkfs.xfs mkfs.ext4 parted ifup netplan nmcli nft firewall-cmd ufw chronyc cron python3 sudo update-grub"
    )
    guest.run(f"for program in {programs}; do command -v $program || exit 1; done")
    # vinfra's logins come from beyond the gateway; nothing else is there.
    assert guest.run("echo $SSH_CONNECTION").split()[0] == "10.79.0.1"
    assert guest.ssh("ping -c 1 -W 1 8.8.8.8").returncode != 0
    guest.run(
        "ip link set eth1 up; ip link set eth2 up; ip address add 10.88.0.2/24 dev eth1; ping -c 1 -W 5 10.88.0.1"
    )
    assert guest.outside("busybox", "ping", "-c", "1", "-W", "5", "10.88.0.2").returncode == 0


def test_whatever_one_test_does_to_it_the_next_does_not_see(guest: Guest) -> None:
    assert guest.ssh("test -e /root/trace").returncode == 1
    guest.run("touch /root/trace; mkfs.ext4 -q /dev/vdb; modprobe dummy; ip link add dummy0 type dummy")
    guest.console("ip address flush dev eth0")
    assert not guest.whole.answers()
    assert "eth0" in guest.console("ip -brief link")


def test_it_is_whole_again(guest: Guest) -> None:
    assert guest.ssh("test -e /root/trace").returncode == 1
    assert guest.ssh("blkid /dev/vdb").returncode == 2
    assert guest.ssh("lsmod | grep -q '^dummy '").returncode == 1
    assert guest.whole.answers()


@pytest.mark.slow
def test_packages_come_from_the_mirror(guest: Guest) -> None:
    assert "Setting up" in guest.run("DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends tree")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_it_boots_with_the_arguments_that_update_grub_writes(guest: Guest) -> None:
    guest.run("echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX probe=1\"' >/etc/default/grub.d/probe.cfg; update-grub")
    guest.reboot()
    assert "probe=1" in guest.run("cat /proc/cmdline")
    guest.ssh("systemctl poweroff")
    guest.whole.wait_off()
    guest.power_on()
    assert "probe=1" in guest.run("cat /proc/cmdline")
