"""What a host is called: now, at the next boot, and in its own /etc/hosts."""

import re
from collections.abc import Iterable, Mapping, Sequence

from vinfra.kinds.compare import own_identity, updated
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.question import Question, ReadFile
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step, Write
from vinfra.model.values import Text

NAME = "host.hostname"
SECTION = "hostname"
SHORTHAND = "name"
ORDER = 4
SHARED = False
TRAITS = frozenset({Trait.SINGLE})
REMOVAL = Removal(Impact.NONE, when="it keeps its name")

OBJECT = "host"
BOOT, HOSTS = "/etc/hostname", "/etc/hosts"
KERNEL = ReadFile("/proc/sys/kernel/hostname")
OWN = "127.0.1.1"  # what Debian calls itself by (debian-reference, 5.1.1)
NO_FILE = 2
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


class Spec(shape.Spec):
    """A host's name. Programs that asked for it before go on with the former one."""

    FOLLOWS = ("persisted", "hosts")

    name: Text = field("What it is called, without its domain.", default=..., examples=("web1",))
    fqdn: Text | None = field(
        "Its name with its domain, for /etc/hosts. Without it the domain that stands there stays.",
        examples=("web1.example.net",),
    )


def check(name: str, desired: shape.Spec | None) -> str:
    """A host has one name, made of labels (hostname(7)), and always has one."""
    if name != OBJECT:
        return f"a host has one name, and the object is called {OBJECT}"
    if not isinstance(desired, Spec):
        return "a host always has a name; leave the block out, and it stays"
    if "name" in desired.deferred or "fqdn" in desired.deferred:
        return ""
    if not re.fullmatch(rf"{LABEL}(\.{LABEL})*", desired.name) or len(desired.name) > 64:
        return "name: write letters, digits and '-', at most 64, such as web1"
    if desired.fqdn is not None and not (
        re.fullmatch(rf"{LABEL}(\.{LABEL})+", desired.fqdn)
        and desired.fqdn.lower().startswith(f"{desired.name.lower().partition('.')[0]}.")
    ):
        return f"fqdn: write the name and its domain, such as {desired.name}.example.net"
    return ""


identity = own_identity


def references(_name: str, _desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Where the blueprint has those files whole, they come first."""
    return frozenset(), frozenset({f"file:{BOOT}", f"file:{HOSTS}"})


def ask(_scope: Scope, _answers: Answers) -> Iterable[Question]:
    """What the kernel says, and both files."""
    return (KERNEL, ReadFile(BOOT), ReadFile(HOSTS))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """A host always has a name; the texts of both files are among the notes."""
    answer = _read(answers)
    return {item.address.name: answer for item in scope.wanted}


def _read(answers: Answers) -> Answer:
    kernel, boot, hosts = answers[KERNEL], answers[ReadFile(BOOT)], answers[ReadFile(HOSTS)]
    for question, raw in ((KERNEL, kernel), (ReadFile(BOOT), boot), (ReadFile(HOSTS), hosts)):
        if raw.returncode not in (0, NO_FILE) or (question is KERNEL and not raw.ok):
            return Unknown(f"cannot read {question.path}: {raw.err.strip() or 'no reason given'}")
    lines = [line for line in map(str.strip, boot.text.splitlines()) if line and not line.startswith("#")]
    notes = {"boot": boot.text if boot.ok else None, "hosts": hosts.text if hosts.ok else None}
    notes["persisted"] = lines[0] if lines else None
    return Present(Spec.model_construct(name=kernel.text.strip()), notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """The name now, the one at boot, and the line of /etc/hosts, as three fields."""
    desired = resource.desired
    if not isinstance(desired, Spec):
        return Delta(Action.NOOP, reason="it keeps its name")
    assert isinstance(answer, Present)
    assert isinstance(answer.actual, Spec)
    fields = []
    if answer.actual.name != desired.name:
        fields.append(FieldChange("name", answer.actual.name, desired.name))
    if answer.notes["persisted"] != desired.name:
        fields.append(FieldChange("persisted", answer.notes["persisted"], desired.name))
    if f"file:{HOSTS}" not in scope.siblings:
        before = answer.notes["hosts"] or ""
        after = hosts(before, desired, {answer.actual.name, answer.notes["persisted"] or ""})
        if after != before:
            told = [_line(text, desired, answer.actual.name) for text in (before, after)]
            fields.append(FieldChange("hosts", told[0], told[1]))
    return updated(fields)


def _line(text: str, desired: Spec, former: str) -> str | None:
    """The line of /etc/hosts that is about this host."""
    rows = [line for line in text.splitlines() if _names(line)]
    about = {desired.name, former}
    named = (
        line for line in rows if about & {part for name in _names(line) for part in (name, name.partition(".")[0])}
    )
    own = (line for line in rows if line.split()[0] == OWN)
    return " ".join((next(own, "") or next(named, "")).split()) or None


def _names(line: str) -> list[str]:
    return line.partition("#")[0].split()[1:]


def hosts(text: str, desired: Spec, former: set[str]) -> str:
    """/etc/hosts as it should be. A line that names the host as is wished for may have any address."""
    first = desired.fqdn or desired.name
    lines = text.splitlines()
    if any(names[:1] == [first] and desired.name in names for names in map(_names, lines)):
        return text
    if desired.fqdn is None and any(desired.name in _names(line) for line in lines):
        return text
    own = next((number for number, line in enumerate(lines) if _names(line) and line.split()[0] == OWN), None)
    if own is None:
        at = next((number + 1 for number, line in enumerate(lines) if line.split()[:1] == ["127.0.0.1"]), len(lines))
        lines.insert(at, f"{OWN}\t{' '.join(dict.fromkeys((first, desired.name)))}")
    else:
        lines[own] = f"{OWN}\t{' '.join(_renamed(_names(lines[own]), desired, former - {'', desired.name}))}"
    return "".join(f"{line}\n" for line in lines)


def _renamed(names: Iterable[str], desired: Spec, former: set[str]) -> Iterable[str]:
    """The names on that line: former ones go over to the new one, with their domain unless another one is said."""
    found = []
    for name in names:
        short, dot, domain = name.partition(".")
        if name in former or (dot and short in former):
            found += [] if desired.fqdn else [f"{desired.name}{dot}{domain}" if name not in former else desired.name]
        elif short != desired.name or not desired.fqdn:
            found.append(name)
    front = [name for name in found if name.startswith(f"{desired.name}.")]
    head = [desired.fqdn] if desired.fqdn else front[:1]
    return dict.fromkeys((*head, desired.name, *found))


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """/etc/hosts first: meanwhile sudo and others look up what the host is called."""
    desired, notes = change.desired, change.notes
    assert isinstance(desired, Spec)
    paths = {item.path for item in change.delta.fields}
    actual = str(getattr(change.actual, "name", ""))
    found = []
    if "hosts" in paths:
        text = hosts(notes["hosts"] or "", desired, {actual, notes["persisted"] or ""})
        found.append(_write(HOSTS, text))
    if "persisted" in paths:
        found.append(_write(BOOT, f"{desired.name}\n"))
    if "name" in paths:
        found.append(_call(desired.name))
    return found


def _write(path: str, text: str) -> Step:
    return Step(f"write {path}", (Write(path, text.encode("utf-8", "surrogateescape")),))


def _call(name: str) -> Step:
    return Step(f"call the host {name} now", (Exec(("hostname", name)),))


def undo(change: Change, _scope: Scope) -> Undo:
    """The former name, and both files as they were."""
    found = []
    for path, key, field_ in ((HOSTS, "hosts", "hosts"), (BOOT, "boot", "persisted")):
        if any(item.path == field_ for item in change.delta.fields):
            text = change.notes[key]
            gone = Step(f"remove {path}", (Exec(("rm", "-f", "--", path)),))
            found.append(gone if text is None else _write(path, text))
    if any(item.path == "name" for item in change.delta.fields):
        found.append(_call(str(getattr(change.actual, "name", ""))))
    return Undo(tuple(found))
