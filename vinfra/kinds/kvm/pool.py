"""Storage pools of libvirt: a folder, a volume group, a network file system, an iSCSI target, a pool of Ceph."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import ConfigDict, ValidationInfo, field_validator

from vinfra.kinds.compare import changed, compare, created, deleted, own_identity, refused
from vinfra.kinds.host.files import paths
from vinfra.kinds.kvm.reading import listing as everything
from vinfra.kinds.kvm.reading import usage
from vinfra.kinds.kvm.reading.virsh import HYPERVISOR, POOLS, SECRETS, Found, found, missing
from vinfra.kinds.kvm.volumes import backends, pools, secrets, storage
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.mark import Mark, State
from vinfra.model.question import Question
from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.step import Step, Verb, Virt
from vinfra.model.values import Flag, Text, Whole

NAME = "kvm.pool"
SECTION = "pools"
SHORTHAND = "path"
ORDER = 110
SHARED = True
REMOVAL = Removal(when="refused while it holds what stays; what is in it stays")
TRAITS = frozenset({Trait.TOP})
OTHER: dict[str, Any] = {"impact": Impact.REPLACE, "why": "with that it is another pool", "refused": True}


class Spec(shape.Spec):
    """Where volumes are: a folder, or what else `type` says. It always runs; what is in it is not deleted with it."""

    model_config = ConfigDict(validate_default=True)

    type: Literal["dir", "logical", "netfs", "iscsi", "rbd"] = field(
        "`dir`: a folder; `logical`: a volume group of LVM; `netfs`: a folder of a server; `iscsi`: the LUNs of a "
        "target; `rbd`: a pool of Ceph.",
        default="dir",
        **OTHER,
    )
    path: Text | None = field(
        "The folder, made when it is missing (dir), or where the server's is mounted (netfs).",
        **OTHER,
        examples=("/var/lib/libvirt/images",),
    )
    volume_group: Text | None = field("The volume group (logical); it comes first.", **OTHER, examples=("vg0",))
    host: Text | None = field("The server (netfs, iscsi).", **OTHER, examples=("nas.example.net",))
    port: Whole | None = field("Its port (iscsi), if not the usual one.", **OTHER, examples=("3260",))
    export: Text | None = field("What the server exports (netfs).", **OTHER, examples=("/export/vms",))
    format: Literal["auto", "nfs", "cifs", "glusterfs"] | None = field(
        "How the server's folder is mounted (netfs): mount(8) finds out, unless it is said.", **OTHER
    )
    target: Text | None = field("The target's name (iscsi).", **OTHER, examples=("iqn.2003-01.org.example:store",))
    monitors: tuple[Text, ...] | None = field(
        "The monitors (rbd): `host` or `host:port`.", **OTHER, examples=(["mon1.example.net:6789"],)
    )
    ceph_pool: Text | None = field("The pool of Ceph (rbd).", **OTHER, examples=("vms",))
    user: Text | None = field("Who logs in: by CHAP (iscsi), by cephx (rbd).", **OTHER, examples=("libvirt",))
    password: secrets.Password = field(
        "With which secret. Another one counts when the pool starts next.",
        secret=True,
        examples=({"secret": "env:CHAP_PASSWORD"},),
    )
    autostart: Flag = field("Start it with the host.", default=True)
    digest: Text | None = field(
        "Stands for the password in the mark; it is made from it, whatever is written here.",
        compared=False,
        identity=True,
    )

    @field_validator("digest", mode="after")
    @classmethod
    def _digested(cls, _: Any, info: ValidationInfo) -> str | None:
        return secrets.digest(info.data.get("password"))


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is one word; each type has the fields that it needs and no others."""
    if "/" in name or storage.name_problem(name):
        return "write letters, digits, '.', '_' and '-', such as default"
    if not isinstance(desired, Spec) or "type" in desired.deferred:
        return ""
    return pools.problem(desired)


identity = own_identity
ask_all = everything.ask_pools
listing = everything.pools


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """After the hypervisor, its folder and those above, its volume group, and the packages that it may need."""
    path, group = (getattr(desired, key, None) for key in ("path", "volume_group"))
    first = {HYPERVISOR, *backends.packages(desired)}
    if isinstance(path, str):
        first |= {f"directory:{folder}" for folder in (path, *paths.parents(path))}
    if isinstance(group, str):
        first.add(f"volume_group:{group}")
    return frozenset(), frozenset(first)


def _wishes(scope: Scope) -> list[Any]:
    return [item.desired for item in scope.wanted if isinstance(item.desired, Spec)]


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All pools with their volumes; what else the types of those that are wished for need."""
    yield POOLS
    yield from backends.ask(_wishes(scope))
    if any(wish.password is not None for wish in _wishes(scope)):
        yield SECRETS


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each pool as it is; among the notes whether it runs, what it holds, and the pool that has its place."""
    why = missing(answers, POOLS, scope)
    known = found(answers, POOLS)
    return {item.address.name: why or _one(item, known, scope, answers) for item in scope.wanted}


def _one(item: Resource, known: Mapping[str, Found], scope: Scope, answers: Answers) -> Answer:
    name, desired = item.address.name, item.desired
    pool = known.get(name)
    notes: dict[str, Any] = {
        "mark": scope.mine(name),
        "lacks": backends.lacking(desired, _wishes(scope), scope, answers),
        "secret": secrets.of_pool(name) in secrets.known(answers),
    }
    if pool is None:
        place = pools.home(desired)
        others = (other for other, one in known.items() if place and pools.found_home(one.definition) == place)
        shared = getattr(desired, "type", "") == "iscsi"  # all targets are in one folder of the kernel's
        return Absent(notes | {"other": "" if shared else next(others, "")})
    notes |= {"active": pool.active, "volumes": storage.volumes(answers).get(name, {})}
    notes |= {"files": tuple(sorted(pool.volumes))}
    return Present(Spec.model_construct(**pools.parse(pool.definition), autostart=pool.autostart), notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Only whether it runs, starts with the host and can log in can be mended; another pool is left alone."""
    desired, notes = resource.desired, answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(resource, answer, notes, scope)
    if isinstance(desired.password, Secret):
        return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=f"{desired.password} was not resolved")
    if not isinstance(answer, Present):
        fields = compare(None, desired, skip=("type",) if desired.type == "dir" else ())
        if notes["other"]:
            what = "folder" if desired.path else "source"
            return refused(Action.CREATE, f"pool {notes['other']} has this {what} already; use that one", fields)
        return refused(Action.CREATE, notes["lacks"], fields) if notes["lacks"] else created(fields)
    actual = answer.actual
    assert isinstance(actual, Spec)
    odd = [name for name in ("type", *pools.SHAPE) if not _same(name, actual, desired)]
    if odd:
        there = f"there is a pool {resource.address.name} of type {actual.type}"
        where = pools.home(actual)
        reason = f"{there}{f' in {where}' if where else ''}; give yours a new name"
        differs = tuple(changed(Spec, name, getattr(actual, name), getattr(desired, name)) for name in odd)
        return refused(Action.REPLACE, reason, differs)
    fields = (*compare(actual, desired, skip=("type", *pools.SHAPE, "password")), *_login(desired, notes))
    if not notes["active"] and notes["lacks"]:
        return refused(Action.UPDATE, notes["lacks"], fields)
    if fields or not notes["active"]:
        return Delta(Action.UPDATE, fields, Impact.LIVE, reason="" if notes["active"] else "it does not run")
    return Delta(Action.NOOP)


def _same(name: str, actual: Spec, desired: Spec) -> bool:
    """What is not said is libvirt's to choose, but for what makes a login."""
    wish, there = getattr(desired, name), getattr(actual, name)
    if name == "path" and isinstance(there, str):
        there = there.rstrip("/")
    if wish is None:
        return name != "user" or there is None
    return bool(wish == there)


def _login(desired: Spec, notes: Mapping[str, Any]) -> Iterable[FieldChange]:
    """Its secret: libvirt lost it, a killed run did not come to tell it, or it is another one by now."""
    mark: Mark | None = notes["mark"]
    if desired.password is None:
        return
    unsure = mark is not None and mark.state is State.CLAIMED
    other = mark is not None and mark.identity.get("digest") not in (None, desired.digest)
    if unsure or other or not notes["secret"]:
        yield changed(Spec, "password", None, None)


def _gone(resource: Resource, answer: Answer, notes: Mapping[str, Any], scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    others = [file for file in notes["files"] if not usage.goes(file, scope)]
    if others and not usage.shared(resource, scope):
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        return refused(Action.DELETE, f"it still holds {', '.join(others[:3])}{more}")
    assert isinstance(answer.actual, Spec)
    return deleted(reason=f"its {'folder' if answer.actual.type == 'dir' else 'content'} stays")


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """Its login, define, make the folder, start. Removed is only libvirt's knowledge of it."""
    name, desired, notes = change.address.name, change.desired, change.notes
    if not isinstance(desired, Spec):
        calls = (Virt(Verb.POOL_STOP, name), Virt(Verb.POOL_UNDEFINE, name))
        forget = (secrets.forgotten(secrets.of_pool(name)),) if getattr(change.actual, "user", None) else ()
        return [Step(f"remove pool {name}", (*calls, *forget), change.delta.impact)]
    made: list[Step] = []
    paths_changed = {item.path for item in change.delta.fields}
    if "password" in paths_changed:
        _, usage_type, key = pools.LOGINS[desired.type]
        said = f"the password of pool {name}"
        made += secrets.kept(secrets.of_pool(name), usage_type, {key: f"pool {name}"}, said, desired.password)
    if change.delta.action is Action.CREATE:
        where = pools.home(desired)
        call = Virt(Verb.POOL_DEFINE, name, xml=pools.xml(name, desired))
        made.append(Step(f"define pool {name} in {where}", (call,)))
    if not notes.get("active"):
        build = (Virt(Verb.POOL_BUILD, name),) if desired.type in ("dir", "netfs") else ()
        made.append(Step(f"start pool {name}", (*build, Virt(Verb.POOL_START, name))))
    if "autostart" in paths_changed:
        call = Virt(Verb.POOL_AUTOSTART, name, number=int(desired.autostart))
        made.append(Step(f"{'start' if desired.autostart else 'do not start'} pool {name} with the host", (call,)))
    return made
