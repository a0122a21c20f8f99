"""What adopt, import, unmanaged, owners and retire print, and their exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vinfra.errors import RefusedError
from vinfra.estate.retire import Retirement
from vinfra.model.address import Address
from vinfra.model.estate import Estate, Item
from vinfra.model.mark import Birth, Mark, State

from .conftest import Run

Engine = Callable[[str, Any], list[Any]]
MARK = Mark(
    "web", "host.file", "/etc/motd", State.OWNED, Birth.CREATED, host="hv1", run="r1", time="2026-11-24", who="eve@desk"
)
HV1 = Estate(
    "hv1",
    items=(
        Item(Address("host.file", "hv1", "/etc/motd"), {"content": "x"}, owners=("web",)),
        Item(Address("host.user", "hv1", "eve"), {"uid": 1000}),
        Item(Address("kvm.volume", "hv1", "odd.img"), None, "a raw file"),
    ),
    marks=(MARK,),
)
DARK = Estate("hv2", error="hv2: no answer")


def test_unmanaged_tells_what_nobody_owns(vinfra: Run, engine: Engine) -> None:
    engine("estates", {"hv1": HV1})
    code, out, _ = vinfra("unmanaged")
    assert code == 2
    assert "user    eve" in out
    assert "cannot be declared: a raw file" in out
    assert "motd" not in out
    assert "2 objects that no blueprint owns, on 1 host." in out
    told = json.loads(vinfra("unmanaged", "--json")[1])
    assert [item["name"] for item in told["hosts"][0]["unmanaged"]] == ["eve", "odd.img"]
    assert told["exit_code"] == 2


def test_unmanaged_is_quiet_when_all_is_owned_and_incomplete_when_a_host_is_dark(vinfra: Run, engine: Engine) -> None:
    engine("estates", {"hv1": Estate("hv1", items=HV1.items[:1])})
    assert vinfra("unmanaged")[:2] == (0, "Nothing that no blueprint owns, on 1 host.\n")
    engine("estates", {"hv1": HV1, "hv2": DARK})
    code, out, _ = vinfra("unmanaged")
    assert code == 4
    assert "hv2: no answer" in out
    engine("estates", {"hv1": Estate("hv1", unread={"domain": "libvirt does not answer"})})
    code, out, _ = vinfra("unmanaged")
    assert code == 4
    assert "domain: libvirt does not answer" in out


def test_owners_tells_who_applied_what_and_when(vinfra: Run, engine: Engine) -> None:
    engine("estates", {"hv1": HV1})
    code, out, _ = vinfra("owners")
    assert code == 0
    assert "  file  /etc/motd  web  made  2026-11-24  eve@desk  r1\n" in out
    assert "0 marks of 0 blueprints" in vinfra("owners", "--blueprint", "other")[1]
    (mark,) = json.loads(vinfra("owners", "--json")[1])["hosts"][0]["marks"]
    assert (mark["who"], mark["run"], mark["birth"]) == ("eve@desk", "r1", "created")
    assert (mark["fields"], mark["fleet"]) == ([], "")


def test_import_never_writes_over_a_file(vinfra: Run, engine: Engine, tmp_path: Path) -> None:
    calls = engine("import_host", ("blueprint: hv1\n", HV1))
    there, link, new = tmp_path / "there.yaml", tmp_path / "link.yaml", tmp_path / "new.yaml"
    there.write_text("mine")
    link.symlink_to(tmp_path / "nowhere")
    for file in (there, link):
        code, _, err = vinfra("import", "hv1", "--write", str(file))
        assert (code, "not written over" in err) == (1, True)
    assert calls == []
    assert there.read_text() == "mine"
    assert vinfra("import", "hv1", "--write", str(new))[0] == 0
    assert new.read_text() == "blueprint: hv1\n"
    assert new.stat().st_mode & 0o777 == 0o600
    assert vinfra("import", "hv1", "--write", str(tmp_path / "none" / "x"))[0] == 1
    assert vinfra("import", "hv1")[1] == "blueprint: hv1\n"


def test_import_of_a_host_that_is_dark_writes_nothing(vinfra: Run, engine: Engine, tmp_path: Path) -> None:
    engine("import_host", ("", DARK))
    code, out, err = vinfra("import", "hv2", "--write", str(tmp_path / "x.yaml"))
    assert (code, out) == (4, "")
    assert "hv2: no answer" in err
    assert list(tmp_path.glob("*.yaml")) == []


def test_retire_and_adopt_ask_first(vinfra: Run, engine: Engine) -> None:
    calls = [*engine("retire", None), *engine("adopt", None)]
    for words in (("retire", "hv1"), ("adopt", "x.yaml", "*")):
        code, _, err = vinfra(*words)
        assert (code, "nobody to answer" in err) == (1, True)
    assert calls == []


def test_retire_tells_what_it_released_and_what_is_left(vinfra: Run, engine: Engine) -> None:
    engine("retire", (Retirement(HV1, (("web-01", "web"),)), 1))
    code, out, _ = vinfra("retire", "hv1", "--leave-machines", "--yes")
    assert code == 0
    assert "Released 1 mark on hv1; nothing there was deleted." in out
    assert "It still holds web-01 of web" in out
    engine("retire", RefusedError("hv1 still holds machines"))
    assert vinfra("retire", "hv1", "--yes")[0] == 3


@pytest.mark.parametrize(("found", "code"), [((Retirement(DARK), 0), 4), ((None, 0), 0)])
def test_retire_of_a_host_that_nobody_can_ask_tells_what_was_there(
    vinfra: Run, engine: Engine, tmp_path: Path, found: Any, code: int
) -> None:
    begin = {"event": "begin", "format": 1, "run": "x", "command": ["apply"], "time": "1"}
    change = {"event": "change", "address": "kvm.domain:web-01", "host": "hv2", "action": "create", "time": "t"}
    end = {"event": "change-end", "address": "kvm.domain:web-01", "status": "done", "time": "t"}
    (tmp_path / "state/runs").mkdir(parents=True)
    journal = tmp_path / "state/runs/20260101T000000Z-0000.jsonl"
    journal.write_text("\n".join(map(json.dumps, (begin, change, end))))
    engine("retire", found)
    told = vinfra("retire", "hv2", "--yes")
    assert told[0] == code
    assert "Last known there, by the journals of this controller: web-01." in told[1]
    hints = json.loads(vinfra("retire", "hv2", "--yes", "--json")[1])["last_known"]
    assert [hint["name"] for hint in hints] == ["web-01"]
    gone = {**change, "action": "delete", "host": "hv2"}
    later = tmp_path / "state/runs/20260102T000000Z-0000.jsonl"
    later.write_text("\n".join(map(json.dumps, ({**begin, "time": "2"}, gone, end))))
    assert "know of no machine there" in vinfra("retire", "hv2", "--yes")[1]


def test_retire_of_a_name_that_nobody_knows_is_a_slip(vinfra: Run, engine: Engine) -> None:
    engine("retire", (None, 0))
    code, _, err = vinfra("retire", "hv22", "--yes")
    assert code == 1
    assert "hv22 is not in the inventory, and no journal here knows it" in err
