"""Seeds: what cloud-init finds when a machine boots for the first time, as a small ISO image in a pool.

libvirt's read-only connection does not show what is in a volume, so a digest of it is kept in the mark.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, ValidationInfo, WithJsonSchema, field_validator

from vinfra.kinds.compare import SAME, changed, compare, created, deleted, refused, updated
from vinfra.kinds.kvm.networks import members
from vinfra.kinds.kvm.reading import usage
from vinfra.kinds.kvm.reading.virsh import DOMAINS, HYPERVISOR, POOLS, missing
from vinfra.kinds.kvm.seeds import anew, data, network_config, nocloud
from vinfra.kinds.kvm.volumes import storage
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.mark import Mark, State
from vinfra.model.question import Question
from vinfra.model.secret import Secret
from vinfra.model.spec import Deferred, field
from vinfra.model.step import Call, Step, Verb, Virt
from vinfra.model.values import Text

NAME = "kvm.seed"
SECTION = "seeds"
SHORTHAND = ""
ORDER = 130
SHARED = False
REMOVAL = Removal(when="refused while a machine uses it")

# A file keeps its size while its content changes a little: the machine that runs with it would not see another size.
ROOM = 256 * 1024
TOLD: dict[str, Any] = {
    "impact": Impact.DATA_LOSS,
    "why": anew.LOST,
    "when": "only with `on_change: replace`; live with reseed (at the next boot), nothing with ignore",
}


Data = Annotated[Any, BeforeValidator(data.user_data), WithJsonSchema({"type": ["object", "string", "null"]})]
Mapped = Annotated[Any, BeforeValidator(data.network), WithJsonSchema({"type": ["object", "null"]})]


class Spec(shape.Spec):
    """Data for cloud-init (NoCloud). `web-01/seed` is the volume web-01-seed.iso."""

    model_config = ConfigDict(validate_default=True)

    pool: Text = field(
        "The pool it is in.",
        default=storage.DEFAULT,
        impact=Impact.REPLACE,
        why="it stays in the pool where it was made",
        refused=True,
        identity=True,
    )
    hostname: Text | None = field("The machine's name; without it the seed's own up to a slash.", **TOLD)
    user_data: Data = field(
        "For cloud-init: a mapping is written as #cloud-config, text goes as it is, `{file: PATH}` is a file beside "
        "the blueprint.",
        secret=True,
        **TOLD,
        examples=({"package_update": "true"},),
    )
    vendor_data: Data = field(
        "The same, of which user_data overrides what both say.",
        secret=True,
        **TOLD,
        examples=({"timezone": "Etc/UTC"},),
    )
    network_config: Mapped = field(
        "cloud-init's network configuration, or `{file: PATH}`. `card 0` in place of a MAC address is that of the "
        "machine's first card.",
        secret=True,
        **TOLD,
        examples=({"version": "2", "ethernets": {"lan": {"match": {"macaddress": "card 0"}, "dhcp4": "true"}}},),
    )
    user: Text | None = field("A login to be made, which may do all with sudo; or root.", **TOLD, examples=("ops",))
    public_key: Text | None = field(
        "The SSH key that lets it in.", **TOLD, examples=("ssh-ed25519 AAAAC3… ops@example",)
    )
    on_change: Literal["ignore", "reseed", "replace"] = field(
        "What to do when the data changes: nothing; give it anew, which makes cloud-init do all of it again at the "
        "machine's next boot; or make the machine anew, with its disks from their images.",
        default="ignore",
        compared=False,
    )
    digest: Text | None = field(
        "Stands for all of the above in the mark; it is made from them, whatever is written here.",
        compared=False,
        identity=True,
    )

    def bound(self, name: str) -> Impact:
        """Only a machine that is made anew loses anything."""
        return super().bound(name) if self.on_change == "replace" else min(super().bound(name), Impact.LIVE)

    @field_validator("digest", mode="after")
    @classmethod
    def _digested(cls, _: Any, info: ValidationInfo) -> str | None:
        """Over what goes into the image, once that is known. What else is in there salts a secret in it."""
        told = info.data
        if len(told) < len(cls.model_fields) - 1 or _holds(list(told.values())):
            return None
        mine = nocloud.user_data(told["user_data"], told["user"], told["public_key"])
        content = [told["hostname"], mine, nocloud.as_yaml(told["network_config"])]
        content += [nocloud.told(told["vendor_data"])] if told["vendor_data"] is not None else []
        return sha256(json.dumps(content).encode()).hexdigest()


def _holds(value: object) -> bool:
    """Whether something in it is not known yet: a template over facts, a secret that was not resolved."""
    if isinstance(value, Mapping):
        return any(map(_holds, value.values()))
    return isinstance(value, Secret | Deferred) or (isinstance(value, list | tuple) and any(map(_holds, value)))


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a file's; host and login are names."""
    if problem := storage.name_problem(name):
        return problem
    if not isinstance(desired, Spec):
        return ""
    if isinstance(desired.hostname, str) and not re.fullmatch(
        r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", desired.hostname
    ):
        return "hostname: write letters, digits, '-' and '.', such as web-01"
    if isinstance(desired.user, str) and not re.fullmatch(r"[a-z_][a-z0-9_.-]{0,31}", desired.user):
        return "user: write a login, such as ops"
    return ""


def identity(name: str) -> str:
    """Two names of one file are one volume."""
    return f"volume:{storage.stem(name)}"


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Its pool and the hypervisor come first."""
    pool = desired.pool if isinstance(desired, Spec) else storage.DEFAULT
    return frozenset(), frozenset({HYPERVISOR, f"pool:{pool}"})


def ask(_scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All volumes, and the domains that may use them."""
    return (POOLS, DOMAINS)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Whether its file is there; among the notes its `pool`, its `size` in bytes, our `mark`, and who uses it."""
    why = missing(answers, DOMAINS, scope)
    using = usage.users(answers)
    return {item.address.name: why or _one(item, scope, answers, using) for item in scope.wanted}


def _one(item: Resource, scope: Scope, answers: Answers, using: Mapping[str, tuple[usage.User, ...]]) -> Answer:
    """Where this blueprint made it, or else where it is wished for."""
    name = item.address.name
    mark = next((mark for mark in scope.marks.get(name, ()) if mark.blueprint == scope.owner), None)
    wish = item.desired.pool if isinstance(item.desired, Spec) else storage.DEFAULT
    file = storage.file_name(name, "iso")
    notes: dict[str, Any] = {"mark": mark, "file": file, "macs": members.macs(name.partition("/")[0], scope, answers)}
    for where in dict.fromkeys((mark.identity.get("pool", wish) if mark else wish, wish)):
        pool = storage.pool(where, scope, answers)
        if not isinstance(pool, storage.Pool):
            return pool
        notes["pool"] = pool
        if (known := pool.volumes.get(file)) is not None:
            made = anew.disks(name.partition("/")[0], scope, answers)
            notes |= {"size": known.capacity, "using": using.get(known.path, ()), "disks": made}
            return Present(Spec.model_construct(pool=where), notes)
    return Absent(notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """What is in it only the mark tells; one that was claimed and not confirmed may hold nothing yet."""
    assert isinstance(answer, Present | Absent)
    desired, notes = resource.desired, answer.notes
    if not isinstance(desired, Spec):
        return _gone(resource, answer, scope)
    if _holds([value for _, value in desired]):
        return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason="a secret in it was not resolved")
    if not isinstance(answer, Present):
        fields, pool = compare(None, desired), notes["pool"]
        return created(fields) if pool.path else refused(Action.CREATE, storage.nowhere(pool.name), fields)
    mark: Mark | None = notes["mark"]
    fields = (FieldChange("content", None, None, secret=True),)
    if notes["pool"].name != desired.pool:
        moved = changed(Spec, "pool", notes["pool"].name, desired.pool)
        return refused(Action.REPLACE, "it stays in the pool where it was made; say absent first", (moved,))
    if mark is None:
        reason = f"this blueprint did not make {notes['file']}, and what is in it cannot be read; remove it first"
        return refused(Action.UPDATE, reason, fields) if desired.on_change != "ignore" else SAME
    same = mark.identity.get("digest") == desired.digest
    if desired.on_change == "replace" and notes["using"] and not (same and mark.state is State.OWNED):
        return anew.delta(resource.address.name.partition("/")[0], notes["disks"])
    if mark.state is State.CLAIMED:
        return updated(fields, f"run {mark.run} did not come to note that this is done")
    if same:
        return SAME
    if desired.on_change != "ignore":
        return updated(fields, "takes effect at the next boot")
    return Delta(Action.NOOP, reason="its data is another by now, and on_change says to ignore that")


def _gone(resource: Resource, answer: Present | Absent, scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return SAME
    if users := usage.staying(resource, answer.notes["using"], scope):
        return refused(Action.DELETE, f"in use by {', '.join(users)}")
    return deleted()


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """A volume and its content, which fills it: of an older and longer one nothing is left."""
    desired, notes = change.desired, change.notes
    file, pool = notes["file"], notes["pool"].name
    if not isinstance(desired, Spec):
        return [Step(f"delete {file}", (Virt(Verb.VOLUME_DELETE, file, pool),))]
    name = change.address.name
    host, instance = desired.hostname or name.partition("/")[0], f"{storage.stem(name)}-{str(desired.digest)[:16]}"
    told = {"user-data": nocloud.user_data(desired.user_data, desired.user, desired.public_key)}
    if desired.vendor_data is not None:
        told["vendor-data"] = nocloud.told(desired.vendor_data)
    wires = network_config.addressed(desired.network_config, notes.get("macs", ()))
    content = nocloud.image(nocloud.files(instance, host, told, wires))
    size = -(-len(content) // ROOM) * ROOM
    calls = tuple(_calls(file, notes["pool"], content, size, notes.get("size")))
    write = Step(f"write {file}", calls, secret=True)
    again = change.delta.action is Action.REPLACE
    return list(anew.steps(write, notes["disks"], notes["using"], scope)) if again else [write]


def _calls(file: str, place: storage.Pool, content: bytes, size: int, there: int | None) -> Iterator[Call]:
    """In place where there is room: a machine that runs with it reads the new one when it boots next."""
    pool = place.name
    if there is not None and there < size:
        yield Virt(Verb.VOLUME_DELETE, file, pool)
    if there is None or there < size:
        yield Virt(Verb.VOLUME_CREATE, file, pool, xml=storage.xml(file, "raw", size, home=place.path))
    yield Virt(Verb.VOLUME_UPLOAD, file, pool, content=content.ljust(max(size, there or 0), b"\0"))


def undo(change: Change, scope: Scope) -> Undo | str:
    """A new one goes; what another one held cannot be read."""
    if change.delta.action is not Action.CREATE:
        return "what it held before cannot be read back"
    return Undo(tuple(steps(replace(change, desired=None), scope)), early=True)
