"""What a saved plan remembers of each object, and how reality differs from that by now.

A row has all that it would do and all that was found; a neighbour, which a row refers to and which stays as it is, has
what was found. Values of secret fields, contents and long values are there as salted hashes.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change, Delta
from vinfra.model.machine import GUEST
from vinfra.model.mark import Mark
from vinfra.model.plan import Plan
from vinfra.model.spec import Spec, declared

LONGEST = 200  # a longer value is kept as its hash
HASHED = "hash:"
MANY = 3


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class StepPrint(_Strict):
    """A step: its line, and a hash of all it would do."""

    summary: str
    digest: str


class MarkPrint(_Strict):
    """A mark: whose, and what it says of the object."""

    blueprint: str
    state: str
    birth: str
    protect: bool


class Found(_Strict):
    """An object as it was found. `actual` has every known field, None when it was absent; `where` is its host."""

    address: str
    where: str
    actual: dict[str, Any] | None


class Row(Found):
    """A row of the plan. `movable` has no host in its address, `came_from` is the host that had its mark; `fields` are
    what it may change, with a hash of what to.
    """

    movable: bool
    came_from: str
    goes_to: str = ""
    action: str
    verdict: str
    impact: str
    reason: str
    fields: dict[str, str]
    marks: list[MarkPrint]
    steps: list[StepPrint]


class Neighbour(Found):
    """Something that rows refer to and that was as it should be. `users` are those rows."""

    users: list[str]


def rows_of(plan: Plan, salt: str) -> list[Row]:
    """The rows that say something, also that something is unknown: what needs it must not run without it."""
    return [_row(change, salt) for change in plan.pending]


def neighbours_of(plan: Plan, salt: str) -> list[Neighbour]:
    """What those rows refer to and leave as it is; what is on a virtual machine refers to that machine."""
    users: dict[Address, dict[str, None]] = {}
    for change in plan.pending:
        for address in (*change.after, Address(GUEST, "", change.place)):
            users.setdefault(address, {})[str(change.address)] = None
    quiet = [change for change in plan.changes if change.address in users and not change.pending]
    return [Neighbour(**_found(change, salt), users=list(users[change.address])) for change in quiet]


def hosts_of(
    rows: Iterable[Row], neighbours: Iterable[Neighbour], guests: frozenset[str], units: frozenset[str] = frozenset()
) -> frozenset[str] | None:
    """The hosts that must be read again; None for all: a machine that is to be made may be anywhere by now.

    `guests` are the hosts that are virtual machines: where those are must be known, or all are asked as well. `units`
    are what its rollouts ask how they are before they begin.
    """
    rows, known, told = list(rows), set[str](), set[str]()
    for found in (*rows, *neighbours):
        known.add(found.where)
        told |= {found.address.partition(":")[2]} if found.address.startswith(f"{GUEST}:") else set()
    known |= {row.came_from for row in rows}
    made = any(row.movable and (row.goes_to or row.action == Action.CREATE.name.lower()) for row in rows)
    return None if made or (known | units) & guests - told else frozenset(known - {""})


def differences(
    rows: Mapping[str, Row], neighbours: Mapping[str, Neighbour], blueprint: str, salt: str, fresh: Plan
) -> list[str]:
    """Why the saved rows are not what would be done now: each object and field, with planned and found value."""
    now = {str(change.address): change for change in fresh.changes}
    concerned = {found.where for found in (*rows.values(), *neighbours.values())}
    lines = [f"{host}: cannot be read: {reason}" for host, reason in fresh.unknown.items() if host in concerned]
    for address, row in rows.items():
        change = now.get(address)
        if change is not None:
            lines += _moved(row, _row(change, salt), blueprint, change.delta)
        elif row.where not in fresh.unknown:
            lines.append(f"{address}: is not in the plan any more")
    for address, neighbour in neighbours.items():
        change = now.get(address)
        if change is not None:
            found = Found(**_found(change, salt))
            lines += (f"{line} ({_needed(neighbour)})" for line in _found_moved(neighbour, found, change.delta))
        elif neighbour.where not in fresh.unknown:
            lines.append(f"{address}: is not there any more ({_needed(neighbour)})")
    told = {line.split(": ", 1)[0] for line in lines}
    more = [change for change in fresh.runnable if str(change.address) not in rows.keys() | told]
    return [*lines, *(_unforeseen(change, neighbours.get(str(change.address))) for change in more)]


def _unforeseen(change: Change, neighbour: Neighbour | None) -> str:
    now = change.delta.reason or next((step.summary for step in change.steps), "")
    told = f"{change.address}: was not to be changed when planned, and now would be{now and f': {now}'}"
    return f"{told} ({_needed(neighbour)})" if neighbour else told


def _needed(neighbour: Neighbour) -> str:
    more = len(neighbour.users) - MANY
    names = ", ".join(neighbour.users[:MANY])
    return f"needed by {names} and {more} more" if more > 0 else f"needed by {names}"


def _moved(then: Row, now: Row, blueprint: str, delta: Delta) -> Iterator[str]:
    """A row: what was found, whose it is, and only if that is the same, what would be done."""
    unknown = Verdict.UNKNOWN.name.lower()
    if then.actual is None and then.where == now.where and then.verdict != unknown == now.verdict:
        yield f"{then.address}: cannot be compared now: {delta.reason}"
        return
    found = [*_found_moved(then, now, delta)] or [*_marks_moved(then, now, blueprint)]
    yield from found
    if found:
        return
    for path in sorted(then.fields.keys() | now.fields.keys()):
        if then.fields.get(path) != now.fields.get(path):
            yield f"{then.address}: what {path} is to be is not what it was when planned"
            found.append(path)
    for name in ("action", "verdict", "impact"):
        before, after = getattr(then, name), getattr(now, name)
        if before != after:
            reason = f" ({delta.reason})" if delta.reason else ""
            yield f"{then.address}: {name} was {before} when planned, is {after}{reason}"
            found.append(name)
    if not found and then.steps != now.steps:
        yield f"{then.address}: {_steps(then.steps, now.steps)}"


def _found_moved(then: Found, now: Found, delta: Delta) -> Iterator[str]:
    address = then.address
    if then.where != now.where:
        why = f" ({delta.reason})" if delta.reason and not now.where else ""
        yield f"{address}: was for {then.where or 'no host'} when planned, and is for {now.where or 'no host'}{why}"
    elif then.actual is not None and now.actual is None and delta.verdict in (Verdict.LATER, Verdict.UNKNOWN):
        yield f"{address}: was there when planned, and nobody can tell now: {delta.reason}"
    elif (then.actual is None) != (now.actual is None):
        yield f"{address}: " + ("absent when planned, now there" if now.actual else "there when planned, now absent")
    else:
        before, after = then.actual or {}, now.actual or {}
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                yield _field(address, name, before.get(name), after.get(name))


def _marks_moved(then: Row, now: Row, blueprint: str) -> Iterator[str]:
    before = {mark.blueprint: mark for mark in then.marks}
    after = {mark.blueprint: mark for mark in now.marks}
    for owner in sorted(before.keys() | after.keys()):
        whose = "our mark" if owner == blueprint else f"the mark of blueprint {owner}"
        old, new = before.get(owner), after.get(owner)
        if old is None:
            yield f"{then.address}: {whose} was not on it when planned, and is"
        elif new is None:
            yield f"{then.address}: {whose} was on it when planned, and is gone"
        else:
            for name in ("state", "birth", "protect"):
                if getattr(old, name) != getattr(new, name):
                    yield f"{then.address}: {whose} said {name} {getattr(old, name)!r}, says {getattr(new, name)!r}"


def _steps(then: Sequence[StepPrint], now: Sequence[StepPrint]) -> str:
    before, after = [step.summary for step in then], [step.summary for step in now]
    if before != after:
        return f"steps were {before!r} when planned, are {after!r}"
    changed = [old.summary for old, new in zip(then, now, strict=True) if old.digest != new.digest]
    return f"what the step {changed[0]!r} does is not what it was when planned"


def _field(address: str, name: str, before: Any, after: Any) -> str:
    if any(isinstance(value, str) and value.startswith(HASHED) for value in (before, after)):
        return f"{address}: {name} is not what it was when planned"
    return f"{address}: {name} was {before!r} when planned, is {after!r}"


def _row(change: Change, salt: str) -> Row:
    delta = change.delta
    return Row(
        **_found(change, salt),
        movable=not change.address.host,
        came_from=change.came_from,
        goes_to=change.goes_to,
        action=delta.action.name.lower(),
        verdict=(change.held or delta.verdict).name.lower(),
        impact=str(delta.impact),
        reason=_text(delta.reason),
        fields={field.path: hashed(field.after, salt) for field in delta.fields},
        marks=[_mark(mark) for mark in sorted(change.marks, key=lambda mark: mark.blueprint)],
        steps=[StepPrint(summary=_text(step.summary), digest=hashed(step.calls, salt)) for step in change.steps],
    )


def _text(text: str) -> str:
    """Bytes that were no UTF-8 as escapes, for JSON's own may be read back as something else."""
    return text.encode("utf-8", "backslashreplace").decode()


def _mark(mark: Mark) -> MarkPrint:
    return MarkPrint(blueprint=mark.blueprint, state=mark.state.value, birth=mark.birth.value, protect=mark.protect)


def _found(change: Change, salt: str) -> dict[str, Any]:
    actual = None if change.actual is None else _known(change.actual, salt)
    return {"address": str(change.address), "where": change.place, "actual": actual}


def _known(spec: Spec, salt: str) -> dict[str, Any]:
    """Every known field's value."""
    hidden = {name for name in type(spec).model_fields if name == "content" or declared(type(spec), name, "secret")}
    return {name: _shown(value, salt, name in hidden) for name, value in spec if value is not None}


def _shown(value: Any, salt: str, hidden: bool) -> Any:
    """A value as it is saved; secret and long ones as a hash."""
    return hashed(value, salt) if hidden or len(str(value)) > LONGEST else plain(value)


def plain(value: Any) -> Any:
    """A value as JSON has it, the same in every process."""
    if isinstance(value, set | frozenset):
        return sorted(str(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def hashed(value: Any, salt: str) -> str:
    """A value's salted hash: whether two are the same can be told, what they are cannot."""
    text = json.dumps(plain(value), sort_keys=True) if isinstance(value, Mapping | set | frozenset) else repr(value)
    return HASHED + hashlib.sha256(f"{salt}{text}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
