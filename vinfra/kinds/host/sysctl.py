"""Kernel parameters: the value now, and the file that sets it again at the next boot."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import bringers, created, deleted, later, no_references, own_identity, refused, updated
from vinfra.kinds.host import listing as everything
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question, ReadFile
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step, Write
from vinfra.model.values import Text

NAME = "host.sysctl"
SECTION = "sysctl"
SHORTHAND = "value"
ORDER = 50
SHARED = False
REMOVAL = Removal(when="the running value stays until the next boot")

NO_SUCH_FILE = 2


class Spec(shape.Spec):
    """A kernel parameter. It is the running value and the one at boot (/etc/sysctl.d/90-vinfra-<key>.conf)."""

    FOLLOWS = ("persisted",)

    value: Text = field(
        "The value as sysctl prints it; white space between several numbers does not matter.",
        default=...,
        examples=("1", "4096 131072 6291456"),
    )


def check(name: str, _desired: shape.Spec | None) -> str:
    """The name is a key as sysctl writes it."""
    if not re.fullmatch(r"[A-Za-z0-9_:/@-]+(\.[A-Za-z0-9_:/@-]+)+", name) or name.startswith("/"):
        return "write the key as sysctl does, such as net.ipv4.ip_forward (a dot within a part is written /)"
    return ""


identity = own_identity
ask_all = everything.ask_sysctl
listing = everything.sysctl
references = no_references


def running(name: str) -> str:
    """Where the kernel shows the value: in a key, `/` stands for a dot within a part (`net.ipv4.conf.eth0/7.mtu`)."""
    return "/proc/sys/" + name.translate(str.maketrans("./", "/."))


def persisted(name: str) -> str:
    """The file that is this object's own, so that removing it removes nothing of others."""
    return f"/etc/sysctl.d/90-vinfra-{name.replace('/', '-')}.conf"


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """Both files of each key."""
    for item in scope.wanted:
        yield ReadFile(running(item.address.name))
        yield ReadFile(persisted(item.address.name))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when our file is there; the running value is among the notes (None: the kernel has no such key)."""
    return {item.address.name: _one(item.address.name, answers) for item in scope.wanted}


def _one(name: str, answers: Answers) -> Answer:
    now, boot = answers.get(ReadFile(running(name))), answers.get(ReadFile(persisted(name)))
    for path, raw in ((running(name), now), (persisted(name), boot)):
        if raw is None or raw.returncode not in (0, NO_SUCH_FILE):
            return Unknown(f"cannot read {path}: {(raw.err.strip() if raw else '') or 'no reason given'}")
    assert now is not None
    assert boot is not None
    value = " ".join(now.text.split()) if now.ok else None
    notes: dict[str, Any] = {"running": value}
    if not boot.ok:
        return Absent(notes)
    notes["persisted"] = _assigned(name, boot.text)
    return Present(Spec.model_construct(value=value), notes)


def _assigned(name: str, text: str) -> str | None:
    """What our file sets, None when it sets something else or more than this key."""
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] not in "#;"]
    key, equals, value = lines[0].partition("=") if len(lines) == 1 else ("", "", "")
    return " ".join(value.split()) if equals and key.strip() == name else None


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """The running value and the one at boot, as two fields."""
    desired = resource.desired
    if not isinstance(desired, Spec):
        if isinstance(answer, Present):
            return deleted(reason="the running value stays until the next boot")
        return Delta(Action.NOOP)
    notes = answer.notes if isinstance(answer, Present | Absent) else {}
    before, boot = notes.get("running"), notes.get("persisted")
    action = Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    fields = [
        FieldChange(path, found, desired.value)
        for path, found in (("value", before), ("persisted", boot))
        if found is None or not _equal(found, desired.value)
    ]
    if before is None:
        found = bringers(scope, "package:", "operation:", "kernel_module:")
        if found:
            return later(action, f"the kernel does not know it yet; {found[0]} may bring it", fields)
        return refused(action, "no such sysctl on this host; is its kernel module loaded?", fields)
    if action is Action.UPDATE:
        return updated(fields)
    return created(fields, impact=Impact.LIVE if len(fields) > 1 else Impact.NONE)


def _equal(found: str, wish: str) -> bool:
    left, right = found.split(), wish.split()
    return left == right or [_number(item) for item in left] == [_number(item) for item in right]


def _number(text: str) -> str:
    """The kernel shows 0x10 and 010 as it likes; decimal digits without leading zeros are what it shows most."""
    try:
        return str(int(text, 16 if text.lower().startswith("0x") else 10))
    except ValueError:
        return text


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """The kernel first: a value that it does not take must not lie in wait for the next boot."""
    name, desired = change.address.name, change.desired
    if not isinstance(desired, Spec):
        return [Step(f"remove {persisted(name)}", (Exec(("rm", "-f", "--", persisted(name))),))]
    changed = {item.path for item in change.delta.fields}
    value, found = " ".join(desired.value.split()), []
    if "value" in changed:
        # tee rather than sysctl -w: procps is not on every minimal host.
        found.append(
            Step(f"set {name} = {value} now", (Exec(("tee", "--", running(name)), stdin=f"{value}\n".encode()),))
        )
    if "persisted" in changed:
        line = f"{name} = {value}\n".encode()
        found.append(Step(f"set {name} = {value} at boot", (Write(persisted(name), line, "0644", "root", "root"),)))
    return found


def undo(change: Change, scope: Scope) -> Undo | str:
    """The former value now, and the former file at boot, or none."""
    before = {item.path: item.before for item in change.delta.fields}
    if "persisted" in before and before["persisted"] is None and change.actual is not None:
        return f"{persisted(change.address.name)} held more than this key, and nobody knows what"
    found: list[Step] = []
    for path, value in before.items():
        if value is None:
            found += steps(replace(change, desired=None), scope)
        else:
            one = tuple(item for item in change.delta.fields if item.path == path)
            wish = replace(change, delta=replace(change.delta, fields=one), desired=Spec.model_construct(value=value))
            found += steps(wish, scope)
    return Undo(tuple(found))
