"""Snapshots by a timer: what the host gets, what its script keeps, and when none can be taken."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from vinfra.kinds.kvm import domain
from vinfra.kinds.kvm.domains import schedule
from vinfra.kinds.kvm.reading import snapshots
from vinfra.model.action import Action, Impact
from vinfra.model.change import Delta
from vinfra.model.question import Raw
from vinfra.model.values import TYPED

# Stands for virsh: the names of snapshots are the lines of a file.
VIRSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do [ "$1" != -c ] || shift; shift; done
echo "$*" >>"$LOG"
case $1 in
snapshot-create-as) [ -z "$FAILS" ] || exit 1; echo "$3" >>"$NAMES";;
snapshot-list) cat "$NAMES";;
snapshot-delete) grep -vx -e "$3" "$NAMES" >"$NAMES.new"; mv "$NAMES.new" "$NAMES";;
esac
"""


def spec(**fields: Any) -> domain.Spec:
    return domain.Spec.model_validate({"memory": "128MiB", **fields}, context=TYPED)


def script(**given: Any) -> str:
    file, _ = schedule.parts("web.01", spec(snapshots={"schedule": "daily 02:00", **given}))
    return str(file.fields["content"])


def test_the_host_gets_a_script_and_its_timer() -> None:
    file, timer = domain.parts("web.01", spec(snapshots={"schedule": "daily 02:00", "keep": "7"}))
    assert (file.kind, file.name) == ("host.file", "/usr/local/sbin/vinfra-snapshot-web_01")
    assert "machine='web.01'" in file.fields["content"]
    assert (timer.kind, timer.name) == ("host.timer", "snapshot-web_01")
    assert timer.fields == {"run": (file.name,), "on_calendar": ("*-*-* 02:00:00",), "persistent": True}
    assert not list(domain.parts("web-01", spec()))


@pytest.mark.parametrize(
    ("snapshots", "says"),
    [
        ({"schedule": "daily 02:00"}, "keep"),
        ({"schedule": "daily 02:00", "keep": "0"}, "at least 1"),
        ({"keep": "3"}, "schedule"),
        ({"schedule": "daily 02:00", "keep": {"hourly": "3"}}, "hourly"),
    ],
)
def test_what_is_not_said_is_asked_for(snapshots: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        spec(snapshots=snapshots)


def test_a_raw_disk_holds_none() -> None:
    raw = {"root": {"size": "1GiB"}, "data": {"size": "1GiB", "format": "raw"}}
    for field in ({"snapshots": {"schedule": "02:00", "keep": "1"}}, {"snapshot_before": "restart"}):
        assert "disk data is raw" in domain.check("web-01", spec(disks=raw, **field))
    assert not domain.check("web-01", spec(disks=raw))


def run(folder: Path, names: list[str], keep: Any, *, fails: bool = False) -> tuple[int, list[str]]:
    """The snapshots that are there after the script ran, but for the one that it took."""
    for name, text in (("virsh", VIRSH), ("job", script(keep=keep))):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "names").write_text("".join(f"{name}\n" for name in names))
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "NAMES": str(folder / "names"),
        "LOG": str(folder / "log"),
        "FAILS": "x" * fails,
    }
    done = subprocess.run([folder / "job"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    left = (folder / "names").read_text().split()
    return done.returncode, [name for name in left if name in names]


DAYS = [f"vinfra-202001{day:02d}-020000" for day in range(1, 32)]
OTHERS = ["before-upgrade", "vinfra-before-20200101-020000", "vinfra-mine"]


def test_only_its_own_that_are_too_many_go(tmp_path: Path) -> None:
    code, left = run(tmp_path, [*DAYS, *OTHERS], 3)
    assert code == 0
    assert left == [*DAYS[-2:], *OTHERS]  # and the new one


def test_the_newest_of_days_weeks_and_months_stand_for_them(tmp_path: Path) -> None:
    twice = [*DAYS, "vinfra-20200131-010000", "vinfra-20191215-020000", "vinfra-20191220-020000"]
    _, left = run(tmp_path, twice, {"daily": "3", "weekly": "4", "monthly": "3"})
    # Today's is new: two more days; three more weeks, of which two end on a Sunday; two more months.
    assert sorted(left) == [
        "vinfra-20191220-020000",
        "vinfra-20200119-020000",
        "vinfra-20200126-020000",
        "vinfra-20200130-020000",
        "vinfra-20200131-020000",
    ]


def test_when_none_could_be_taken_none_goes(tmp_path: Path) -> None:
    code, left = run(tmp_path, DAYS, 1, fails=True)
    assert code != 0
    assert left == DAYS


def test_one_is_taken_before_a_change_that_costs_as_much() -> None:
    restart, live = Delta(Action.UPDATE, impact=Impact.RESTART), Delta(Action.UPDATE, impact=Impact.LIVE)
    careful = spec(snapshot_before="restart")
    assert schedule.wanted(careful, restart)
    assert not schedule.wanted(careful, live)
    assert not schedule.wanted(spec(), restart)
    raw = "<domain><devices><disk><driver type='raw'/><target dev='vda'/></disk></devices></domain>"
    assert "vda is raw" in schedule.objection(careful, restart, raw)
    assert not schedule.objection(careful, live, raw)
    assert not schedule.objection(careful, restart, raw.replace("'raw'", "'qcow2'"))


FIRMWARE = "<domain><os><nvram{}>/x.fd</nvram></os><devices><disk><driver type='qcow2'/><target dev='vda'/></disk>"


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ("<domain><devices/></domain>", "no disk"),
        (FIRMWARE.format("") + "</devices></domain>", "firmware"),
        (FIRMWARE.format(" format='qcow2'") + "</devices></domain>", ""),
    ],
)
def test_what_holds_no_snapshot(xml: str, says: str) -> None:
    told = snapshots.objection(xml)
    assert says in told if says else not told


def test_names_and_texts_that_look_like_xml_are_read() -> None:
    xml = """<domainsnapshot>
  <name>a &lt;b&gt; &quot;c&quot;</name>
  <state>running</state>
  <creationTime>1700000001</creationTime>
  <memory snapshot='internal'/>
  <domain type='qemu'><name>web-01</name></domain>
</domainsnapshot>"""
    later = xml.replace("1700000001", "1700000000").replace("a &lt;", "z").replace("'internal'", "'no'")
    said = f'virsh > snapshot-dumpxml u "a <b> \\"c\\""\n{xml}\nvirsh > snapshot-dumpxml u x\n{later}\n'
    [first, second] = snapshots.snapshots({snapshots.SNAPSHOTS: Raw(0, said.encode())})["web-01"]
    assert (second.name, second.memory, second.state) == ('a <b> "c"', True, "running")
    assert not first.memory
    assert snapshots.snapshots({}) == {}
