"""A volume group as a pool, on a machine with a kernel and disks of its own: from blank disks to a disk that grows."""

import json
from pathlib import Path
from typing import Any

import pytest

from vinfra.lab import guest as tiny

from .conftest import Run, blueprint, changes
from .guest import Guest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MIB = 1 << 20


def test_volumes_in_a_volume_group(guest: Guest, guest_vinfra: Run, tmp_path: Path) -> None:
    """The group comes before its pool, in one apply with the hypervisor itself."""
    image = tiny.image(print)
    images = {"tiny": {"file": str(image.path), "sha256": image.sha256, "pool": "files"}}
    volumes: dict[str, Any] = {
        "copy": {"image": "tiny", "clone": "copy", "format": "raw", "pool": "vg"},
        "data": {"size": "30MiB", "format": "raw", "pool": "vg"},
    }
    host: dict[str, Any] = {
        "volume_groups": {"vg0": {"devices": ["/dev/vdb"]}},
        "hypervisor": {"kind": "kvm"},
        "pools": {"files": "/srv/files", "vg": {"type": "logical", "volume_group": "vg0"}},
        "volumes": volumes,
        "domains": {
            "lv-01": {"memory": "32MiB", "disks": {"data": {"volume": "data"}}, "serial": False, "agent": False}
        },
    }

    def told() -> Path:
        return blueprint(tmp_path, {"guest": host}, images=images)

    def rows() -> dict[str, dict[str, Any]]:
        return {
            f"{row['kind']}:{row['name']}": row for row in changes(guest_vinfra("plan", told(), "--json", expect=2))
        }

    def seen() -> int:
        """The size of the disk as QEMU has it."""
        command = """virsh qemu-monitor-command lv-01 '{"execute": "query-block"}'"""
        blocks = json.loads(guest.run(command))["return"]
        return int(next(block for block in blocks if "inserted" in block)["inserted"]["image"]["virtual-size"])

    guest_vinfra("apply", told(), "--yes")
    assert "nothing to do" in guest_vinfra("plan", told()).stdout
    own = guest.run("qemu-img convert -O raw /srv/files/tiny-*.qcow2 /srv/tiny.raw; stat -c %s /srv/tiny.raw").strip()
    guest.run(f"cmp -n {own} /srv/tiny.raw /dev/vg0/copy")
    assert seen() == 32 * MIB
    # All of it is its own: a sparse one would be lost when more is written than was allocated.
    assert set(guest.run("lvs --noheadings -o lv_layout vg0").split()) == {"linear"}
    run = guest.run("virsh domstats --state lv-01; cat /run/libvirt/qemu/lv-01.pid")
    volumes["data"]["size"] = "50MiB"
    row = rows()["kvm.volume:data"]
    assert (row["impact"], row["verdict"]) == ("live", "ok")
    guest_vinfra("apply", told(), "--yes", "--max-impact", "live")
    assert seen() == 52 * MIB
    assert guest.run("virsh domstats --state lv-01; cat /run/libvirt/qemu/lv-01.pid") == run
    assert "nothing to do" in guest_vinfra("plan", told()).stdout
    # While nobody runs on it; then less, too much, another format, and by hand.
    volumes["copy"]["size"] = f"{(int(own) // MIB // 4 + 5) * 4}MiB"
    guest_vinfra("apply", told(), "--yes")
    assert "nothing to do" in guest_vinfra("plan", told()).stdout
    guest.run(f"cmp -n {own} /srv/tiny.raw /dev/vg0/copy")
    volumes["data"]["size"] = "20MiB"
    volumes["huge"] = {"size": "2TiB", "format": "raw", "pool": "vg"}
    volumes["odd"] = {"size": "20MiB", "pool": "vg"}
    volumes["stray"] = {"size": "20MiB", "format": "raw", "pool": "vg"}
    guest.run("lvcreate -qq -L 8M -n stray vg0")
    refused = {name: row["reason"] for name, row in rows().items() if row["verdict"] == "refused"}
    assert "lost" in refused["kvm.volume:data"]
    assert "pool vg has only" in refused["kvm.volume:huge"]
    assert "say format: raw" in refused["kvm.volume:odd"]
    assert "libvirt does not know of the file /dev/vg0/stray" in refused["kvm.volume:stray"]
    for name in ("huge", "odd", "stray"):
        volumes.pop(name)
    volumes["data"]["size"] = "50MiB"
    volumes["copy"] = "absent"
    guest_vinfra("apply", told(), "--yes", "--max-impact", "data-loss")
    assert guest.run("lvs --noheadings -o lv_name vg0").split() == ["data", "stray"]
