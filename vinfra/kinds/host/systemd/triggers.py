"""What a unit runs an older version of: when it started, against when what it is restarted for last changed.

It is found on the host itself, so that a change by hand counts, and so does a kill between a write and its restart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vinfra.kinds.host.certificates import pairs
from vinfra.kinds.host.files import paths
from vinfra.kinds.host.packages import installed, planned
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Question
from vinfra.model.spec import Spec


def of(desired: Spec | None) -> tuple[str, ...]:
    """Every reference that a service is restarted or reloaded for."""
    return (*(getattr(desired, "restart_on", None) or ()), *(getattr(desired, "reload_on", None) or ()))


def ask(scope: Scope) -> Iterable[Question]:
    """When all of them last changed."""
    files, packages = _watched(scope)
    yield from paths.ask(files)
    yield from installed.ask(packages)


def _watched(scope: Scope) -> tuple[list[str], list[str]]:
    refs = sorted({ref for item in scope.wanted for ref in of(item.desired)})
    files = [path for ref in refs for path in _files(ref, scope)]
    return files, [name for ref in refs if ref.startswith("package:") for name in _packages(ref, scope)]


def _files(ref: str, scope: Scope) -> tuple[str, ...]:
    """The paths that a reference stands for: a file's own, both of a certificate."""
    sort, _, name = ref.partition(":")
    if sort == "certificate":
        return pairs.places(name, scope.siblings[ref].desired if ref in scope.siblings else None)
    return (name,) if sort == "file" else ()


def _packages(ref: str, scope: Scope) -> tuple[str, ...]:
    """What a reference to a package stands for: the packages of its role, if the sibling has one."""
    sibling = scope.siblings.get(ref)
    return planned.candidates(sibling, scope) if sibling else (ref.partition(":")[2],)


@dataclass(frozen=True, slots=True)
class Times:
    """When each reference last changed, in seconds since 1970; 0 for what is not there."""

    known: Mapping[str, float | Unknown]
    now: float = float("inf")

    def older(self, refs: Iterable[str] | None, since: float | None) -> tuple[str, ...] | Unknown:
        """The references that changed since then."""
        found = []
        for ref in dict.fromkeys(refs or ()):
            changed = self.known.get(ref, 0.0)
            if isinstance(changed, Unknown):
                return Unknown(f"{ref}: {changed.reason}")
            # A time that has not come yet tells nothing, and would have the unit restarted for ever.
            if since is not None and since < changed <= self.now:
                found.append(ref)
        return tuple(found)


def read(scope: Scope, answers: Answers) -> Times:
    """When each of them last changed."""
    files, packages = _watched(scope)
    state = installed.read(packages, answers, scope.facts)
    refs = {ref for item in scope.wanted for ref in of(item.desired) if ref.startswith("package:")}
    there = paths.read(files, answers)
    watched = {ref for item in scope.wanted for ref in of(item.desired)}
    found = {ref: _latest(there[path] for path in own) for ref in watched if (own := _files(ref, scope))}
    now = float(scope.facts.get("now") or "inf") + 1
    return Times(found | {ref: _latest(state.get(name) for name in _packages(ref, scope)) for ref in refs}, now)


def _latest(things: Iterable[object]) -> float | Unknown:
    latest = 0.0
    for thing in things:
        if isinstance(thing, Unknown):
            return thing
        if isinstance(thing, paths.Found):
            latest = max(latest, thing.modified)
        elif isinstance(thing, installed.Installed):
            latest = max(latest, thing.since)
    return latest
