"""Volume groups, volumes, file systems, swap areas and mounts on a machine with a kernel and disks of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run, blueprint, changes
from .guest import Guest

MIB = 1 << 20
WHOLE: dict[str, Any] = {
    "volume_groups": {"vg0": {"devices": ["/dev/vdb"]}},
    "logical_volumes": {"vg0/data": "128MiB", "vg0/fast": "320MiB", "vg0/swap": "100%FREE"},
    "filesystems": {"/dev/vg0/data": {"type": "ext4", "label": "data"}, "/dev/mapper/vg0-fast": "xfs"},
    "swap": {"/swapfile": {"size": "16MiB", "priority": 5}, "/dev/vg0/swap": None},
    "mounts": {
        "/srv/data": {"source": "/dev/vg0/data", "passno": 2},
        "/srv/fast": {"source": "/dev/vg0/fast", "options": ["noatime"]},
        "/srv/view": {"source": "/srv/data", "options": ["bind", "ro"]},
    },
    "directories": {"/srv/data/in": {"mode": "0750"}},
    "files": {"/srv/data/in/x": {"content": "x"}},
}
Only = Callable[..., Path]


@pytest.fixture
def only(tmp_path: Path) -> Only:
    """A blueprint of the guest."""

    def made(**sections: Any) -> Path:
        return blueprint(tmp_path, {"guest": sections})

    return made


def sectors(guest: Guest) -> str:
    """How many were written to each disk since it is there."""
    return guest.run("sync; awk '{print $7}' /sys/block/vd[bcd]/stat")


def every_byte(guest: Guest, *disks: str) -> str:
    """A sum over all of each disk, as it is there and not as a cache has it."""
    return guest.run(f"sync; echo 3 >/proc/sys/vm/drop_caches; cd /dev; sha256sum {' '.join(disks)}")


@pytest.mark.timeout(300)
def test_a_blank_disk_becomes_files_and_one_with_data_stays(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    """The short of all that follows, for every run of the tests."""
    guest.run("mkfs.xfs -q -L precious /dev/vdc")
    count = "sync; cat /sys/block/vdc/stat"
    written = guest.run(count).split()[6]
    file = only(
        volume_groups={"vg0": {"devices": ["/dev/vdb"]}},
        logical_volumes={"vg0/data": "128MiB"},
        filesystems={"/dev/vg0/data": "ext4", "/dev/vdc": "ext4"},
        mounts={"/srv/data": "/dev/vg0/data"},
    )
    done = guest_vinfra("apply", file, "--yes", "--max-impact", "data-loss", "--skip-refused", expect=3)
    assert "/dev/vdc holds xfs labelled precious" in done.stdout + done.stderr
    rows = changes(guest_vinfra("plan", file, "--json", expect=2))
    assert [row["name"] for row in rows if row["verdict"] != "refused" and row["action"] != "noop"] == []
    assert guest.run("findmnt -n -o FSTYPE,SOURCE /srv/data").split() == ["ext4", "/dev/mapper/vg0-data"]
    assert guest.run(count).split()[6] == written


def from_nothing(guest: Guest, vinfra: Run, file: Path) -> None:
    table = guest.run("cat /etc/fstab")
    vinfra("apply", file, "--yes")
    assert "nothing to do" in vinfra("plan", file).stdout
    assert guest.run("cat /etc/fstab").startswith(table)
    guest.run("findmnt --verify")
    assert guest.run("findmnt -n -o LABEL,FSTYPE /srv/data; findmnt -n -o FSTYPE /srv/fast").split() == [
        *("data", "ext4", "xfs")
    ]
    assert guest.run("swapon --noheadings --show=NAME,PRIO | sort -k 1.1,1.6").split()[-2:] == ["/swapfile", "5"]
    assert guest.run("stat -c %a /swapfile /srv/data/in").split() == ["600", "750"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_from_a_blank_disk_to_files_in_one_apply_and_over_a_reboot(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    file = only(**WHOLE)
    from_nothing(guest, guest_vinfra, file)
    guest.reboot()
    assert "nothing to do" in guest_vinfra("plan", file).stdout
    assert guest.run("cat /srv/view/in/x; systemctl --failed --quiet") == "x"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_on_trixie(guest_trixie: Guest, guest_vinfra: Run, only: Only) -> None:
    from_nothing(guest_trixie, guest_vinfra, only(**WHOLE))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_grows_from_the_disk_up_while_it_is_in_use(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    parts = ("volume_groups", "filesystems", "mounts")
    base = {**{part: WHOLE[part] for part in parts}, "logical_volumes": {"vg0/data": "128MiB", "vg0/fast": "320MiB"}}
    guest_vinfra("apply", only(**base), "--yes")
    guest.run("cd /srv/data && (setsid sleep 600 >/dev/null 2>&1 &); echo kept >/srv/fast/x")
    more = {
        **base,
        "volume_groups": {"vg0": {"devices": ["/dev/vdb", "/dev/vdc"]}},
        "logical_volumes": {"vg0/data": "256MiB", "vg0/fast": "100%FREE"},
    }
    rows = {row["name"]: row for row in changes(guest_vinfra("plan", only(**more), "--json", expect=2))}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "vg0": "ok",
        **dict.fromkeys(("vg0/data", "vg0/fast", "/dev/vg0/data", "/dev/mapper/vg0-fast"), "later"),
    }
    assert {row["impact"] for row in rows.values()} == {"live"}
    guest_vinfra("apply", only(**more), "--yes")
    assert "nothing to do" in guest_vinfra("plan", only(**more)).stdout
    data, fast = (
        int(size) for size in guest.run("for at in data fast; do findmnt -b -n -o SIZE /srv/$at; done").split()
    )
    assert data > 200 * MIB
    assert fast > 380 * MIB
    assert guest.run("cat /srv/fast/x") == "kept\n"
    less = {**more, "logical_volumes": {"vg0/data": "100MiB", "vg0/fast": "100%FREE"}}
    done = guest_vinfra("apply", only(**less), "--yes", expect=3)
    assert "gets no smaller here: what is on it would be lost" in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_device_by_a_name_that_stays_goes_to_one_object(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    names = {disk: guest.run(f"find /dev/disk -lname '*/{disk}' | head -n 1").strip() for disk in ("vdb", "vdc", "vdd")}
    assert all(names.values())
    group, whole, area = names.values()
    parts: dict[str, Any] = {
        "volume_groups": {"vg0": {"devices": [group]}},
        "filesystems": {whole: "ext4"},
        "swap": {area: None},
        "mounts": {"/srv/data": whole},
    }
    for others, said in (
        ({"volume_groups": {**parts["volume_groups"], "vg1": {"devices": ["/dev/vdb"]}}}, "volume_group:vg"),
        ({"filesystems": {whole: "ext4", "/dev/vdb": "xfs"}}, "wanted by volume_group:vg0 too"),
        ({"swap": {area: None, "/dev/vdc": None}}, f"wanted by filesystem:{whole} too"),
        ({"logical_volumes": {"vg0/x": "10GiB"}}, "have 512MiB, and its volumes need 10GiB"),
    ):
        done = guest_vinfra("apply", only(**{**parts, **others}), "--yes", expect=3)
        assert said in done.stdout + done.stderr
    assert guest.run("lsblk -n -o NAME,FSTYPE /dev/vdb /dev/vdc /dev/vdd").split() == ["vdb", "vdc", "vdd"]
    parts["logical_volumes"] = {"vg0/x": "300MiB", "vg0/y": "64MiB"}
    guest_vinfra("apply", only(**parts), "--yes")
    assert "nothing to do" in guest_vinfra("plan", only(**parts)).stdout
    more = {**parts, "logical_volumes": {"vg0/x": "350MiB", "vg0/y": "200MiB"}}
    done = guest_vinfra("apply", only(**more), "--yes", expect=3)
    assert "and the other volumes of this plan" in done.stdout + done.stderr
    guest_vinfra("destroy", only(**parts), "--yes", "--max-impact", "data-loss")
    guest_vinfra("apply", only(**parts), "--yes")  # what was destroyed is empty


# The first time it ends before the act, the second time after it, and the shell that runs it with it: no power.
DEADLY = """\
#!/bin/sh
case {program}:"$*" in mount:*/srv/data) ;; mount:*) exec {path} "$@";; esac
run=/run/deadly-{program}
if [ ! -e $run ]; then
echo before >$run
[ {program} != vgcreate ] || pvcreate -q /dev/vdb
elif [ "$(cat $run)" = before ]; then
echo after >$run
{path} "$@"
else
exec {path} "$@"
fi
kill -9 $PPID
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_what_is_cut_off_is_done_by_the_next_run(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    file = only(
        volume_groups={"vg0": {"devices": ["/dev/vdb"]}},
        logical_volumes={"vg0/data": "128MiB"},
        filesystems={"/dev/vg0/data": "ext4"},
        mounts={"/srv/data": "/dev/vg0/data"},
        swap={"/swapfile": "16MiB"},
    )
    programs = ("vgcreate", "lvcreate", "mkfs.ext4", "mount", "mkswap", "swapon")
    for program in programs:
        path, place = guest.run(f"command -v {program}").strip(), f"/usr/local/sbin/{program}"
        guest.ssh(f"cat >{place}; chmod 755 {place}", stdin=DEADLY.format(program=program, path=path))
    for _ in range(12):
        try:
            guest_vinfra("apply", file, "--yes")
            break
        except AssertionError as cut:
            assert any(word in str(cut) for word in ("Killed", "exit status 137", "SSH connection failed")), cut
            assert "refused" not in str(cut)
    assert "nothing to do" in guest_vinfra("plan", file).stdout
    assert guest.run("grep -c nofail /etc/fstab; ls /run/deadly-* | wc -l").split() == ["2", str(len(programs))]
    assert guest.run("cat /run/deadly-vgcreate /run/deadly-mkfs.ext4 /run/deadly-mount").split() == ["after"] * 3
    assert guest.run("ls -A / | grep -c swapfile") == "1\n"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_leaves_the_blueprint_goes_only_with_the_flag(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    file = only(**WHOLE)
    table = guest.run("cat /etc/fstab")
    guest_vinfra("apply", file, "--yes")
    done = guest_vinfra("destroy", file, "--yes", expect=3)
    assert "data-loss: more than --max-impact restart" in done.stdout + done.stderr
    assert guest.run("cat /srv/data/in/x") == "x"
    rows = {row["name"]: row for row in changes(guest_vinfra("plan", only(), "--json", expect=2))}
    assert "128MiB" in rows["vg0/data"]["reason"]
    assert "used" in rows["vg0/data"]["reason"]
    guest_vinfra("destroy", file, "--yes", "--max-impact", "data-loss")
    assert guest.run("cat /etc/fstab") == table
    assert guest.ssh("ls /swapfile").returncode == 2
    assert guest.run("lsblk -n -o NAME,FSTYPE,MOUNTPOINTS /dev/vdb").split() == ["vdb"]
    guest_vinfra("apply", file, "--yes")
    assert "nothing to do" in guest_vinfra("plan", file).stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_was_there_before_stays(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    guest.run("vgcreate -q vg0 /dev/vdb; lvcreate -q -n data -L 64M vg0; mkfs.ext4 -q /dev/vg0/data")
    guest.run("mkdir -p /srv/data; mount /dev/vg0/data /srv/data; echo x >/srv/data/x")
    parts = {
        "volume_groups": {"vg0": {"devices": ["/dev/vdb"]}},
        "logical_volumes": {"vg0/data": "128MiB"},
        "filesystems": {"/dev/vg0/data": "ext4"},
    }
    guest_vinfra("apply", only(**parts), "--yes")
    assert "nothing to do" in guest_vinfra("plan", only(**parts)).stdout
    assert int(guest.run("findmnt -b -n -o SIZE /srv/data")) > 100 * MIB
    guest_vinfra("apply", only(), "--yes")
    assert guest.run("cat /srv/data/x") == "x\n"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_device_is_not_taken_out_in_silence(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    guest_vinfra("apply", only(volume_groups={"vg0": {"devices": ["/dev/vdb", "/dev/vdc"]}}), "--yes")
    file = only(volume_groups={"vg0": {"devices": ["/dev/vdb"]}})
    done = guest_vinfra("apply", file, "--yes", expect=3)
    assert "pvmove /dev/vdc && vgreduce vg0 /dev/vdc takes it out" in done.stdout + done.stderr
    guest.run("vgreduce -q vg0 /dev/vdc")
    assert "nothing to do" in guest_vinfra("plan", file).stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_labels_swap_sizes_and_priorities_change(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    first = only(
        filesystems={"/dev/vdb": {"type": "ext4", "label": "a"}, "/dev/vdc": {"type": "xfs", "label": "b"}},
        mounts={"/srv/b": "/dev/vdb", "/srv/c": {"source": "LABEL=b"}},
        swap={"/swapfile": {"size": "16MiB", "priority": 5}},
    )
    guest_vinfra("apply", first, "--yes")
    second = only(
        filesystems={"/dev/vdb": {"type": "ext4", "label": "c"}, "/dev/vdc": {"type": "xfs", "label": "d"}},
        mounts={"/srv/b": "/dev/vdb", "/srv/c": {"source": "LABEL=d"}},
        swap={"/swapfile": {"size": "32MiB", "priority": 9}},
    )
    guest_vinfra("apply", second, "--yes")
    assert "nothing to do" in guest_vinfra("plan", second).stdout
    assert guest.run("findmnt -n -o LABEL /srv/b; blkid -p -s LABEL -o value /dev/vdc").split() == ["c", "d"]
    assert guest.run("swapon --noheadings --bytes --show=NAME,SIZE,PRIO").split()[::2] == ["/swapfile", "9"]
    assert guest.run("grep -c swapfile /etc/fstab") == "2\n"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_listed_can_be_declared(guest: Guest, guest_vinfra: Run, only: Only, tmp_path: Path) -> None:
    guest_vinfra("apply", only(**WHOLE), "--yes")
    guest.run("rm -rf /var/lib/vinfra")
    file = tmp_path / "found.yaml"
    guest_vinfra("import", "guest", "--write", file)
    assert "nothing to do" in guest_vinfra("plan", file).stdout
    for text in ("vg0/data:", "/dev/vg0/fast:", "/srv/view:", "volume_groups:"):
        assert text in file.read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_reading_writes_nothing(guest: Guest, guest_vinfra: Run, only: Only) -> None:
    guest_vinfra("apply", only(**WHOLE), "--yes")
    look = "umount /srv/fast; sync; find /etc /run/lvm /run/lock /run/blkid -newer /run/now 2>/dev/null; :"
    guest.run("umount /srv/fast; sync; sleep 1; touch /run/now; sleep 1")
    before = guest.run("sha256sum </dev/vg0/fast; sha256sum </dev/vdd")
    more = {**WHOLE, "filesystems": {**WHOLE["filesystems"], "/dev/vdc": "ext4", "/dev/vdd": "xfs"}}
    assert json.loads(guest_vinfra("plan", only(**more), "--json", expect=2).stdout)
    assert guest.run("sha256sum </dev/vg0/fast; sha256sum </dev/vdd") == before
    assert guest.run(look.partition("; ")[2].partition("; ")[2]) == ""
