"""Volumes: disks of virtual machines, as files in a pool; empty, or made from an image."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from vinfra.kinds.compare import compare, created, deleted, refused, updated
from vinfra.kinds.host.files import paths
from vinfra.kinds.kvm import image
from vinfra.kinds.kvm.domains.limits import spelled
from vinfra.kinds.kvm.reading import listing as everything
from vinfra.kinds.kvm.reading import usage
from vinfra.kinds.kvm.reading.virsh import DOMAINS, HYPERVISOR, POOLS, missing
from vinfra.kinds.kvm.volumes import scripts, storage
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.mark import Mark, State
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Call, Exec, Step, Verb, Virt
from vinfra.model.values import Size, Text

NAME = "kvm.volume"
SECTION = "volumes"
SHORTHAND = "size"
ORDER = 130
SHARED = False
TRAITS = frozenset({Trait.TOP})

NO_LONGER_THAN = 7200.0
REMOVAL = Removal(Impact.DATA_LOSS, "what is on it is lost", "refused while a machine uses it")
LOST: dict[str, Any] = {"impact": Impact.DATA_LOSS, "why": "what is on it would be lost", "refused": True}


class Spec(shape.Spec):
    """A disk. It takes the room that was written, not its size; so more can be promised than the pool has."""

    size: Size | None = field(
        "How much it can hold; the image's own size without it. It can grow, while no running machine uses it.",
        when="less is refused: what is on it would be lost",
    )
    image: Text | None = field(
        "What it is made from. A newer version of the image changes nothing that was made before.",
        **LOST,
        identity=True,
    )
    clone: Literal["cow", "copy"] = field(
        "`cow`: it stands on the image and holds only what differs; `copy`: on its own.", default="cow", compared=False
    )
    format: Literal["qcow2", "raw"] = field("How the file is written.", default="qcow2", **LOST, identity=True)
    pool: Text = field("The pool it is in.", default=storage.DEFAULT, **LOST, identity=True)


ask_all = everything.ask_pools
listing = everything.volumes


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a file's; it has a size or an image; what stands on an image is qcow2."""
    if problem := storage.name_problem(name):
        return problem
    if not isinstance(desired, Spec):
        return ""
    if desired.image is None and desired.size is None:
        return "give a size, or an image that has one"
    if desired.image is None and desired.clone != "cow":
        return "clone: there is no image to copy"
    if desired.image is not None and desired.format == "raw" and desired.clone == "cow":
        return "a raw volume cannot stand on an image; say clone: copy"
    return "give it some size" if desired.size == 0 else ""


def identity(name: str) -> str:
    """Two names of one file are one volume."""
    return f"volume:{storage.stem(name)}"


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Its image must be declared; its pool and the hypervisor come first."""
    if not isinstance(desired, Spec):
        return frozenset(), frozenset({HYPERVISOR})
    hard = frozenset({f"image:{desired.image}"} if isinstance(desired.image, str) else ())
    return hard, frozenset({HYPERVISOR, f"pool:{desired.pool}"})


def ask(scope: Scope, answers: Answers) -> Iterable[Question]:
    """All volumes, and the domains that may use them; then whether a file lies where one is to be made."""
    yield from (POOLS, DOMAINS)
    yield from paths.ask(_unmade(scope, answers))


def _unmade(scope: Scope, answers: Answers) -> Iterator[str]:
    for item in scope.wanted if POOLS in answers else ():
        if isinstance(item.desired, Spec):
            file, pool = storage.file_name(item.address.name, item.desired.format), item.desired.pool
            place = storage.pool(pool, scope, answers)
            if isinstance(place, storage.Pool) and place.path and file not in place.volumes:
                yield f"{place.path}/{file}"


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each as it is; among the notes who uses it, and what is known of the image it is to be made from."""
    why = missing(answers, DOMAINS, scope)
    using, files = usage.users(answers), paths.read(_unmade(scope, answers), answers)
    strays = frozenset(path for path, there in files.items() if isinstance(there, paths.Found))
    return {item.address.name: why or _one(item, scope, answers, using, strays) for item in scope.wanted}


def _one(
    item: Resource,
    scope: Scope,
    answers: Answers,
    using: Mapping[str, tuple[usage.User, ...]],
    strays: frozenset[str],
) -> Answer:
    """Where it is wished for, or else where this blueprint made it."""
    name, desired = item.address.name, item.desired
    mark = scope.mine(name)
    mine = mark.identity if mark is not None else None
    claim = mark if mark is not None and mark.state is State.CLAIMED else None
    places: list[tuple[str, str]] = [(desired.pool, desired.format)] if isinstance(desired, Spec) else []
    places += [(mine.get("pool", storage.DEFAULT), mine.get("format", "qcow2"))] if mine is not None else []
    places = places or [(storage.DEFAULT, extension) for extension in ("qcow2", "raw")]
    notes: dict[str, Any] = {"mine": mine is not None, "claim": claim}
    for where, extension in dict.fromkeys(places):
        pool = storage.pool(where, scope, answers)
        if not isinstance(pool, storage.Pool):
            return pool
        file = storage.file_name(name, extension)
        if (known := pool.volumes.get(file)) is not None:
            notes |= {"pool": pool, "volume": known, "using": using.get(known.path, ())}
            return Present(_actual(known, where, desired, mine or {}), notes)
        if "pool" not in notes:
            path = f"{pool.path}/{file}"
            notes |= {"pool": pool, "file": file, "stray": path if path in strays else "", "using": using.get(path, ())}
    if isinstance(desired, Spec) and desired.image is not None:
        notes |= image.source(desired.image, scope, answers)
    return Absent(notes)


def _actual(known: storage.Volume, pool: str, desired: shape.Spec | None, mine: Mapping[str, str]) -> Spec:
    """What a copy was made from only the mark knows; for one that stands on something that counts."""
    backing = known.backing.rpartition("/")[2]
    made = re.fullmatch(r"(.+)-[0-9a-f]{12}\.(qcow2|raw)", backing)
    wish = getattr(desired, "image", None)
    source = (made[1] if made else known.backing) if known.backing else mine.get("image", wish)
    return Spec.model_construct(size=known.capacity, image=source, format=known.format, pool=pool)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """It can grow; everything else that differs would cost what is on it."""
    desired, notes = resource.desired, answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(resource, answer, notes, scope)
    if not isinstance(answer, Present):
        return _new(desired, notes)
    actual = answer.actual
    assert isinstance(actual, Spec)
    fields = tuple(_fields(actual, desired))
    lost = [item for item in fields if item.impact is Impact.DATA_LOSS]
    if lost:
        reason = f"{LOST['why']} ({spelled(notes['volume'].allocation)} written)"
        return Delta(Action.REPLACE, fields, Impact.DATA_LOSS, Verdict.REFUSED, reason)
    whole, part, _ = resource.address.name.partition("/")
    if part and not notes["mine"] and whole not in {user.name for user in notes["using"]}:
        return refused(Action.CREATE, f"{notes['volume'].path} is there, and this blueprint did not make it", fields)
    if fields and not notes["mine"]:
        return refused(Action.UPDATE, "it was there before, and this blueprint did not make it", fields)
    # qemu holds a lock on its qcow2 files, which qemu-img then does not resize; a raw one would grow behind its back.
    running = [user.name for user in notes["using"] if user.running]
    if fields and running:
        return refused(Action.UPDATE, f"{', '.join(running)} runs on it; stop it first", fields)
    return updated(fields)


def _fields(actual: Spec, desired: Spec) -> Iterator[FieldChange]:
    yield from compare(actual, desired, skip=("size",))
    wish, size = storage.rounded(desired.size or 0), actual.size or 0
    if wish and wish != size:
        yield FieldChange("size", size, desired.size, Impact.LIVE if wish > size else Impact.DATA_LOSS)


def _new(desired: Spec, notes: Mapping[str, Any]) -> Delta:
    fields, pool = compare(None, desired), notes["pool"]
    if not pool.path:
        return refused(Action.CREATE, storage.nowhere(pool.name), fields)
    if running := [user.name for user in notes["using"] if user.running]:
        save = "save it by /proc/PID/fd, or stop the machine first"
        return refused(Action.CREATE, f"{running[0]} still runs on the file that was removed: {save}", fields)
    if notes["stray"] and not _copied(desired, notes):
        reason = f"libvirt does not know of the file {notes['stray']}; remove it, or virsh pool-refresh {pool.name}"
        return refused(Action.CREATE, reason, fields)
    if desired.image is not None and "image" not in notes:
        return refused(Action.CREATE, f"the image {desired.image} is not on this host and is not going to be", fields)
    known: storage.Volume | None = notes.get("image_volume")
    if known is not None and desired.size is not None and storage.rounded(desired.size) < known.capacity:
        return refused(Action.CREATE, f"the image alone is {spelled(known.capacity)}", fields)
    needs = max(desired.size or 0, known.allocation if known is not None else 0)
    short = pool.available is not None and needs > pool.available
    # libvirt knows that from its last look, and it is written only as it is used: no reason to refuse.
    return created(fields, f"pool {pool.name} has only {spelled(pool.available or 0)} left" if short else "")


def _copied(desired: Spec, notes: Mapping[str, Any]) -> bool:
    """Whether the file is the copy that a killed run claimed and made: it got its name when it was whole."""
    claim: Mark | None = notes["claim"]
    made = {"image": desired.image, "format": desired.format, "pool": desired.pool}
    return claim is not None and desired.clone == "copy" and made.items() <= dict(claim.identity).items()


def _gone(resource: Resource, answer: Answer, notes: Mapping[str, Any], scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    if users := usage.staying(resource, notes["using"], scope):
        return refused(Action.DELETE, f"in use by {', '.join(users)}")
    return deleted(REMOVAL, f"{spelled(notes['volume'].allocation)} written")


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """Create, grow or delete. libvirt looks again first: what was removed by hand is still there for it."""
    desired, notes, impact = change.desired, change.notes, change.delta.impact
    pool: storage.Pool = notes["pool"]
    size = storage.rounded(desired.size) if isinstance(desired, Spec) and desired.size is not None else None
    if "volume" in notes:
        file = notes["volume"].file
        look = Exec(("sh", "-s", "--", notes["volume"].path), stdin=scripts.OPEN.encode())
        if desired is None:
            return [Step(f"delete {file}", (look, Virt(Verb.VOLUME_DELETE, file, pool.name)), impact)]
        assert size is not None
        grow = Virt(Verb.VOLUME_RESIZE, file, pool.name, number=size)
        return [Step(f"grow {file} to {spelled(size)}", (look, grow), impact)]
    assert isinstance(desired, Spec)
    file, refresh = notes["file"], Virt(Verb.POOL_REFRESH, pool.name)
    if desired.image is None:
        create = Virt(Verb.VOLUME_CREATE, file, pool.name, xml=storage.xml(file, desired.format, size))
        return [Step(f"create {file}", (refresh, create), impact)]
    if notes["stray"]:
        return [Step(f"let libvirt see {file}", (refresh,), impact)]
    path, sort = notes["image"]
    fits = (Exec(("sh", "-s", "--", path, sort, str(size)), stdin=scripts.FITS.encode()),)
    calls: tuple[Call, ...] = fits if size is not None and notes["image_volume"] is None else ()
    if desired.clone == "copy":
        words = (pool.path, file, desired.format, path, sort, "" if size is None else str(size))
        call = scripts.lasting(f"volume-{file}", scripts.COPY, words, scope.facts)
        return [Step(f"copy {path} to {file}", (*calls, call, refresh), impact, NO_LONGER_THAN)]
    create = Virt(Verb.VOLUME_CREATE, file, pool.name, xml=storage.xml(file, desired.format, size, (path, sort)))
    return [Step(f"create {file} on {path}", (*calls, refresh, create), impact)]


def undo(change: Change, scope: Scope) -> Undo | str:
    """A new one goes, with the machine that it was made for."""
    if change.delta.action is not Action.CREATE:
        return "a disk that has grown does not get smaller again"
    call = Virt(Verb.VOLUME_DELETE, change.notes["file"], change.notes["pool"].name)
    return Undo((Step(f"delete {change.notes['file']}", (call,), Impact.DATA_LOSS),), early=True)
