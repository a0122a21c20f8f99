"""Volume groups, their devices and their volumes, as lvm reports them without a lock and without a write."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vinfra.kinds.compare import bringers, later, refused
from vinfra.kinds.host.disks import names
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Unknown
from vinfra.model.change import Delta, FieldChange
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec

NO_PROGRAM = 127
# lvm(8): --readonly takes no lock, makes no backup and does not talk to the kernel; --nohints keeps no list of devices.
_REPORT = ("--readonly", "--nohints", "--reportformat", "json", "--units", "b", "--nosuffix", "-o")
GROUPS = Exec(("vgs", *_REPORT, "vg_name,vg_uuid,vg_size,vg_free,vg_extent_size,vg_attr"))
DEVICES = Exec(("pvs", *_REPORT, "pv_name,vg_name,pv_size,pv_free,pv_missing"))
VOLUMES = Exec(("lvs", *_REPORT, "vg_name,lv_name,lv_size,lv_layout,lv_role,lv_uuid"))
QUESTIONS = (GROUPS, DEVICES, VOLUMES)
TOOLS = "package:lvm2"


@dataclass(frozen=True, slots=True)
class Volume:
    """A logical volume. `layout` is lvm's word for how it is laid out: linear, striped, thin, raid1, .."""

    name: str
    size: int
    layout: str
    role: str = ""
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A volume group. `devices` are the names under which lvm knows its physical volumes now."""

    name: str
    size: int
    free: int
    extent: int
    devices: tuple[str, ...] = ()
    missing: int = 0
    volumes: Mapping[str, Volume] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lvm:
    """All of it. `orphans` are physical volumes of no group; `tools` says whether lvm is there at all."""

    groups: Mapping[str, Group]
    orphans: frozenset[str] = frozenset()
    tools: bool = True


def read(answers: Answers) -> Lvm | Unknown:
    """What lvm reported; a host without it has no groups."""
    raws = [answers.get(question) for question in QUESTIONS]
    if any(raw is not None and raw.returncode == NO_PROGRAM for raw in raws):
        return Lvm({}, tools=False)
    for question, raw in zip(QUESTIONS, raws, strict=True):
        if raw is None or not raw.ok:
            return Unknown(f"{question.argv[0]}: {' '.join(raw.err.split()) if raw else 'not asked yet'}")
    try:
        return _lvm(answers)
    except (ValueError, KeyError, TypeError) as error:
        return Unknown(f"lvm's report cannot be read: {type(error).__name__}")


def _lvm(answers: Answers) -> Lvm:
    devices = list(_rows(answers, DEVICES, "pv"))
    volumes: dict[str, dict[str, Volume]] = {}
    for row in _rows(answers, VOLUMES, "lv"):
        one = Volume(row["lv_name"], int(row["lv_size"]), row["lv_layout"], row["lv_role"], row["lv_uuid"])
        volumes.setdefault(row["vg_name"], {})[one.name] = one
    groups = {
        row["vg_name"]: Group(
            row["vg_name"],
            int(row["vg_size"]),
            int(row["vg_free"]),
            int(row["vg_extent_size"]),
            tuple(pv["pv_name"] for pv in devices if pv["vg_name"] == row["vg_name"] and not pv["pv_missing"]),
            sum(bool(pv["pv_missing"]) for pv in devices if pv["vg_name"] == row["vg_name"]),
            volumes.get(row["vg_name"], {}),
        )
        for row in _rows(answers, GROUPS, "vg")
    }
    return Lvm(groups, frozenset(pv["pv_name"] for pv in devices if not pv["vg_name"]))


def _rows(answers: Answers, question: Exec, sort: str) -> Iterator[dict[str, Any]]:
    for report in json.loads(answers[question].text)["report"]:
        yield from report[sort]


def bringing(scope: Scope, name: str) -> list[str]:
    """What of this plan may bring a device that is not there yet: its own volume, or what no name tells."""
    if not (volume := names.volume(name)):
        return bringers(scope, "filesystem:", "logical_volume:", "volume_group:", "operation:", "kernel_module:")
    own = {f"filesystem:{known}" for known in names.spellings(name)}
    own |= {f"logical_volume:{volume}", f"volume_group:{volume.partition('/')[0]}"}
    return [ref for ref in bringers(scope, *own) if ref in own] or bringers(scope, "operation:")


def fresh(fields: list[FieldChange]) -> list[FieldChange]:
    """The fields of something that will be made where nothing is: that costs nobody anything, also later."""
    return [replace(item, impact=min(item.impact, Impact.LIVE), why="") for item in fields]


def toolless(action: Action, fields: list[FieldChange], scope: Scope, program: str, *packages: str) -> Delta:
    """What becomes of something whose tools the host does not have yet."""
    if found := bringers(scope, *(f"package:{name}" for name in packages), "operation:"):
        return later(action, f"no {program} on this host yet; {found[0]} may bring it", fields)
    return refused(action, f"no {program} on this host; declare packages: {{{packages[0]}: }}", fields)
