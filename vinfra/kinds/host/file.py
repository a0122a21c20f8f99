"""Text and binary files, given in the blueprint, as a file beside it, or as a template."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from vinfra.kinds.compare import bringers, created, deleted, later, refused, updated
from vinfra.kinds.host import access
from vinfra.kinds.host import listing as everything
from vinfra.kinds.host.files import contents, ownership, paths
from vinfra.kinds.host.systemd import units
from vinfra.model import spec as shape
from vinfra.model.action import Action, Verdict
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Question, ReadFile
from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step, Write
from vinfra.model.values import Flag, Mode, Text

NAME = "host.file"
SECTION = "files"
SHORTHAND = "content"
ORDER = 40
SHARED = False


def _content(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list) or value is None:
        raise ValueError("write text, or {secret: …}")
    return value if isinstance(value, str | Secret) else str(value)


Content = Annotated[Any, BeforeValidator(_content), WithJsonSchema({"type": ["string", "number", "boolean", "object"]})]


class Spec(shape.Spec):
    """A file. Give exactly one of content, source and template; none of them manages mode and owner alone."""

    content: Content = field(
        "The file's whole text, byte for byte, or a secret.", examples=("Welcome\n", {"secret": "env:TLS_KEY"})
    )
    source: Text | None = field(
        "A file beside the blueprint that is copied byte for byte.",
        compared=False,
        path=True,
        fills="content",
        examples=("files/motd",),
    )
    template: Text | None = field(
        "A Jinja2 file beside the blueprint, rendered with the variables and with `facts`.",
        compared=False,
        path=True,
        fills="content",
        rendered=True,
        examples=("templates/nginx.conf.j2",),
    )
    mode: Mode | None = field(
        "Permissions in octal; a new file gets 0644 when not given, or 0600 when it is secret.", examples=("0640",)
    )
    owner: Text | None = field("The user who owns it, by name or number; a new file is root's.", examples=("www-data",))
    group: Text | None = field("The group that owns it, by name or number; a new file is root's.", examples=("adm",))
    secret: Flag = field("Never show what is in it; implied by a secret content.", default=False, compared=False)


ask_all = everything.ask_files
listing = everything.files


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is an absolute path; at most one origin of the content."""
    wrong = paths.name_problem(name)
    if wrong or not isinstance(desired, Spec):
        return wrong
    given = [key for key in ("content", "source", "template") if getattr(desired, key) is not None]
    if len(given) > 1:
        return f"{' and '.join(given)} exclude each other; keep one of content, source and template"
    if not given and desired.mode is desired.owner is desired.group is None:
        return "give one of content, source and template (or mode, owner or group for a file that is there)"
    return ""


def identity(name: str) -> str:
    """One path holds one thing."""
    return f"path:{name}"


def references(name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """The directories above and the owner come first."""
    owners = ownership.owners(desired) if isinstance(desired, Spec) else set()
    above = {f"directory:{path}" for path in paths.parents(name)} | paths.mounts_above(name)
    return frozenset(), frozenset(above | owners)


def ask(scope: Scope, answers: Answers) -> Iterable[Question]:
    """What stands at each path and above it, the contents, and checksums of what is too large to read."""
    names = [resource.address.name for resource in scope.wanted]
    yield from paths.ask(paths.watched(scope))
    yield from paths.ask_aliases(scope)
    yield from paths.ask(names, follow=False)
    yield from contents.ask(scope, answers)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each file as it is, links followed."""
    names = [resource.address.name for resource in scope.wanted]
    targets, links = paths.read(paths.watched(scope), answers), paths.read(names, answers, follow=False)
    sums = contents.sums(scope, answers)
    found = {item.address.name: _one(item, targets, links, sums, answers) for item in scope.wanted}
    return paths.with_aliases(found, scope, answers)


def _one(
    item: Resource,
    targets: Mapping[str, paths.Found | paths.Nothing | Unknown],
    links: Mapping[str, paths.Found | paths.Nothing | Unknown],
    sums: Mapping[str, str],
    answers: Answers,
) -> Answer:
    name = item.address.name
    there, link = targets[name], links[name]
    notes: dict[str, Any] = paths.parent_note(name, dict(targets))
    if isinstance(link, paths.Found) and link.sort == "link":
        notes["link"] = True
    if isinstance(there, Unknown):
        return there
    if isinstance(there, paths.Nothing):
        return Absent(notes)
    notes |= {"sort": there.sort, "uid": there.uid, "gid": there.gid, "size": there.size}
    content: str | None = None
    if there.sort == "file" and item.desired is not None:
        if there.size > contents.LIMIT:
            if name not in sums:
                return Unknown(f"sha256sum could not read {name}")
            notes["sha256"] = sums[name]
        else:
            raw = answers.get(ReadFile(name))
            if raw is None or not raw.ok:
                said = raw.err.strip() if raw else "not asked"
                return Unknown(f"cannot read {name}: {said or 'no reason given'}")
            content = raw.text
    return Present(Spec.model_construct(content=content, mode=there.mode, owner=there.owner, group=there.group), notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Content, mode and owner; what is no file is never replaced by one."""
    name, desired = resource.address.name, resource.desired
    notes = dict(answer.notes) if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec) and notes.get("alias"):
        return paths.staying(resource, notes["alias"])
    if not isinstance(desired, Spec):
        return _gone(answer, notes)
    if isinstance(desired.content, Secret):
        return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=f"{desired.content} was not resolved")
    if not isinstance(answer, Present):
        return _new(name, desired, notes, scope)
    if notes.get("sort") != "file":
        return refused(Action.REPLACE, f"there is a {notes.get('sort')} at this path; remove it first")
    hidden = desired.secret or any("secret" in mark.fields for mark in scope.marks.get(name, ()))
    return updated(
        _fields(desired, answer, notes, hidden=hidden), "through the link at this path" if notes.get("link") else ""
    )


def _gone(answer: Answer, notes: dict[str, Any]) -> Delta:
    if not isinstance(answer, Present):
        return deleted(reason="a link to nothing") if notes.get("link") else Delta(Action.NOOP)
    if notes.get("link"):
        return deleted(reason="the link alone; what it points to stays")
    if notes.get("sort") == "directory":
        return refused(Action.DELETE, "it is a directory, not a file")
    return deleted()


def _new(name: str, desired: Spec, notes: dict[str, Any], scope: Scope) -> Delta:
    shown = None if desired.secret else desired.content
    content = [FieldChange("content", None, shown, secret=desired.secret)] if desired.content is not None else []
    changes = (*content, *ownership.fresh(desired, "0600" if desired.secret else "0644"))
    if notes.get("link"):
        return refused(Action.CREATE, "a link that leads nowhere stands at this path; remove it first")
    waits, reason = paths.unmade_parent(name, notes, scope)
    if waits:
        return later(Action.CREATE, reason, changes)
    if desired.content is None:
        found = bringers(scope, "package:", "operation:")
        if found:
            return later(Action.CREATE, f"not there yet; {found[0]} may bring it", changes)
        return refused(Action.CREATE, "it does not exist and no content is given")
    return refused(Action.CREATE, reason, changes) if reason else created(changes)


def _fields(desired: Spec, answer: Present, notes: dict[str, Any], *, hidden: bool) -> Iterable[FieldChange]:
    """What differs; `hidden` when what is to be there, or what was put there before, is secret."""
    actual = answer.actual
    assert isinstance(actual, Spec)
    if desired.content is not None and not contents.same(desired.content, actual.content, notes):
        before = actual.content if actual.content is not None else f"{notes['size']} bytes, sha256 {notes['sha256']}"
        if hidden:
            yield FieldChange("content", None, None, secret=True)
        else:
            yield FieldChange("content", before, desired.content)
    yield from ownership.differences(actual, desired, notes)


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """One atomic write for new content; chmod and chown where only those differ."""
    name, desired = change.address.name, change.desired
    reload = units.reread(name, scope)
    if not isinstance(desired, Spec):
        return [Step(f"remove {name}", (Exec(("rm", "-f", "--", name)), *reload), guards=access.guards(name))]
    changed = {item.path: item.after for item in change.delta.fields}
    if "content" in changed:
        mode = changed.get("mode", desired.mode)
        new = change.delta.action is Action.CREATE
        write = Write(name, contents.encoded(desired.content), mode, desired.owner, desired.group, new)
        guards = access.guards(name)
        return [Step(f"write {name}", (write, *reload), change.delta.impact, secret=desired.secret, guards=guards)]
    return [replace(ownership.step(name, desired, set(changed)), guards=access.guards(name))]


def undo(change: Change, scope: Scope) -> Undo | str:
    """The former bytes, mode and owner; a new file goes."""
    new = change.delta.action is Action.CREATE
    written = any(item.path == "content" for item in change.delta.fields)
    if not new and written and getattr(change.actual, "content", None) is None:
        return f"it is larger than {contents.LIMIT} bytes, so nobody knows what was in it"
    back = ownership.former(change)
    if written and not new:  # how it differs is not told of a secret one, but what it held is known
        fields = (FieldChange("content", None, None), *(item for item in back.delta.fields if item.path != "content"))
        back = replace(back, delta=replace(back.delta, fields=fields))
    secret = any(item.secret for item in change.delta.fields)  # so is what was there before, which no field says
    return Undo(tuple(replace(step, secret=step.secret or secret) for step in steps(back, scope)), early=new)
