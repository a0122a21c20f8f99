"""Ways in which the product could be broken: the state machine must find each of them, or it holds no law at all."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from vinfra.model.action import Action
from vinfra.model.change import Delta
from vinfra.model.mark import Birth
from vinfra.model.step import Append
from vinfra.stages import apply, diff, discover

Mutant = Callable[[], AbstractContextManager[Any]]


def no_confirmation() -> AbstractContextManager[Any]:
    """A mark is claimed and never confirmed."""
    real = apply._Run._marks

    def marks(self: Any, *words: Any, **named: Any) -> tuple[Append, Append]:
        claim, _ = real(self, *words, **named)
        return claim, claim

    return patch.object(apply._Run, "_marks", marks)


def any_owner() -> AbstractContextManager[Any]:
    """Whose a thing is does not matter."""
    return patch.object(diff, "_owned", lambda delta, *_: delta)


def a_field_less() -> AbstractContextManager[Any]:
    """Differences in a mode, a shell and a number of CPUs are never seen: both plans agree, and are wrong."""
    real = diff._delta

    def delta(*words: Any) -> Delta:
        found: Delta = real(*words)
        fields = tuple(item for item in found.fields if item.path not in ("mode", "shell", "cpu"))
        lost = found.action is Action.UPDATE and found.fields and not fields
        return Delta(Action.NOOP) if lost else replace(found, fields=fields) if found.action is Action.UPDATE else found

    return patch.object(diff, "_delta", delta)


def whoever_was_there_before() -> AbstractContextManager[Any]:
    """What was found goes like what was made."""
    real = discover._leftovers

    def leftovers(host: str, search: Any, marks: Any, *more: Any) -> Any:
        return real(host, search, {key: replace(mark, birth=Birth.CREATED) for key, mark in marks.items()}, *more)

    return patch.object(discover, "_leftovers", leftovers)


def the_other_way_round() -> AbstractContextManager[Any]:
    """What is to go goes in the order in which it came."""
    real = diff._reversed
    return patch.object(
        diff, "_reversed", lambda gone, kept: [replace(row, after=frozenset()) for row in real(gone, kept)][::-1]
    )


def half_a_step() -> AbstractContextManager[Any]:
    """The last step of a row that has several is left out."""
    real = apply._Run._steps

    def steps(self: Any, change: Any, *, created: bool) -> None:
        real(self, replace(change, steps=change.steps[:-1]) if len(change.steps) > 1 else change, created=created)

    return patch.object(apply._Run, "_steps", steps)


# Each with the words of the law that it breaks.
MUTANTS: dict[str, tuple[Mutant, str]] = {
    "no confirmation": (no_confirmation, "second plan is not empty"),
    "any owner": (any_owner, "owns it"),
    "a field less": (a_field_less, "wished for on"),
    "whoever was there before": (whoever_was_there_before, "had not made it"),
    "the other way round": (the_other_way_round, "before|still need it|is in use"),
    "half a step": (half_a_step, "planned, and not done"),
}
