"""Volumes: disks of virtual machines, as files in a pool; empty, or made from an image."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import ConfigDict, ValidationInfo, field_validator

from vinfra.kinds.compare import deleted, refused, updated
from vinfra.kinds.host.disks import lvm
from vinfra.kinds.host.files import paths
from vinfra.kinds.kvm import image
from vinfra.kinds.kvm.reading import listing as everything
from vinfra.kinds.kvm.reading import usage
from vinfra.kinds.kvm.reading.virsh import DOMAINS, HYPERVISOR, POOLS, SECRETS, missing
from vinfra.kinds.kvm.volumes import growth, making, scripts, secrets, storage
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, Undo
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.mark import State
from vinfra.model.question import Question
from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step, Verb, Virt
from vinfra.model.values import Size, Text

NAME = "kvm.volume"
SECTION = "volumes"
SHORTHAND = "size"
ORDER = 130
SHARED = False
TRAITS = frozenset({Trait.TOP})

REMOVAL = Removal(Impact.DATA_LOSS, "what is on it is lost", "refused while a machine uses it")
LOST: dict[str, Any] = {"impact": Impact.DATA_LOSS, "why": "what is on it would be lost", "refused": True}


class Spec(shape.Spec):
    """A disk. In a folder it takes the room that was written, not its size; so more can be promised than there is."""

    model_config = ConfigDict(validate_default=True)

    size: Size | None = field(
        "How much it can hold; the image's own size without it. It can grow, also under the machine that runs on it.",
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
    encryption: secrets.Encryption = field(
        "Encrypt it (LUKS): `{passphrase: {secret: …}}`, which libvirt keeps, so that machines start by themselves.",
        **LOST,
        secret=True,
        examples=({"passphrase": {"secret": "env:DATA_PASSPHRASE"}},),
    )
    digest: Text | None = field(
        "Stands for the passphrase in the mark; it is made from it, whatever is written here.",
        compared=False,
        identity=True,
    )

    @field_validator("digest", mode="after")
    @classmethod
    def _digested(cls, _: Any, info: ValidationInfo) -> str | None:
        return secrets.digest(secrets.passphrase(info.data.get("encryption")))


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
    if desired.encryption is not None and desired.image is not None:
        return "encryption: only an empty volume is encrypted; what is in an image is not"
    if desired.encryption is not None and desired.format != "raw":
        return "encryption: an encrypted volume is raw; say format: raw"
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
    """All volumes, and the domains that may use them; then whether something lies where one is to be made."""
    yield from (POOLS, DOMAINS)
    wishes = [item.desired for item in scope.wanted if isinstance(item.desired, Spec)]
    if any(wish.encryption is not None for wish in wishes):
        yield SECRETS
    places = [storage.pool(wish.pool, scope, answers) for wish in wishes] if POOLS in answers else []
    if any(isinstance(place, storage.Pool) and place.type == "logical" for place in places):
        yield from lvm.QUESTIONS
    yield from paths.ask(_unmade(scope, answers))


def _unmade(scope: Scope, answers: Answers) -> Iterator[str]:
    for item in scope.wanted if POOLS in answers else ():
        if isinstance(item.desired, Spec):
            place = storage.pool(item.desired.pool, scope, answers)
            if not isinstance(place, storage.Pool) or not place.path.startswith("/"):
                continue
            file = storage.file_name(item.address.name, item.desired.format, place.path)
            if file not in place.volumes:
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
        file = storage.file_name(name, extension, pool.path)
        notes |= {"grain": growth.grain(pool, answers), "secrets": secrets.known(answers)}
        if (known := pool.volumes.get(file)) is not None:
            notes |= {"pool": pool, "volume": known, "using": using.get(known.path, ())}
            return Present(_actual(known, where, desired, mine or {}), notes)
        if "pool" not in notes:
            path = f"{pool.path}/{file}"
            notes |= {"pool": pool, "file": file, "stray": path if path in strays else "", "using": using.get(path, ())}
    if isinstance(desired, Spec) and desired.image is not None:
        notes |= image.source(desired.image, scope, answers)
    if isinstance(desired, Spec):
        notes["short"] = making.room(desired, notes, scope, answers)
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
    if isinstance(told := secrets.passphrase(desired.encryption), Secret):
        return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=f"{told} was not resolved")
    if not isinstance(answer, Present):
        return making.delta(desired, notes)
    actual = answer.actual
    assert isinstance(actual, Spec)
    fields = tuple(growth.fields(actual, desired, notes))
    lost = [item for item in fields if item.impact is Impact.DATA_LOSS]
    if lost:
        reason = f"{LOST['why']} ({notes['volume'].written})"
        return Delta(Action.REPLACE, fields, Impact.DATA_LOSS, Verdict.REFUSED, reason)
    whole, part, _ = resource.address.name.partition("/")
    if part and not notes["mine"] and whole not in {user.name for user in notes["using"]}:
        return refused(Action.CREATE, f"{notes['volume'].path} is there, and this blueprint did not make it", fields)
    if fields and not notes["mine"]:
        return refused(Action.UPDATE, "it was there before, and this blueprint did not make it", fields)
    problem = secrets.misfit(desired, notes["volume"].encrypted, scope.mine(resource.address.name))
    if not problem and any(item.path == "size" for item in fields):
        problem = growth.objection(notes["using"], notes["pool"], notes["volume"])
    return refused(Action.UPDATE, problem, fields) if problem else updated(fields)


def _gone(resource: Resource, answer: Answer, notes: Mapping[str, Any], scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    if users := usage.staying(resource, notes["using"], scope):
        return refused(Action.DELETE, f"in use by {', '.join(users)}")
    return deleted(REMOVAL, notes["volume"].written)


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """Create, grow, open or delete."""
    desired, notes, impact = change.desired, change.notes, change.delta.impact
    pool: storage.Pool = notes["pool"]
    if "volume" not in notes:
        assert isinstance(desired, Spec)
        size = storage.rounded(desired.size) if desired.size is not None else None
        return making.steps(desired, notes, size, scope.facts)
    volume: storage.Volume = notes["volume"]
    if not isinstance(desired, Spec):
        look = Exec(("sh", "-s", "--", volume.path), stdin=scripts.OPEN.encode())
        forget = (secrets.forgotten(secrets.of_volume(volume.path)),) if volume.encrypted else ()
        calls = (look, Virt(Verb.VOLUME_DELETE, volume.file, pool.name), *forget)
        return [Step(f"delete {volume.file}", calls, impact)]
    fields = {item.path for item in change.delta.fields}
    told = making.passphrase(volume.path, volume.file, desired) if "passphrase" in fields else []
    grain = notes["grain"]
    return [*told, *(growth.steps(notes, -(-(desired.size or 0) // grain) * grain) if "size" in fields else [])]


def undo(change: Change, scope: Scope) -> Undo | str:
    """A new one goes, with the machine that it was made for."""
    if change.delta.action is not Action.CREATE:
        grown = any(item.path == "size" for item in change.delta.fields)
        return (
            "a disk that has grown does not get smaller again"
            if grown
            else "libvirt does not give back what it kept secret"
        )
    file, pool = change.notes["file"], change.notes["pool"]
    calls = [Virt(Verb.VOLUME_DELETE, file, pool.name)]
    if getattr(change.desired, "encryption", None) is not None:
        calls.append(secrets.forgotten(secrets.of_volume(f"{pool.path}/{file}")))
    return Undo((Step(f"delete {file}", tuple(calls), Impact.DATA_LOSS),), early=True)
