"""Swap areas: files and devices, in use now and at the next boot."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import bringers, created, deleted, later, refused, updated
from vinfra.kinds.host.disks import devices, fstab, lvm, names, rivals, scripts, swapping
from vinfra.kinds.host.disks import listing as everything
from vinfra.kinds.host.files import paths
from vinfra.model import spec as shape
from vinfra.model.action import Action
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step
from vinfra.model.values import Size, Whole

NAME = "host.swap"
SECTION = "swap"
SHORTHAND = "size"
ORDER = 27
SHARED = False
REMOVAL = Removal(when="what is in it must fit into memory; a file goes, a device keeps its signature")

NO_LONGER_THAN = 1800.0


class Spec(shape.Spec):
    """A swap area; its name is the path of its file, which is made, or of a device, which must be empty."""

    FOLLOWS = ("active", "boot")

    size: Size | None = field(
        "Size of the file; a device has its own.",
        when="what is in it must fit into memory meanwhile",
        examples=("4GiB",),
    )
    priority: Whole | None = field(
        "Areas of a higher one are used first, 0 to 32767; the kernel's own choice when not given.",
        when="what is in it must fit into memory meanwhile",
    )


ask_all = everything.ask_swap
listing = everything.swap


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a path; a file has a size, a device has none."""
    device = name.startswith("/dev/")
    if problem := names.device_problem(name) if device else paths.name_problem(name):
        return problem
    if re.search(r"\s", name):
        return "a path with white space is not supported"
    if not isinstance(desired, Spec) or desired.deferred:
        return ""
    if device and desired.size is not None:
        return "size: a device has its own"
    if not device and (desired.size is None or desired.size < swapping.SMALLEST):
        return "size: say how large the file is, 1MiB or more"
    if desired.priority is not None and not 0 <= desired.priority <= swapping.HIGHEST:
        return f"priority: write a number from 0 to {swapping.HIGHEST}"
    return ""


def identity(name: str) -> str:
    """A device holds one thing, and so does a path."""
    return f"device:{names.canonical(name)}" if name.startswith("/dev/") else f"path:{name}"


def references(name: str, _desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """The logical volume, or the folder of the file and what is mounted there, come first."""
    if name.startswith("/dev/"):
        volume = names.volume(name)
        return frozenset(), frozenset({f"logical_volume:{volume}"} if volume else ())
    above = paths.parents(name)
    return frozenset(), frozenset({f"{noun}:{path}" for path in above for noun in ("directory", "mount", "filesystem")})


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """What is in use, the table, and what each of them is now."""
    yield from swapping.QUESTIONS
    yield from devices.ask(name for name in _names(scope) if name.startswith("/dev/"))
    yield from swapping.ask_files(_names(scope))
    yield from rivals.ask(scope)


def _names(scope: Scope) -> list[str]:
    return [item.address.name for item in scope.wanted]


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when it is a swap area, whether it is in use or not."""
    table, used = fstab.read(answers), swapping.read(answers)
    looks = devices.look((name for name in _names(scope) if name.startswith("/dev/")), answers)
    files = swapping.files(_names(scope), answers)
    found: dict[str, Answer] = {}
    for name in _names(scope):
        there = looks.get(name) or files[name]
        unread = next((known for known in (table, used, there) if isinstance(known, Unknown)), None)
        found[name] = unread or _one(name, table, used, there)  # type: ignore[arg-type]
        if isinstance(found[name], Absent):
            found[name].notes["rival"] = rivals.of(f"swap:{name}", name, scope, answers)  # type: ignore[union-attr]
    return found


def _one(
    name: str, table: tuple[fstab.Entry, ...], used: swapping.Used, there: devices.Look | swapping.File | None
) -> Answer:
    own = {name, names.canonical(name)}
    if isinstance(there, devices.Look) and there.device is not None:
        own |= {there.device.path, there.device.node}
    area = next((used.areas[path] for path in sorted(own) if path in used.areas), None)
    entries = [entry for entry in table if entry.type == "swap" and names.canonical(entry.source) in own]
    notes: dict[str, Any] = {"area": area, "entry": next(iter(entries), None), "there": there, "memory": used.available}
    is_swap = there.type == "swap" if there is not None else False
    if not is_swap:
        return Absent(notes)
    size = there.size if isinstance(there, swapping.File) else None
    return Present(Spec.model_construct(size=size, priority=area.priority if area else None), notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Its size and priority, that it is in use, and that it will be at the next boot."""
    name, desired = resource.address.name, resource.desired
    notes = answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(name, answer, notes)
    actual = answer.actual if isinstance(answer, Present) and isinstance(answer.actual, Spec) else None
    fields = swapping.differences(Spec, name, desired, actual, notes)
    if actual is None:
        return _new(name, fields, notes, scope)
    if {"size", "priority"} & {item.path for item in fields} and (said := _crowded(notes)):
        return refused(Action.UPDATE, said, fields)
    return updated(fields)


def _crowded(notes: Mapping[str, Any]) -> str:
    """Why an area cannot be taken out of use; "" when it can."""
    area: swapping.Area | None = notes["area"]
    if area is None or area.used < notes["memory"]:
        return ""
    return f"{names.spelled(area.used)} are in it, and only {names.spelled(notes['memory'])} of memory are free"


def _new(name: str, fields: list[FieldChange], notes: Mapping[str, Any], scope: Scope) -> Delta:
    there = notes["there"]
    if isinstance(there, swapping.File):
        return refused(Action.CREATE, f"{name} is there, and is no swap area; remove it, or take another path", fields)
    if there is None:
        mounts = [ref for ref in bringers(scope, "mount:") if name.startswith(f"{ref.partition(':')[2]}/")]
        return later(Action.CREATE, f"{mounts[0]} comes before it", fields) if mounts else created(fields)
    if there.problem and (found := lvm.bringing(scope, name)):
        return later(Action.CREATE, f"{there.problem}; {found[0]} may bring it", fields)
    said = devices.objection(there) or notes["rival"]
    return refused(Action.CREATE, said, fields) if said else created(fields)


def _gone(name: str, answer: Answer, notes: Mapping[str, Any]) -> Delta:
    if not isinstance(answer, Present) and notes["entry"] is None:
        return Delta(Action.NOOP)
    if name.startswith("/dev/") and notes["area"] is None and notes["entry"] is None:
        return Delta(Action.NOOP)
    if said := _crowded(notes):
        return refused(Action.DELETE, said)
    return deleted(REMOVAL, "" if name.startswith("/dev/") else "its file goes")


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """Make it, take it into use, write its line."""
    name, desired, notes = change.address.name, change.desired, change.notes
    if not isinstance(desired, Spec):
        return swapping.removal(name, notes, there=change.actual is not None)
    paths_ = {item.path for item in change.delta.fields}
    found, stopped = [], False
    if change.delta.action is Action.CREATE and name.startswith("/dev/"):
        found.append(Step(f"make swap on {name}", (scripts.run(scripts.MAKE, name, "mkswap"),)))
    elif "size" in paths_:
        assert desired.size is not None
        fresh = change.delta.action is Action.CREATE
        call = scripts.run(scripts.SWAP_NEW if fresh else scripts.SWAP_RESIZED, name, str(swapping.whole(desired.size)))
        found.append(Step(f"make {name}, {names.spelled(desired.size)}", (call,), timeout=NO_LONGER_THAN))
        stopped = not fresh
    elif "priority" in paths_ and notes["area"] is not None:
        found.append(Step(f"stop swapping to {name}", (Exec(("swapoff", "--", name)),), timeout=NO_LONGER_THAN))
        stopped = True
    if stopped or "active" in paths_:
        found.append(swapping.use(name, desired.priority))
    entry, wish = notes["entry"], swapping.entry(name, desired.priority)
    if entry is None or swapping.options(entry) != swapping.options(wish):
        found.append(fstab.edit(f"swap {name}", entry, wish))
    return found


def undo(change: Change, scope: Scope) -> Undo | str:
    """A new one goes; one that was there is as it was."""
    name, desired, notes = change.address.name, change.desired, change.notes
    assert isinstance(desired, Spec)
    wish = swapping.entry(name, desired.priority)
    written = replace(wish, line=fstab.line(wish))
    if change.delta.action is Action.CREATE:
        return Undo(tuple(swapping.removal(name, {"area": True, "entry": written}, there=True)), early=True)
    actual = change.actual
    assert isinstance(actual, Spec)
    found: list[Step] = []
    if any(item.path == "size" for item in change.delta.fields) and actual.size is not None:
        call = scripts.run(scripts.SWAP_RESIZED, name, str(actual.size))
        found.append(Step(f"make {name}, {names.spelled(actual.size)}", (call,), timeout=NO_LONGER_THAN))
    else:
        found.append(swapping.stop(name))
    if notes["area"] is not None:
        found.append(swapping.use(name, actual.priority if (actual.priority or 0) >= 0 else None))
    found.append(fstab.edit(f"swap {name}", written, notes["entry"]))
    return Undo(tuple(found))
