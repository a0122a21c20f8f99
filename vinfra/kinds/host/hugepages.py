"""Huge pages: so many now, and as many at each boot."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vinfra.kinds.compare import created, deleted, no_references, own_identity, refused, updated
from vinfra.kinds.host.kernel import NO_SUCH_FILE, shared, text_of
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question, ReadFile
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step, Write
from vinfra.model.values import Text, Whole

NAME = "host.hugepages"
SECTION = "hugepages"
SHORTHAND = "count"
ORDER = 54
SHARED = False
REMOVAL = Removal(when="the pages stay until the next boot")

SIZES = {"2MiB": 2048, "1GiB": 1048576}
MEMORY = ReadFile("/proc/meminfo")
USERS = Ask(("ls", "-A", "-1", "-R", "--", "/dev/hugepages"))


class Spec(shape.Spec):
    """Pages of one size, set in the kernel now and by systemd-tmpfiles at boot. Give `count`, or `nodes`."""

    FOLLOWS = ("persisted",)

    count: Whole | None = field("How many in all; the kernel spreads them over the NUMA nodes.", examples=(512,))
    nodes: Mapping[Text, Whole] | None = field("How many on each NUMA node.", examples=({"0": 256, "1": 256},))


def check(name: str, desired: shape.Spec | None) -> str:
    """The size, and one way to count."""
    if name not in SIZES:
        return f"write the size of the pages as {' or '.join(SIZES)}"
    if not isinstance(desired, Spec):
        return ""
    if (desired.count is None) == (desired.nodes is None):
        return "write either count, or nodes with a count for each"
    for node, count in (desired.nodes or {"0": desired.count or 0}).items():
        if not re.fullmatch(r"[0-9]+", node) or count < 0:
            return "a node is a number, and so is its count, which is not negative"
    return ""


identity = own_identity
references = no_references


def at_boot(name: str) -> str:
    """The file that sets them at boot."""
    return f"/etc/tmpfiles.d/90-vinfra-hugepages-{name}.conf"


def folder(name: str, node: str | None = None) -> str:
    """Where the kernel counts them."""
    place = "/sys/kernel/mm" if node is None else f"/sys/devices/system/node/node{node}"
    return f"{place}/hugepages/hugepages-{SIZES[name]}kB"


def _places(name: str, desired: shape.Spec | None) -> dict[str, int]:
    """The files that hold a count, and what is wished for there."""
    if not isinstance(desired, Spec):
        return {}
    if desired.nodes is not None:
        return {f"{folder(name, node)}/nr_hugepages": count for node, count in sorted(desired.nodes.items())}
    return {f"{folder(name)}/nr_hugepages": desired.count or 0}


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """The kernel's counts, the memory, and our file."""
    yield from (MEMORY, USERS)
    for item in scope.wanted:
        name = item.address.name
        counts = ("nr_hugepages", "free_hugepages", "resv_hugepages")
        yield from (ReadFile(f"{folder(name)}/{count}") for count in counts)
        yield from (ReadFile(path) for path in _places(name, item.desired))
        yield ReadFile(at_boot(name))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when our file is there; what the kernel has is among the notes."""
    return {item.address.name: _one(item.address.name, item.desired, answers) for item in scope.wanted}


def _one(name: str, desired: shape.Spec | None, answers: Answers) -> Answer:
    file = text_of(at_boot(name), answers.get(ReadFile(at_boot(name))))
    if isinstance(file, Unknown):
        return file
    counts: dict[str, int | None] = {}
    totals = [f"{folder(name)}/{count}" for count in ("nr_hugepages", "free_hugepages", "resv_hugepages")]
    for path in (*totals, *_places(name, desired)):
        text = text_of(path, answers.get(ReadFile(path)))
        if isinstance(text, Unknown):
            return text
        counts[path] = int(text) if text and text.strip().isdigit() else None
    memory = answers.get(MEMORY)
    free = re.search(r"^MemAvailable:\s+(\d+) kB", memory.text, re.MULTILINE) if memory else None
    listed = answers.get(USERS)
    if listed is None or (not listed.ok and listed.returncode != NO_SUCH_FILE):
        names = []
    else:
        names = [line for line in listed.text.splitlines() if line and not line.endswith(":")]
    total, unused, promised = (counts[path] for path in totals)
    notes: dict[str, Any] = {
        "file": file,
        "counts": counts,
        "total": total,
        "used": (total or 0) - (unused or 0) + (promised or 0),
        "free_kib": int(free[1]) if free else 0,
        "users": names,
    }
    if file is None:
        return Absent(notes)
    actual = Spec.model_construct(count=total) if isinstance(desired, Spec) and desired.nodes is None else Spec()
    return Present(actual, notes)


def _content(name: str, desired: Spec) -> str:
    return "".join(f"w {path} - - - - {count}\n" for path, count in _places(name, desired).items())


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """What the kernel has, and what it will have after a boot."""
    name, desired = resource.address.name, resource.desired
    if not isinstance(desired, Spec):
        return deleted(reason=REMOVAL.when) if isinstance(answer, Present) else Delta(Action.NOOP)
    notes = answer.notes if isinstance(answer, Present | Absent) else {}
    action = Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    wished, counts = _places(name, desired), notes.get("counts") or {}
    now = {path: counts.get(path) for path in wished}
    fields = []
    if now != wished:
        before = next(iter(now.values())) if desired.nodes is None else _by_node(now)
        after = desired.count if desired.nodes is None else dict(desired.nodes)
        fields.append(FieldChange("count" if desired.nodes is None else "nodes", before, after))
    if notes.get("file") != _content(name, desired):
        fields.append(FieldChange("persisted", None if notes.get("file") is None else "something else", "set at boot"))
    if fields and (why := _impossible(name, wished, notes, scope)):
        return refused(action, why, fields)
    if action is Action.UPDATE:
        return updated(fields)
    return created(fields, impact=Impact.LIVE if now != wished else Impact.NONE)


def _by_node(now: Mapping[str, int | None]) -> dict[str, int | None]:
    return {path.split("/")[5].removeprefix("node"): count for path, count in now.items()}


def _impossible(name: str, wished: Mapping[str, int], notes: Mapping[str, Any], scope: Scope) -> str:
    """Why the kernel could not do it, in a sentence."""
    if why := shared(scope):
        return why
    if notes.get("total") is None:
        return f"this kernel and processor have no pages of {name}"
    counts = notes.get("counts") or {}
    if missing := [path for path in wished if counts.get(path) is None]:
        return f"there is no NUMA node {missing[0].split('/')[5].removeprefix('node')} on this host"
    more = sum(count - int(counts[path]) for path, count in wished.items())
    total = int(notes["total"]) + more
    if total < int(notes["used"]):
        users = ", ".join(notes.get("users") or ()) or "programs"
        return f"{notes['used']} of them are in use, by {users}; stop what uses them first"
    if more > 0 and more * SIZES[name] > int(notes["free_kib"]):
        room = int(notes["free_kib"]) // 1024
        return f"{more} more take {more * SIZES[name] // 1024} MiB, and only {room} MiB of memory are free"
    return ""


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """The kernel first, and a look whether it has found as many: it takes a wish and says nothing when it cannot."""
    name, desired = change.address.name, change.desired
    if not isinstance(desired, Spec):
        return [Step(f"remove {at_boot(name)}", (Exec(("rm", "-f", "--", at_boot(name))),))]
    counts = change.notes.get("counts") or {}
    found = [_set(path, count, name) for path, count in _places(name, desired).items() if counts.get(path) != count]
    if change.notes.get("file") != _content(name, desired):
        content = _content(name, desired).encode()
        found.append(Step(f"write {at_boot(name)}", (Write(at_boot(name), content, "0644", "root", "root"),)))
    return found


def _set(path: str, count: int, name: str) -> Step:
    calls = (Exec(("tee", "--", path), stdin=f"{count}\n".encode()), Exec(("grep", "-qx", "--", str(count), path)))
    return Step(f"set {path} to {count}; it fails if memory is too fragmented for pages of {name}", calls)


def undo(change: Change, _scope: Scope) -> Undo | str:
    """As many as before, and the former file or none."""
    name, desired, notes = change.address.name, change.desired, change.notes
    assert isinstance(desired, Spec)
    counts = notes.get("counts") or {}
    found = [
        _set(path, int(counts[path]), name)
        for path, count in _places(name, desired).items()
        if counts.get(path) not in (None, count)
    ]
    if notes.get("file") is None:
        found.append(Step(f"remove {at_boot(name)}", (Exec(("rm", "-f", "--", at_boot(name))),)))
    elif notes["file"] != _content(name, desired):
        old = Write(at_boot(name), str(notes["file"]).encode(), "0644", "root", "root")
        found.append(Step(f"write {at_boot(name)}", (old,)))
    return Undo(tuple(found))
