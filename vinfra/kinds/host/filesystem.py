"""File systems: made on what is empty, and on nothing else; grown with their devices while they are mounted."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from vinfra.kinds.compare import changed, compare, created, deleted, later, refused, updated
from vinfra.kinds.host.disks import devices, lvm, making, names, rivals, scripts
from vinfra.kinds.host.disks import listing as everything
from vinfra.kinds.host.disks.names import spelled
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Step
from vinfra.model.values import Flag, Text

NAME = "host.filesystem"
SECTION = "filesystems"
SHORTHAND = "type"
ORDER = 26
SHARED = False
REMOVAL = Removal(Impact.DATA_LOSS, "what is on it is lost", "refused while it is mounted")
LOST: dict[str, Any] = {"impact": Impact.DATA_LOSS, "why": "what is on it would be lost", "refused": True}

NO_LONGER_THAN = 3600.0


class Spec(shape.Spec):
    """A file system; its name is its device's: /dev/vg0/data, or one that stays, /dev/disk/by-id/…."""

    FOLLOWS = ("size",)

    type: Literal["ext4", "xfs", "btrfs", "vfat"] = field("Which one.", default=..., **LOST)
    label: Text | None = field("Its label.", when="while it is mounted too, but for vfat", examples=("data",))
    options: tuple[Text, ...] | None = field(
        "Options of its mkfs, each word its own item; they count when it is made.",
        compared=False,
        examples=(["-m", "0"],),
    )
    grow: Flag = field(
        "Whether it grows when its device has grown, by 16MiB or more; ext4 and xfs.", default=True, compared=False
    )


ask_all = everything.ask_filesystems
listing = everything.filesystems


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a device's; the label fits; nothing is forced."""
    if problem := names.device_problem(name):
        return problem
    if not isinstance(desired, Spec) or desired.deferred:
        return ""
    label, most = desired.label or "", making.LABELS[desired.type]
    if label and not re.fullmatch(rf"[A-Za-z0-9_.:+-]{{1,{most}}}", label):
        return f"label: {desired.type} takes at most {most} letters, digits and any of _ . : + -"
    if desired.type == "vfat" and label != label.upper():
        return "label: vfat's is in capitals"
    forced = next(filter(making.forces, desired.options or ()), "")
    return f"options: {forced} would write over what is there; that is for hands" if forced else ""


def identity(name: str) -> str:
    """One device holds one thing, whichever of its names is used."""
    return f"device:{names.canonical(name)}"


def references(name: str, _desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """The logical volume comes first, if it is declared."""
    volume = names.volume(name)
    return frozenset(), frozenset({f"logical_volume:{volume}"} if volume else ())


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """What is on each device, how large its file system is, and whether the programs are there."""
    yield from devices.ask(item.address.name for item in scope.wanted)
    yield from rivals.ask(scope)
    for item in scope.wanted:
        if isinstance(item.desired, Spec):
            yield from making.ask(item.desired.type, item.address.name)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each as it is; what is on the device and is no file system is among the notes."""
    looks = devices.look((item.address.name for item in scope.wanted), answers)
    return {item.address.name: _one(item, looks[item.address.name], scope, answers) for item in scope.wanted}


def _one(item: Resource, look: devices.Look | Unknown, scope: Scope, answers: Answers) -> Answer:
    if isinstance(look, Unknown):
        return look
    rival = rivals.of(item.address.reference, item.address.name, scope, answers)
    notes: dict[str, Any] = {"look": look, "rival": rival}
    if isinstance(item.desired, Spec):
        notes["tools"] = making.has_tools(item.desired.type, answers)
        notes["size"] = making.size(item.desired.type, look, answers)
    signature = look.signature or {}
    if signature.get("USAGE") != "filesystem":
        return Absent(notes)
    return Present(Spec.model_construct(type=signature["TYPE"], label=signature.get("LABEL")), notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Made on what is empty; its label; and whether its device has outgrown it."""
    desired, notes = resource.desired, answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(answer, scope)
    look: devices.Look = notes["look"]
    if not isinstance(answer, Present):
        return _new(desired, look, notes, scope)
    actual = answer.actual
    assert isinstance(actual, Spec)
    if actual.type != desired.type:
        fields = [changed(Spec, "type", actual.type, desired.type)]
        return refused(Action.REPLACE, devices.objection(look), fields)
    fields = list(compare(actual, desired))
    if fields and desired.type == "vfat" and look.device and look.device.mounted:
        return refused(Action.UPDATE, f"mounted on {', '.join(look.device.mounted)}; unmount it first", fields)
    return _grown(resource.address.name, desired, fields, notes, scope)


def _grown(name: str, desired: Spec, fields: list[FieldChange], notes: Mapping[str, Any], scope: Scope) -> Delta:
    if not desired.grow or desired.type not in making.GROWING:
        return updated(fields)
    volume = f"logical_volume:{names.volume(name)}"
    if volume in scope.changing:
        return later(Action.UPDATE, f"it grows with {volume}", [*fields, FieldChange("size", None, None)])
    size, device = notes["size"], notes["look"].device
    if size is not None and device is not None and device.size - size >= making.TOLERANCE:
        fields.append(FieldChange("size", spelled(size), spelled(device.size)))
    return updated(fields)


def _new(desired: Spec, look: devices.Look, notes: Mapping[str, Any], scope: Scope) -> Delta:
    fields = lvm.fresh(list(compare(None, desired)))
    if look.problem and (found := lvm.bringing(scope, look.name)):
        return later(Action.CREATE, f"{look.problem}; {found[0]} may bring it", fields)
    if said := devices.objection(look) or notes["rival"]:
        return refused(Action.CREATE, said, fields)
    if not notes["tools"]:
        program, package = f"mkfs.{desired.type}", making.PACKAGES[desired.type]
        return lvm.toolless(Action.CREATE, fields, scope, program, package)
    return created(fields)


def _gone(answer: Answer, scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    look: devices.Look = answer.notes["look"]
    going = {name for name, item in scope.siblings.items() if item.desired is None}
    places = [place for place in (look.device.mounted if look.device else ()) if f"mount:{place}" not in going]
    if places:
        return refused(Action.DELETE, f"mounted on {', '.join(places)}")
    return deleted(REMOVAL, devices.content(look))


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """mkfs, after the script looked once more; a label; growing; wiping the signature of one that goes."""
    name, desired, look = change.address.name, change.desired, change.notes["look"]
    if not isinstance(desired, Spec):
        return [
            Step(
                f"wipe {change.actual and getattr(change.actual, 'type', '')} off {name}",
                (scripts.run(scripts.WIPE, name, (look.signature or {}).get("UUID", "")),),
                change.delta.impact,
            )
        ]
    if change.delta.action is Action.CREATE:
        words = making.command(desired.type, desired.label or "", desired.options or ())
        call = scripts.run(scripts.MAKE, name, *words)
        return [Step(f"make {desired.type} on {name}", (call,), change.delta.impact, NO_LONGER_THAN)]
    paths, at = {item.path for item in change.delta.fields}, next(iter(look.device.mounted), "")
    found = []
    if "label" in paths:
        words = making.labelling(desired.type, name, at, desired.label or "")
        found.append(Step(f"label {name} {desired.label}", (scripts.run(scripts.LABEL, name, *words),)))
    if "size" in paths:
        call = scripts.run(scripts.GROW, desired.type, name, at)
        found.append(Step(f"grow {desired.type} on {name}", (call,), timeout=NO_LONGER_THAN))
    return found


def undo(change: Change, scope: Scope) -> Undo | str:
    """A new one goes, with what was put on it since, and nobody else's; a label has its former value."""
    if change.delta.action is Action.CREATE:
        name = change.address.name
        call = scripts.run(scripts.UNMAKE, name)
        return Undo((Step(f"wipe what was made on {name}", (call,), Impact.DATA_LOSS),), early=True)
    if any(item.path == "size" for item in change.delta.fields):
        return "a file system that has grown does not get smaller again"
    before = getattr(change.actual, "label", None)
    if before is None:
        return "it had no label, and which tool takes one away differs"
    assert isinstance(change.desired, Spec)
    at = next(iter(change.notes["look"].device.mounted), "")
    words = making.labelling(change.desired.type, change.address.name, at, before)
    return Undo(
        (Step(f"label {change.address.name} {before}", (scripts.run(scripts.LABEL, change.address.name, *words),)),)
    )
