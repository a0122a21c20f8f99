"""Snapshots on libvirt's own test driver; what a backup does when it does not come to its end."""
# ruff: noqa: N802  the names are those of libvirt's library

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from vinfra.model.step import Verb, Virt
from vinfra.transport import copies
from vinfra.transport.verbs import Failed

DOMAIN = "<domain type='test'><name>d</name><memory>65536</memory><os><type>hvm</type></os></domain>"
BARE = "<domainsnapshot></domainsnapshot>"


@pytest.fixture
def domain(tmp_path: Path) -> Iterator[Any]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    file = tmp_path / "node.xml"
    file.write_text("<node/>")
    opened = libvirt.open(f"test://{file}")
    yield opened.defineXML(DOMAIN)
    opened.close()


def do(domain: Any, verb: Verb, **fields: Any) -> str:
    return copies.do(domain.connect(), Virt(verb, "d", **fields))


def test_snapshots_are_taken_gone_back_to_and_deleted(domain: Any) -> None:
    do(domain, Verb.SNAPSHOT_CREATE, xml="<domainsnapshot><name>one</name></domainsnapshot>")
    domain.create()
    do(domain, Verb.SNAPSHOT_REVERT, part="one")
    assert not domain.isActive()
    with pytest.raises(libvirt.libvirtError):
        do(domain, Verb.SNAPSHOT_REVERT, part="none")
    for _ in range(2):  # what is gone already needs no deleting
        do(domain, Verb.SNAPSHOT_DELETE, part="one")
    assert domain.snapshotListNames() == []


def test_of_those_before_a_change_the_last_are_kept(domain: Any) -> None:
    for name in ("mine", "before-mine", "before-20200101-000000", "before-20200102-000000"):
        do(domain, Verb.SNAPSHOT_CREATE, xml=f"<domainsnapshot><name>{name}</name></domainsnapshot>")
    do(domain, Verb.SNAPSHOT_CREATE, xml=BARE, part="before", number=2)
    names = sorted(domain.snapshotListNames())
    assert "before-20200101-000000" not in names
    assert {"mine", "before-mine", "before-20200102-000000"} <= set(names)
    assert len(names) == 4


class Machine:
    """A domain whose backup goes as a test says."""

    def __init__(self, ended: dict[str, Any], running: int = 2, former: str = "") -> None:
        self.ended, self.left, self.former, self.calls = ended, running, former, list[str]()

    def lookupByName(self, _: str) -> "Machine":
        return self

    def name(self) -> str:
        return "d"

    def isActive(self) -> bool:
        return True

    def backupGetXMLDesc(self, _: int) -> str:
        if self.former:
            return self.former
        error = libvirt.libvirtError("none")
        error.err = (libvirt.VIR_ERR_NO_DOMAIN_BACKUP, 0, "", 0, "", None, None, 0, 0)
        raise error

    def fsFreeze(self) -> int:
        self.calls.append("freeze")
        return 1

    def fsThaw(self) -> None:
        self.calls.append("thaw")

    def backupBegin(self, *_: Any) -> None:
        self.calls.append("begin")

    def abortJob(self) -> None:
        self.calls.append("abort")
        self.left = 0

    def jobStats(self, flags: int) -> dict[str, Any]:
        if flags:
            return self.ended
        self.left -= 1
        return {"type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED if self.left > 0 else libvirt.VIR_DOMAIN_JOB_NONE}


DONE, FAILED = {"type": libvirt.VIR_DOMAIN_JOB_COMPLETED}, {"type": libvirt.VIR_DOMAIN_JOB_FAILED, "errmsg": "full"}


def backup(machine: Machine, xml: str = "<domainbackup/>", seconds: float = 9, number: int = 1) -> str:
    return copies.do(machine, Virt(Verb.DOMAIN_BACKUP, "d", xml=xml, number=number, seconds=seconds))


def test_a_guest_stands_still_only_while_its_backup_begins() -> None:
    machine = Machine(DONE)
    assert backup(machine) == "frozen"
    assert machine.calls == ["freeze", "begin", "thaw"]
    assert backup(Machine(DONE), number=0) == ""


def test_a_guest_is_thawed_when_the_backup_does_not_begin() -> None:
    machine = Machine(DONE)
    machine.backupBegin = lambda *_: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        backup(machine)
    assert machine.calls == ["freeze", "thaw"]


def test_a_guest_that_froze_although_its_agent_failed_is_thawed() -> None:
    machine = Machine(DONE)

    def fails() -> int:
        raise libvirt.libvirtError("the agent did not answer in time")

    machine.fsFreeze = fails  # type: ignore[method-assign]
    assert backup(machine) == ""
    assert machine.calls == ["thaw", "begin"]


def test_a_guest_that_a_killed_run_left_frozen_is_thawed_by_the_next() -> None:
    machine = Machine(DONE)
    assert backup(machine, xml="") == ""
    assert machine.calls == ["thaw"]


def test_a_backup_that_fails_or_takes_too_long_says_so() -> None:
    with pytest.raises(Failed, match="full"):
        backup(Machine(FAILED))
    slow = Machine(DONE, running=10**6)
    with pytest.raises(Failed, match="given up"):
        backup(slow, seconds=0)
    assert slow.calls[-1] == "abort"


def test_what_a_killed_run_left_is_ended_and_nobody_elses() -> None:
    ours = Machine(DONE, former="<domainbackup><target file='/p/vinfra-backup-d-vda.qcow2'/></domainbackup>")
    assert backup(ours, xml="") == ""
    assert ours.calls == ["abort", "thaw"]
    theirs = Machine(DONE, former="<domainbackup/>")
    with pytest.raises(Failed, match="another backup"):
        backup(theirs)
    assert theirs.calls == []


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    machine = SimpleNamespace(XMLDesc=lambda _: "<domain/>")
    connection = SimpleNamespace(lookupByName=lambda _: machine)
    with pytest.raises(FileExistsError):
        copies.do(connection, Virt(Verb.DOMAIN_EXPORT, "d", source=str(tmp_path / "x")))
    copies.do(connection, Virt(Verb.DOMAIN_EXPORT, "d", source=str(tmp_path / "y")))
    assert (tmp_path / "y").stat().st_mode & 0o777 == 0o600
