"""What is on a disk is never written over: neither by a plan, nor by a step that comes late, nor by a way back."""

from typing import Any

import pytest

from .conftest import Run
from .guest import Guest
from .test_disks import Only, every_byte, only, sectors

__all__ = ["only"]  # fixtures are found by their names here


THEIRS = {
    "mkfs.ext4 -q -L precious /dev/vdc": "/dev/vdc holds ext4 labelled precious",
    "mkfs.xfs -q /dev/vdc": "/dev/vdc holds xfs",
    "parted -s /dev/vdc mklabel gpt mkpart a 1MiB 100MiB": "/dev/vdc holds a GPT partition table with /dev/vdc1",
    "parted -s /dev/vdc mklabel gpt": "/dev/vdc holds a GPT partition table",
    "mkswap -q /dev/vdc": "/dev/vdc holds swap",
    "printf 'LUKS\\272\\276\\0\\1' | dd of=/dev/vdc status=none": "/dev/vdc holds crypto_LUKS",
    "dmsetup create lent --table '0 8192 linear /dev/vdc 0'": "/dev/vdc is used by /dev/mapper/lent",
    "mkfs.ext4 -q /dev/vdc; mkdir /m; mount -o ro /dev/vdc /m; "
    "dd if=/dev/zero of=/dev/vdc bs=64K count=1": "mounted on /m",
    "vgcreate -q theirs /dev/vdc": "/dev/vdc is a device of volume group theirs",
    "pvcreate -q /dev/vdc": "/dev/vdc is a physical volume of no group",
    "echo 'no signature, and precious' | dd of=/dev/vdc status=none": "/dev/vdc holds something: its first 4KiB",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_data_is_never_written_over(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    wish = only(
        volume_groups={"vg0": {"devices": ["/dev/vdd", "/dev/vdc"]}},
        filesystems={"/dev/vdc": "ext4"},
        logical_volumes={"vg0/x": "100%FREE"},
    )
    for made, said in THEIRS.items():
        guest.run(f"{made}; udevadm settle")
        before, written = every_byte(guest, "vdc"), sectors(guest)
        done = guest_vinfra("apply", wish, "--yes", "--max-impact", "data-loss", "--skip-refused", expect=3)
        assert said in done.stdout + done.stderr, f"{made}\n{done.stdout}{done.stderr}"
        assert sectors(guest) == written, made
        assert every_byte(guest, "vdc") == before, made
        guest.ssh(
            "umount /m; rmdir /m; dmsetup remove lent; vgremove -q theirs; pvremove -q /dev/vdc; "
            "wipefs -q -a /dev/vdc; dd if=/dev/zero of=/dev/vdc count=200"
        )
    guest.run("mkfs.ext4 -q -L data /dev/vdc; mkdir /m; mount /dev/vdc /m; echo precious >/m/x")
    done = guest_vinfra("apply", wish, "--yes", "--max-impact", "data-loss", expect=3)
    assert "/dev/vdc holds ext4 labelled data, 28KiB used, mounted on /m; take another one" in done.stdout + done.stderr
    assert guest.run("umount /m; fsck.ext4 -f -n /dev/vdc >&2; mount /dev/vdc /m; cat /m/x") == "precious\n"
    guest.run("cmp -n $(blockdev --getsize64 /dev/vdd) /dev/vdd /dev/zero")
    guest.ssh("umount /m; wipefs -q -a /dev/vdc; dd if=/dev/zero of=/dev/vdc count=200")
    guest.run("parted -s /dev/vdc mklabel gpt; dd if=/dev/zero of=/dev/vdc bs=512 count=34 conv=fsync; udevadm settle")
    before, copy = every_byte(guest, "vdc"), only(filesystems={"/dev/vdc": "ext4"})
    done = guest_vinfra("apply", copy, "--yes", expect=1)
    assert "may be the second copy of a partition table" in done.stdout + done.stderr
    assert every_byte(guest, "vdc") == before


# Asked the second time about a disk, by the script that is about to write: somebody was faster.
FASTER = """\
#!/bin/sh
for disk; do :; done
asked=/run/asked-${disk##*/}
if [ -e "$asked" ]; then mkfs.xfs -q "$disk"; sync; head -c 9M "$disk" | sha256sum >"$asked"; fi
: >>"$asked"
exec /usr/sbin/blkid "$@"
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nor_is_what_came_after_the_plan(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    guest.ssh("cat >/usr/local/sbin/blkid; chmod 755 /usr/local/sbin/blkid", stdin=FASTER)
    wish = only(
        volume_groups={"vg0": {"devices": ["/dev/vdb"]}}, filesystems={"/dev/vdc": "ext4"}, swap={"/dev/vdd": None}
    )
    done = guest_vinfra("apply", wish, "--yes", expect=1)
    assert (done.stdout + done.stderr).count("is not empty, and was when it was read") >= 3
    for disk in ("vdb", "vdc", "vdd"):
        assert guest.run(f"head -c 9M /dev/{disk} | sha256sum") == guest.run(f"cat /run/asked-{disk}")


# Somebody makes a volume of that name first, with data on it.
FIRST = """\
#!/bin/sh
/usr/sbin/lvcreate -q -L 16M -n x vg0 && echo precious | dd of=/dev/vg0/x bs=4096 seek=9 conv=fsync status=none
exec /usr/sbin/lvcreate "$@"
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nor_is_it_wiped_on_the_way_back(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    """What made a row fail is somebody else's, and the way back of that row leaves it alone."""
    for program, text in (("blkid", FASTER), ("lvcreate", FIRST)):
        guest.ssh(f"cat >/usr/local/sbin/{program}; chmod 755 /usr/local/sbin/{program}", stdin=text)
    guest.run("vgcreate -q vg0 /dev/vdb")
    wish = only(
        rollout={"on_failure": "rollback"},
        logical_volumes={"vg0/x": "32MiB"},
        filesystems={"/dev/vdc": "ext4"},
        swap={"/dev/vdd": None},
    )
    guest_vinfra("apply", wish, "--yes", expect=1)
    for disk in ("vdc", "vdd"):
        assert guest.run(f"head -c 9M /dev/{disk} | sha256sum") == guest.run(f"cat /run/asked-{disk}"), disk
    assert guest.run("dd if=/dev/vg0/x bs=4096 skip=9 count=1 status=none | head -c 8") == "precious"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_was_made_goes_on_the_way_back_and_can_be_made_again(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    parts: dict[str, Any] = {
        "volume_groups": {"vg0": {"devices": ["/dev/vdb"]}},
        "logical_volumes": {"vg0/data": "128MiB"},
        "filesystems": {"/dev/vg0/data": "ext4", "/dev/vdc": "xfs"},
        "mounts": {"/srv/data": "/dev/vg0/data"},
    }
    bad = {**parts, "mounts": {**parts["mounts"], "/srv/never": {"source": "/srv/nosuch", "options": ["bind"]}}}
    guest_vinfra("apply", only(rollout={"on_failure": "rollback"}, **bad), "--yes", expect=1)
    assert guest.run("lsblk -n -o NAME,FSTYPE,MOUNTPOINTS /dev/vdb /dev/vdc").split() == ["vdb", "vdc"]
    guest_vinfra("apply", only(**parts), "--yes")
    assert "nothing to do" in guest_vinfra("plan", only(**parts)).stdout
