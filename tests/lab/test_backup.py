"""A machine that runs is saved, and made again from that; snapshots are taken, gone back to, deleted: on real QEMU."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.lab import Lab, LabHost, guest

from .conftest import ROOT, run_ssh

pytestmark = [pytest.mark.xdist_group("kvm"), pytest.mark.timeout(400)]

POOL = "/var/lib/libvirt/saved"
BOOT = "cat /proc/sys/kernel/random/boot_id"
# The raw disk holds no file system: what is on it is written and read as bytes.
WRITE = "echo {0} >/root/mark; sync; echo {0} | dd of=/dev/vdb bs=512 conv=sync,fsync 2>/dev/null"
READ = "cat /root/mark; dd if=/dev/vdb bs=8 count=1 2>/dev/null | head -n 1"
GUEST, IDLE = "sv-01", "sv-02"


@dataclass
class Place:
    """One hypervisor with one machine: a disk that stands on an image, a raw one beside it, a seed."""

    lab: Lab
    host: LabHost
    folder: Path
    image: guest.Image
    key: Path

    def __post_init__(self) -> None:
        self.common = {"memory": "128MiB", "image": "tiny", "machine": "pc", "pool": "saved", "agent": False}
        self.idle = {**self.common, "disks": {"root": "512MiB"}, "cloud_init": {}}
        self.idle |= {"power": "stopped", "autostart": False}

    def sh(self, command: str) -> str:
        done = run_ssh(self.lab, self.host, command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        variables = {"VINFRA_INVENTORY": str(self.lab.inventory), "VINFRA_STATE": str(self.folder / "state")}
        command = [sys.executable, "-m", "vinfra", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **variables}, cwd=ROOT)

    def vinfra(self, *arguments: object, expect: int = 0) -> str:
        run = self.start(*arguments)
        out, err = run.communicate(timeout=200)
        assert run.returncode == expect, f"{arguments}\n{out}\n{err}"
        return out + err

    def inside(self, command: str, name: str = GUEST) -> str:
        return self.vinfra("ssh", name, command)

    def blueprint(self, **domains: Any) -> Path:
        """The machine, and one that is down, so that the image has a user; `domains` laid over them."""
        access = {"user": "root", "key_file": str(self.key)}
        disks = {"root": "512MiB", "data": {"size": "64MiB", "format": "raw"}}
        machine = {**self.common, "disks": disks, "networks": ["quick"], "access": access}
        hosts = {
            "pools": {"saved": POOL},
            "networks": {"quick": {"cidr": "192.168.171.0/24"}},
            "domains": {name: one for name, one in {GUEST: machine, IDLE: self.idle, **domains}.items() if one},
        }
        image = {"file": str(self.image.path), "sha256": self.image.sha256, "pool": "saved"}
        whole = {"blueprint": "saved", "images": {"tiny": image}, "hosts": {self.host.name: hosts}}
        file = self.folder / "saved.yaml"
        file.write_text(yaml.safe_dump(whole, sort_keys=False))
        return file

    def snapshots(self, name: str) -> list[str]:
        """The names, oldest first."""
        return [one["name"] for one in json.loads(self.vinfra("snapshot", "list", name, "--json"))["snapshots"]]

    def settled(self) -> None:
        assert "nothing to do" in self.vinfra("plan", self.blueprint())

    def files(self) -> list[str]:
        return self.sh(f"ls {POOL}; virsh -q vol-list saved | awk '{{print $1}}'").split()

    def answers(self, name: str = GUEST) -> None:
        deadline = time.monotonic() + 60
        while True:
            with self.start("ssh", name, "true") as run:
                run.communicate()
            if run.returncode == 0:
                return
            assert time.monotonic() < deadline
            time.sleep(0.5)


@pytest.fixture(scope="module")
def place(kvm_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The base, applied: one guest that answers (about 15 s)."""
    host = next(iter(kvm_lab.hosts.values()))
    made = Place(kvm_lab, host, tmp_path_factory.mktemp("backup"), guest.image(print), kvm_lab.key_file)
    try:
        made.vinfra("apply", made.blueprint(), "--yes")
        yield made
    finally:
        made.vinfra("destroy", made.blueprint(), "--yes", "--max-impact", "data-loss")


def test_a_machine_is_saved_while_it_runs_and_is_made_again_as_it_was(place: Place, tmp_path: Path) -> None:
    place.inside(WRITE.format("before"))
    boot, there = place.inside(BOOT), place.files()
    folder = tmp_path / "saved"
    told = place.vinfra("backup", GUEST, "--to", folder)
    assert "as a power cut would leave it" in told
    assert place.inside(BOOT) == boot
    assert place.files() == there
    assert {item.stat().st_mode & 0o777 for item in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(item.name for item in folder.iterdir()) == [
        "domain.xml",
        "manifest.json",
        "vda.qcow2",
        "vdb.qcow2",
        "vdc.raw",
    ]
    assert "is there already" in place.vinfra("backup", GUEST, "--to", folder, expect=1)
    refused = f"there is a machine {GUEST} on {place.host.name} already"
    assert refused in place.vinfra("restore", folder, expect=3)
    place.inside(WRITE.format("after"))
    place.vinfra("apply", place.blueprint(**{GUEST: None}), "--yes", "--max-impact", "data-loss")
    assert GUEST not in place.sh("virsh list --all --name")
    assert not [name for name in place.files() if name.startswith(GUEST)]

    broken(place, folder)
    told = place.vinfra("restore", folder, "--start")
    assert f"{GUEST} is on {place.host.name} as it was at" in told
    assert sorted(place.files()) == sorted(there)
    assert "raw" in place.sh(f"qemu-img info -U {POOL}/{GUEST}-data.raw")
    place.answers()
    assert place.inside(READ).split() == ["before", "before"]
    place.settled()


def test_a_copy_is_a_machine_of_its_own_that_is_nobodys(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    place.inside(WRITE.format("copied"))
    place.vinfra("backup", GUEST, "--to", folder)
    place.sh("virsh -q vol-create-as saved cp-01-data.raw 1M --format raw")
    assert "cp-01-data.raw already" in place.vinfra("restore", folder, "--as", "cp-01", expect=3)
    place.sh("virsh -q vol-delete cp-01-data.raw saved")
    try:
        place.vinfra("restore", folder, "--as", "cp-01")
        told = "virsh dumpxml --inactive {} | grep -oE \"<uuid>.*|mac address='.*'|vinfra:\\w+\""
        copy, own = (set(place.sh(told.format(name)).split()) for name in ("cp-01", GUEST))
        assert "vinfra:owner" in own
        assert not copy & own - {"address='", "mac"}
        assert place.sh("virsh domstate cp-01") == "shut off"
        raw = place.sh(f"head -c 6 {POOL}/cp-01-data.raw")
        assert raw == "copied"
        place.settled()
        [row] = [
            row
            for row in json.loads(place.vinfra("status", "--json"))["hosts"][0]["machines"]
            if row["name"] == "cp-01"
        ]
        assert not row["blueprint"]
    finally:
        place.sh("virsh -q undefine cp-01 --storage vda,vdb,vdc --managed-save || true")


def test_a_machine_that_is_down_is_copied_and_one_that_cannot_be_saved_says_why(place: Place, tmp_path: Path) -> None:
    there = place.files()
    told = place.vinfra("backup", IDLE, "--to", tmp_path / "idle")
    assert "while it was down" in told
    disk, _ = json.loads((tmp_path / "idle" / "manifest.json").read_text())["backup"]["disks"]
    assert disk["backing"].startswith(f"{POOL}/tiny-")
    assert place.files() == there
    assert "folder above" in place.vinfra("backup", IDLE, "--to", tmp_path / "no" / "where", expect=1)
    place.sh(
        f"cp {POOL}/{IDLE}-root.qcow2 /root/stray.qcow2; virsh -q attach-disk {IDLE} /root/stray.qcow2 vdx --config"
    )
    assert "vdx is /root/stray.qcow2, which is in no pool" in place.vinfra(
        "backup", IDLE, "--to", tmp_path / "x", expect=3
    )
    assert sorted(item.name for item in tmp_path.iterdir()) == ["idle"]
    place.sh(f"virsh -q detach-disk {IDLE} vdx --config; rm /root/stray.qcow2")


def test_a_backup_that_is_killed_is_none_and_the_next_one_clears_up(place: Place, tmp_path: Path) -> None:
    there, boot = place.files(), place.inside(BOOT)
    folder = tmp_path / "saved"
    with place.start("backup", GUEST, "--to", folder) as run:
        assert run.stderr is not None
        while "vdb.qcow2:" not in run.stderr.readline():
            pass
        run.send_signal(signal.SIGKILL)
    assert [item.name for item in tmp_path.iterdir()] == ["saved.part"]
    assert "vinfra-backup-" in place.sh(f"ls {POOL}")
    assert "cut off" in place.vinfra("restore", tmp_path / "saved.part", expect=1)
    place.vinfra("backup", GUEST, "--to", folder)
    assert [item.name for item in tmp_path.iterdir()] == ["saved"]
    assert place.files() == there
    assert place.inside(BOOT) == boot


def test_a_snapshot_is_gone_back_to_and_deleted(place: Place) -> None:
    assert "vdb is raw" in place.vinfra("snapshot", "create", GUEST, expect=3)
    told = place.vinfra("snapshot", "create", IDLE, "--name", "clean")
    assert f"Took clean of {IDLE}" in told
    assert "already" in place.vinfra("snapshot", "create", IDLE, "--name", "clean", expect=3)
    assert "clean" in place.vinfra("snapshot", "list", IDLE)
    assert "none" in place.vinfra("snapshot", "list", GUEST)
    place.settled()
    place.sh(f"virsh -q start {IDLE}")
    running = place.vinfra("snapshot", "create", IDLE, "--name", "run ning & more")
    assert "run ning & more" in running
    [first, second] = json.loads(place.vinfra("snapshot", "list", IDLE, "--json"))["snapshots"]
    assert (first["state"], second["state"], second["memory"]) == ("shutoff", "running", True)
    assert "nobody to answer" in place.vinfra("snapshot", "revert", IDLE, "clean", expect=1)
    assert "did you mean clean?" in place.vinfra("snapshot", "revert", IDLE, "claen", "--yes", expect=1)
    place.vinfra("snapshot", "revert", IDLE, "clean", "--yes")
    assert place.sh(f"virsh domstate {IDLE}") == "shut off"
    place.settled()
    place.vinfra("snapshot", "revert", IDLE, "run ning & more", "--yes")
    assert place.sh(f"virsh domstate {IDLE}") == "running"
    place.sh(f"virsh -q destroy {IDLE}")
    for name in ("clean", "run ning & more"):
        place.vinfra("snapshot", "delete", IDLE, name, "--yes")
    assert "none" in place.vinfra("snapshot", "list", IDLE)
    place.settled()


def test_a_timer_of_the_host_takes_snapshots_and_keeps_so_many(place: Place) -> None:
    """vinfra is away meanwhile; what it did not take it does not delete."""
    place.vinfra("snapshot", "create", IDLE, "--name", "mine")
    cared = {**place.idle, "snapshots": {"schedule": "daily 02:00", "keep": 2}, "snapshot_before": "restart"}
    place.vinfra("apply", place.blueprint(**{IDLE: cared}), "--yes")
    assert "nothing to do" in place.vinfra("plan", place.blueprint(**{IDLE: cared}))
    assert f"vinfra-snapshot-{IDLE}.timer" in place.sh("systemctl list-timers --no-pager")
    for _ in range(3):
        place.sh(f"systemctl start vinfra-snapshot-{IDLE}.service; sleep 1.1")
    names = place.snapshots(IDLE)
    assert names[0] == "mine"
    assert [name.startswith("vinfra-2") for name in names[1:]] == [True, True]

    grown = {**cared, "power": "running", "autostart": False}
    place.vinfra("apply", place.blueprint(**{IDLE: grown}), "--yes")
    assert place.snapshots(IDLE) == names  # to start it costs nothing
    told = place.vinfra("apply", place.blueprint(**{IDLE: {**grown, "cpu": 2}}), "--yes")
    assert "restart" in told
    assert [name for name in place.snapshots(IDLE) if name.startswith("vinfra-before-")], place.snapshots(IDLE)
    assert place.sh(f"virsh domstate {IDLE}; virsh vcpucount {IDLE} --live --active").split() == ["running", "2"]
    assert "nothing to do" in place.vinfra("plan", place.blueprint(**{IDLE: {**grown, "cpu": 2}}))

    place.sh(f"virsh -q destroy {IDLE}")
    place.vinfra("apply", place.blueprint(), "--yes")
    assert not place.sh("ls /usr/local/sbin")
    assert "mine" in place.snapshots(IDLE)
    for name in place.snapshots(IDLE):
        place.vinfra("snapshot", "delete", IDLE, name, "--yes")


def broken(place: Place, folder: Path) -> None:
    """One byte that is another one, a file that is gone, a manifest that was meddled with: refused, nothing touched."""
    before = place.files()
    disk = folder / "vda.qcow2"
    with disk.open("r+b") as file:
        file.seek(disk.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    assert "vda.qcow2 is not as it was written" in place.vinfra("restore", folder, expect=3)
    with disk.open("r+b") as file:
        file.seek(disk.stat().st_size // 2)
        file.write(byte)
    disk.rename(folder / "away")
    assert "not whole" in place.vinfra("restore", folder, expect=3)
    (folder / "away").rename(disk)
    manifest = folder / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace(f"{GUEST}-data", f"{GUEST}-other"))
    assert "cannot be trusted" in place.vinfra("restore", folder, expect=3)
    manifest.write_text(text)
    assert place.files() == before
