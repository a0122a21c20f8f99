"""Disk images that volumes are made from: fetched by the host itself, or sent to it, and kept under their checksum.

A file gets its name in the pool only after its sha256 was checked; so what has the name is the image.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from vinfra.kinds.compare import compare, created, deleted, refused
from vinfra.kinds.kvm.domains.parts import spelled
from vinfra.kinds.kvm.reading import usage
from vinfra.kinds.kvm.reading.virsh import DOMAINS, HYPERVISOR, POOLS
from vinfra.kinds.kvm.volumes import scripts, storage
from vinfra.model import spec as shape
from vinfra.model.action import Action
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Call, Exec, Step, Verb, Virt
from vinfra.model.values import Text

NAME = "kvm.image"
SECTION = "images"
SHORTHAND = ""
ORDER = 120
SHARED = True
REMOVAL = Removal(when="refused while something stands on it")
TRAITS = frozenset({Trait.LAZY})

NO_LONGER_THAN = 7200.0
FOLDERS = ("dir", "netfs")
ANEW = "it makes another image beside the old"


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("write the 64 hexadecimal digits that sha256sum prints")
    return value.lower()


Sha256 = Annotated[Text, AfterValidator(_sha256)]


class Spec(shape.Spec):
    """A disk image. It lies in its pool as `<name>-<first 12 of its sha256>.<format>`."""

    source: Text | None = field(
        "Where it is fetched, by http or https.",
        compared=False,
        examples=("https://images.example.net/debian-12.qcow2",),
    )
    via: Literal["host", "controller"] = field(
        "Who fetches it: the host itself, or the machine that runs vinfra, which keeps it and sends it to hosts that "
        "have no way out.",
        default="host",
        compared=False,
    )
    file: Text | None = field("A file beside the blueprint, which is sent to the host.", compared=False, path=True)
    sha256: Sha256 = field(
        "Its checksum; a new one makes a new image beside the old.", default=..., when=ANEW, identity=True
    )
    format: Literal["qcow2", "raw"] = field("Its format.", default="qcow2", when=ANEW, identity=True)
    pool: Text = field("The pool it is kept in.", default=storage.DEFAULT, when=ANEW, identity=True)


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is one word; the image comes from one place, over HTTP and without a password in the address."""
    if "/" in name or storage.name_problem(name):
        return "write letters, digits, '.', '_' and '-', such as debian-12"
    if not isinstance(desired, Spec):
        return ""
    if (desired.source is None) == (desired.file is None):
        return "give one of source (an address) and file (a path beside the blueprint)"
    if isinstance(desired.source, str) and not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", desired.source):
        return "source: write an http or https address; what logs in to it would be seen among the host's processes"
    if desired.via != "host" and desired.source is None:
        return "via: a file is sent by the machine that runs vinfra anyway"
    return ""


def identity(name: str) -> str:
    """Nothing else is called so."""
    return f"image:{name}"


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """After the hypervisor and its pool."""
    pool = {f"pool:{desired.pool}"} if isinstance(desired, Spec) else set()
    return frozenset(), frozenset({HYPERVISOR, *pool})


def file_name(name: str, sha256: str, extension: str) -> str:
    """What the image is called in its pool."""
    return f"{name}-{sha256[:12]}.{extension}"


def ask(_scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All volumes, and the domains that may use them."""
    return (POOLS, DOMAINS)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when its file is there; among the notes who uses it, and the older one that this blueprint made."""
    using = usage.users(answers)
    return {item.address.name: _one(item, scope, answers, using) for item in scope.wanted}


def _one(item: Resource, scope: Scope, answers: Answers, using: Mapping[str, tuple[usage.User, ...]]) -> Answer:
    name, made = item.address.name, _made(item.address.name, scope)
    wish = item.desired if isinstance(item.desired, Spec) else made
    if wish is None:
        return Absent()
    pool = storage.pool(wish.pool, scope, answers)
    if not isinstance(pool, storage.Pool):
        return pool
    file = file_name(name, wish.sha256, wish.format)
    notes: dict[str, Any] = {"pool": pool, "file": file, "using": using.get(f"{pool.path}/{file}", ())}
    if made is not None and made.pool == wish.pool and not _others(made.sha256, scope):
        old = file_name(name, made.sha256, made.format)
        if old != file and old in pool.volumes:
            notes |= {"old": old, "old_using": using.get(f"{pool.path}/{old}", ())}
    return Present(wish, notes) if file in pool.volumes else Absent(notes)


def _made(name: str, scope: Scope) -> Spec | None:
    """What this blueprint made under this name the last time."""
    mine = next((mark.identity for mark in scope.marks.get(name, ()) if mark.blueprint == scope.owner), {})
    whole = {"sha256", "format", "pool"} <= mine.keys()
    return Spec.model_construct(None, **dict[str, Any](mine)) if whole else None


def _others(sha256: str, scope: Scope) -> bool:
    marks = (mark for known in scope.marks.values() for mark in known if mark.blueprint != scope.owner)
    return any(mark.identity.get("sha256") == sha256 for mark in marks)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """There or not: under its name it cannot be another one."""
    notes = answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(resource.desired, Spec):
        return _gone(resource, answer, notes, scope)
    if isinstance(answer, Present):
        return Delta(Action.NOOP)
    fields = compare(None, resource.desired)
    pool: storage.Pool = notes["pool"]
    if not pool.path:
        return refused(Action.CREATE, storage.nowhere(pool.name), fields)
    if pool.type not in FOLDERS:
        return refused(Action.CREATE, f"images are files, and pool {pool.name} is of type {pool.type}", fields)
    if "old" not in notes:
        return created(fields)
    old, stays = pool.volumes[notes["old"]], ", ".join(user.name for user in notes["old_using"])
    instead = f"instead of {notes['old']}, {spelled(old.allocation)}"
    return created(fields, f"{notes['old']} stays: {stays} stands on it" if stays else instead)


def _gone(resource: Resource, answer: Answer, notes: Mapping[str, Any], scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    users = usage.staying(resource, notes["using"], scope)
    if users and not usage.shared(resource, scope):
        return refused(Action.DELETE, f"in use by {', '.join(users)}")
    there = notes["pool"].volumes[notes["file"]]
    return deleted(reason=f"{spelled(there.allocation)} written, which its source still has")


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """Fetch or send it, check it, and only then give it its name."""
    notes, desired = change.notes, change.desired
    pool: storage.Pool = notes["pool"]
    if not isinstance(desired, Spec):
        return [Step(f"remove {notes['file']}", _remove(pool, notes["file"]), change.delta.impact)]
    file = notes["file"]
    origin = desired.source or desired.file or ""
    part, words = f".{file}.part", (pool.path, file, desired.sha256, desired.format)
    if desired.source is not None and desired.via == "host":
        unit, script = f"image-{desired.sha256[:12]}", scripts.FETCH + scripts.FINISH
        calls: tuple[Call, ...] = (scripts.lasting(unit, script, (*words, desired.source), scope.facts),)
        said = f"fetch {desired.source} as {file}"
    else:
        calls = (
            Virt(Verb.VOLUME_DELETE, part, pool.name),
            Virt(Verb.VOLUME_CREATE, part, pool.name, xml=storage.xml(part, "raw", 0)),
            Virt(Verb.VOLUME_UPLOAD, part, pool.name, source=origin, sha256=desired.sha256 if desired.source else ""),
            Exec(("sh", "-s", "--", *words, origin), stdin=scripts.FINISH.encode()),
        )
        said = f"send {origin} as {file}"
    found = [Step(said, (*calls, Virt(Verb.POOL_REFRESH, pool.name)), timeout=NO_LONGER_THAN)]
    if "old" in notes and not notes["old_using"]:
        found.append(Step(f"remove {notes['old']}", _remove(pool, notes["old"])))
    return found


def _remove(pool: storage.Pool, file: str) -> tuple[Call, ...]:
    """Not without a last look: whoever was to go before may have stayed."""
    return (
        Exec(("sh", "-s", "--", pool.path, file), stdin=scripts.STANDS_ON.encode()),
        Virt(Verb.VOLUME_DELETE, file, pool.name),
    )


def source(name: str, scope: Scope, answers: Answers) -> dict[str, Any]:
    """What a volume is made from: path, format and, when it is there already, the volume that the image is."""
    sibling = scope.siblings.get(f"image:{name}")
    wish = sibling.desired if sibling is not None else None
    if not isinstance(wish, Spec):
        return {}
    pool = storage.pool(wish.pool, scope, answers)
    file = file_name(name, wish.sha256, wish.format)
    if not isinstance(pool, storage.Pool) or not pool.path:
        return {}
    return {"image": (f"{pool.path}/{file}", wish.format), "image_volume": pool.volumes.get(file)}
