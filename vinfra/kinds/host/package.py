"""Packages of the distribution: apt, proved; dnf and zypper, written from their manuals and not proved."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vinfra.kinds.compare import (
    bringers,
    changed,
    created,
    deleted,
    later,
    no_references,
    own_identity,
    refused,
    updated,
)
from vinfra.kinds.host import listing as everything
from vinfra.kinds.host.packages import apt, installed, roles
from vinfra.kinds.host.packages.installed import Installed
from vinfra.kinds.host.packages.planned import (
    about,
    by_apt,
    candidates,
    family,
    fits,
    foresee,
    going,
    of,
    pinned,
    staying,
)
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question
from vinfra.model.source import NOWHERE
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step
from vinfra.model.values import Flag, Text

NAME = "host.package"
SECTION = "packages"
SHORTHAND = "version"
ORDER = 10
SHARED = True

NO_LONGER_THAN = 1800.0
REMOVAL = Removal(Impact.RESTART, "what runs of it stops", "refused if others that stay need it")
STOPS: dict[str, Any] = {"impact": Impact.RESTART, "why": "what runs of it is restarted"}


class Spec(shape.Spec):
    """An installed package, or all packages of a role. Without a version, whichever is installed will do."""

    version: Text | None = field(
        "The exact version, or its beginning and `*`. Never changed by itself when not given.",
        **STOPS,
        examples=("1.22.1-9+deb12u2", "1.22.*"),
    )
    role: Text | None = field(
        f"What it is for, instead of a name: {', '.join(roles.ROLES)}. The packages are those of the host's "
        "distribution, and the resource's name is only a label.",
        compared=False,
        identity=True,
        examples=("kvm",),
    )
    recommends: Flag = field("Install recommended packages too.", default=False, compared=False)
    downgrade: Flag = field("Allow going back to an older version.", default=False, compared=False)


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a package's; a role is one we know and has no version."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9+._-]*[A-Za-z0-9+])?(:[a-z0-9]+)?", name):
        return "write a package name, such as nginx or libc6:i386"
    if not isinstance(desired, Spec):
        return ""
    if isinstance(desired.role, str) and desired.role not in roles.ROLES:
        return f"no role {desired.role}; there are {', '.join(roles.ROLES)}"
    if desired.role is not None and desired.version is not None:
        return "a role has no version; name the package instead"
    if isinstance(desired.version, str) and not re.fullmatch(r"[A-Za-z0-9.+:~_^-]+\*?|\*", desired.version):
        return "write a version, or its beginning and `*`"
    return ""


identity = own_identity
ask_all = everything.ask_packages
listing = everything.packages
references = no_references


def ask(scope: Scope, answers: Answers) -> Iterable[Question]:
    """What is installed; then what apt would do about the rest."""
    names = _names(scope)
    yield from installed.ask(names)
    yield from apt.ask()
    if scope.facts:
        found = installed.read(names, answers, scope.facts)
        for one in foresee(scope, found, answers):
            if not isinstance(one.result, apt.Simulated):
                yield one.result


def _names(scope: Scope) -> list[str]:
    return sorted({name for item in scope.wanted for name in candidates(item, scope)})


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each resource's packages as they are, with what apt would do among the notes."""
    found = installed.read(_names(scope), answers, scope.facts)
    foreseen = foresee(scope, found, answers)
    shared = {"interrupted": by_apt(scope) and apt.interrupted(answers), "age": apt.lists_age(answers)}
    result: dict[str, Answer] = {}
    for item in scope.wanted:
        names = of(item, scope)
        result[item.address.name] = _one(names, found, shared | about(item, names, foreseen))
    _first_updates(scope, result)
    return result


def _one(names: Sequence[str], found: Mapping[str, Installed | Unknown | None], notes: dict[str, Any]) -> Answer:
    there: dict[str, Installed] = {}
    for name in names:
        state = found.get(name)
        if isinstance(state, Unknown):
            return state
        if state is not None:
            there[name] = state
    notes |= {
        "names": tuple(names),
        "missing": tuple(name for name in names if name not in there),
        "held": tuple(name for name, state in there.items() if state.held),
        "unfinished": {name: state.unfinished for name, state in there.items() if state.unfinished},
    }
    if not there:
        return Absent(notes)
    version = there[names[0]].version if len(names) == 1 else None
    return Present(Spec.model_construct(version=version), notes)


def _first_updates(scope: Scope, found: Mapping[str, Answer]) -> None:
    """One update of the package lists serves all: the first that installs something does it."""
    for item in scope.wanted:
        answer = found[item.address.name]
        if item.desired is None or isinstance(answer, Unknown) or not isinstance(answer, Present | Absent):
            continue
        behind = isinstance(answer.actual, Spec) and answer.actual.version if isinstance(answer, Present) else None
        wish = getattr(item.desired, "version", None)
        if answer.notes["missing"] or (wish and not fits(str(behind), item.desired)):
            age = answer.notes["age"]
            answer.notes["update"] = by_apt(scope) and (age is None or age > apt.STALE or bool(answer.notes["unknown"]))
            return


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Missing, of another version, or left unfinished; refused when others would have to go."""
    desired, notes = resource.desired, answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(scope, answer, notes, resource.position is NOWHERE)
    if not notes.get("names"):
        pretty = (scope.facts.get("os") or {}).get("pretty") or "this distribution"
        return refused(Action.CREATE, f"nobody has said which packages are {desired.role} on {pretty}")
    fields = list(_fields(desired, answer, notes))
    action = Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    if notes["unknown"] and (found := bringers(scope, "repository:")):
        return later(action, f"apt does not know it yet; {found[0]} may bring it", fields)
    if (fields or action is Action.CREATE) and (reason := _objection(desired, notes, scope)):
        return refused(action, reason, fields)
    said = "after an update of the package lists" if notes.get("update") else ""
    if any(item.impact is Impact.RESTART for item in fields) and (more := notes["upgrades"] - set(notes["names"])):
        said = "; ".join(filter(None, (f"so is what runs of {', '.join(sorted(more))}, upgraded with it", said)))
    return updated(fields, said) if action is Action.UPDATE else created(fields, said)


def _gone(scope: Scope, answer: Answer, notes: Mapping[str, Any], leftover: bool) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    if reason := staying(notes["names"], scope):
        return Delta(Action.NOOP, reason=f"stays: {reason}") if leftover else refused(Action.DELETE, reason)
    if notes["held"]:
        return refused(Action.DELETE, f"{', '.join(notes['held'])} is held on this host (apt-mark showhold)")
    if notes["error"]:
        return refused(Action.DELETE, f"apt: {notes['error']}")
    if others := sorted(notes["removes"] - going(scope)):
        return refused(Action.DELETE, f"would also remove {', '.join(others)}; declare them absent too if they may go")
    return deleted(REMOVAL)


def _fields(desired: Spec, answer: Answer, notes: Mapping[str, Any]) -> Iterable[FieldChange]:
    if isinstance(answer, Present) and isinstance(answer.actual, Spec):
        version = answer.actual.version
        if version is not None and not fits(version, desired):
            yield changed(Spec, "version", version, desired.version)
        if notes["missing"]:
            yield FieldChange("packages", None, notes["missing"])
        for name, state in notes["unfinished"].items():
            yield FieldChange("status", f"{name} {state}", "installed")
    elif desired.version is not None:
        yield FieldChange("version", None, desired.version)
    elif desired.role is not None:
        yield FieldChange("packages", None, notes["names"])


def _objection(desired: Spec, notes: Mapping[str, Any], scope: Scope) -> str:
    """Why apt would not do it, or not without doing more than was asked for."""
    mine = {pinned(name, desired) for name in notes["names"]}
    fresh = notes["age"] is not None and notes["age"] <= apt.STALE
    strange = [word for item, word in notes["unknown"].items() if item in mine]
    if strange and fresh:
        return f"apt: {strange[0]}"
    if others := [f"{old} is {new} here" for old, new in notes["instead"].items() if old in notes["names"]]:
        return f"{others[0]}; name that one"
    if desired.version is not None and notes["held"]:
        return f"{notes['held'][0]} is held on this host (apt-mark showhold)"
    if desired.version is not None and not desired.downgrade and notes["downgrades"] & set(notes["names"]):
        return "that is an older version than the installed one; say downgrade: true"
    if others := sorted(notes["removes"] - going(scope)):
        return f"would remove {', '.join(others)}; declare them absent if they may go"
    return f"apt: {notes['error']}" if notes["error"] and not (notes["unfinished"] or notes["interrupted"]) else ""


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """An update of the lists where they are old, then one call of the package manager."""
    notes, desired, impact = change.notes, change.desired, change.delta.impact
    if not isinstance(desired, Spec):
        names = [name for name in notes["names"] if name in going(scope) and name not in notes["missing"]]
        call = apt.remove(names, scope.facts) if by_apt(scope) else _other(scope, "remove", names)
        return [Step(f"remove {', '.join(names)}", (call,), impact, NO_LONGER_THAN)]
    broken = list(notes["unfinished"])
    changed = any(item.path == "version" for item in change.delta.fields)
    names = list(notes["names"] if changed else (*notes["missing"], *broken))
    wishes = [pinned(name, desired) for name in names]
    if not by_apt(scope):
        return [Step(f"install {', '.join(wishes)}", (_other(scope, "install", wishes),), impact, NO_LONGER_THAN)]
    found = []
    if broken or notes["interrupted"]:
        found.append(Step("finish what dpkg began", (apt.finish(scope.facts),), impact, NO_LONGER_THAN))
    if notes.get("update"):
        found.append(Step("update the package lists", (apt.update(scope.facts),), timeout=NO_LONGER_THAN))
    again = "half-installed" in notes["unfinished"].values()
    flags = apt.Flags(desired.recommends, desired.downgrade, again, replaces=bool(notes["removes"]))
    said = f"install {', '.join(wishes)}" + (
        f", remove {', '.join(sorted(notes['removes']))}" if flags.replaces else ""
    )
    call = apt.install(wishes, scope.facts, flags)
    return [*found, Step(said, (call,), impact, NO_LONGER_THAN)]


def _other(scope: Scope, verb: str, names: Sequence[str]) -> Exec:
    if family(scope) == "suse":
        return Exec(("zypper", "--non-interactive", verb, "--", *names))
    return Exec(("dnf", verb, "-y", "--", *(name.replace("=", "-", 1) for name in names)))
