"""Directories: that they are there, whose they are, who may enter."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vinfra.kinds.compare import created, deleted, later, refused, updated
from vinfra.kinds.host.files import ownership, paths
from vinfra.model import spec as shape
from vinfra.model.action import Action
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step
from vinfra.model.values import Mode, Text

NAME = "host.directory"
SECTION = "directories"
SHORTHAND = "mode"
ORDER = 30
SHARED = False
REMOVAL = Removal(when="refused unless it is empty")


class Spec(shape.Spec):
    """A directory. What is in it is not managed."""

    mode: Mode | None = field("Permissions in octal; a new directory gets 0755 when not given.", examples=("0750",))
    owner: Text | None = field("The user who owns it, by name or number; a new one is root's.", examples=("www-data",))
    group: Text | None = field("The group that owns it, by name or number; a new one is root's.", examples=("adm",))


def check(name: str, _desired: shape.Spec | None) -> str:
    """The name is an absolute path."""
    return paths.name_problem(name)


def identity(name: str) -> str:
    """One path holds one thing."""
    return f"path:{name}"


def references(name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """The directories above and the owner come first."""
    owners = ownership.owners(desired) if isinstance(desired, Spec) else set()
    above = {f"directory:{path}" for path in paths.parents(name)} | paths.mounts_above(name)
    return frozenset(), frozenset(above | owners)


def ask(scope: Scope, answers: Answers) -> Iterable[Question]:
    """What stands at each path and above it; what is in those that are to go."""
    yield from paths.ask(paths.watched(scope))
    yield from paths.ask_aliases(scope)
    yield from paths.ask((item.address.name for item in scope.wanted), follow=False)
    for item in scope.wanted:
        if item.desired is None:
            yield _listing(item.address.name)


def _listing(name: str) -> Ask:
    return Ask(("ls", "-A", "-1", "--", name))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each directory as it is, links followed."""
    targets = paths.read(paths.watched(scope), answers)
    links = paths.read((item.address.name for item in scope.wanted), answers, follow=False)
    found = {item.address.name: _one(item, targets, links, answers) for item in scope.wanted}
    return paths.with_aliases(found, scope, answers)


def _one(
    item: Resource,
    targets: Mapping[str, paths.Found | paths.Nothing | Unknown],
    links: Mapping[str, paths.Found | paths.Nothing | Unknown],
    answers: Answers,
) -> Answer:
    name = item.address.name
    there, link = targets[name], links[name]
    if isinstance(there, Unknown):
        return there
    notes: dict[str, Any] = paths.parent_note(name, dict(targets))
    if isinstance(link, paths.Found) and link.sort == "link":
        notes["link"] = True
    if isinstance(there, paths.Nothing):
        return Absent(notes)
    if item.desired is None and there.sort == "directory":
        raw = answers.get(_listing(name))
        if raw is None or not raw.ok:
            return Unknown(f"cannot look into {name}: {raw.err.strip() if raw else 'not asked'}")
        notes["entries"] = raw.text.splitlines()
    notes |= {"sort": there.sort, "uid": there.uid, "gid": there.gid}
    return Present(Spec.model_construct(mode=there.mode, owner=there.owner, group=there.group), notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Mode and owner; what is no directory is never replaced by one, what is not empty never removed."""
    name, desired = resource.address.name, resource.desired
    notes = dict(answer.notes) if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec) and notes.get("alias"):
        return paths.staying(resource, notes["alias"])
    if not isinstance(desired, Spec):
        return _gone(name, notes, scope) if isinstance(answer, Present) else Delta(Action.NOOP)
    if not isinstance(answer, Present):
        return _new(name, desired, notes, scope)
    if notes["sort"] != "directory":
        return refused(Action.REPLACE, f"there is a {notes['sort']} at this path; remove it first")
    return updated(_fields(desired, answer, notes), "through the link at this path" if notes.get("link") else "")


def _gone(name: str, notes: dict[str, Any], scope: Scope) -> Delta:
    if notes["sort"] != "directory":
        return refused(Action.DELETE, f"it is a {notes['sort']}, not a directory")
    if notes.get("link"):
        return refused(Action.DELETE, "it is a link to a directory; remove it by hand")
    going = {item.address.name for item in scope.siblings.values() if item.desired is None}
    left = sum(f"{name}/{entry}" not in going for entry in notes["entries"])
    if left > 0:
        return refused(Action.DELETE, f"not empty: {left} {'entry' if left == 1 else 'entries'} would be lost")
    return deleted()


def _new(name: str, desired: Spec, notes: dict[str, Any], scope: Scope) -> Delta:
    if notes.get("link"):
        return refused(Action.REPLACE, "there is a link to nothing at this path; remove it first")
    fields = tuple(ownership.fresh(desired, "0755"))
    waits, reason = paths.unmade_parent(name, notes, scope)
    if waits:
        return later(Action.CREATE, reason, fields)
    return refused(Action.CREATE, reason, fields) if reason else created(fields)


def _fields(desired: Spec, answer: Present, notes: dict[str, Any]) -> Iterable[FieldChange]:
    actual = answer.actual
    assert isinstance(actual, Spec)
    yield from ownership.differences(actual, desired, notes)


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """mkdir, chown and chmod for a new one; rmdir, which refuses what is not empty, for one that goes."""
    name, desired = change.address.name, change.desired
    if not isinstance(desired, Spec):
        return [Step(f"remove the empty directory {name}", (Exec(("rmdir", "--", name)),))]
    if change.delta.action is not Action.CREATE:
        changed = {item.path for item in change.delta.fields}
        return [ownership.step(name, desired, changed)]
    mode = desired.mode or "0755"
    if not (desired.owner or desired.group):
        calls = [Exec(("mkdir", "-m", mode, "--", name))]
    else:  # nobody gets in before it is the owner's
        whole = desired.replaced(mode=mode)
        calls = [Exec(("mkdir", "-m", "0700", "--", name)), *ownership.calls(name, whole, {"mode", "owner", "group"})]
    return [Step(f"make directory {name}, mode {mode}", tuple(calls))]


def undo(change: Change, scope: Scope) -> Undo:
    """The former mode and owner; a new directory goes, unless something was put into it meanwhile."""
    return Undo(tuple(steps(ownership.former(change), scope)), early=change.delta.action is Action.CREATE)
