"""How a volume comes to be: empty, on an image, or as a copy of one."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vinfra.kinds.compare import compare, created, refused
from vinfra.kinds.kvm.domains.parts import spelled
from vinfra.kinds.kvm.volumes import growth, scripts, secrets, storage
from vinfra.model.action import Action
from vinfra.model.change import Delta
from vinfra.model.kind import Answers, Scope
from vinfra.model.mark import Mark
from vinfra.model.step import Call, Exec, Step, Verb, Virt

NO_LONGER_THAN = 7200.0
# lvm(8): names that it keeps for itself.
_RESERVED = re.compile(
    r"(snapshot|pvmove).*|.*_(cdata|cmeta|corig|cpool|cvol|mimage|mlog|pmspare|rimage|rmeta|tdata|tmeta|vdata|vorigin|wcorig).*"
)


def delta(desired: Any, notes: Mapping[str, Any]) -> Delta:
    """What is to be done for one that is not there."""
    fields, pool = compare(None, desired), notes["pool"]
    if not pool.path:
        return refused(Action.CREATE, storage.nowhere(pool.name), fields)
    if running := [user.name for user in notes["using"] if user.running]:
        save = "save it by /proc/PID/fd, or stop the machine first"
        return refused(Action.CREATE, f"{running[0]} still runs on the file that was removed: {save}", fields)
    if notes["stray"] and not _copied(desired, notes):
        reason = f"libvirt does not know of the file {notes['stray']}; remove it, or virsh pool-refresh {pool.name}"
        return refused(Action.CREATE, reason, fields)
    if problem := objection(desired, notes):
        return refused(Action.CREATE, problem, fields)
    if notes["short"] is None:
        return created(fields)
    # In a folder it is written only as it is used, and libvirt knows what is free from its last look: said, not more.
    needs, free = notes["short"]
    if pool.type == "logical":
        return refused(Action.CREATE, f"pool {pool.name} has only {spelled(free)} left, not {spelled(needs)}", fields)
    return created(fields, f"pool {pool.name} has only {spelled(free)} left")


def _copied(desired: Any, notes: Mapping[str, Any]) -> bool:
    """Whether the file is the copy that a killed run claimed and made: it got its name when it was whole."""
    claim: Mark | None = notes["claim"]
    made = {"image": desired.image, "format": desired.format, "pool": desired.pool}
    return claim is not None and desired.clone == "copy" and made.items() <= dict(claim.identity).items()


def objection(desired: Any, notes: Mapping[str, Any]) -> str:
    """Why it cannot be made in that pool, of that image; "" when it can."""
    pool: storage.Pool = notes["pool"]
    known: storage.Volume | None = notes.get("image_volume")
    said = f"pool {pool.name} is of type {pool.type}"
    if pool.type == "iscsi":
        return f"{said}: its LUNs are made on its target"
    if pool.type == "rbd" and desired.encryption is not None:
        return f"{said}: libvirt encrypts no volumes there"
    if storage.bare(pool.path) and desired.format != "raw":
        return f"{said}: its volumes are raw; say format: raw"
    if pool.type == "logical" and _RESERVED.fullmatch(notes["file"]):
        return f"{notes['file']} is a name that lvm keeps for itself"
    if desired.image is None:
        return ""
    if "image" not in notes:
        return f"the image {desired.image} is not on this host and is not going to be"
    if storage.bare(pool.path) and desired.clone == "cow":
        return f"{said}, where nothing stands on an image; say clone: copy"
    if pool.type == "rbd":
        return f"{said}: no image is copied to it; `qemu-img convert` on the host does it"
    if known is not None and desired.size is not None and storage.rounded(desired.size) < known.capacity:
        return f"the image alone is {spelled(known.capacity)}"
    return ""


def room(desired: Any, notes: Mapping[str, Any], scope: Scope, answers: Answers) -> tuple[int, int] | None:
    """What it and those that are yet to be made beside it may take, and what is left, in bytes, when that is less."""
    pool: storage.Pool = notes["pool"]
    group = growth.group_of(pool, answers)
    free = pool.available if group is None else group.free
    known: storage.Volume | None = notes.get("image_volume")
    own = max(desired.size or 0, known.allocation if known is not None else 0)
    if pool.type == "logical":
        own += sum(size for size in _others(pool, notes["file"], scope))
    return (own, free) if free is not None and own > free else None


def _others(pool: storage.Pool, file: str, scope: Scope) -> Iterator[int]:
    """The sizes of the other volumes that this plan is yet to make in a pool."""
    for reference, item in scope.siblings.items():
        wish, noun = item.desired, reference.partition(":")[0]
        if noun == "volume" and getattr(wish, "pool", "") == pool.name:
            own = storage.file_name(item.address.name, "raw", pool.path)
            if own != file and own not in pool.volumes:
                yield getattr(wish, "size", None) or 0


def steps(desired: Any, notes: Mapping[str, Any], size: int | None, facts: Mapping[str, Any]) -> list[Step]:
    """libvirt looks again first: what was removed by hand is still there for it."""
    pool, file, refresh = notes["pool"], notes["file"], Virt(Verb.POOL_REFRESH, notes["pool"].name)
    if desired.image is None:
        return _empty(desired, pool, file, size)
    if notes["stray"]:
        return [Step(f"let libvirt see {file}", (refresh,))]
    path, sort = notes["image"]
    fits = (Exec(("sh", "-s", "--", path, sort, str(size)), stdin=scripts.FITS.encode()),)
    calls: tuple[Call, ...] = fits if size is not None and notes["image_volume"] is None else ()
    if desired.clone == "copy":
        script = scripts.COPY_TO_GROUP if pool.type == "logical" else scripts.COPY
        words = (pool.path, file, desired.format, path, sort, "" if size is None else str(size))
        call = scripts.lasting(f"volume-{file}", script, words, facts)
        return [Step(f"copy {path} to {file}", (*calls, call, refresh), timeout=NO_LONGER_THAN)]
    create = Virt(Verb.VOLUME_CREATE, file, pool.name, xml=storage.xml(file, desired.format, size, (path, sort)))
    return [Step(f"create {file} on {path}", (*calls, refresh, create))]


def _empty(desired: Any, pool: storage.Pool, file: str, size: int | None) -> list[Step]:
    refresh, made, uuid = Virt(Verb.POOL_REFRESH, pool.name), [], ""
    if desired.encryption is not None:
        uuid = secrets.of_volume(f"{pool.path}/{file}")
        made += passphrase(f"{pool.path}/{file}", file, desired)
    create = Virt(
        Verb.VOLUME_CREATE, file, pool.name, xml=storage.xml(file, desired.format, size, secret=uuid, home=pool.path)
    )
    return [*made, Step(f"create {file}{' encrypted' * bool(uuid)}", (refresh, create))]


def passphrase(path: str, file: str, desired: Any) -> list[Step]:
    """Tell libvirt what opens a volume."""
    said, value = f"the passphrase of {file}", desired.encryption["passphrase"]
    return secrets.kept(secrets.of_volume(path), "volume", {"volume": path}, said, value)
