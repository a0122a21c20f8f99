"""Timers of systemd: a program, and when it runs; a pair of units of their own."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import changed, compare, created, deleted, own_identity, refused, updated
from vinfra.kinds.host import accounts
from vinfra.kinds.host.files import contents, paths
from vinfra.kinds.host.operations.arguments import Arguments
from vinfra.kinds.host.schedules import timerunits
from vinfra.kinds.host.systemd import systemctl, units
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Listed, Removal, Scope
from vinfra.model.question import Exec, Question, ReadFile
from vinfra.model.spec import field
from vinfra.model.step import Exec as Run
from vinfra.model.step import Step, Write
from vinfra.model.values import Flag, Seconds, Text

NAME = "host.timer"
SECTION = "timers"
SHORTHAND = ""
ORDER = 66
SHARED = False
REMOVAL = Removal(when="a run that is under way ends by itself")

FILES = Exec(("ls", "-A", "-1", "--", timerunits.FOLDER))
NO_SUCH_FILE = 2
SHORTEST = 1.0


class Spec(shape.Spec):
    """A timer vinfra-<name>.timer and the service that it starts. A changed command counts from its next run on."""

    FOLLOWS = ("file", "unit file")

    run: Arguments = field(
        "The program and its arguments, a list: no shell reads them.",
        default=...,
        examples=(["/usr/local/bin/backup", "--all"],),
    )
    on_calendar: tuple[Text, ...] | None = field(
        "Points in time (systemd.time(7)); the host checks them while planning.", examples=(["Mon..Fri 04:30"],)
    )
    on_boot: Seconds | None = field("So long after boot; at once if that is over.", examples=("5m",))
    interval: Seconds | None = field("So long after its last run began; it needs one of the others to begin.")
    persistent: Flag = field("Make up for a point in time at which the host was off.", default=False)
    randomized_delay: Seconds | None = field("Up to so much later, by chance.", examples=("10m",))
    user: Text | None = field("Who runs it; root if not given.", examples=("backup",))
    cwd: Text | None = field("The directory it runs in.")
    env: dict[str, Text] | None = field("Environment variables, for everybody to read.")
    timeout: Seconds | None = field("After so long a run is ended, and has failed.", examples=("1h",))
    hardened: Flag = field("No new privileges, an own /tmp, and no writing to /usr, /etc and homes.", default=False)
    enabled: Flag = field("Whether it is on, now and after a boot.", default=True)


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is part of a unit's; there is a time; what goes into a unit file is one line."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,100}", name):
        return "write a short name: letters, digits, - and _"
    if not isinstance(desired, Spec) or desired.deferred:
        return ""
    begins = bool(desired.on_calendar) or desired.on_boot is not None
    if not begins and desired.interval is None:
        return "say when: on_calendar, on_boot or interval"
    if desired.interval is not None and desired.interval < SHORTEST:
        return "interval is at least 1s"
    if desired.interval is not None and not begins:
        return "interval counts from its last run: say on_boot (or on_calendar) too, for the first one"
    if desired.persistent and not desired.on_calendar:
        return "persistent makes up for points in time: it needs on_calendar"
    return _lines(desired)


def _lines(desired: Spec) -> str:
    if not desired.run or not desired.run[0]:
        return "run is empty; write the program and its arguments"
    if desired.run[0][0] in "@-:+!|" or "=" in desired.run[0]:
        return "write the path of the program first"
    words = (*desired.run, *(desired.on_calendar or ()), desired.user or "", desired.cwd or "")
    env = desired.env or {}
    if any(ord(letter) < 32 for word in (*words, *env, *env.values()) for letter in word):
        return "a unit file holds no line breaks and no control characters; write a script under files"
    if odd := [key for key in env if not re.fullmatch(r"[A-Za-z_]\w*", key)]:
        return f"env: {odd[0]!r} is no name of a variable"
    if desired.user is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?", desired.user):
        return "user is a user's name or number"
    if desired.cwd is not None and desired.cwd != "/" and (wrong := paths.name_problem(desired.cwd)):
        return f"cwd: {wrong}"
    # A unit file goes on with the next line after a backslash, and forgets spaces at the end of one.
    return "cwd: a unit file holds no path that ends so" if re.search(r"[\\\s]\Z", desired.cwd or "") else ""


identity = own_identity


def _unit(name: str) -> str:
    return f"vinfra-{name}.timer"


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Who runs it and what is run come first."""
    user, run = getattr(desired, "user", None), getattr(desired, "run", None)
    first = {f"user:{user}"} if user else set()
    return frozenset(), frozenset(first | ({f"file:{run[0]}"} if isinstance(run, tuple) and run else set()))


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """Both files, how both units are, and what systemd makes of the points in time."""
    names = [item.address.name for item in scope.wanted]
    yield from (ReadFile(path) for name in names for path in timerunits.files(name))
    yield from units.ask(unit for name in names for unit in (_unit(name), f"vinfra-{name}.service"))
    for item in scope.wanted:
        yield from map(_calendar, getattr(item.desired, "on_calendar", None) or ())
        yield from accounts.ask_names([getattr(item.desired, "user", None)])


def _calendar(when: str) -> Exec:
    return Exec(("systemd-analyze", "calendar", "--", when))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each timer as its files have it and as systemd runs it."""
    names = [item.address.name for item in scope.wanted]
    found = units.read((unit for name in names for unit in (_unit(name), f"vinfra-{name}.service")), answers)
    return {item.address.name: _one(item, found, answers) for item in scope.wanted}


def _one(item: Resource, found: Mapping[str, units.Unit | Unknown], answers: Answers) -> Answer:
    texts: list[str | None] = []
    for path in timerunits.files(item.address.name):
        raw = answers.get(ReadFile(path))
        if raw is None or raw.returncode not in (0, NO_SUCH_FILE):
            return Unknown(f"cannot read {path}: {(raw.err.strip() if raw else '') or 'no reason given'}")
        texts.append(raw.text if raw.ok else None)
    timer, service = found[_unit(item.address.name)], found[f"vinfra-{item.address.name}.service"]
    for unit in (timer, service):
        if isinstance(unit, Unknown):
            return unit
    assert isinstance(timer, units.Unit)
    assert isinstance(service, units.Unit)
    wrong = [answers[_calendar(when)] for when in getattr(item.desired, "on_calendar", None) or ()]
    said = next((raw.err.strip() or "systemd-analyze gave no reason" for raw in wrong if not raw.ok), "")
    notes: dict[str, Any] = {"texts": tuple(texts), "timer": timer, "service": service, "calendar": said}
    user = getattr(item.desired, "user", None)
    notes["nobody"] = accounts.nobody(user, [user], answers)
    if texts == [None, None]:
        return Absent(notes)
    on = timer.active in units.ON and timer.file_state in units.ENABLED
    off = timer.active not in units.ON and timer.file_state not in units.ENABLED
    told = timerunits.fields(texts[0] or "", texts[1] or "")
    return Present(Spec.model_construct(None, **told, enabled=on if on or off else None), notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Field by field; then whether the files hold that and nothing else, and systemd has read them."""
    desired = resource.desired
    if not isinstance(desired, Spec):
        return deleted() if isinstance(answer, Present) else Delta(Action.NOOP)
    assert isinstance(answer, Present | Absent)
    action, actual = (Action.UPDATE, answer.actual) if isinstance(answer, Present) else (Action.CREATE, None)
    fields = [item for item in compare(actual, desired) if actual is not None or item.after is not False]
    if not (scope.facts.get("systemd") or {}).get("running"):
        return refused(action, "systemd does not run on this host; declare it under cron", fields)
    stranger = accounts.no_user(desired.user or "", "systemd", scope) if answer.notes["nobody"] and fields else ""
    if reason := answer.notes["calendar"] or _lines(desired) or stranger:
        return refused(action, reason, fields)
    if action is Action.CREATE:
        return created(fields)
    service: units.Unit = answer.notes["service"]
    same = answer.notes["texts"] == timerunits.texts(resource.address.name, dict(desired))
    if not same and not {item.path for item in fields} - {"enabled"}:
        gone = [key for key in Spec.model_fields if getattr(desired, key) is None and getattr(actual, key)]
        fields += [changed(Spec, key, getattr(actual, key), None) for key in gone]
        fields += [] if gone else [FieldChange("file", "another text", "as vinfra writes it")]
    if (answer.notes["timer"].stale or service.stale) and same:
        fields.append(FieldChange("unit file", "as systemd read it", "as it is on disk"))
    return updated(fields, f"its last run {service.state}" if service.active == "failed" else "")


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """Both files, then systemd reads them; a timer that runs is begun anew only if its times changed."""
    name, desired, notes = change.address.name, change.desired, change.notes
    timer, service = timerunits.files(name)
    if not isinstance(desired, Spec):
        stop = replace(systemctl.call("stop and disable", _unit(name), Impact.LIVE, "disable", "--now"))
        known = (replace(stop, calls=(replace(_run(stop), ok=(0, 1, 5)),)),)
        gone = Step(f"remove {timer} and {service}", (Run(("rm", "-f", "--", timer, service)),))
        return [*known, gone, systemctl.REREAD]
    wish = timerunits.texts(name, dict(desired))
    writes = [
        Write(path, contents.encoded(text), "0644", "root", "root")
        for path, text, there in zip((timer, service), wish, notes["texts"], strict=True)
        if text != there
    ]
    found = [Step(f"write {' and '.join(call.path for call in writes)}", tuple(writes))] if writes else []
    return [*found, systemctl.REREAD, *_switched(name, desired.enabled, notes, wish[0] != notes["texts"][0])]


def _run(step: Step) -> Run:
    call = step.calls[0]
    assert isinstance(call, Run)
    return call


def _switched(name: str, enabled: bool, notes: Mapping[str, Any], new: bool) -> Iterable[Step]:
    unit, timer = _unit(name), notes["timer"]
    on = timer.active in units.ON
    if not enabled:
        yield systemctl.call("stop and disable", unit, Impact.LIVE, "disable", "--now")
        return
    if timer.file_state not in units.ENABLED:
        yield systemctl.call("enable", unit, Impact.LIVE, "enable")
    if new or not on:
        yield systemctl.up("restart" if on else "start", unit, Impact.LIVE)


def undo(change: Change, scope: Scope) -> Undo:
    """Both files as they were, byte for byte, on or off as it was; a new one goes."""
    if not isinstance(change.actual, Spec):
        return Undo(tuple(steps(replace(change, desired=None), scope)), early=True)
    name, texts = change.address.name, change.notes["texts"]
    calls = [
        Run(("rm", "-f", "--", path)) if text is None else Write(path, contents.encoded(text), "0644", "root", "root")
        for path, text in zip(timerunits.files(name), texts, strict=True)
    ]
    timer, unit = change.notes["timer"], _unit(name)
    verbs = (
        "enable" if timer.file_state in units.ENABLED else "disable",
        "restart" if timer.active in units.ON else "stop",
    )
    back = [systemctl.call(verb, unit, Impact.LIVE, verb) for verb in verbs]
    return Undo((Step(f"the units of {name} as they were", tuple(calls)), systemctl.REREAD, *back))


def ask_all(answers: Answers) -> Iterable[Question]:
    """The folder; then the files in it that are ours."""
    yield FILES
    yield from (ReadFile(path) for name in _ours(answers) for path in timerunits.files(name))


def _ours(answers: Answers) -> list[str]:
    lines = answers[FILES].text.splitlines() if FILES in answers else []
    return sorted(match[1] for line in lines if (match := re.fullmatch(r"vinfra-([\w-]+)\.timer", line)))


def listing(_scope: Scope, answers: Answers) -> Iterable[Listed]:
    """Those that vinfra wrote; what others wrote are files and services."""
    for name in _ours(answers):
        told = timerunits.fields(*(answers[ReadFile(path)].text for path in timerunits.files(name)))
        shown = {key: list(value) if isinstance(value, tuple) else value for key, value in told.items() if value}
        yield Listed(name, {key: timerunits.span(one) if isinstance(one, float) else one for key, one in shown.items()})
