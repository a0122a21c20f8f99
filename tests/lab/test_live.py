"""What is changed on a running machine changes while it runs: the guest itself sees it, in one and the same boot.

Each change is made good in what runs and in the definition, so the next plan is empty; and it is taken back by another
change. One guest for all.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.lab import Lab, LabHost, guest

from .conftest import ROOT, first, run_ssh

pytestmark = [pytest.mark.xdist_group("kvm"), pytest.mark.timeout(400)]

POOL = "/var/lib/libvirt/live"
NAME = "lv-01"
SECRETS = {"LIVE_ONE": "first-pw", "LIVE_TWO": "other-pw"}
CARD = {"network": "one", "mac": "52:54:00:00:27:01"}
MORE = {"network": "one", "mac": "52:54:00:00:27:02"}
MACHINE: dict[str, Any] = {
    "image": "tiny",
    "cpu": 1,
    "cpu_max": 2,
    "memory": "128MiB",
    "memory_max": "192MiB",
    "disks": {"root": "1GiB"},
    "cdroms": {"install": {"bus": "scsi"}},
    "networks": [CARD],
    "graphics": "vnc",
    "graphics_password": {"secret": "env:LIVE_ONE"},
    "pool": "live",
}


# vinfra, killed when it is about to write down in the definition what it has done to what runs.
KILLED = """
import os, signal
from vinfra.cli.main import main
from vinfra.model.step import Verb
from vinfra.transport import verbs
verbs._VERBS[Verb.DOMAIN_DEFINE] = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


@dataclass
class Place:
    """One hypervisor with one machine, and what is wished for of it by now."""

    lab: Lab
    host: LabHost
    folder: Path
    image: guest.Image
    wish: dict[str, Any] = field(default_factory=dict)

    def sh(self, command: str) -> str:
        done = run_ssh(self.lab, self.host, command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def vinfra(self, *arguments: object, expect: int = 0, program: tuple[str, str] = ("-m", "vinfra")) -> str:
        variables = {"VINFRA_INVENTORY": str(self.lab.inventory), "VINFRA_STATE": str(self.folder / "state")}
        command = [sys.executable, *program, *map(str, arguments)]
        environment = {**os.environ, **variables, **SECRETS}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=300
        )
        assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
        assert not any(value in done.stdout + done.stderr for value in SECRETS.values())
        return done.stdout + done.stderr

    def within(self, command: str) -> str:
        """What the guest itself says."""
        return self.vinfra("ssh", NAME, command).strip()

    def boot(self) -> str:
        return self.within("cat /proc/sys/kernel/random/boot_id")

    def blueprint(self, **changes: Any) -> Path:
        self.wish |= changes
        key = {"user": "root", "key_file": str(self.lab.key_file)}
        hosts = {
            "pools": {"live": POOL},
            "networks": {"one": {"cidr": "192.168.157.0/24"}, "two": {"cidr": "192.168.158.0/24"}},
            "domains": {NAME: {**self.wish, "access": key}},
        }
        image = {"file": str(self.image.path), "sha256": self.image.sha256, "pool": "live"}
        file = self.folder / "live.yaml"
        file.write_text(
            yaml.safe_dump(
                {"blueprint": "live", "images": {"tiny": image}, "hosts": {self.host.name: hosts}}, sort_keys=False
            )
        )
        return file

    def rows(self, file: Path) -> dict[str, tuple[str, str]]:
        """What a plan says of the machine: the cost of each field, and why."""
        told = json.loads(self.vinfra("plan", file, "--json", expect=2))["changes"]
        row = next(row for row in told if row["kind"] == "kvm.domain")
        return {item["path"]: (item["impact"], item["why"]) for item in row["fields"]}

    def live(self, *options: object, **changes: Any) -> None:
        """Change it as it runs, at no more than that; then there is nothing to do."""
        file, boot = self.blueprint(**changes), self.boot()
        assert {cost for cost, _ in self.rows(file).values()} == {"live"}
        self.vinfra("apply", file, "--yes", "--max-impact", "data-loss" if "disks" in changes else "live", *options)
        assert self.boot() == boot
        self.settled(file)

    def settled(self, file: Path) -> None:
        assert "nothing to do" in self.vinfra("plan", file)

    def disks(self) -> int:
        """What the guest has on virtio, with their partitions, and on SCSI."""
        return int(self.within("ls -d /sys/class/block/vd* /sys/bus/scsi/devices/[0-9]* | wc -l"))


@pytest.fixture(scope="module")
def place(kvm_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(kvm_lab, first(kvm_lab), tmp_path_factory.mktemp("live"), guest.image(print), dict(MACHINE))
    file = made.blueprint()
    try:
        made.vinfra("apply", file, "--yes")
        made.settled(file)
        yield made
    finally:
        made.wish = dict(MACHINE)
        made.sh(f"rm -f {POOL}/*.iso")
        made.vinfra("destroy", made.blueprint(), "--yes", "--max-impact", "data-loss")


def test_cpus_come(place: Place) -> None:
    """As udev does elsewhere, the guest takes the new one into use. An emulated one cannot go, and the plan knows."""
    place.live(cpu=2)
    assert place.within("cd /sys/devices/system/cpu; echo 1 >cpu1/online; cat online") == "0-1"
    assert place.rows(place.blueprint(cpu=1)) == {"cpu": ("restart", "an emulated CPU can be taken away only at boot")}
    place.settled(place.blueprint(cpu=2))


def test_memory_comes_and_goes(place: Place) -> None:
    total = "sed -n 's/^MemTotal: *//p' /proc/meminfo | cut -d' ' -f1"
    before = int(place.within(total))
    place.live(memory="176MiB")
    assert int(place.within(total)) == before + 48 * 1024
    place.live(memory="112MiB")
    assert int(place.within(total)) == before - 16 * 1024


def test_disks_come_and_go(place: Place) -> None:
    before = place.disks()
    place.live(
        disks={"root": "1GiB", "data": {"size": "16MiB", "format": "raw"}, "log": {"size": "16MiB", "bus": "scsi"}}
    )
    assert place.disks() == before + 2
    limits = {"total_iops_sec": 300, "read_bytes_sec": "1MiB", "read_bytes_sec_max": "2MiB"}
    data = {"size": "16MiB", "format": "raw", "iotune": limits}
    place.live(disks={"root": "1GiB", "data": data, "log": {"size": "16MiB", "bus": "scsi"}})
    for where in ("--live", "--config"):
        told = dict(re.findall(r"(\w+) *: *(\d+)", place.sh(f"virsh -q blkdeviotune {NAME} vdc {where}")))
        assert [told[name] for name in limits] == ["300", "1048576", "2097152"]
    place.live(disks={"root": "1GiB"})
    assert place.disks() == before


def test_cards_come_are_plugged_in_elsewhere_and_go(place: Place) -> None:
    def eth1() -> str:
        return place.within("cat /sys/class/net/eth1/address /sys/class/net/eth1/carrier")

    place.live(networks=[CARD, MORE])
    place.within("ip link set eth1 up; sleep 1")
    assert eth1().split() == [MORE["mac"], "1"]
    place.live(networks=[CARD, {**MORE, "network": "two", "link": "down"}])
    assert eth1().split() == [MORE["mac"], "0"]
    tap = place.sh(f"virsh -q domiflist {NAME} | awk '$3 == \"two\" {{print $1}}'")
    bridge = place.sh("virsh net-info two | sed -n 's/^Bridge: *//p'")
    assert place.sh(f"basename $(readlink /sys/class/net/{tap}/master)") == bridge
    place.live(networks=[CARD, {**MORE, "network": "two", "link": "up"}])
    assert eth1().split() == [MORE["mac"], "1"]
    place.live(networks=[CARD])
    assert "eth1" not in place.within("ls /sys/class/net")


def test_what_may_pass_a_card_changes(place: Place) -> None:
    """Only where the host's kernel has what libvirt needs for it."""
    needs = (
        "for kind in htb sfq ingress; do tc qdisc add dev lo root $kind 2>&1 || true; tc qdisc del dev lo root; done"
    )
    if "kind is unknown" in place.sh(f"({needs}) 2>&1 || true"):
        pytest.skip("the kernel of the host holds back no packets: it has no sfq")
    rate = {"inbound": {"average": "10MiB", "peak": "20MiB", "burst": "1MiB"}, "outbound": {"average": "5MiB"}}
    place.live(networks=[{**CARD, "bandwidth": rate}])
    for where in ("--live", "--config"):
        told = dict(
            line.split(": ")
            for line in place.sh(f"virsh -q domiftune {NAME} {CARD['mac']} {where}").splitlines()
            if ": " in line
        )
        said = {name.strip(): value.strip() for name, value in told.items()}
        assert (said["inbound.average"], said["inbound.peak"], said["outbound.average"]) == ("10240", "20480", "5120")
    place.live(networks=[{**CARD, "bandwidth": {}}])


def test_a_cd_is_changed_and_taken_out(place: Place) -> None:
    """The guest reads the very bytes."""
    for name in ("a", "b"):
        place.sh(f"printf 'this is {name}' >{POOL}/{name}.iso && truncate -s 1M {POOL}/{name}.iso")
        place.live(cdroms={"install": {"medium": f"{POOL}/{name}.iso", "bus": "scsi"}})
        assert place.within("head -c 9 /dev/sr0") == f"this is {name}"
    place.live(cdroms={"install": {"bus": "scsi"}})
    assert place.within("head -c 9 /dev/sr0 2>/dev/null || echo empty") == "empty"


def test_the_screen_asks_for_another_password_and_nobody_else_knows_it(place: Place) -> None:
    def asked() -> set[str]:
        both = (
            place.sh(f"virsh dumpxml --security-info {more} {NAME} | grep -o 'passwd=.[^ >]*'")
            for more in ("", "--inactive")
        )
        return set(both)

    assert asked() == {f"passwd='{SECRETS['LIVE_ONE']}'"}
    place.live(graphics_password={"secret": "env:LIVE_TWO"})
    assert asked() == {f"passwd='{SECRETS['LIVE_TWO']}'"}
    place.live(memory="128MiB")  # what is defined anew keeps it
    assert asked() == {f"passwd='{SECRETS['LIVE_TWO']}'"}
    kept = [file for file in place.folder.rglob("*") if file.is_file()]
    assert kept
    assert not any(value.encode() in file.read_bytes() for file in kept for value in SECRETS.values())


def test_killed_between_what_runs_and_the_definition_it_goes_on(place: Place) -> None:
    """What has come stays, and the next run writes it down."""
    disks = {"root": "1GiB", "data": {"size": "16MiB", "format": "raw"}}
    file, boot, before = place.blueprint(disks=disks), place.boot(), place.disks()
    place.vinfra("apply", file, "--yes", expect=-9, program=("-c", KILLED))
    assert place.disks() == before + 1
    count = "virsh -q domblklist {} --details | grep -c ' disk '"
    assert place.sh(count.format(f"--inactive {NAME}")) != place.sh(count.format(NAME))
    assert place.rows(file) == {"disks": ("live", "")}
    place.vinfra("apply", file, "--yes", "--max-impact", "live")
    assert place.disks() == before + 1
    place.settled(file)
    place.live(disks={"root": "1GiB"})
    assert place.boot() == boot


def test_what_only_a_boot_changes_restarts_it(place: Place) -> None:
    file, boot = place.blueprint(cpu=3, cpu_max=3, memory="192MiB"), place.boot()
    told = place.rows(file)
    assert told["cpu"] == ("restart", "it booted with room for 2 CPUs")
    assert told["cpu_max"] == ("restart", "only at boot")
    assert told["memory"] == ("live", "")
    place.vinfra("apply", file, "--yes", "--max-impact", "live", expect=3)
    assert place.boot() == boot
    place.vinfra("apply", file, "--yes")
    assert place.boot() != boot
    place.settled(file)


def test_a_system_that_does_not_let_go_is_left_running(place: Place) -> None:
    """Its kernel has stopped: it is asked, waited for, and never switched off."""
    place.live(networks=[CARD, MORE])
    place.within("echo 0 >/proc/sys/kernel/panic; (sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    process = place.sh(f"cat /run/libvirt/qemu/{NAME}.pid")
    file = place.blueprint(networks=[CARD])
    said = place.vinfra("apply", file, "--yes", "--target", f"domain:{NAME}", expect=1)
    assert "did not let it go in 30 s" in said
    assert place.sh(f"cat /run/libvirt/qemu/{NAME}.pid") == process
    assert place.sh(f"virsh domstate {NAME}") == "running"
    assert place.rows(file)["networks"] == ("live", "")
    place.sh(f"virsh -q destroy {NAME}")
    place.vinfra("apply", file, "--yes")
    place.settled(file)
