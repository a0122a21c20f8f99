"""A machine's first boot, and its second first boot: with the tiny guest, and with Debian's own cloud-init."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.lab import Image, Lab, LabHost, cloudimage, guest

from .conftest import first, run_ssh
from .guest import run_vinfra

pytestmark = [pytest.mark.xdist_group("kvm"), pytest.mark.timeout(400)]

POOL = "/var/lib/libvirt/boots"


@dataclass
class Place:
    """A hypervisor, and a blueprint with one machine that is applied again and again."""

    lab: Lab
    host: LabHost
    folder: Path
    image: Image
    machine: dict[str, Any]
    networks: dict[str, Any] = field(default_factory=dict)

    def vinfra(self, *arguments: object, expect: int = 0) -> Any:
        return run_vinfra(arguments, self.lab.inventory, self.folder / "state", expect, timeout=1200)

    @property
    def file(self) -> Path:
        images = {"os": {"file": str(self.image.path), "sha256": self.image.sha256, "pool": "boots"}}
        domain = {"image": "os", "pool": "boots", **self.machine}
        hosts = {"pools": {"boots": POOL}, "networks": self.networks, "domains": {"ci-01": domain}}
        file = self.folder / "boots.yaml"
        file.write_text(
            yaml.safe_dump({"blueprint": "boots", "images": images, "hosts": {self.host.name: hosts}}, sort_keys=False)
        )
        return file

    def told(self, **data: Any) -> None:
        self.machine["cloud_init"] = data

    def rows(self) -> dict[str, dict[str, Any]]:
        plan = json.loads(self.vinfra("plan", self.file, "--json", expect=2).stdout)
        return {row["kind"]: row for row in plan["changes"]}

    def apply(self, impact: str = "live", expect: int = 0) -> str:
        done = self.vinfra("apply", self.file, "--yes", "--max-impact", impact, expect=expect)
        if expect == 0:
            assert "nothing to do" in self.vinfra("plan", self.file).stdout
        return str(done.stdout + done.stderr)

    def inside(self, command: str) -> str:
        return str(self.vinfra("ssh", "ci-01", command).stdout).strip()

    def answer(self, command: str) -> str:
        """What it says, "" while it does not answer."""
        try:
            return self.inside(command)
        except AssertionError:
            return ""

    def close(self) -> None:
        self.vinfra("destroy", self.file, "--yes", "--max-impact", "data-loss")
        run_ssh(self.lab, self.host, f"rm -f {POOL}/os-*")


@pytest.fixture
def tiny(kvm_lab: Lab, tmp_path: Path) -> Iterator[Place]:
    access = {"user": "root", "key_file": str(kvm_lab.key_file)}
    machine = {"memory": "112MiB", "networks": ["wide"], "access": access, "disks": {"root": "1GiB", "data": "16MiB"}}
    networks = {"wide": {"cidr": "192.168.164.0/24", "dnsmasq": ["no-ping"]}}
    made = Place(kvm_lab, first(kvm_lab), tmp_path, guest.image(print), machine, networks)
    yield made
    made.close()


def test_a_machine_is_made_anew_when_its_data_changes_and_that_is_allowed(tiny: Place) -> None:
    tiny.told(user_data={"packages": ["one"]}, on_change="replace")
    tiny.apply()
    tiny.inside("echo kept >/root/marker; printf kept | dd of=/dev/vdb conv=notrunc 2>/dev/null; sync")
    boot = tiny.inside("cat /proc/sys/kernel/random/boot_id")
    key = tiny.inside("cat /etc/dropbear/*key* | md5sum")
    tiny.told(user_data={"packages": ["two"]}, on_change="replace")
    row = tiny.rows()["kvm.seed"]
    assert (row["action"], row["impact"]) == ("replace", "data-loss")
    assert row["reason"].startswith("the machine is made anew: ")
    assert "ci-01-root.qcow2" in row["reason"]
    assert "data-loss" in tiny.apply("restart", expect=3)
    assert tiny.inside("cat /proc/sys/kernel/random/boot_id") == boot
    tiny.apply("data-loss")
    assert tiny.inside("cat /proc/sys/kernel/random/boot_id") != boot
    assert tiny.inside("cat /etc/dropbear/*key* | md5sum") != key
    assert tiny.inside("ls /root/marker 2>/dev/null || echo gone") == "gone"
    assert tiny.inside("dd if=/dev/vdb bs=4 count=1 2>/dev/null") == "kept"


def test_data_that_is_wrong_is_refused_before_any_host_is_asked(tiny: Place) -> None:
    (tiny.folder / "web.yaml").write_text("#cloud-config\nhostname: web\npakcages: [nginx]\nruncmd: [[ls], {a: b}]\n")
    tiny.told(user_data={"file": "web.yaml"})
    said = tiny.vinfra("validate", tiny.file, expect=1).stderr
    assert "web.yaml:3: pakcages: cloud-init has no pakcages; did you mean packages?" in said
    assert "web.yaml:4: runcmd[1]: write text or a list, not a mapping" in said
    tiny.told(user_data={"file": "nosuch.yaml"})
    assert "nosuch.yaml: No such file" in tiny.vinfra("validate", tiny.file, expect=1).stderr
    tiny.told()


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_debian_is_ready_when_cloud_init_ended_well(kvm_lab: Lab, tmp_path: Path, suite: str) -> None:
    """On a network without DHCP: its address is set by the configuration that is made from it."""
    access = {"user": "ops", "key_file": str(kvm_lab.key_file), "timeout": "900s"}
    card = {"network": "still", "address": "192.168.165.50/24", "gateway": "192.168.165.1"}
    machine = {"memory": "640MiB", "cpu": 2, "networks": [card], "access": access}
    networks = {"still": {"mode": "isolated", "cidr": "192.168.165.0/24", "dhcp": False}}
    place = Place(kvm_lab, first(kvm_lab), tmp_path, cloudimage.image(suite, print), machine, networks)
    planted = {"write_files": [{"path": "/etc/planted", "content": "one\n"}]}
    place.told(
        user_data={**planted, "runcmd": ["echo it cannot be; exit 3"]},
        vendor_data={"timezone": "Asia/Tokyo"},
        on_change="replace",
    )
    try:
        said = place.apply(expect=1)
        print(said)
        assert "cloud-init of ci-01 ended in error: " in said
        assert "'scripts" in said
        assert "it cannot be" in said
        assert "on_change: replace" in said
        assert place.rows()["kvm.guest"]["reason"] == "until it answers by SSH at 192.168.165.50 and cloud-init is done"

        place.told(
            user_data={**planted, "runcmd": ["touch /run/ran"]},
            vendor_data={"timezone": "Asia/Tokyo"},
            on_change="replace",
        )
        place.apply("data-loss")
        assert place.inside("cat /etc/planted; ls /run/ran; cat /etc/timezone").split() == [
            "one",
            "/run/ran",
            "Asia/Tokyo",
        ]
        assert "192.168.165.50/24" in place.inside("ip -4 -brief address show")
        assert "default via 192.168.165.1" in place.inside("ip route")
        status = json.loads(place.inside("cat /run/cloud-init/status.json"))["v1"]
        assert status["stage"] is None
        print(suite, json.dumps(status))

        more = {"write_files": [{"path": "/etc/planted", "content": "two\n"}]}
        place.told(user_data=more, on_change="reseed")
        assert place.rows()["kvm.seed"]["impact"] == "live"
        place.apply("live")
        assert place.inside("cat /etc/planted") == "one"
        place.vinfra("stop", "ci-01")
        place.vinfra("start", "ci-01")
        deadline = time.monotonic() + 900
        while place.answer("cat /etc/planted") != "two":
            assert time.monotonic() < deadline
            time.sleep(3)
    finally:
        place.close()
