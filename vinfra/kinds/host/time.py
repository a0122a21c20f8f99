"""A host's time: its zone, and the servers that chrony sets the clock by. Never two programs that set one clock."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import bringers, compare, deleted, later, own_identity, refused, updated
from vinfra.kinds.host.files import contents, paths
from vinfra.kinds.host.schedules import clocks
from vinfra.kinds.host.systemd import systemctl, units
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.question import Question, ReadFile
from vinfra.model.spec import field
from vinfra.model.step import Call, Exec, Step, Write
from vinfra.model.values import Flag, Text

NAME = "host.time"
SECTION = "time"
SHORTHAND = ""
ORDER = 56
SHARED = False
TRAITS = frozenset({Trait.SINGLE})
REMOVAL = Removal(when="the zone stays; chrony goes on with the servers of its own file")

NO_SUCH_FILE = 2


class Spec(shape.Spec):
    """The zone and the time servers of a host."""

    FOLLOWS = ("running",)

    timezone: Text | None = field("The zone, by its name below /usr/share/zoneinfo.", examples=("Europe/Berlin",))
    servers: tuple[Text, ...] | None = field(
        "Time servers, each with chrony's options after it if it needs other ones than iburst.",
        examples=(["ntp1.example.org", "ntp2.example.org iburst prefer"],),
    )
    pools: tuple[Text, ...] | None = field("Names that stand for many servers.", examples=(["2.pool.ntp.org"],))
    exclusive: Flag | None = field("Take the servers that chrony's own file names out of it.")


def check(_name: str, desired: shape.Spec | None) -> str:
    """Something is said, and each of it is one line."""
    if not isinstance(desired, Spec) or desired.deferred:
        return ""
    if all(value is None for _, value in desired):
        return "say at least one of timezone, servers and pools"
    return _words(desired)


def _words(desired: Spec) -> str:
    if desired.timezone is not None and not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", desired.timezone):
        return "write a zone such as Europe/Berlin or Etc/UTC"
    for item in (*(desired.servers or ()), *(desired.pools or ())):
        if not re.fullmatch(r"[A-Za-z0-9.:_-]+( [A-Za-z0-9.]+)*", item):
            return f"{item!r} is no server: write its name or address, and options after it"
    if desired.exclusive and not (desired.servers or desired.pools):
        return "exclusive would leave no server at all; say servers or pools"
    return ""


identity = own_identity


def references(_name: str, _desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """chrony's package is done before; a service that would set the clock too is switched off first."""
    return frozenset(), frozenset(f"service:{unit.removesuffix('.service')}" for unit in clocks.OTHERS)


def ask(scope: Scope, answers: Answers) -> Iterable[Question]:
    """The link to the zone, chrony's files, and who else might set the clock."""
    if not scope.wanted:
        return
    yield from (clocks.LINK, clocks.CLOCK)
    yield from map(ReadFile, (*clocks.CONFIGURATIONS, *clocks.guesses()))
    yield from units.ask((*clocks.CHRONY, *clocks.OTHERS))
    yield from paths.ask([*_zones(scope), "/etc/timezone"])
    found = clocks.setup(answers)
    if isinstance(found, clocks.Setup):
        yield ReadFile(found.own)


def _zones(scope: Scope) -> list[str]:
    zones = (getattr(item.desired, "timezone", None) for item in scope.wanted)
    return [f"{clocks.ZONES}/{zone}" for zone in zones if isinstance(zone, str)]


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Always there: every host has a time. How chrony is set up is among the notes."""
    if not scope.wanted:
        return {}
    states = units.read((*clocks.CHRONY, *clocks.OTHERS), answers)
    there = paths.read([*_zones(scope), "/etc/timezone"], answers)
    found = clocks.setup(answers)
    own = answers.get(ReadFile(found.own)) if isinstance(found, clocks.Setup) else None
    if own is not None and own.returncode not in (0, NO_SUCH_FILE):
        return {item.address.name: Unknown(f"chrony: {own.err.strip()}") for item in scope.wanted}
    strange = next((state for state in states.values() if isinstance(state, Unknown)), None)
    known = {name: state for name, state in states.items() if isinstance(state, units.Unit)}
    text = own.text if own is not None and own.ok else None
    notes: dict[str, Any] = {
        "setup": found,
        "own": text,
        "units": known,
        "strange": strange.reason if strange else "",
        "zones": {path for path, one in there.items() if isinstance(one, paths.Found)},
        "synchronized": clocks.synchronized(answers),
    }
    actual = Spec.model_construct(
        timezone=clocks.zone(answers),
        servers=clocks.parsed(text or "", "server"),
        pools=clocks.parsed(text or "", "pool"),
        exclusive=None,
    )
    return {item.address.name: _one(item.desired, actual, notes) for item in scope.wanted}


def _one(desired: shape.Spec | None, actual: Spec, notes: dict[str, Any]) -> Answer:
    """A zone every host has; what is made, and may go again, is our file of servers."""
    zone_alone = desired is not None and getattr(desired, "servers", None) is getattr(desired, "pools", None) is None
    there = zone_alone or notes["own"] is not None
    return Present(actual, dict(notes)) if there else Absent(notes | {"actual": actual})


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """The zone; our file of chrony; and that chrony runs, and nobody else."""
    desired = resource.desired
    assert isinstance(answer, Present | Absent)
    if not isinstance(desired, Spec):
        return deleted(reason=REMOVAL.when) if isinstance(answer, Present) else Delta(Action.NOOP)
    new = isinstance(answer, Absent)
    actual = answer.notes["actual"] if isinstance(answer, Absent) else answer.actual
    fields = [*compare(actual, desired, skip=("exclusive",)), *_exclusive(desired, answer.notes["setup"])]
    delta = _checked(desired, answer.notes, fields, scope)
    return replace(delta, action=Action.CREATE) if new and delta.action is Action.UPDATE else delta


def _exclusive(desired: Spec, setup: clocks.Setup | str) -> Iterable[FieldChange]:
    if desired.exclusive and not isinstance(setup, clocks.Setup):
        yield FieldChange("exclusive", None, True)  # a chrony that is still to come brings servers of its own
    elif isinstance(setup, clocks.Setup) and desired.exclusive is not None:
        if desired.exclusive and clocks.others_in(setup.text):
            yield FieldChange("exclusive", False, True)
        elif not desired.exclusive and clocks.again(setup.text) != setup.text:
            yield FieldChange("exclusive", True, False)


def _checked(desired: Spec, notes: Mapping[str, Any], fields: list[FieldChange], scope: Scope) -> Delta:
    if reason := _words(desired):
        return refused(Action.UPDATE, reason, fields)
    zone = f"{clocks.ZONES}/{desired.timezone}"
    if any(item.path == "timezone" for item in fields) and zone not in notes["zones"]:
        if found := bringers(scope, "package:", "operation:"):
            return later(Action.UPDATE, f"no zone {desired.timezone} here yet; {found[0]} may bring it", fields)
        return refused(Action.UPDATE, f"this host knows no zone {desired.timezone}; its package is tzdata", fields)
    if desired.servers is not None or desired.pools is not None:
        return _by_chrony(notes, fields, scope)
    return updated(fields)


def _by_chrony(notes: Mapping[str, Any], fields: list[FieldChange], scope: Scope) -> Delta:
    found, known = notes["setup"], notes["units"]
    chrony = clocks.chrony(known)
    others = [unit for unit in clocks.OTHERS if unit in known and known[unit].active in units.ON]
    others = [unit for unit in others if not _goes(unit, scope)]
    if not isinstance(found, clocks.Setup) or chrony is None:
        if brought := bringers(scope, "package:", "operation:", "command:"):
            fields = [*fields, FieldChange("running", None, True)]
            return later(Action.UPDATE, f"no chrony yet; {brought[0]} may bring it", fields)
        reason = notes["strange"] or (found if isinstance(found, str) else "")
        missing = "declare the package chrony" if chrony is None else ""
        return refused(Action.UPDATE, "; ".join(filter(None, (reason, missing))), fields)
    if others:
        name = others[0].removesuffix(".service")
        said = f"{name} sets the clock here, and two would pull at it; have it neither running nor enabled (services)"
        return refused(Action.UPDATE, said, fields)
    if known[chrony].active not in units.ON or known[chrony].file_state not in units.ENABLED:
        fields.append(FieldChange("running", known[chrony].state, "on, now and after a boot"))
    return updated(fields, "" if notes["synchronized"] else "its clock is not synchronized now")


def _goes(unit: str, scope: Scope) -> bool:
    """Whether this blueprint has switched it off by then."""
    sibling = scope.siblings.get(f"service:{unit.removesuffix('.service')}") or scope.siblings.get(f"service:{unit}")
    return sibling is not None and (sibling.desired is None or getattr(sibling.desired, "running", None) is False)


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """The zone by one rename; our file, and chrony reads it: sources without a restart where it can."""
    desired, notes = change.desired, change.notes
    if not isinstance(desired, Spec):
        main = clocks.again(notes["setup"].text) if isinstance(notes["setup"], clocks.Setup) else ""
        return list(_chrony_steps(None, main, notes, restart=True))
    changed = {item.path for item in change.delta.fields}
    found = (
        [clocks.zone_step(desired.timezone or "", "/etc/timezone" in notes["zones"])] if "timezone" in changed else []
    )
    if not changed - {"timezone"}:
        return found
    text = (
        clocks.sources(desired.servers or (), desired.pools or ()) if changed & {"servers", "pools"} else notes["own"]
    )
    setup = notes["setup"]
    main = (clocks.without if desired.exclusive else clocks.again)(setup.text) if "exclusive" in changed else setup.text
    return [*found, *_chrony_steps(text, main, notes, restart="running" in changed)]


def _chrony_steps(text: str | None, main: str, notes: Mapping[str, Any], restart: bool) -> Iterable[Step]:
    setup, unit = notes["setup"], clocks.chrony(notes["units"])
    if not isinstance(setup, clocks.Setup):
        return
    calls: list[Call] = []
    if text != notes["own"]:
        calls.append(Exec(("rm", "-f", "--", setup.own)) if text is None else _file(setup.own, text))
    if main != setup.text:
        calls.append(_file(setup.main, main))
        restart = True
    if calls:
        yield Step(f"write {setup.own}" if text is not None else f"remove {setup.own}", tuple(calls))
    if unit is None:
        return
    if notes["units"][unit].file_state not in units.ENABLED and text is not None:
        yield systemctl.call("enable", unit, Impact.LIVE, "enable")
    if restart or not setup.reloads:
        yield systemctl.up("restart", unit, Impact.LIVE)
    else:
        yield Step("chrony reads its sources again", (Exec(("chronyc", "reload", "sources")),))


def _file(path: str, text: str) -> Write:
    return Write(path, contents.encoded(text), "0644", "root", "root")


def undo(change: Change, _scope: Scope) -> Undo:
    """The former zone, and chrony's files as they were."""
    actual, notes = change.actual, change.notes
    changed = {item.path for item in change.delta.fields}
    zone = getattr(actual, "timezone", None)
    found = [clocks.zone_step(zone, "/etc/timezone" in notes["zones"])] if "timezone" in changed and zone else []
    setup = notes["setup"]
    if changed - {"timezone"} and isinstance(setup, clocks.Setup):
        calls: list[Call] = [_file(setup.main, setup.text)] if "exclusive" in changed else []
        calls.append(Exec(("rm", "-f", "--", setup.own)) if notes["own"] is None else _file(setup.own, notes["own"]))
        found.append(Step(f"{setup.own} as it was", tuple(calls)))
        unit = clocks.chrony(notes["units"])
        if unit is not None:
            was = notes["units"][unit]
            verbs = ["restart" if was.active in units.ON else "stop"]
            verbs += [] if was.file_state in units.ENABLED else ["disable"]
            found += [systemctl.call(verb, unit, Impact.LIVE, verb) for verb in verbs]
    return Undo(tuple(found))
