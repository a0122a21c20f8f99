"""systemd units: whether they run, whether they start at boot, and whether they run what is on disk."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import FREE, bringers, changed, created, deleted, later, refused, updated
from vinfra.kinds.host import access
from vinfra.kinds.host import listing as everything
from vinfra.kinds.host.systemd import systemctl, triggers, units
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Step
from vinfra.model.values import Flag, Text

NAME = "host.service"
SECTION = "services"
SHORTHAND = "running"
ORDER = 80
SHARED = False
REMOVAL = Removal(Impact.RESTART, "it stops", "live unless it runs; its unit file stays")

REACTIONS = ("restart_on", "reload_on")  # a restart makes a reload needless


class Spec(shape.Spec):
    """A unit of systemd. `.service` may be left out of its name."""

    FOLLOWS = ("unit file",)

    running: Flag | None = field(
        "Whether it runs now.", impact=Impact.RESTART, why=REMOVAL.why, when="live to start it"
    )
    enabled: Flag | None = field("Whether it starts at boot.")
    masked: Flag | None = field("Whether it is kept from ever being started.", when="a unit that runs goes on")
    restart_on: tuple[Text, ...] | None = field(
        "Files, packages and certificates of this blueprint whose change restarts it, whoever changed them.",
        compared=False,
        impact=Impact.RESTART,
        why="it stops and starts",
        when="while it runs",
        examples=(["file:/etc/nginx/nginx.conf", "package:nginx"],),
    )
    reload_on: tuple[Text, ...] | None = field(
        "The same, where a reload is enough.",
        compared=False,
        when="while it runs",
        examples=(["file:/etc/nginx/nginx.conf"],),
    )


ask_all = everything.ask_services
listing = everything.services


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a unit's; references are to files and packages; nothing is both masked and wanted."""
    if not re.fullmatch(r"[A-Za-z0-9:_\\][A-Za-z0-9:_.\\@-]*", name):
        return "write a unit name, such as nginx or backup.timer"
    if units.full(name).rpartition(".")[0].endswith("@"):
        return "this is a template; name an instance of it, such as getty@tty1"
    if not isinstance(desired, Spec):
        return ""
    if desired.masked is True and (desired.running is True or desired.enabled is True):
        return "a masked unit can neither run nor be enabled"
    for ref in triggers.of(desired):
        if ref.partition(":")[0] not in ("file", "package", "certificate"):
            return f"{ref!r}: restart_on and reload_on take file:/path, package:name and certificate:name"
    said = any(value is not None for _, value in desired)
    return "" if said else "say at least one of running, enabled, masked, restart_on and reload_on"


def identity(name: str) -> str:
    """`nginx` and `nginx.service` are one unit."""
    return f"unit:{units.full(name)}"


def references(name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """What it is restarted or reloaded for must be declared; its own unit file comes first if it is."""
    own = frozenset(f"file:{folder}/{units.full(name)}" for folder in units.FOLDERS)
    return frozenset(triggers.of(desired)), own


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All units at once, and when what they are restarted for last changed."""
    yield from units.ask(item.address.name for item in scope.wanted)
    yield from triggers.ask(scope)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each unit as it is, with what it runs an older version of."""
    found = units.read((item.address.name for item in scope.wanted), answers)
    times = triggers.read(scope, answers)
    return {item.address.name: _one(item, found[units.full(item.address.name)], times) for item in scope.wanted}


def _one(item: Resource, unit: units.Unit | Unknown, times: triggers.Times) -> Answer:
    if isinstance(unit, Unknown):
        return unit
    if unit.load == "not-found":
        return Absent()
    notes: dict[str, Any] = {"unit": unit}
    for key, since in (("restart_on", unit.started), ("reload_on", unit.settled)):
        older = times.older(getattr(item.desired, key, None), since)
        if isinstance(older, Unknown):
            return older
        notes[key] = older
    actual = Spec.model_construct(
        running=unit.active in units.ON, enabled=unit.file_state in units.ENABLED, masked=unit.file_state == "masked"
    )
    return Present(actual, notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Running, enabled, masked, and what it has to be restarted or reloaded for."""
    desired = resource.desired
    if not isinstance(desired, Spec):
        return _gone(answer)
    if not isinstance(answer, Present):
        return _missing(resource, desired, scope)
    unit: units.Unit = answer.notes["unit"]
    fields, said = tuple(_fields(resource, desired, answer, scope)), _said(desired, answer, scope, unit)
    if any(item.impact is Impact.RESTART for item in fields):
        said = "; ".join(filter(None, (said, units.following(unit))))
    delta = updated(fields, said)
    if delta.action is Action.UPDATE and (reason := _objection(desired, unit, {item.path for item in delta.fields})):
        return refused(Action.UPDATE, reason, delta.fields)
    # Its unit file is this blueprint's, made by a run that did not come as far as the unit itself.
    ours = bool(references(resource.address.name, None)[1] & scope.made) and not scope.mine(resource.address.name)
    return replace(delta, action=Action.CREATE) if delta.action is Action.UPDATE and ours else delta


def _gone(answer: Answer) -> Delta:
    actual = answer.actual if isinstance(answer, Present) else None
    if not isinstance(answer, Present) or not isinstance(actual, Spec) or not (actual.running or actual.enabled):
        return Delta(Action.NOOP)
    said = ("disabled; its unit file stays", units.following(answer.notes["unit"]) if actual.running else "")
    return deleted(REMOVAL if actual.running else FREE, "; ".join(filter(None, said)))


def _missing(resource: Resource, desired: Spec, scope: Scope) -> Delta:
    """Packages, files and operations of this plan may bring the unit; then nothing is known before they have run."""
    name = units.full(resource.address.name)
    found = bringers(scope, "package:", "operation:", *(f"file:{folder}/" for folder in units.FOLDERS))
    fields = [
        FieldChange(key, None, wish)
        for key in ("running", "enabled", "masked")
        if (wish := getattr(desired, key)) is not None
    ]
    if not found:
        if desired.masked is True:
            return created(fields)
        if desired.running is not True and desired.enabled is not True and not triggers.of(desired):
            return Delta(Action.NOOP)
        return refused(Action.CREATE, f"no unit {name} on this host and nothing in this blueprint brings it", fields)
    fields += [changed(Spec, key, None, refs) for key in REACTIONS if (refs := getattr(desired, key))]
    fields.append(FieldChange("unit file", None, "read again"))
    return later(Action.CREATE, f"{found[0]} may bring it", fields)


def _fields(resource: Resource, desired: Spec, answer: Present, scope: Scope) -> Iterable[FieldChange]:
    actual, unit = answer.actual, answer.notes["unit"]
    assert isinstance(actual, Spec)
    own = references(resource.address.name, None)[1]
    if unit.stale or own & scope.changing:
        yield FieldChange("unit file", "as systemd read it", "as it is on disk")
    for key in ("masked", "enabled"):
        wish = getattr(desired, key)
        if wish is not None and wish != getattr(actual, key):
            yield changed(Spec, key, getattr(actual, key), wish)
    if desired.running is not None and desired.running != actual.running:
        change = changed(Spec, "running", unit.state, desired.running)
        yield replace(change, impact=Impact.LIVE, why="") if desired.running else change
    elif actual.running:
        yield from _reactions(desired, answer, scope)


def _reactions(desired: Spec, answer: Present, scope: Scope) -> Iterable[FieldChange]:
    for key in REACTIONS:
        refs = getattr(desired, key) or ()
        due = tuple(ref for ref in refs if ref in answer.notes[key] or ref in scope.changing)
        if due:
            yield changed(Spec, key, None, due)
            return


def _said(desired: Spec, answer: Present, scope: Scope, unit: units.Unit) -> str:
    if unit.active == "failed" and desired.running is not None:
        return f"is {unit.state}"
    changes = [ref for ref in dict.fromkeys(triggers.of(desired)) if ref in scope.changing]
    if changes:
        return f"{', '.join(changes)} change{'s' if len(changes) == 1 else ''}"
    older = dict.fromkeys((*answer.notes["restart_on"], *answer.notes["reload_on"]))
    return f"runs an older {', '.join(older)}" if older else ""


def _objection(desired: Spec, unit: units.Unit, changed: set[str]) -> str:
    if "enabled" in changed and unit.file_state in units.NEVER_ENABLED:
        verb = "enabled" if desired.enabled else "disabled"
        return f"cannot be {verb} ({unit.file_state}): {units.NEVER_ENABLED[unit.file_state]}"
    starts = changed & {"running", "enabled"} and (desired.running or desired.enabled)
    if unit.file_state == "masked" and desired.masked is not False and starts:
        return "is masked; say masked: false to lift that"
    if "running" in changed and desired.running and unit.runs_once:
        return "runs once and ends (Type=oneshot): leave `running` out"
    if "reload_on" in changed and not unit.reloads:
        return "cannot reload; use restart_on"
    return ""


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """systemctl, verb by verb; after a start or a restart it must stay up, or its last log lines are the error."""
    unit, desired = units.full(change.address.name), change.desired
    if not isinstance(desired, Spec):
        return access.held([systemctl.call("disable and stop", unit, Impact.RESTART, "disable", "--now")], unit)
    changes = {item.path: item.after for item in change.delta.fields}
    found: list[Step] = []
    if "unit file" in changes:
        found.append(systemctl.REREAD)
    if changes.get("masked") is False:
        found.append(systemctl.call("unmask", unit, Impact.LIVE, "unmask"))
    if "enabled" in changes:
        verb = "enable" if changes["enabled"] else "disable"
        found.append(systemctl.call(verb, unit, Impact.LIVE, verb))
    if changes.get("running") is False:
        found.append(systemctl.call("stop", unit, Impact.RESTART, "stop"))
    if changes.get("masked") is True:
        found.append(systemctl.call("mask", unit, Impact.LIVE, "mask"))
    if changes.get("running") is True:
        found.append(systemctl.up("start", unit, Impact.LIVE))
    elif "restart_on" in changes:
        found.append(systemctl.up("restart", unit, Impact.RESTART))
    elif "reload_on" in changes:
        found.append(systemctl.call("reload", unit, Impact.LIVE, "reload"))
    return access.held(found, unit, _guards(desired))


def _guards(desired: Spec) -> tuple[str, ...]:
    """Those among the files it is restarted or reloaded for that decide who gets in."""
    return access.guards(*(ref.partition(":")[2] for ref in triggers.of(desired)))


def undo(change: Change, _scope: Scope) -> Undo:
    """Stopped, disabled, masked as it was; what ran is restarted, for what it was restarted for has gone back too.

    What did not run stops first, while its unit file is still there.
    """
    actual = change.actual if isinstance(change.actual, Spec) else Spec.model_construct(running=False, enabled=False)
    paths = {item.path for item in change.delta.fields}
    was = systemctl.State(bool(actual.running), bool(actual.enabled), bool(actual.masked))
    unit, guards = units.full(change.address.name), _guards(change.desired) if isinstance(change.desired, Spec) else ()
    return Undo(tuple(access.held([*systemctl.back(unit, was, paths)], unit, guards)), early=not actual.running)
