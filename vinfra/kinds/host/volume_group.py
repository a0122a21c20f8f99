"""LVM volume groups: the devices that logical volumes are cut from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vinfra.kinds.compare import bringers, changed, compare, created, deleted, later, own_identity, refused, updated
from vinfra.kinds.host.disks import devices, lvm, names, rivals, scripts
from vinfra.kinds.host.disks import listing as everything
from vinfra.kinds.host.disks.names import spelled
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.mark import State
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Step
from vinfra.model.values import Text

NAME = "host.volume_group"
SECTION = "volume_groups"
SHORTHAND = ""
ORDER = 24
SHARED = False
REMOVAL = Removal(Impact.DATA_LOSS, "its devices are empty then", "refused while a volume that stays is on it")

NO_LONGER_THAN = 600.0


class Spec(shape.Spec):
    """A volume group of LVM. A new device extends it; one is taken out by hand, once nothing is on it."""

    devices: tuple[Text, ...] = field(
        "All of its devices, by names that stay: /dev/disk/by-id/…. Each must be empty when it comes to it.",
        default=...,
        when="one that is no longer named is refused; pvmove and vgreduce take it out",
        identity=True,
        examples=(["/dev/disk/by-id/virtio-data1"],),
    )


ask_all = everything.ask_lvm
listing = everything.volume_groups
identity = own_identity


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is one that lvm takes; there are devices, each once."""
    if problem := names.word_problem(name, "volume group"):
        return problem
    if not isinstance(desired, Spec) or not isinstance(desired.devices, tuple):
        return ""
    told = [names.canonical(device) for device in desired.devices if isinstance(device, str)]
    if not desired.devices:
        return "devices: name at least one"
    problem = next(filter(None, map(names.device_problem, told)), "")
    twice = next((device for device in told if told.count(device) > 1), "")
    return problem or (f"devices: {twice} stands there twice" if twice else "")


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """lvm2 comes first, if the blueprint has it."""
    return frozenset(), frozenset({lvm.TOOLS})


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All of lvm, and what is on each device."""
    yield from lvm.QUESTIONS
    yield from devices.ask(_named(scope))
    yield from rivals.ask(scope)


def _named(scope: Scope) -> list[str]:
    return [name for item in scope.wanted if isinstance(item.desired, Spec) for name in item.desired.devices]


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each as lvm has it; among the notes what is on the devices that are named."""
    known, looks = lvm.read(answers), devices.look(_named(scope), answers)
    return {item.address.name: _one(item, known, looks, scope, answers) for item in scope.wanted}


def _one(
    item: Resource,
    known: lvm.Lvm | Unknown,
    looks: Mapping[str, devices.Look | Unknown],
    scope: Scope,
    answers: Answers,
) -> Answer:
    if isinstance(known, Unknown):
        return known
    wish = item.desired.devices if isinstance(item.desired, Spec) else ()
    mine: dict[str, devices.Look] = {}
    for name in wish:
        look = looks[name]
        if isinstance(look, Unknown):
            return look
        mine[name] = look
    notes: dict[str, Any] = {"lvm": known, "looks": mine, "claimed": _claimed(item.address.name, scope)}
    notes["rivals"] = {name: rivals.of(item.address.reference, name, scope, answers) for name in mine}
    group = known.groups.get(item.address.name)
    if group is None:
        return Absent(notes)
    paths = {look.device.path: name for name, look in mine.items() if look.device is not None}
    notes["group"] = group
    return Present(Spec.model_construct(devices=tuple(paths.get(path, path) for path in group.devices)), notes)


def _claimed(name: str, scope: Scope) -> str:
    """The devices that a run of this blueprint was at when it was killed; "" for none."""
    mark = scope.mine(name)
    return mark.identity.get("devices", "") if mark is not None and mark.state is State.CLAIMED else ""


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Made, or extended by what is missing; what is in it and not named is told."""
    desired, notes = resource.desired, answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(answer, scope)
    if not isinstance(answer, Present):
        return _fit(Action.CREATE, list(compare(None, desired)), desired.devices, notes, scope)
    group: lvm.Group = notes["group"]
    actual = answer.actual
    assert isinstance(actual, Spec)
    there = frozenset(actual.devices)
    missing = tuple(name for name in desired.devices if name not in there)
    more = [name for name in actual.devices if name not in desired.devices]
    if not missing and not more:
        return Delta(Action.NOOP)
    fields = [changed(Spec, "devices", actual.devices, desired.devices)]
    if group.missing:
        said = f"{group.missing} of its devices cannot be found; bring them back, or vgreduce --removemissing by hand"
        return refused(Action.UPDATE, said, fields)
    if more:
        out = f"pvmove {more[0]} && vgreduce {resource.address.name} {more[0]} takes it out"
        return refused(Action.UPDATE, f"{', '.join(more)} is in it and not named; {out}, or name it", fields)
    return _fit(Action.UPDATE, fields, missing, notes, scope)


def _fit(
    action: Action, fields: list[FieldChange], names_: Sequence[str], notes: Mapping[str, Any], scope: Scope
) -> Delta:
    """The delta once every device that comes to it is known to be empty."""
    looks: Mapping[str, devices.Look] = notes["looks"]
    objections = {name: said for name in names_ if (said := _objection(looks[name], notes))}
    absent = [name for name in objections if looks[name].problem]
    if absent and len(absent) == len(objections) and (found := bringers(scope, "operation:", "kernel_module:")):
        return later(action, f"{objections[absent[0]]}; {found[0]} may bring it", fields)
    if objections:
        return refused(action, "; ".join(objections.values()), fields)
    if not notes["lvm"].tools:
        return lvm.toolless(action, fields, scope, "LVM", "lvm2")
    return created(fields) if action is Action.CREATE else updated(fields)


def _objection(look: devices.Look, notes: Mapping[str, Any]) -> str:
    if _ours(look, notes):
        return ""
    group = next((one for one in notes["lvm"].groups.values() if look.device and look.device.path in one.devices), None)
    if group is not None:
        return f"{look.name} is a device of volume group {group.name}"
    if look.device is not None and look.device.path in notes["lvm"].orphans:
        return f"{look.name} is a physical volume of no group; if nobody needs it, pvremove {look.name}"
    return devices.objection(look) or str(notes["rivals"][look.name])


def _ours(look: devices.Look, notes: Mapping[str, Any]) -> bool:
    """Whether a killed run prepared it: it is claimed for this very group, and no other group has it."""
    there = look.device is not None and look.device.path in notes["lvm"].orphans
    return there and f"'{look.name}'" in notes["claimed"]


def _gone(answer: Answer, scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    group: lvm.Group = answer.notes["group"]
    going = {name for name, item in scope.siblings.items() if item.desired is None}
    left = [name for name in group.volumes if f"logical_volume:{group.name}/{name}" not in going]
    if left:
        return refused(Action.DELETE, f"logical volumes are on it: {', '.join(left)}")
    used = group.size - group.free
    return deleted(REMOVAL, f"{spelled(used)} of {spelled(group.size)} in {len(group.volumes)} logical volumes")


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """vgcreate and vgextend prepare the devices themselves, after the script looked at them once more."""
    name, desired, notes = change.address.name, change.desired, change.notes
    if not isinstance(desired, Spec):
        own = notes["group"].devices
        step = Step(f"remove volume group {name}", (scripts.run(scripts.UNGROUP, name, *own),), change.delta.impact)
        return [step]
    new = change.delta.action is Action.CREATE
    there = () if new else getattr(change.actual, "devices", ())
    missing = [device for device in desired.devices if device not in there]
    words = [f"{'ours' if _ours(notes['looks'][device], notes) else 'new'}:{device}" for device in missing]
    call = scripts.run(scripts.GROUP, "vgcreate" if new else "vgextend", name, *words)
    what = f"make volume group {name} of" if new else f"extend volume group {name} by"
    return [Step(f"{what} {', '.join(missing)}", (call,), change.delta.impact, NO_LONGER_THAN)]


def undo(change: Change, _scope: Scope) -> Undo:
    """A new one goes, and what it was extended by leaves it, unless something was put there meanwhile."""
    name, desired = change.address.name, change.desired
    assert isinstance(desired, Spec)
    if change.delta.action is Action.CREATE:
        call = scripts.run(scripts.UNGROUP, name, *desired.devices)
        return Undo((Step(f"remove volume group {name}", (call,), Impact.DATA_LOSS),), early=True)
    there = getattr(change.actual, "devices", ())
    more = [device for device in desired.devices if device not in there]
    call = scripts.run(scripts.REDUCE, name, *more)
    return Undo((Step(f"take {', '.join(more)} out of volume group {name}", (call,)),), early=True)
