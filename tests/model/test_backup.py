"""A backup's manifest, its folder, and a definition under another name."""

import json
from pathlib import Path
from typing import Any

import pytest

from vinfra import engine
from vinfra.errors import RefusedError, UsageError, VinfraError
from vinfra.estate.backup import whole
from vinfra.estate.restore import checked
from vinfra.kinds.kvm.domains import copied
from vinfra.kinds.kvm.reading.virsh import element
from vinfra.model.backup import Backup, SavedDisk, parse

DISK = SavedDisk("vda", "vda.qcow2", "qcow2", "0" * 64, 5, "default", "w-root.raw", "/p/w-root.raw", "raw", 1 << 30)
MADE = Backup("web-01", "hv1", "2026-01-01", "0.1", "running", True, (DISK,), "1" * 64, marks=("{}",), notes=("n",))


def test_a_manifest_is_read_back() -> None:
    assert parse(MADE.text()) == MADE
    assert MADE.files == {"domain.xml": "1" * 64, "vda.qcow2": "0" * 64}


def signed(**changes: Any) -> str:
    """A manifest whose sum is right, with other values."""
    from vinfra.model import backup

    body = {**json.loads(MADE.text())["backup"], **changes}
    return json.dumps({"sha256": backup._sum(body), "backup": body})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Expecting value"),
        ("[]", "none of vinfra's|not one of vinfra's"),
        (MADE.text().replace("w-root", "x-root"), "not as it was written"),
        (signed(version=2), "newer vinfra"),
        (signed(machine=7), "machine is 7"),
        (signed(disks=[]), ""),
        (signed(more=1), "more"),
        (signed(disks=[{"target": "vda"}]), "missing"),
        (signed(disks=[{**json.loads(MADE.text())["backup"]["disks"][0], "file": "../x"}]), "no name of its own"),
        (signed(disks=json.loads(MADE.text())["backup"]["disks"] * 2), "no name of its own"),
    ],
)
def test_a_manifest_that_cannot_be_trusted(text: str, says: str) -> None:
    if not says:
        assert parse(text).disks == ()  # a machine without disks
        return
    with pytest.raises(ValueError, match=says):
        parse(text)


def test_the_folder_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    with whole(folder) as part:
        (part / "x").write_text("x")
        assert not folder.exists()
        with pytest.raises(RefusedError, match="another run"), whole(folder):
            pass
    assert (folder / "x").read_text() == "x"
    with pytest.raises(UsageError, match="is there already"), whole(folder):
        pass


@pytest.mark.parametrize("name", ["thesis.tex", "letters/vda.qcow2"])
def test_a_folder_that_is_no_backups_is_not_emptied(tmp_path: Path, name: str) -> None:
    kept = tmp_path / "b.part" / name
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(UsageError, match="which is of no backup"), whole(tmp_path / "b"):
        pass
    assert kept.read_text() == "mine"


def test_what_failed_leaves_nothing_and_what_was_killed_is_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    with pytest.raises(ZeroDivisionError), whole(folder):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "b.part").mkdir()
    for name in ("vda.qcow2", "vdaa.raw", "domain.xml", "nvram", "manifest.json"):
        (tmp_path / "b.part" / name).write_text("half")
    with whole(folder):
        pass
    assert list(folder.iterdir()) == []
    with pytest.raises(UsageError, match="folder above"), whole(tmp_path / "no" / "b"):
        pass


@pytest.mark.parametrize("name", ["../x", "a b", "-x", "x\n"])
def test_a_copy_gets_a_name_that_a_machine_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no machine can be called"):
        engine.restore(None, tmp_path, name)


def test_nothing_is_restored_from_what_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no manifest\.json"):
        checked(tmp_path)
    (tmp_path / "manifest.json").write_text(MADE.text())
    with pytest.raises(VinfraError, match="No such file"):
        checked(tmp_path)
    for name in MADE.files:
        (tmp_path / name).write_text("other")
    with pytest.raises(RefusedError, match="not as it was written"):
        checked(tmp_path)


XML = """<domain type="kvm"><name>web-01</name><uuid>u</uuid><title>t</title><metadata>
<vinfra:owner xmlns:vinfra="https://vinfra.dev/libvirt/1" blueprint="b" address="a"/>
<vinfra:g xmlns:vinfra="https://vinfra.dev/libvirt/1/guest"/><app:tag xmlns:app="http://app.example/1">kept</app:tag>
</metadata><sysinfo type="smbios"><system><entry name="uuid">u</entry><entry name="sku">s</entry></system></sysinfo>
<os><nvram>/n/web-01_VARS.fd</nvram></os><devices>
<disk type="file" device="disk"><driver type="qcow2"/><source file="/p/web-01-root.qcow2"/><target dev="vda"/></disk>
<disk type="file" device="disk"><source file="/p/luks.raw"><encryption/></source><target dev="vdb"/><readonly/></disk>
<disk type="network" device="disk"><source protocol="rbd" name="x"/><target dev="vdc"/></disk>
<disk type="file" device="cdrom"><source file="/iso/x.iso"/><target dev="sda"/></disk>
<interface type="network"><mac address="52:54:00:00:00:01"/><source network="n"/></interface>
<serial type="pty"><log file="/l/web-01-serial0.log"/></serial></devices><flux/></domain>"""


def test_a_copys_definition_is_its_own() -> None:
    tree = element(copied.renamed(XML, "cp", {"/p/web-01-root.qcow2": "/q/cp-root.qcow2"}))
    assert tree.findtext("name") == "cp"
    assert tree.find("uuid") is None
    assert tree.find("devices/interface/mac") is None
    assert [item.tag for item in tree.iterfind("metadata/*")] == ["{http://app.example/1}tag"]
    assert [item.get("name") for item in tree.iterfind("sysinfo/system/entry")] == ["sku"]
    assert tree.findtext("os/nvram") == "/n/cp_VARS.fd"
    paths = [item.get("file") for item in tree.iterfind("devices/disk/source")]
    assert paths == ["/q/cp-root.qcow2", "/p/luks.raw", None, "/iso/x.iso"]
    log = tree.find("devices/serial/log")
    assert log is not None
    assert log.get("file") == "/l/cp-serial0.log"
    assert tree.find("flux") is not None
    assert element(XML).findtext("name") == "web-01"


@pytest.mark.parametrize(
    ("file", "made"),
    [("web-01-root.qcow2", "cp-root.qcow2"), ("web-01.img", "cp.img"), ("web-010.raw", "cp-web-010.raw")],
)
def test_a_copys_volumes_are_its_own(file: str, made: str) -> None:
    assert copied.volume_of(file, "web-01", "cp") == made


def test_what_a_backup_is_asked_to_save() -> None:
    disks = copied.disks(XML)
    assert [(disk.target, disk.path, disk.encrypted, disk.readonly) for disk in disks] == [
        ("vda", "/p/web-01-root.qcow2", False, False),
        ("vdb", "/p/luks.raw", True, True),
        ("vdc", "", False, False),
    ]
    tree = element(copied.backup_xml(XML, {"vda": "/p/b.qcow2"}))
    assert [(item.get("name"), item.get("backup")) for item in tree.iterfind("disks/disk")] == [
        ("vda", "yes"),
        ("vdb", "no"),
        ("vdc", "no"),
        ("sda", "no"),
    ]


def test_the_files_of_a_backup_are_nobody_elses(tmp_path: Path) -> None:
    with whole(tmp_path / "b") as part:
        assert part.stat().st_mode & 0o777 == 0o700
