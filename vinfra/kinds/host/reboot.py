"""A restart of the host, only when it needs one: the row says why, and what goes down with it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from vinfra.kinds.compare import SAME, because, later, no_references, own_identity, refused, updated
from vinfra.kinds.host.booting import machines, needs
from vinfra.kinds.host.booting.machines import Machines
from vinfra.model import boot
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Reboot, Step
from vinfra.model.values import Seconds

NAME = "host.reboot"
SECTION = "reboot"
SHORTHAND = ""
ORDER = 90
SHARED = True
REMOVAL = Removal(Impact.NONE)
TRAITS = frozenset({Trait.SINGLE, Trait.HAPPENS})

OBJECT = "host"
_ROOM = 60.0  # for the step beside the wait itself


class Spec(shape.Spec):
    """A restart of the host where one is due: it says so, or another kernel or kernel argument waits for it."""

    FOLLOWS = ("boot", "started")

    when: Literal["needed", "never"] = field(
        "needed: when something waits for it. never: only machines that an earlier restart took down are started.",
        default="needed",
        impact=Impact.RESTART,
        why="the host restarts, with all that runs on it",
    )
    machines: Literal["shutdown", "refuse"] = field(
        "What becomes of virtual machines that run: they are shut down by their own system and started again, or the "
        "host is left as it is while there are any.",
        default="shutdown",
        compared=False,
    )
    machine_timeout: Seconds = field(
        "How long a machine's system may take to shut down; one that takes longer goes on, and so does the host.",
        default=120.0,
        compared=False,
        examples=("2m",),
    )
    timeout: Seconds = field(
        "How long the host may take to come back.", default=600.0, compared=False, examples=("10m",)
    )


def check(name: str, desired: shape.Spec | None) -> str:
    """A host has one boot; nothing comes back in no time."""
    if name != OBJECT:
        return f"a host has one {SECTION}, and it is called {OBJECT}"
    if isinstance(desired, Spec):
        for key in ("timeout", "machine_timeout"):
            seconds = getattr(desired, key)
            if isinstance(seconds, float) and not 1.0 <= seconds <= 86400.0:
                return f"{key} is 1s to 1d"
    return ""


identity = own_identity
references = no_references


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """Whether it is needed, which boot this is, and which machines run."""
    return (*needs.ask(scope), *boot.QUESTIONS, *machines.QUESTIONS)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """A host always has a boot; the rest is among the notes."""
    this = boot.identity(answers)
    why = "nobody can tell this boot from the next: /proc cannot be read"
    notes: dict[str, Any] = {
        "boot": this,
        "why": tuple(needs.reasons(scope, answers)),
        "machines": machines.read(answers),
    }
    answer = Present(Spec.model_construct(when=None), notes) if this else Unknown(why)
    return {item.address.name: answer for item in scope.wanted}


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Now, later, or never; and whom an earlier restart left down."""
    desired = resource.desired
    if not isinstance(desired, Spec) or not isinstance(answer, Present):
        return SAME
    there: Machines = answer.notes["machines"]
    left = [FieldChange("started", None, there.down or "nobody")] if there.noted else []
    if desired.when == "never" or not (why := answer.notes["why"] or needs.coming(scope)):
        return updated(left, "an earlier restart took them down" if there.down else "")
    restart = FieldChange("boot", "this one", "a new one", Impact.RESTART, why="the host restarts")
    said = f"needed: {'; '.join(why)}"
    if not answer.notes["why"]:
        return later(
            Action.UPDATE, f"only if {', '.join(why)} makes it needed", [restart, FieldChange("started", None, None)]
        )
    if objection := _objection(desired, there, scope):
        return refused(Action.UPDATE, f"{said}; {objection}", [restart])
    hit = f"shuts down and starts again {machines.named(there.running)}" if there.running else ""
    return updated([restart, *left], because((), said, hit))


def _objection(desired: Spec, there: Machines, scope: Scope) -> str:
    """Why it must not restart as things are."""
    if not (scope.facts.get("systemd") or {}).get("running"):
        return "without systemd nobody here knows how to restart it"
    if there.unknown:
        return f"nobody knows which machines run there: {there.unknown}"
    if there.running and desired.machines == "refuse":
        return f"{machines.named(there.running)} run there; `machines: shutdown` shuts them down and starts them again"
    return "; ".join(there.lost)


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """Note the machines, shut them down, restart, start them again. Cut off anywhere, the next run does the rest."""
    desired, there = change.desired, change.notes["machines"]
    assert isinstance(desired, Spec)
    names = tuple(sorted({*there.running, *there.down}))
    if not any(item.path == "boot" for item in change.delta.fields):
        return [machines.start(there.down)]
    restart = Step(
        f"restart, and wait up to {desired.timeout:g} s",
        (machines.ALONE, Reboot(change.notes["boot"], desired.timeout)),
        Impact.RESTART,
        timeout=_ROOM,
        otherwise=(machines.AGAIN,) if names else (),
    )
    down = machines.shut_down(there, desired.machine_timeout, Impact.RESTART)
    return [*down, restart, *([machines.start(names)] if names or there.noted else [])]
