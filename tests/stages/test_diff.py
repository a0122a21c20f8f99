"""Order, ownership and guards: what the diff stage adds to a kind's own comparison."""

from dataclasses import replace

import pytest

from tests.toys import KINDS, Lamp
from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.discovery import HostState
from vinfra.model.mark import Birth, Mark, State
from vinfra.model.source import Position
from vinfra.stages.diff import diff

HERE = Position("site.yaml", 3, 5)
ON = Present(Lamp.model_construct(watt=40))


def lamp(
    name: str, watt: int | None = 40, needs: tuple[str, ...] = (), kind: str = "toy.lamp", **more: object
) -> Resource:
    address = Address(kind, "a", name)
    desired = None if watt is None else Lamp(watt=watt)
    return Resource(
        address,
        desired,
        needs=frozenset(Address(kind, "a", need) for need in needs),
        **{"position": HERE, **more},  # type: ignore[arg-type]
    )


def state(resources: list[Resource], answers: dict[str, Answer], marks: tuple[Mark, ...] = ()) -> HostState:
    return HostState(
        "a",
        resources=tuple(resources),
        answers={resource.address: answers.get(resource.address.name, Absent()) for resource in resources},
        marks={(mark.blueprint, mark.kind, mark.name): mark for mark in marks},
    )


def mark(blueprint: str, name: str, kind: str = "toy.lamp", birth: Birth = Birth.CREATED) -> Mark:
    return Mark(blueprint, kind, name, State.OWNED, birth)


def rows(found: HostState) -> list[tuple[str, Action, Verdict, str]]:
    changes = diff(found, KINDS, "mine")
    return [(row.address.name, row.delta.action, row.delta.verdict, row.delta.reason) for row in changes]


def test_needs_come_first_then_the_kinds_order_then_the_files() -> None:
    resources = [lamp("c", needs=("a",)), lamp("b"), lamp("a"), lamp("z", kind="toy.lib")]
    assert [row[0] for row in rows(state(resources, {}))] == ["z", "b", "a", "c"]


def test_a_kind_sees_what_changes_before_it() -> None:
    resources = [lamp("a", 60), lamp("b", needs=("a",))]
    found = rows(state(resources, {"a": ON, "b": ON}))
    assert found[1] == ("b", Action.UPDATE, Verdict.OK, "lamp:a")


def test_deletions_come_last_and_against_the_grain() -> None:
    resources = [lamp("a", None), lamp("b", None, needs=("a",)), lamp("c")]
    changes = diff(state(resources, {"a": ON, "b": ON}), KINDS, "mine")
    assert [row.address.name for row in changes] == ["c", "b", "a"]
    assert changes[2].after == {changes[1].address}


def test_what_could_not_be_read_plans_nothing() -> None:
    assert rows(state([lamp("a")], {"a": Unknown("permission denied")})) == [
        ("a", Action.NOOP, Verdict.UNKNOWN, "permission denied")
    ]


@pytest.mark.parametrize("watt", [60, None])
def test_what_another_blueprint_owns_is_refused(watt: int | None) -> None:
    ((_, _, verdict, reason),) = rows(state([lamp("a", watt)], {"a": ON}, (mark("theirs", "a"),)))
    assert (verdict, reason) == (Verdict.REFUSED, "owned by blueprint theirs")


def test_what_is_protected_is_not_deleted() -> None:
    ((_, action, verdict, _),) = rows(state([lamp("a", None, protect=True)], {"a": ON}, (mark("mine", "a"),)))
    assert (action, verdict) == (Action.DELETE, Verdict.REFUSED)


def test_a_guard_does_not_go_by_the_edit_that_deletes() -> None:
    guarded = (replace(mark("mine", "a"), protect=True),)
    ((_, action, verdict, reason),) = rows(state([lamp("a", None)], {"a": ON}, guarded))
    assert (action, verdict) == (Action.DELETE, Verdict.REFUSED)
    assert reason == "refused, protected; apply it as it is with `protect: false` first"
    ((_, action, _, reason),) = rows(state([lamp("a")], {"a": ON}, guarded))
    assert (action, reason) == (Action.ADOPT, "no longer protected")


def test_a_guard_that_comes_or_goes_is_noted() -> None:
    ((_, action, _, reason),) = rows(state([lamp("a", protect=True)], {"a": ON}, (mark("mine", "a"),)))
    assert (action, reason) == (Action.ADOPT, "protected from now on")
    assert rows(state([lamp("a", protect=True)], {"a": ON}))[0][1] is Action.NOOP


def test_something_shared_gets_a_second_owner_and_goes_with_the_last() -> None:
    theirs = mark("theirs", "l", "toy.lib")
    wanted = lamp("l", kind="toy.lib")
    assert rows(state([wanted], {"l": ON}, (theirs,))) == [
        ("l", Action.ADOPT, Verdict.OK, "shared with blueprint theirs")
    ]
    both = (theirs, mark("mine", "l", "toy.lib"))
    assert rows(state([wanted], {"l": ON}, both))[0][1] is Action.NOOP
    leftover = Resource(wanted.address, None)
    assert rows(state([leftover], {"l": ON}, both)) == [
        ("l", Action.NOOP, Verdict.OK, "stays: blueprint theirs uses it too")
    ]
    assert rows(state([leftover], {"l": ON}, both[1:]))[0][1] is Action.DELETE
    assert rows(state([lamp("l", None, kind="toy.lib")], {"l": ON}, both))[0][2] is Verdict.REFUSED


def test_a_claim_that_nobody_confirmed_is_confirmed_or_left_alone() -> None:
    claimed = Mark("mine", "toy.lamp", "a", State.CLAIMED, Birth.CREATED, run="r7")
    ((_, action, _, reason),) = rows(state([lamp("a")], {"a": ON}, (claimed,)))
    assert action is Action.ADOPT
    assert "earlier run" in reason
    leftover = Resource(lamp("a").address, None)
    ((_, _, verdict, reason),) = rows(state([leftover], {"a": ON}, (claimed,)))
    assert verdict is Verdict.REFUSED
    assert "r7" in reason


def test_something_shared_that_was_there_before_anyone_needs_no_owner() -> None:
    found = mark("theirs", "l", "toy.lib", Birth.FOUND)
    assert rows(state([lamp("l", kind="toy.lib")], {"l": ON}, (found,)))[0][1] is Action.NOOP
