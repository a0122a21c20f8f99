"""Firmware, TPM and the rest of a machine's board on real libvirt and QEMU; and what a host cannot do, said by plan."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.lab import Lab, LabHost, guest

from .conftest import ROOT, first, run_ssh

pytestmark = [pytest.mark.xdist_group("kvm"), pytest.mark.timeout(400)]

NVRAM = "/var/lib/libvirt/qemu/nvram"
EFI = {
    "image": "tiny",
    "memory": "192MiB",
    "cpu": 2,
    "firmware": "efi",
    "tpm": "tpm-crb",
    "topology": {"cores": 2},
    "cpu_model": "qemu64",
    "cpu_features": {"svm": "disable"},
    "pinning": {"cpus": {"0": "0"}, "emulator": "0-1"},
    "numa": [{"cpus": "0-1", "memory": "192MiB"}],
    "video": "virtio",
    "watchdog": {"model": "i6300esb", "action": "poweroff"},
    "networks": ["board"],
}
#: What nobody's host has, and what the row says of it.
LACKING: dict[str, tuple[dict[str, Any], str]] = {
    "machine": ({"machine": "pc-q35-99.0"}, "there is no machine type pc-q35-99.0 on this host; it has "),
    "model": ({"cpu_model": "Neahlem"}, "did you mean Nehalem?"),
    "mode": ({"cpu_model": "host-passthrough"}, "with TCG this host has no cpu_model host-passthrough; it has "),
    "lacks": ({"cpu_model": "Skylake-Server"}, "the CPU model Skylake-Server has what this host's CPU lacks"),
    "device": ({"devices": {"pci": ["00fe:fe:1f.7"]}}, ""),  # no IOMMU, or no such device
    "pages": ({"hugepages": "2MiB"}, "huge pages of 2MiB"),
    "cpus": ({"pinning": {"emulator": "4000"}}, "there is no CPU 4000 on this host; it has 0"),
    "kvm": ({"requires": ["kvm"]}, "kvm is needed, and on this host a guest was seen not to run with it"),
}


@dataclass(frozen=True)
class Place:
    """A hypervisor, and a blueprint of one host that is written anew for each step."""

    lab: Lab
    folder: Path
    image: guest.Image

    @property
    def host(self) -> LabHost:
        return first(self.lab)

    def sh(self, command: str) -> str:
        done = run_ssh(self.lab, self.host, command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def vinfra(self, *arguments: object, expect: int = 0) -> str:
        state = {"VINFRA_INVENTORY": str(self.lab.inventory), "VINFRA_STATE": str(self.folder / "state")}
        command = [sys.executable, "-m", "vinfra", *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **state}, cwd=ROOT, check=False, timeout=300
        )
        print(done.stdout)
        assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def blueprint(self, **domains: dict[str, Any]) -> Path:
        access = {"user": "root", "key_file": str(self.lab.key_file)}
        whole = {
            "blueprint": "board",
            "images": {"tiny": {"file": str(self.image.path), "sha256": self.image.sha256, "pool": "board"}},
            "hosts": {
                self.host.name: {
                    "pools": {"board": "/var/lib/libvirt/board"},
                    "networks": {"board": {"cidr": "192.168.157.0/24"}},
                    "domains": {
                        name: {"pool": "board", **fields, **({"access": access} if "image" in fields else {})}
                        for name, fields in domains.items()
                    },
                }
            },
        }
        file = self.folder / "board.yaml"
        file.write_text(yaml.safe_dump(whole))
        return file

    def refusal(self, file: Path, name: str) -> str:
        rows = json.loads(self.vinfra("plan", file, "--json", expect=2))["changes"]
        row = next(row for row in rows if (row["kind"], row["name"]) == ("kvm.domain", name))
        assert row["verdict"] == "refused", row
        return str(row["reason"])


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Whatever was made goes again."""
    made = Place(request.getfixturevalue(getattr(request, "param", "kvm_lab")), tmp_path, guest.image(print))
    made.sh("mkdir -p /var/lib/vinfra; printf 'accelerator=tcg\\n' >/var/lib/vinfra/accelerator")
    try:
        yield made
    finally:
        made.vinfra("destroy", made.blueprint(), "--yes", "--max-impact", "data-loss")
        made.sh("rm -f /var/lib/vinfra/accelerator")


BOTH = pytest.mark.parametrize(
    "place", ["kvm_lab", pytest.param("kvm_trixie_lab", marks=pytest.mark.slow)], ids=["12", "13"], indirect=True
)


@pytest.mark.slow
@BOTH
def test_a_system_starts_from_efi_which_keeps_its_variables(place: Place) -> None:
    """It is changed and restarted, and the file that its variables are in is still the same one."""
    place.vinfra("apply", place.blueprint(efi=EFI), "--yes")
    assert "nothing to do" in place.vinfra("plan", place.blueprint(efi=EFI))
    seen = place.vinfra("ssh", "efi", "ls -d /sys/firmware/efi /sys/bus/pci/devices/*/virtio*; nproc")
    assert "/sys/firmware/efi" in seen
    assert seen.split()[-1] == "2"
    assert "tpm2" in place.sh("find /var/lib/libvirt/swtpm")
    inode = place.sh(f"stat -c %i {NVRAM}/efi_VARS.fd")
    written = place.sh(f"cmp {NVRAM}/efi_VARS.fd /usr/share/OVMF/OVMF_VARS_4M.fd || true")
    assert "differ" in written

    more = {**EFI, "memory": "256MiB", "numa": [{"cpus": "0-1", "memory": "256MiB"}], "video": "vga"}
    told = place.vinfra("apply", place.blueprint(efi=more), "--yes")
    assert "restart" in told
    assert "nothing to do" in place.vinfra("plan", place.blueprint(efi=more))
    assert place.sh(f"stat -c %i {NVRAM}/efi_VARS.fd") == inode
    assert "differ" in place.sh(f"cmp {NVRAM}/efi_VARS.fd /usr/share/OVMF/OVMF_VARS_4M.fd || true")
    assert place.vinfra("ssh", "efi", "ls -d /sys/firmware/efi").split() == ["/sys/firmware/efi"]

    other = {**more, "firmware": "bios"}
    assert "firmware: a system is installed for one firmware" in place.refusal(place.blueprint(efi=other), "efi")
    place.vinfra("apply", place.blueprint(efi=other), "--yes", expect=3)
    assert "OVMF_CODE" in place.sh("virsh dumpxml efi")


@BOTH
def test_secure_boot_is_firmware_that_can_with_keys_in_it(place: Place) -> None:
    machine = {"memory": "128MiB", "firmware": "efi", "secure_boot": True, "tpm": "tpm-tis"}
    place.vinfra("apply", place.blueprint(sec=machine), "--yes")
    xml = place.sh("virsh dumpxml sec")
    assert "secure='yes'" in xml
    assert "OVMF_VARS_4M.ms.fd" in xml
    assert "nothing to do" in place.vinfra("plan", place.blueprint(sec=machine))
    other = {**machine, "secure_boot": False}
    assert "secure_boot: " in place.refusal(place.blueprint(sec=other), "sec")
    stopped = {**machine, "power": "stopped"}
    place.sh("virsh destroy sec")
    assert "nothing to do" in place.vinfra("plan", place.blueprint(sec=stopped))


@BOTH
def test_what_this_host_cannot_do_is_refused_by_the_plan(place: Place) -> None:
    there = place.sh("virsh list --all --name")
    asked = {f"no-{name}": {"memory": "128MiB", **fields} for name, (fields, _) in LACKING.items()}
    rows = json.loads(place.vinfra("plan", place.blueprint(**asked), "--json", expect=2))["changes"]
    told = {row["name"]: (row["verdict"], row["reason"]) for row in rows if row["kind"] == "kvm.domain"}
    for name, (_, says) in LACKING.items():
        verdict, reason = told[f"no-{name}"]
        assert verdict == "refused", name
        assert says in reason
    assert f"{len(LACKING)} refused" in place.vinfra("plan", place.folder / "board.yaml", expect=2)
    place.vinfra("apply", place.folder / "board.yaml", "--yes", expect=3)
    assert place.sh("virsh list --all --name") == there


def test_what_a_package_would_bring_is_missed_by_the_plan(place: Place) -> None:
    machine = {"memory": "128MiB", "tpm": "tpm-crb"}
    place.sh("mv /usr/bin/swtpm /usr/bin/swtpm.away")
    try:
        assert "there is no swtpm on this host" in place.refusal(place.blueprint(tpm=machine), "tpm")
    finally:
        place.sh("mv /usr/bin/swtpm.away /usr/bin/swtpm")
    place.sh("mv /usr/share/qemu/firmware /usr/share/qemu/firmware.away; mkdir /usr/share/qemu/firmware")
    try:
        machine = {"memory": "128MiB", "firmware": "efi"}
        assert "there is no EFI firmware on this host" in place.refusal(place.blueprint(efi=machine), "efi")
    finally:
        place.sh("rmdir /usr/share/qemu/firmware; mv /usr/share/qemu/firmware.away /usr/share/qemu/firmware")
