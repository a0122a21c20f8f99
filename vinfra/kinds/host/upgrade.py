"""Installed packages brought up to date: what apt would do is simulated while planning, and nothing else is done."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from vinfra.kinds.compare import SAME, later, no_references, own_identity, refused, updated
from vinfra.kinds.host.packages import apt, newer
from vinfra.kinds.host.packages.newer import Foreseen
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step
from vinfra.model.values import Flag, Seconds

NAME = "host.upgrade"
SECTION = "upgrade"
SHORTHAND = ""
ORDER = 84
SHARED = True
REMOVAL = Removal(Impact.NONE)
TRAITS = frozenset({Trait.SINGLE, Trait.HAPPENS})

OBJECT = "host"
NO_LONGER_THAN = 3600.0
WHY = "what runs of these packages is restarted"


class Spec(shape.Spec):
    """All packages that are installed, each in the newest version that the host's repositories have.

    What is held stays, nothing is removed unless that is allowed, and configuration files that somebody changed stay.
    """

    FOLLOWS = ("removed", "unfinished")

    packages: Literal["all", "security"] = field(
        "Which: all, or only those with a newer version in an archive of security updates.",
        default="all",
        impact=Impact.RESTART,
        why=WHY,
    )
    refresh: Flag = field("Whether package lists that are old are fetched first.", default=True, compared=False)
    max_age: Seconds = field(
        "How old the package lists may be, so that they need not be fetched.",
        default=apt.STALE,
        compared=False,
        examples=("1h",),
    )
    allow_removals: Flag = field(
        "Whether packages may go when others could not be brought up to date otherwise.", default=False, compared=False
    )


def check(name: str, desired: shape.Spec | None) -> str:
    """A host has one; security updates remove nothing."""
    if name != OBJECT:
        return f"a host has one {SECTION}, and it is called {OBJECT}"
    if isinstance(desired, Spec) and desired.packages == "security" and desired.allow_removals is True:
        return "security updates remove nothing: leave allow_removals out"
    return ""


identity = own_identity
references = no_references


def ask(scope: Scope, answers: Answers) -> Iterable[Question]:
    """What apt would do about everything; then, where only security counts, what it would do about that alone."""
    yield from apt.ask()
    for item in scope.wanted:
        if isinstance(item.desired, Spec):
            yield newer.AUTOMATIC
            yield _asked(item.desired, answers)


def _asked(desired: Spec, answers: Answers) -> Ask:
    """The simulation that tells it all, or the one that is to be asked before."""
    whole = newer.question(desired.allow_removals is True)
    found = newer.read(whole, answers) if desired.packages == "security" else None
    names = newer.secure(found) if found else []
    return newer.question(False, names) if names else whole


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Always there; what is due is among the notes."""
    return {item.address.name: _one(item.desired, scope, answers) for item in scope.wanted}


def _one(desired: shape.Spec | None, scope: Scope, answers: Answers) -> Answer:
    actual = Spec.model_construct(packages=None)
    if not isinstance(desired, Spec):
        return Present(actual)
    family = (scope.facts.get("os") or {}).get("family")
    if family != "debian":
        return Present(actual, {"family": family})
    asked = _asked(desired, answers)
    found = newer.read(asked, answers)
    if found is None:
        return Unknown("apt was not asked yet")
    if desired.packages == "security" and asked == newer.question(False):
        found = Foreseen(error=found.error)  # nothing of it is about security
    notes: dict[str, Any] = {
        "family": family,
        "asked": asked,
        "found": found,
        "age": apt.lists_age(answers),
        "interrupted": apt.interrupted(answers),
        "automatic": newer.automatic(answers),
    }
    return Present(actual, notes)


def diff(resource: Resource, answer: Answer, _scope: Scope) -> Delta:
    """What is due by the lists that the host has; where they are old, that and whatever newer ones say."""
    desired = resource.desired
    if not isinstance(desired, Spec) or not isinstance(answer, Present):
        return SAME
    notes = answer.notes
    if notes["family"] != "debian":
        reason = (
            f"only apt can be asked beforehand what it would do; this host is of {notes['family'] or 'no known'} family"
        )
        return refused(Action.UPDATE, reason)
    found, age = notes["found"], notes["age"]
    if desired.refresh and (age is None or age > desired.max_age):
        return _later(desired, found, age)
    if notes["interrupted"]:
        done = FieldChange("unfinished", "interrupted", "configured", Impact.RESTART, why=WHY)
        bound = (done, *_open(desired, found))
        return later(Action.UPDATE, "dpkg was interrupted, and ends its work first; nothing else is removed", bound)
    fields = tuple(_fields(found))
    if found.error:
        return refused(Action.UPDATE, f"apt: {found.error}", fields)
    if not found.anything:
        return SAME
    kept = f"kept back: {newer.told(found.kept)}" if found.kept else ""
    return updated(fields, "; ".join(filter(None, (newer.told(found.packages), kept))))


def _later(desired: Spec, found: Foreseen, age: float | None) -> Delta:
    since = f"are {_days(age)} old" if age is not None else "are missing"
    due = len(found.packages)
    known = f"; by them {due or 'nothing'} {'is' if due < 2 else 'are'} due"
    first = f"package lists {since} and are fetched first{known if age is not None else ''}"
    none = "packages may go" if desired.allow_removals else "none removed, new ones only as dependencies"
    return later(Action.UPDATE, f"{first}; {none}", _open(desired, found))


def _open(desired: Spec, found: Foreseen) -> tuple[FieldChange, ...]:
    """The most that it comes to: which versions is for newer lists to say."""
    fields = [FieldChange("packages", None, None, Impact.RESTART, why=WHY), FieldChange("unfinished", None, None)]
    return (*fields, *([FieldChange("removed", None, None)] if desired.allow_removals else ()))


def _days(seconds: float) -> str:
    units = (("d", 86400), ("h", 3600), ("min", 60))
    name, size = next(((name, size) for name, size in units if seconds >= size), ("s", 1))
    return f"{seconds / size:.0f} {name}"


def _fields(found: Foreseen) -> Iterable[FieldChange]:
    if found.packages:
        new = sum(not item.before for item in found.packages)
        behind = f"{len(found.packages) - new} behind" + (f", {new} missing" if new else "")
        yield FieldChange("packages", behind, "up to date", Impact.RESTART, why=WHY)
    if found.removes:
        yield FieldChange("removed", found.removes, None, Impact.RESTART, why="what runs of it stops")
    if found.unfinished:
        yield FieldChange("unfinished", found.unfinished, "configured", Impact.RESTART, why=WHY)


def prepare(change: Change, scope: Scope) -> Sequence[Step]:
    """Fetch lists that are old, end what dpkg began; then it is known what is due."""
    notes, desired, facts = change.notes, change.desired, scope.facts
    assert isinstance(desired, Spec)
    found = []
    if notes["interrupted"]:
        found.append(Step("finish what dpkg began", (apt.finish(facts),), Impact.RESTART, NO_LONGER_THAN))
    if desired.refresh and (notes["age"] is None or notes["age"] > desired.max_age):
        found.append(Step("update the package lists", (newer.refresh(facts),), Impact.NONE, NO_LONGER_THAN))
    return found


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """One call of apt, if it would still do no more than was planned."""
    notes, desired = change.notes, change.desired
    assert isinstance(desired, Spec)
    found: Foreseen = notes["found"]
    asked: Ask = notes["asked"]
    result = []
    if found.unfinished:
        call = apt.finish(scope.facts)
        result.append(Step("finish what dpkg began", (call,), Impact.RESTART, NO_LONGER_THAN))
    if not found.packages and not found.removes:
        return result
    names = asked.argv[asked.argv.index("--") + 1 :] if "--" in asked.argv else ()
    run = newer.upgrade(desired.allow_removals is True, names, scope.facts)
    kept = [name for name in names if name.partition(":")[0] in notes["automatic"]]
    calls: tuple[Exec, ...] = (newer.sure(asked, found), run)
    if kept:  # else they would never be removed any more when nobody needs them
        calls = (*calls, Exec(("apt-mark", "auto", "--", *kept)))
    said = f"bring {len(found.packages)} package{'s' * (len(found.packages) != 1)} up to date"
    said += f", remove {newer.told(found.removes)}" if found.removes else ""
    return [*result, Step(said, calls, Impact.RESTART, NO_LONGER_THAN)]
