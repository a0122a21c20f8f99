"""The marks that a change leaves: the claim before its act and the confirmation after it."""

from dataclasses import replace
from datetime import UTC, datetime

from vinfra.model.action import Action
from vinfra.model.change import Change
from vinfra.model.mark import SHARED, Birth, Mark, State, parse
from vinfra.model.plan import Plan
from vinfra.model.spec import declared
from vinfra.model.step import Migrate


def now() -> str:
    """The time as marks tell it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def marks_of(change: Change, known: Mark | None, plan: Plan, run: str, who: str, *, created: bool) -> tuple[Mark, Mark]:
    """Claim and confirmation of a change. `known` is the object's mark so far.

    `created` says that nothing was there when the plan was made: what a package of this plan brought is ours too.
    """
    claim = Mark(
        blueprint=plan.blueprint,
        kind=change.address.kind,
        name=change.address.name,
        state=State.CLAIMED,
        birth=known.birth if known else Birth.CREATED if created else Birth.FOUND,
        host=change.place,
        fields=managed(change),
        identity=identity(change, known),
        digest=plan.digest[:16],
        commit=plan.commit,
        protect=change.protect,
        run=run,
        time=now(),
        fleet=change.fleet,
        who=who,
    )
    if change.delta.action is not Action.DELETE:
        return claim, replace(claim, state=State.OWNED)
    # What was ours stays ours when deleting it fails.
    claim = replace(claim, state=known.state if known else State.CLAIMED, fleet=known.fleet if known else "")
    return claim, replace(claim, state=State.RELEASED)


def identity(change: Change, known: Mark | None) -> dict[str, str]:
    """The values that the mark must keep; when the object goes or is left as it is, those it kept so far."""
    if change.desired is None or (known and known.identity and change.delta.action is Action.ADOPT):
        return dict(known.identity) if known else {}
    shape = type(change.desired)
    return {
        name: str(value) for name, value in change.desired if value is not None and declared(shape, name, "identity")
    }


def managed(change: Change) -> tuple[str, ...]:
    """The fields that the blueprint says something of."""
    if change.desired is None:
        return ()
    # That it is secret is noted only where it is so: later readers must not show what stands there.
    return tuple(
        sorted(name for name, value in change.desired if value is not None and (name != "secret" or value is True))
    )


def carried(text: str, change: Change, plan: Plan, run: str, who: str) -> list[Mark]:
    """The marks of a machine and its parts as they stand in the marks of the host that it leaves, for the other one."""
    name, address = change.address.name, change.address
    family, digest, commit = address.kind.partition(".")[0], plan.digest[:16], plan.commit
    shared = any(isinstance(call, Migrate) and call.shared for step in change.steps for call in step.calls)
    also = {SHARED: "yes"} if shared else {}
    return [
        replace(
            mark,
            host=change.goes_to,
            identity={**mark.identity, **also},
            digest=digest,
            commit=commit,
            run=run,
            time=now(),
            who=who,
        )
        for mark in parse(text)[0].values()
        if mark.kind.partition(".")[0] == family and (mark.name == name or mark.name.startswith(f"{name}/"))
    ]
