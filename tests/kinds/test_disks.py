"""What disks' kinds stand on: names, the table's lines, what is listed."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from vinfra.kinds.host.disks import fstab, listing, lvm, mounts, names, scripts, swapping
from vinfra.kinds.host.disks.devices import TREE
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers, Listed, Scope
from vinfra.model.question import Raw

DISKS = Path(__file__).parents[1] / "cases" / "disks"
NOBODY = Scope("h", ())


def recorded(name: str) -> Raw:
    return Raw(0, (DISKS / name).read_bytes())


HOST: Answers = {
    TREE: recorded("lsblk.json"),
    lvm.GROUPS: recorded("vgs.json"),
    lvm.DEVICES: recorded("pvs.json"),
    lvm.VOLUMES: recorded("lvs.json"),
    mounts.TABLE: recorded("findmnt.json"),
    fstab.QUESTION: recorded("fstab"),
    swapping.AREAS: recorded("swaps"),
}


@pytest.mark.parametrize(
    ("name", "canonical", "volume"),
    [
        ("/dev/mapper/vg0-data", "/dev/vg0/data", "vg0/data"),
        ("/dev/mapper/a--b-c--d", "/dev/a-b/c-d", "a-b/c-d"),
        ("/dev/mapper/crypt", "/dev/mapper/crypt", ""),
        ("/dev/mapper/a-b-c", "/dev/mapper/a-b-c", ""),
        ("/dev/vdb", "/dev/vdb", ""),
        ("/dev/disk/by-id", "/dev/disk/by-id", ""),
        ("/dev/disk/by-id/x", "/dev/disk/by-id/x", ""),
    ],
)
def test_a_volume_has_two_names(name: str, canonical: str, volume: str) -> None:
    assert names.canonical(name) == canonical
    assert names.volume(name) == volume
    assert {names.canonical(known) for known in names.spellings(name)} == {canonical}


def test_a_line_reads_as_it_was_written() -> None:
    odd = fstab.Entry("", "LABEL=a b", "/srv/a\tb#c\\d", "ext4", ("x=1 2", "nofail"), 0, 2)
    text = fstab.line(odd)
    assert text == r"LABEL=a\040b /srv/a\011b\043c\134d ext4 x=1\0402,nofail 0 2"
    read = fstab.read({fstab.QUESTION: Raw(0, text.encode())})
    assert not isinstance(read, Unknown)
    assert fstab.line(read[0]) == text
    assert (read[0].source, read[0].target) == (odd.source, odd.target)


def test_short_lines_and_comments() -> None:
    read = fstab.read({fstab.QUESTION: Raw(0, b"# x\n\n/dev/a /a\n/dev/b /b ext4\n/dev/c /c ext4 ro 1\nodd\n")})
    assert not isinstance(read, Unknown)
    assert [(one.target, one.type, one.options, one.dump) for one in read] == [
        ("/a", "auto", ("defaults",), 0),
        ("/b", "ext4", ("defaults",), 0),
        ("/c", "ext4", ("ro",), 1),
    ]


def test_what_is_listed() -> None:
    groups = list(listing.volume_groups(NOBODY, HOST))
    assert [(one.name, one.fields) for one in groups] == [("vg0", {"devices": ["/dev/vdb"]})]
    assert list(listing.logical_volumes(NOBODY, HOST)) == [Listed("vg0/data", {"size": "256MiB"})]
    assert list(listing.filesystems(NOBODY, HOST)) == [
        Listed("/dev/vg0/data", {"type": "ext4", "label": "data"}),
        Listed("/dev/vdc", {"type": "xfs", "label": "old"}),
    ]
    assert [one.name for one in listing.mounts_(NOBODY, HOST)] == ["/srv/data", "/srv/fast", "/mnt/old disk"]
    assert [one.name for one in listing.swap(NOBODY, HOST)] == ["/swapfile"]


def test_what_cannot_be_read_is_said() -> None:
    broken = {question: Raw(1, b"", "no") for question in HOST}
    for listed in (listing.volume_groups, listing.filesystems, listing.mounts_, listing.swap):
        assert [one.name for one in listed(NOBODY, broken)][:1] == [""]
    without = {question: Raw(127, b"") for question in lvm.QUESTIONS}
    assert list(listing.volume_groups(NOBODY, without)) == []


def ran(tmp_path: Path, script: str, words: tuple[str, ...], programs: Mapping[str, str]) -> tuple[int, str]:
    """A script's status and all it said, with other programs than a host's."""
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    argv = scripts.run(script, *words).argv
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stdout + done.stderr


def test_what_a_killed_run_prepared_is_taken_into_its_own_group(tmp_path: Path) -> None:
    programs = {"pvs": "echo '    '", "vgcreate": 'echo "made $*"'}
    words = ("vgcreate", "vg1", "ours:/dev/one", "ours:/dev/two")
    assert ran(tmp_path, scripts.GROUP, words, programs) == (0, "made -q -- vg1 /dev/one /dev/two\n")
    programs["pvs"] = "echo '  theirs'"
    assert ran(tmp_path, scripts.GROUP, words, programs) == (1, "/dev/one is of volume group theirs\n")


def test_what_came_since_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.write_bytes(b"precious")
    programs = {"mkfs.ext4": f"echo overwritten >{file}", "blkid": "exit 2"}
    assert ran(tmp_path, scripts.MAKE, ("/dev/nosuch", "mkfs.ext4"), programs) == (
        1,
        "/dev/nosuch: no such block device\n",
    )
    script = scripts.MAKE.replace("[ -b", "[ -f")
    status, said = ran(tmp_path, script, (str(file), "mkfs.ext4"), programs)
    assert (status, said) == (1, f"{file} is not empty, and was when it was read\n")
    programs["blkid"] = "echo TYPE=xfs"
    status, said = ran(tmp_path, script, (str(file), "mkfs.ext4"), programs)
    assert (status, said) == (1, f"{file} is not empty, and was when it was read: TYPE=xfs\n")
    assert file.read_bytes() == b"precious"
