"""LVM logical volumes: made, and grown while they are in use; never made smaller."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from vinfra.kinds.compare import changed, created, deleted, later, own_identity, refused, updated
from vinfra.kinds.host.disks import devices, lvm, names, room, scripts
from vinfra.kinds.host.disks import listing as everything
from vinfra.kinds.host.disks.names import spelled
from vinfra.kinds.host.disks.room import ALL_FREE
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step
from vinfra.model.values import SIZES, TYPED, Unit

NAME = "host.logical_volume"
SECTION = "logical_volumes"
SHORTHAND = "size"
ORDER = 25
SHARED = False
REMOVAL = Removal(Impact.DATA_LOSS, "what is on it is lost", "refused while it is in use")

PLAIN = frozenset({"linear", "striped"})
ENVIRONMENT = (("LVM_SUPPRESS_FD_WARNINGS", "1"),)


def _extent(value: Any, info: ValidationInfo) -> Any:
    if info.context == TYPED and isinstance(value, int):
        return value
    text = str(value).strip()
    if text == ALL_FREE or re.fullmatch(r"([1-9][0-9]?|100)%VG", text):
        return text
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)", text)
    if not found or found[2] not in SIZES or not float(found[1]):
        raise ValueError("write a size such as 20GiB, a part of the group such as 50%VG, or 100%FREE for what is left")
    return int(float(found[1]) * SIZES[found[2]])


Extent = Annotated[int | str, BeforeValidator(_extent), WithJsonSchema({"type": "string"}), Unit("bytes")]


class Spec(shape.Spec):
    """A logical volume; its name is `group/volume`. Its device is /dev/group/volume."""

    size: Extent = field(
        "Its size, rounded up to whole extents: 20GiB, 50%VG, or 100%FREE: all that is left, now and whenever more is.",
        default=...,
        when="it only grows, while it is in use as well; less is refused: what is on it would be lost",
        examples=("20GiB", "50%VG", ALL_FREE),
    )


ask_all = everything.ask_lvm
listing = everything.logical_volumes
identity = own_identity


def check(name: str, _desired: shape.Spec | None) -> str:
    """The name is a group's and a volume's."""
    group, slash, part = name.partition("/")
    if not slash or "/" in part:
        return "write group/volume, such as vg0/data"
    return names.word_problem(group, "volume group") or names.word_problem(part, "logical volume")


def references(name: str, _desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Its group comes first, if it is declared."""
    return frozenset(), frozenset({f"volume_group:{name.partition('/')[0]}", lvm.TOOLS})


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All of lvm, and what stands on what."""
    yield from lvm.QUESTIONS
    yield devices.TREE
    yield from devices.ask_numbers(room.below(scope))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each as lvm has it; among the notes its group, and who uses it."""
    known, found = lvm.read(answers), devices.tree(answers)
    numbers = devices.numbers(room.below(scope), answers)
    return {item.address.name: _one(item.address.name, known, found, numbers) for item in scope.wanted}


def _one(
    name: str,
    known: lvm.Lvm | Unknown,
    found: tuple[devices.Device, ...] | Unknown,
    numbers: Mapping[str, str | Unknown],
) -> Answer:
    if isinstance(known, Unknown):
        return known
    if isinstance(found, Unknown):
        return found
    group, _, part = name.partition("/")
    notes: dict[str, Any] = {"tools": known.tools, "group": known.groups.get(group)}
    sizes = {device.number: device.size for device in devices.flat(found)}
    notes["sizes"] = {own: sizes[number] for own, number in numbers.items() if number in sizes}
    nodes = (device for device in devices.flat(found) if names.canonical(device.path) == f"/dev/{name}")
    notes["device"] = next(nodes, None)
    volume = known.groups[group].volumes.get(part) if group in known.groups else None
    if volume is None:
        return Absent(notes)
    return Present(Spec.model_construct(size=volume.size), notes | {"volume": volume})


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """It is made, or grows. What is less is refused."""
    desired, notes = resource.desired, answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(answer, scope)
    name, group = resource.address.name, notes["group"]
    parent = f"volume_group:{name.partition('/')[0]}"
    before = notes["volume"].size if isinstance(answer, Present) else None
    action = Action.CREATE if before is None else Action.UPDATE
    fields = [changed(Spec, "size", before, desired.size)]
    if parent in scope.changing and scope.siblings[parent].desired is not None:
        if before is not None and isinstance(desired.size, int) and room.wanted(desired.size, group) == before:
            return Delta(Action.NOOP)
        if isinstance(desired.size, int) and (said := room.never(parent, scope, notes)):
            return refused(action, said, fields)
        open_ended = isinstance(desired.size, str)
        bound = [changed(Spec, "size", before, None)] if open_ended and before is not None else fields
        return later(action, f"after {parent}", _sized(before, desired.size, group, bound))
    if not notes["tools"]:
        return lvm.toolless(action, fields, scope, "LVM", "lvm2")
    if group is None:
        return refused(action, f"no volume group {name.partition('/')[0]} on this host; declare it", fields)
    others = 0 if desired.size == ALL_FREE else room.others(name, group, scope)
    return _delta(action, room.wanted(desired.size, group, before or 0), before, notes, fields, others)


def _sized(
    before: int | None, size: int | str, group: lvm.Group | None, fields: list[FieldChange]
) -> list[FieldChange]:
    """The most that will be done: in whole extents where those are known."""
    if before is None or group is None or isinstance(size, str):
        return fields
    return [changed(Spec, "size", before, room.wanted(size, group))]


def _delta(
    action: Action, wish: int, before: int | None, notes: Mapping[str, Any], fields: list[FieldChange], others: int
) -> Delta:
    group: lvm.Group = notes["group"]
    if wish == before:
        return Delta(Action.NOOP)
    free = group.free // group.extent * group.extent
    if wish <= 0:
        return refused(action, f"nothing is left of volume group {group.name}", fields)
    if before is not None and wish < before:
        said = f"it has {spelled(before)}, and gets no smaller here: what is on it would be lost"
        return refused(action, said, fields)
    if before is not None and notes["volume"].layout.split(",")[0] not in PLAIN:
        return refused(action, f"it is {notes['volume'].layout}; only linear and striped volumes are grown", fields)
    if wish - (before or 0) > free:
        said = f"volume group {group.name} has only {spelled(free)} left, and it needs {spelled(wish - (before or 0))}"
        return refused(action, said, fields)
    if others and wish - (before or 0) + others > free:
        said = f"volume group {group.name} has only {spelled(free)} left; it needs {spelled(wish - (before or 0))}"
        return refused(action, f"{said}, and the other volumes of this plan {spelled(others)}", fields)
    return created(fields) if before is None else updated([changed(Spec, "size", before, wish)])


def _gone(answer: Answer, scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    volume: lvm.Volume = answer.notes["volume"]
    device: devices.Device | None = answer.notes["device"]
    going = {name for name, item in scope.siblings.items() if item.desired is None}
    used = ""
    if device is not None:
        places = [place for place in device.mounted if f"mount:{place}" not in going]
        swap = any(f"swap:{name}" in going for name in names.spellings(names.canonical(device.path)))
        if places and not (places == ["[SWAP]"] and swap):
            return refused(Action.DELETE, f"in use: mounted on {', '.join(places)}")
        if device.children:
            return refused(Action.DELETE, f"in use by {', '.join(child.path for child in device.children)}")
        used = f", {spelled(device.used)} used" if device.used is not None else ""
    return deleted(REMOVAL, f"{spelled(volume.size)}{used}")


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """lvcreate, lvextend, lvremove; what free space of the group still holds of former volumes is nobody's."""
    name, desired, notes = change.address.name, change.desired, change.notes
    if not isinstance(desired, Spec):
        call = scripts.run(scripts.UNVOLUME, name, notes["volume"].uuid)
        return [Step(f"remove logical volume {name}", (call,), change.delta.impact)]
    group, _, part = name.partition("/")
    before = notes["volume"].size if "volume" in notes else 0
    wish = room.wanted(desired.size, notes["group"], before)
    # What is left by then, for other volumes of this plan may come before it.
    rest = "+100%FREE" if before else ALL_FREE
    extents = ("--extents", rest if desired.size == ALL_FREE else str(wish // notes["group"].extent))
    said = "all that is left" if desired.size == ALL_FREE else spelled(wish)
    if before:
        call = Exec(("lvextend", "-q", *extents, "--", name), env=ENVIRONMENT)
        return [Step(f"grow logical volume {name} to {said}", (call,), change.delta.impact)]
    words = ("lvcreate", "-q", "--yes", "--wipesignatures", "y", "--zero", "y", *extents, "--name", part, "--", group)
    call = scripts.run(scripts.VOLUME, name, *words)
    return [Step(f"make logical volume {name}, {said}", (call,), change.delta.impact)]


def undo(change: Change, _scope: Scope) -> Undo | str:
    """A new one goes, unless it is somebody else's."""
    name = change.address.name
    if change.delta.action is not Action.CREATE:
        return "a logical volume that has grown does not get smaller again"
    call = scripts.run(scripts.UNMADE, name)
    return Undo((Step(f"remove logical volume {name}", (call,), Impact.DATA_LOSS),), early=True)
