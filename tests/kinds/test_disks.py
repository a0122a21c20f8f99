"""What disks' kinds stand on: names, the table's lines, what is listed."""

from pathlib import Path

import pytest

from vinfra.kinds.host.disks import fstab, listing, lvm, mounts, names, swapping
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
