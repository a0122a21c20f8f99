"""Mounts: what is seen where, now and at the next boot."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vinfra.kinds.compare import created, deleted, later, own_identity, refused, updated
from vinfra.kinds.host.disks import devices, fstab, lvm, mounting, mounts, names
from vinfra.kinds.host.disks import listing as everything
from vinfra.kinds.host.files import paths
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Step
from vinfra.model.values import Flag, Text, Whole

NAME = "host.mount"
SECTION = "mounts"
SHORTHAND = "source"
ORDER = 28
SHARED = False
REMOVAL = Removal(
    Impact.RESTART, "what is on it is out of reach, and stays", "refused by the kernel while it is in use"
)
ANEW: dict[str, Any] = {"impact": Impact.RESTART, "why": "it is unmounted and mounted anew"}


class Spec(shape.Spec):
    """A mount; its name is the folder, which is made when it is missing. Its line of /etc/fstab is this object's."""

    source: Text = field(
        "What is mounted: a device, UUID=…, LABEL=…, server:/path, a folder (with the option `bind`), or tmpfs.",
        default=...,
        **ANEW,
        examples=("/dev/vg0/data", "UUID=0b3c…", "nas:/export/data"),
    )
    type: Text | None = field(
        "Type of the file system; found out by itself when not given.", **ANEW, examples=("ext4", "nfs")
    )
    options: tuple[Text, ...] | None = field(
        "Options, all of them; `nofail` and, over the network, `_netdev` are added.",
        when="live as far as the file system can change them",
        examples=(["noatime", "nodev"],),
    )
    nofail: Flag | None = field(
        "Whether the host boots without it. It does when not given, but for what a system needs (/usr, /var, /boot).",
        compared=False,
    )
    dump: Whole = field("The fifth field of its line: for dump(8).", default=0)
    passno: Whole = field("The sixth: when it is checked at boot; 0 for never, 2 for all but the root.", default=0)
    mounted: Flag = field("Whether it is mounted now.", default=True, impact=REMOVAL.impact, why=REMOVAL.why)
    boot: Flag = field("Whether it is mounted at boot: whether it has a line in /etc/fstab.", default=True)
    cover: Flag = field(
        "Mount it over a folder that is not empty, whose content is hidden then.", default=False, compared=False
    )


ask_all = everything.ask_mounts
listing = everything.mounts_
identity = own_identity


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a folder that may be mounted on; words are such that the table can hold them."""
    if problem := paths.name_problem(name):
        return problem
    if name in mounting.KERNELS or name.startswith(("/proc/", "/sys/")):
        return f"{name} is the kernel's own, or the system's"
    if not isinstance(desired, Spec) or desired.deferred:
        return ""
    if not desired.source or desired.source.startswith("-"):
        return "source: name a device, UUID=…, LABEL=…, server:/path or a folder"
    if any(not option or "," in option or option.startswith("-") for option in desired.options or ()):
        return "options: write each as an item of its own"
    if not desired.mounted and not desired.boot:
        return "neither mounted nor at boot: say `absent`"
    if mounting.is_bind(desired) and not desired.source.startswith("/"):
        return "source: with the option bind, name a folder"
    if not mounting.is_bind(desired) and desired.source.startswith("/") and not desired.source.startswith("/dev/"):
        return f"source: {desired.source} is no device; a folder needs the option bind"
    return ""


def references(name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """What is mounted comes first, and so does what the folder is in."""
    soft = {f"{noun}:{path}" for path in paths.parents(name) for noun in ("mount", "directory")}
    source = desired.source if isinstance(desired, Spec) and isinstance(desired.source, str) else ""
    if source.startswith("/dev/"):
        soft |= {f"filesystem:{known}" for known in names.spellings(source)}
        soft |= {f"logical_volume:{names.volume(source)}"} if names.volume(source) else set()
    elif source.startswith("/"):
        soft |= {f"{noun}:{path}" for path in (source, *paths.parents(source)) for noun in ("mount", "directory")}
    return frozenset(), frozenset(soft - {f"mount:{name}"})


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """What is mounted, what the table says, the devices, and what is in each folder."""
    yield from (mounts.TABLE, fstab.QUESTION)
    yield from devices.ask(_devices(scope))
    yield from mounting.ask((item.address.name, item.desired) for item in scope.wanted)


def _devices(scope: Scope) -> list[str]:
    wishes = (item.desired for item in scope.wanted)
    return [wish.source for wish in wishes if isinstance(wish, Spec) and wish.source.startswith("/dev/")]


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when it is mounted or has a line."""
    live, table, tree = mounts.read(answers), fstab.read(answers), devices.tree(answers)
    looks = devices.look(_devices(scope), answers)
    for known in (live, table, tree):
        if isinstance(known, Unknown):
            return {item.address.name: known for item in scope.wanted}
    leads = mounts.resolved(mounting.paths_of((item.address.name, item.desired) for item in scope.wanted), answers)
    world = mounting.World(live, table, tree, looks, leads)  # type: ignore[arg-type]
    return {item.address.name: _one(item, world, answers) for item in scope.wanted}


def _one(item: Resource, world: mounting.World, answers: Answers) -> Answer:
    name, desired = item.address.name, item.desired
    notes: dict[str, Any] = {"live": mounts.at(name, world.seen)}
    entries = [entry for entry in world.table if entry.target == name and entry.type != "swap"]
    notes |= {"entry": entries[-1] if entries else None, "lines": len(entries)}
    if isinstance(desired, Spec):
        look = world.looks.get(desired.source)
        if isinstance(look, Unknown):
            return look
        notes |= {"problem": mounting.problem(desired.source, look, world.tree)}
        notes |= {"hides": mounting.hidden(name, answers), "tools": mounting.has_tools(desired, answers)}
        notes |= {"leads": world.leads[name]}
        notes |= {"same": notes["live"] is None or world.same(desired, notes["live"])}
    if notes["live"] is None and notes["entry"] is None:
        return Absent(notes)
    return Present(Spec.model_construct(**mounting.actual(notes["live"], notes["entry"])), notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """The line and the mount, each as it should be."""
    name, desired = resource.address.name, resource.desired
    notes = answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(name, answer, notes)
    fields = mounting.differences(Spec, name, desired, notes)
    action = Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    if not fields:
        return Delta(Action.NOOP)
    if notes["lines"] > 1:
        return refused(action, f"{fstab.FILE} has {notes['lines']} lines for {name}; leave one", fields)
    if notes["leads"] != name:
        said = f"{name} leads to {notes['leads']} by a symbolic link; name that"
        return refused(action, said, fields)
    comes = desired.mounted and (notes["live"] is None or not notes["same"])
    if comes and (delta := _obstacle(name, desired, action, fields, notes, scope)):
        return delta
    return created(fields) if action is Action.CREATE else updated(fields)


def _obstacle(
    name: str, desired: Spec, action: Action, fields: list[FieldChange], notes: Mapping[str, Any], scope: Scope
) -> Delta | None:
    """Why it cannot be mounted now; None when it can."""
    if notes["live"] is not None and not notes["same"] and scope.mine(name) is None:
        said = f"{notes['live'].source} is mounted there, and this blueprint did not do it; unmount it first"
        return refused(action, said, fields)
    if notes["problem"]:
        if found := lvm.bringing(scope, desired.source):
            bound = lvm.fresh(fields) if notes["live"] is None else fields
            return later(action, f"{notes['problem']}; {found[0]} may bring it", bound)
        return refused(action, notes["problem"], fields)
    if isinstance(notes["hides"], str):
        return refused(action, notes["hides"], fields)
    if notes["live"] is None and notes["hides"] and not desired.cover:
        some = ", ".join(notes["hides"][:3]) + (", …" if len(notes["hides"]) > 3 else "")
        said = f"{name} is not empty: {some} would be hidden; move it away, or say cover: true"
        return refused(action, said, fields)
    if not notes["tools"]:
        sort = mounting.type_of(desired)
        return lvm.toolless(action, fields, scope, f"mount.{sort}", mounting.PACKAGES[sort])
    return None


def _gone(name: str, answer: Answer, notes: Mapping[str, Any]) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    if name in mounting.NEEDED:
        return refused(Action.DELETE, "the host would not boot without it; that is for hands")
    if notes["lines"] > 1:
        return refused(Action.DELETE, f"{fstab.FILE} has {notes['lines']} lines for {name}; leave one")
    source = (notes["live"] or notes["entry"]).source
    return deleted(REMOVAL if notes["live"] else Removal(), f"{source} keeps what is on it")


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """Unmount, mount or remount; then the line, so that what does not work is not in wait for the next boot."""
    name, desired, notes = change.address.name, change.desired, change.notes
    live, entry = notes["live"], notes["entry"]
    if not isinstance(desired, Spec):
        found = [mounting.unmount(name, change.delta.impact)] if live is not None else []
        return [*found, *([fstab.edit(f"mount {name}", entry, None)] if entry is not None else [])]
    changed, wish = {item.path for item in change.delta.fields}, mounting.entry(name, desired)
    line = []
    if desired.boot and (entry is None or entry != fstab.Entry(entry.line, *mounting.values(wish))):
        line = [fstab.edit(f"mount {name}", entry, wish)]
    elif not desired.boot and entry is not None:
        line = [fstab.edit(f"mount {name}", entry, None)]
    if live is not None and (not desired.mounted or not notes["same"] or "type" in changed):
        gone = mounting.unmount(name, change.delta.impact)
        return [gone, *line, *([mounting.mount(name, desired, wish)] if desired.mounted else [])]
    if live is None and desired.mounted:
        return [mounting.mount(name, desired, wish), *line]
    remount = live is not None and "options" in changed
    return [*([mounting.remount(name, desired, wish, live)] if remount else []), *line]


def undo(change: Change, scope: Scope) -> Undo:
    """The former line and the former mount."""
    return mounting.undo(change, Spec)
