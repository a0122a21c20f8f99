"""A host becomes a hypervisor: its daemon, a guest that is seen to run, and a seed that a machine would find."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from vinfra.lab import Lab, LabHost

from .conftest import Run, Ssh, blueprint, changes

NOTE = "/var/lib/vinfra/accelerator"
LIBVIRTD = "libvirtd.service libvirtd.socket libvirtd-ro.socket"


@pytest.fixture
def site(kvm_lab: Lab, vinfra: Run, tmp_path: Path) -> Iterator[Path]:
    """A blueprint of one hypervisor, applied, and taken away again."""
    seed = {"pool": "seeds", "user": "root", "public_key": "ssh-ed25519 AAAA", "user_data": {"packages": ["htop"]}}
    hosts = {
        "hypervisor": {"kind": "kvm", "acceleration": "off"},
        "pools": {"seeds": "/var/lib/libvirt/seeds"},
        "seeds": {"web-01/seed": seed},
    }
    file = blueprint(tmp_path, {"all": hosts})
    vinfra("apply", file, "--yes", machines=kvm_lab.inventory)
    try:
        yield file
    finally:
        vinfra("destroy", file, "--yes", machines=kvm_lab.inventory)


def test_a_hypervisor_is_one_after_the_first_apply(
    site: Path, kvm_lab: Lab, kvm_host: LabHost, vinfra: Run, ssh: Ssh
) -> None:
    assert "nothing to do" in vinfra("plan", site, machines=kvm_lab.inventory).stdout
    noted = dict(line.split("=", 1) for line in ssh(kvm_host, f"cat {NOTE}", of=kvm_lab).stdout.splitlines())
    assert (noted["accelerator"], noted["wish"]) == ("tcg", "off")
    image = base64.b64decode(ssh(kvm_host, "base64 /var/lib/libvirt/seeds/web-01-seed.iso", of=kvm_lab).stdout)
    assert image[32808:32814] == b"cidata"
    assert b"packages:\n- htop\n" in image


def test_a_daemon_stopped_by_hand_is_started(
    site: Path, kvm_lab: Lab, kvm_host: LabHost, vinfra: Run, ssh: Ssh
) -> None:
    ssh(kvm_host, f"systemctl stop {LIBVIRTD}", of=kvm_lab)
    rows = {row["kind"]: row for row in changes(vinfra("plan", site, "--json", expect=2, machines=kvm_lab.inventory))}
    assert (rows["kvm.hypervisor"]["action"], rows["kvm.hypervisor"]["impact"]) == ("update", "live")
    assert [field["path"] for field in rows["kvm.hypervisor"]["fields"]] == ["daemon"]
    assert rows["kvm.seed"]["verdict"] == "later"
    vinfra("apply", site, "--yes", machines=kvm_lab.inventory)
    assert "nothing to do" in vinfra("plan", site, machines=kvm_lab.inventory).stdout


def test_another_kernel_or_wish_is_tried_with_a_guest_again(
    site: Path, kvm_lab: Lab, kvm_host: LabHost, vinfra: Run, ssh: Ssh
) -> None:
    """Where KVM only seems to work, as in many labs, the guest does not come to its end in time."""
    ssh(kvm_host, f"sed -i s/^kernel=.*/kernel=6.1.0-1/ {NOTE}", of=kvm_lab)
    (row,) = changes(vinfra("plan", site, "--json", expect=2, machines=kvm_lab.inventory))
    assert (row["action"], row["verdict"], row["impact"]) == ("check", "ok", "none")
    site.write_text(site.read_text().replace("acceleration: 'off'", "acceleration: preferred"))
    outcome = json.loads(vinfra("apply", site, "--yes", "--json", machines=kvm_lab.inventory).stdout)
    assert [item["status"] for item in outcome["outcomes"]] == ["done"]
    noted = ssh(kvm_host, f"cat {NOTE}", of=kvm_lab).stdout
    assert "wish=preferred" in noted
    assert ("accelerator=kvm" in noted) != ("did not count" in noted or "no /dev/kvm" in noted or "kvm:" in noted)
    assert "nothing to do" in vinfra("plan", site, machines=kvm_lab.inventory).stdout
