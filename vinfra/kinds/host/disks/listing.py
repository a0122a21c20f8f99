"""Volume groups, volumes, file systems, mounts and swap areas that a host has, whoever made them."""

from collections.abc import Iterable, Iterator
from typing import Any

from vinfra.kinds.host.disks import devices, fstab, lvm, making, mounting, mounts, names, swapping
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers, Listed, Scope
from vinfra.model.question import Question

# Whoever declared these would need hands to take the declaration back.
_SYSTEM = ("/", *sorted(mounting.NEEDED), "[SWAP]")


def _unread(*known: object) -> Iterator[Listed]:
    yield from (Listed("", note=one.reason) for one in known if isinstance(one, Unknown))


def ask_lvm(_answers: Answers) -> Iterable[Question]:
    """All of lvm."""
    return lvm.QUESTIONS


def volume_groups(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Every group, by the names that its devices have now."""
    known = lvm.read(answers)
    yield from _unread(known)
    for group in known.groups.values() if isinstance(known, lvm.Lvm) else ():
        note = f"{group.missing} of its devices cannot be found" if group.missing else ""
        said = note or "its devices are called so until somebody adds another; /dev/disk/by-id has names that stay"
        yield Listed(group.name, {"devices": list(group.devices)} if not note else None, note=said)


def logical_volumes(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Every volume that is not a part of another one."""
    known = lvm.read(answers)
    yield from _unread(known)
    for group in known.groups.values() if isinstance(known, lvm.Lvm) else ():
        for one in group.volumes.values():
            plain = one.layout.split(",")[0] in ("linear", "striped")
            note = "" if plain else f"it is {one.layout}, and one that is made anew would not be"
            yield Listed(f"{group.name}/{one.name}", {"size": _exact(one.size)}, note=note)


def _exact(size: int) -> str:
    """A size as a blueprint writes it, without losing a byte."""
    units = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
    unit = next(unit for unit, count in units.items() if size % count == 0)
    return f"{size // units[unit]}{unit}"


def ask_filesystems(_answers: Answers) -> Iterable[Question]:
    """The devices, with what udev knows to be on them."""
    return (devices.TREE,)


def filesystems(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Those of a type that can be declared, but for what the system itself is on."""
    tree = devices.tree(answers)
    yield from _unread(tree)
    for device in devices.flat(tree) if not isinstance(tree, Unknown) else ():
        if device.type in making.PACKAGES and not set(device.mounted) & set(_SYSTEM):
            label = {"label": device.label} if device.label else {}
            yield Listed(names.canonical(device.path), {"type": device.type, **label})


def ask_mounts(_answers: Answers) -> Iterable[Question]:
    """The table, and what is mounted."""
    return (fstab.QUESTION, mounts.TABLE)


def mounts_(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Every entry, but for what the system itself is on."""
    table, live = fstab.read(answers), mounts.read(answers)
    yield from _unread(table, live)
    if isinstance(table, Unknown) or isinstance(live, Unknown):
        return
    for entry in table:
        if entry.type != "swap" and entry.target.startswith("/") and entry.target not in _SYSTEM:
            fields: dict[str, Any] = {"source": entry.source, "type": entry.type, "options": list(entry.options)}
            fields |= {"nofail": False} if "nofail" not in entry.options else {}
            fields |= {key: value for key in ("dump", "passno") if (value := getattr(entry, key))}
            fields |= {"mounted": False} if mounts.at(entry.target, live) is None else {}
            yield Listed(entry.target, fields)


def ask_swap(_answers: Answers) -> Iterable[Question]:
    """The table, and what is in use."""
    return swapping.QUESTIONS


def swap(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Every swap area of the table that is a path's."""
    table = fstab.read(answers)
    yield from _unread(table)
    for entry in table if not isinstance(table, Unknown) else ():
        if entry.type == "swap" and entry.source.startswith("/"):
            priority = next((option[4:] for option in entry.options if option.startswith("pri=")), "")
            fields = {"priority": int(priority)} if priority.isdigit() else {}
            device = entry.source.startswith("/dev/")
            yield Listed(entry.source, fields if device else None, note="" if device else "its size is not known here")
