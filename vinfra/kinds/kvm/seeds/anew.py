"""A machine is made anew: it goes down, its disks are made from their images again, and it boots as a new one.

Disks that are made from no image keep what is on them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vinfra.kinds.kvm import image, volume
from vinfra.kinds.kvm.domains.domain_back import GRACE
from vinfra.kinds.kvm.domains.parts import spelled
from vinfra.kinds.kvm.reading.usage import User
from vinfra.kinds.kvm.volumes import storage
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Scope
from vinfra.model.step import Step, Verb, Virt

LOST = "the machine is made anew"


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that is made from an image: what is wished for, what is there, and what its steps need to know."""

    wish: Resource
    known: storage.Volume
    notes: dict[str, Any]


def disks(machine: str, scope: Scope, answers: Answers) -> tuple[Disk, ...]:
    """Those of a machine's disks that are there and are made from images."""
    return tuple(_disks(machine, scope, answers))


def _disks(machine: str, scope: Scope, answers: Answers) -> Iterator[Disk]:
    for item in scope.siblings.values():
        wish = item.desired
        if not item.address.name.startswith(f"{machine}/") or not isinstance(wish, volume.Spec) or wish.image is None:
            continue
        pool = storage.pool(wish.pool, scope, answers)
        file = storage.file_name(item.address.name, wish.format, getattr(pool, "path", ""))
        known = pool.volumes.get(file) if isinstance(pool, storage.Pool) else None
        if known is not None:
            notes = {"pool": pool, "file": file, "stray": "", "claim": None}
            yield Disk(item, known, notes | image.source(wish.image, scope, answers))


def delta(name: str, found: tuple[Disk, ...]) -> Delta:
    """What it costs, and what is lost."""
    written = ", ".join(f"{spelled(disk.known.allocation)} written to {disk.known.file}" for disk in found)
    fields = (FieldChange("content", None, None, Impact.DATA_LOSS, secret=True, why=LOST),)
    unmade = [disk.wish.address.name for disk in found if "image" not in disk.notes]
    if unmade or not found:
        why = f"the image of {unmade[0]} is not on this host" if unmade else f"no disk of {name} is made from an image"
        return Delta(Action.REPLACE, fields, verdict=Verdict.REFUSED, reason=f"{why}, so it cannot be made anew")
    return Delta(Action.REPLACE, fields, Impact.DATA_LOSS, reason=f"{LOST}: {written}, and lost")


def steps(write: Step, found: tuple[Disk, ...], users: Iterable[User], scope: Scope) -> Iterator[Step]:
    """Down, the new data, the disks, up. Whoever was off stays off."""
    running = [user.name for user in users if user.running]
    for name in running:
        yield Step(f"shut {name} down", (Virt(Verb.DOMAIN_SHUTDOWN, name, seconds=GRACE),), Impact.RESTART)
    yield write
    for disk in found:
        file, pool = disk.known.file, disk.notes["pool"].name
        yield Step(f"delete {file}", (Virt(Verb.VOLUME_DELETE, file, pool),), Impact.DATA_LOSS)
        fresh = Delta(Action.CREATE)
        yield from volume.steps(Change(disk.wish.address, fresh, disk.wish.desired, None, notes=disk.notes), scope)
    for name in running:
        yield Step(f"start {name}", (Virt(Verb.DOMAIN_START, name),))
