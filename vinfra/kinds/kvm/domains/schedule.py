"""Snapshots that a blueprint asks for: by a timer of the host's own, and before a change that costs something."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from vinfra.kinds.kvm.domains.drives import Drive
from vinfra.kinds.kvm.reading import snapshots
from vinfra.kinds.kvm.reading.virsh import Found
from vinfra.model import spec as shape
from vinfra.model.action import Impact
from vinfra.model.change import Change, Delta
from vinfra.model.kind import Part
from vinfra.model.spec import field
from vinfra.model.step import Step, Verb, Virt
from vinfra.model.values import Text, Whole

# Of the timer's snapshots, and of those before a change: only what is called so is ever deleted by vinfra itself.
TAKEN, BEFORE = "vinfra", "vinfra-before"
KEPT_BEFORE = 3
LONG = 3600.0

# machine, last, daily, weekly, monthly. The newest of a day, week or month stands for it.
_SCRIPT = """\
#!/bin/sh
# Written by vinfra: a snapshot of a virtual machine, then those of this timer's that are too many are deleted.
set -eu
export LC_ALL=C XDG_CACHE_HOME=/dev/null
machine='{machine}'
v() {{ virsh -q -c qemu:///system "$@"; }}
v snapshot-create-as "$machine" "{taken}-$(date -u +%Y%m%d-%H%M%S)" --description 'taken by its timer' >/dev/null
v snapshot-list "$machine" --name | grep -E '^{taken}-[0-9]{{8}}-[0-9]{{6}}$' | sort -r | while read -r name; do
day=${{name#{taken}-}}
day=${{day%-*}}
echo "$name $day $(date -u -d "$day" +%G-%V) $(date -u -d "$day" +%Y%m)"
done | awk -v last={last} -v daily={daily} -v weekly={weekly} -v monthly={monthly} '
NR <= last {{ keep[$1] }}
!($2 in days) && d < daily {{ days[$2]; d++; keep[$1] }}
!($3 in weeks) && w < weekly {{ weeks[$3]; w++; keep[$1] }}
!($4 in months) && m < monthly {{ months[$4]; m++; keep[$1] }}
!($1 in keep) {{ print $1 }}' | while read -r name; do
v snapshot-delete "$machine" "$name" >/dev/null
done
"""


class Keep(BaseModel):
    """How many snapshots are kept: the last ones, and the newest of so many days, weeks and months."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    last: Whole = field("The last so many.", default=0)
    daily: Whole = field("The newest of each of so many days.", default=0)
    weekly: Whole = field("The newest of each of so many weeks.", default=0)
    monthly: Whole = field("The newest of each of so many months.", default=0)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"last": value} if isinstance(value, str | int) else value

    @model_validator(mode="after")
    def _some(self) -> "Keep":
        if any(number < 0 for _, number in self) or not (self.last or self.daily or self.weekly or self.monthly):
            raise ValueError("write how many are kept, at least 1")
        return self


def _when(value: str) -> str:
    """`daily 02:00` as systemd writes it; anything else is a calendar of systemd's, which the plan has it check."""
    match = re.fullmatch(r"(?:daily )?((?:[01]?[0-9]|2[0-3]):[0-5][0-9])", value.strip())
    if not match and (not value.strip() or value.strip().startswith("daily ")):
        raise ValueError("write daily HH:MM, such as daily 02:00, or a calendar of systemd's")
    return f"*-*-* {match[1]}:00" if match else value.strip()


class Snapshots(BaseModel):
    """When snapshots are taken, and how many are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: Annotated[Text, AfterValidator(_when)] = field(
        "`daily 02:00`, or a calendar of systemd's.", default=..., examples=("daily 02:00",)
    )
    keep: Keep = field("How many: a number, or `{last, daily, weekly, monthly}`.", default=..., examples=("7",))


class Kept(shape.Spec):
    """What a machine says of its snapshots."""

    snapshots: Snapshots | None = field(
        "Snapshots by a timer of its host: `{schedule, keep}`. A machine that runs stands still while its memory is "
        "written; all its disks must be qcow2.",
        compared=False,
        examples=({"schedule": "daily 02:00", "keep": {"daily": "7", "weekly": "4"}},),
    )
    snapshot_before: Literal["live", "restart", "replace"] | None = field(
        "A snapshot is taken before a change of the machine that costs this or more; the last 3 are kept.",
        compared=False,
        examples=("restart",),
    )


def problem(desired: Any) -> str:
    """Why its disks can hold no snapshot, as far as the blueprint knows; "" if they can."""
    if desired.snapshots is None and desired.snapshot_before is None:
        return ""
    raw = [name for name, disk in (desired.disks or {}).items() if disk.format == "raw"]
    field = "snapshots" if desired.snapshots is not None else "snapshot_before"
    return f"{field}: disk {raw[0]} is raw, and only qcow2 holds snapshots" if raw else ""


def parts(name: str, desired: Kept) -> Iterator[Part]:
    """The timer on the host, and the script that it runs."""
    if desired.snapshots is None:
        return
    unit = f"snapshot-{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"
    path = f"/usr/local/sbin/vinfra-{unit}"
    script = _SCRIPT.format(machine=name, taken=TAKEN, **dict(desired.snapshots.keep))
    yield Part("host.file", path, {"content": script, "mode": "0755", "owner": "root", "group": "root"})
    yield Part("host.timer", unit, {"run": (path,), "on_calendar": (desired.snapshots.schedule,), "persistent": True})


def lost(domain: Found) -> str:
    """What is said of its snapshots when a machine goes."""
    return f"and its {domain.snapshots} snapshot{'s' * (domain.snapshots > 1)}" if domain.snapshots else ""


def wanted(desired: Any, delta: Delta) -> bool:
    """Whether a snapshot is taken before this change of a machine that is there."""
    return bool(desired.snapshot_before) and delta.impact >= Impact[desired.snapshot_before.upper()]


def objection(desired: Any, delta: Delta, definition: str) -> str:
    """Why the snapshot that is to be taken before a change cannot be taken; "" if it can, or none is."""
    if not definition or not wanted(desired, delta):
        return ""
    why = snapshots.objection(definition)
    return f"no snapshot can be taken before it, as snapshot_before says: {why}" if why else ""


def unkept(desired: Any, disks: Sequence[Drive], definition: str) -> str:
    """Why its timer could take none; `definition` is "" for one that will be another. "" if it can, or none is."""
    if desired.snapshots is None:
        return ""
    raw = next((disk for disk in disks if disk.format != "qcow2" and not disk.readonly), None)
    if raw is not None:
        file = raw.source.rpartition("/")[2]
        return f"snapshots: {file} is {raw.format}, and only qcow2 holds snapshots; `vinfra backup` saves any"
    why = snapshots.objection(definition) if definition else ""
    return f"snapshots: {why}" if why else ""


def first(change: Change, definition: str) -> Sequence[Step]:
    """The snapshot before a change, as its first step."""
    if not definition or not wanted(change.desired, change.delta):
        return []
    name = change.address.name
    xml = "<domainsnapshot><description>before a change by vinfra</description></domainsnapshot>"
    call = Virt(Verb.SNAPSHOT_CREATE, name, xml=xml, part=BEFORE, number=KEPT_BEFORE, seconds=LONG)
    return [Step(f"take a snapshot of {name} to go back to", (call,))]
