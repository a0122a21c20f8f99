"""Storage pools of libvirt: a folder of the host in which volumes and images are files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from vinfra.kinds.compare import changed, compare, created, deleted, own_identity, refused
from vinfra.kinds.host.files import paths
from vinfra.kinds.kvm.reading import listing as everything
from vinfra.kinds.kvm.reading import usage
from vinfra.kinds.kvm.reading.virsh import HYPERVISOR, POOLS, Found, element, found, missing
from vinfra.kinds.kvm.volumes import storage
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Step, Verb, Virt
from vinfra.model.values import Flag, Text

NAME = "kvm.pool"
SECTION = "pools"
SHORTHAND = "path"
ORDER = 110
SHARED = True
REMOVAL = Removal(when="refused while it holds what stays; its folder stays")
TRAITS = frozenset({Trait.TOP})


class Spec(shape.Spec):
    """A folder whose files are libvirt's volumes (type `dir`). It always runs; its files are never deleted with it."""

    path: Text = field(
        "The folder, made when it is missing.",
        default=...,
        impact=Impact.REPLACE,
        why="a pool of another folder is another pool",
        refused=True,
        examples=("/var/lib/libvirt/images",),
    )
    autostart: Flag = field("Start it with the host.", default=True)


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is one word, the folder an absolute path."""
    if "/" in name or storage.name_problem(name):
        return "write letters, digits, '.', '_' and '-', such as default"
    return paths.name_problem(desired.path) if isinstance(desired, Spec) and isinstance(desired.path, str) else ""


identity = own_identity
ask_all = everything.ask_pools
listing = everything.pools


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """After the hypervisor, and after its folder and those above where they are declared."""
    path = desired.path if isinstance(desired, Spec) and isinstance(desired.path, str) else ""
    folders = (path, *paths.parents(path)) if path else ()
    return frozenset(), frozenset((HYPERVISOR, *(f"directory:{folder}" for folder in folders)))


def ask(_scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All pools with their volumes."""
    return (POOLS,)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each pool as it is; among the notes whether it runs, what it holds, and the pool that has its folder."""
    why = missing(answers, POOLS, scope)
    known = found(answers, POOLS)
    targets = {_target(one): name for name, one in known.items()}
    return {item.address.name: why or _one(item, known, targets) for item in scope.wanted}


def _one(item: Resource, known: Mapping[str, Found], targets: Mapping[str, str]) -> Answer:
    pool = known.get(item.address.name)
    if pool is None:
        return Absent({"other": targets.get(getattr(item.desired, "path", ""), "")})
    actual = Spec.model_construct(path=_target(pool), autostart=pool.autostart)
    sort = element(pool.definition).get("type", "")
    return Present(actual, {"active": pool.active, "type": sort, "files": tuple(sorted(pool.volumes))})


def _target(pool: Found) -> str:
    return element(pool.definition).findtext("target/path", "")


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Only whether it runs and is started with the host can be mended; a pool of another folder is left alone."""
    desired, notes = resource.desired, answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(resource, answer, notes, scope)
    if not isinstance(answer, Present):
        if notes.get("other"):
            return refused(Action.CREATE, f"pool {notes['other']} has this folder already; use that one")
        return created((FieldChange("path", None, desired.path), FieldChange("autostart", None, desired.autostart)))
    actual = answer.actual
    assert isinstance(actual, Spec)
    if notes["type"] != "dir" or actual.path.rstrip("/") != desired.path:
        change = changed(Spec, "path", actual.path, desired.path)
        reason = (
            f"there is a pool {resource.address.name} of type {notes['type']} in {actual.path}; give yours a new name"
        )
        return refused(Action.REPLACE, reason, (change,))
    fields = compare(actual, desired, skip=("path",))
    if fields or not notes["active"]:
        return Delta(Action.UPDATE, fields, Impact.LIVE, reason="" if notes["active"] else "it does not run")
    return Delta(Action.NOOP)


def _gone(resource: Resource, answer: Answer, notes: Mapping[str, Any], scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    others = [file for file in notes["files"] if not usage.goes(file, scope)]
    if others and not usage.shared(resource, scope):
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        return refused(Action.DELETE, f"it still holds {', '.join(others[:3])}{more}")
    return deleted(reason="its folder stays")


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """Define, make the folder, start. Removed is only libvirt's knowledge of it."""
    name, desired = change.address.name, change.desired
    if not isinstance(desired, Spec):
        calls = (Virt(Verb.POOL_STOP, name), Virt(Verb.POOL_UNDEFINE, name))
        return [Step(f"remove pool {name}", calls, change.delta.impact)]
    found: list[Step] = []
    if change.delta.action is Action.CREATE:
        call = Virt(Verb.POOL_DEFINE, name, xml=_xml(name, desired.path))
        found.append(Step(f"define pool {name} in {desired.path}", (call,)))
    if not change.notes.get("active"):
        found.append(Step(f"start pool {name}", (Virt(Verb.POOL_BUILD, name), Virt(Verb.POOL_START, name))))
    if any(item.path == "autostart" for item in change.delta.fields):
        call = Virt(Verb.POOL_AUTOSTART, name, number=int(desired.autostart))
        found.append(Step(f"{'start' if desired.autostart else 'do not start'} pool {name} with the host", (call,)))
    return found


def _xml(name: str, path: str) -> str:
    tree = ElementTree.Element("pool", type="dir")
    ElementTree.SubElement(tree, "name").text = name
    ElementTree.SubElement(ElementTree.SubElement(tree, "target"), "path").text = path
    return ElementTree.tostring(tree, "unicode")
