"""Running a plan against writers that succeed, fail, vanish or are interrupted."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vinfra.errors import ExitCode, Unreachable
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.mark import Birth, Mark, State, parse
from vinfra.model.outcome import Observers, Outcome, Status
from vinfra.model.plan import Plan
from vinfra.model.spec import Spec, field
from vinfra.model.step import Append, Exec, Step, StepResult
from vinfra.stages.apply import Tools, apply


class Toy(Spec):
    size: int | None = field("How big.")


class Host:
    """A writer that runs `true` and `false` by name and remembers what it was told."""

    def __init__(self, act: Callable[[Step], StepResult] = lambda _: StepResult(0)) -> None:
        self.steps: list[Step] = []
        self.act = act

    def ask(self, questions: Any) -> Any:
        raise AssertionError("apply asks nothing by itself")

    def run(self, step: Step) -> StepResult:
        self.steps.append(step)
        return self.act(step)

    @property
    def lines(self) -> list[str]:
        return [call.line for step in self.steps for call in step.calls if isinstance(call, Append)]

    @property
    def marks(self) -> list[Mark]:
        return [mark for line in self.lines for mark in parse(line)[0].values()]


def change(name: str, host: str = "a", after: tuple[str, ...] = (), **delta: Any) -> Change:
    action = delta.pop("action", Action.CREATE)
    return Change(
        Address("toy", host, name),
        Delta(action, **delta),
        desired=None if action is Action.DELETE else Toy(size=1),
        actual=None,
        steps=(Step(f"make {name}", (Exec(("true", name)),)),),
        after=frozenset(Address("toy", host, need) for need in after),
    )


def run(changes: list[Change], hosts: dict[str, Host], **tools: Any) -> Outcome:
    plan = Plan("demo", tuple(hosts), tuple(changes), kept=tools.pop("kept", ()))
    again = tools.pop("again", lambda row: row)
    marks = tools.pop("marks", {})
    return Outcome("r1", plan, *apply(plan, Tools(hosts.__getitem__, again, marks, "r1", **tools), Observers()))


def statuses(outcome: Outcome) -> dict[str, Status]:
    return {item.address.name: item.status for item in outcome.changes}


def failing(*names: str) -> Callable[[Step], StepResult]:
    return lambda step: StepResult(7, err="no space left") if step.summary.split()[-1] in names else StepResult(0)


def test_a_failure_stops_only_what_depends_on_it() -> None:
    hosts = {"a": Host(failing("one")), "b": Host()}
    outcome = run(
        [
            change("one"),
            change("two", after=("one",)),
            change("three"),
            change("four", after=("two",)),
            change("b", "b"),
        ],
        hosts,
    )
    expected = {
        "one": Status.FAILED,
        "two": Status.BLOCKED,
        "three": Status.DONE,
        "four": Status.BLOCKED,
        "b": Status.DONE,
    }
    assert statuses(outcome) == expected
    assert "make one: no space left" in outcome.changes[0].reason
    assert outcome.changes[1].reason == "needs toy:one, which did not succeed"
    assert outcome.exit_code is ExitCode.FAILED


def test_a_lost_host_leaves_its_rows_and_the_others_go_on() -> None:
    def lose(_: Step) -> StepResult:
        raise Unreachable("a: connection lost")

    hosts = {"a": Host(lose), "b": Host()}
    outcome = run([change("one"), change("two"), change("b1", "b"), change("b2", "b")], hosts)
    assert statuses(outcome) == {"one": Status.LEFT, "two": Status.LEFT, "b1": Status.DONE, "b2": Status.DONE}
    assert outcome.exit_code is ExitCode.INCOMPLETE


def test_the_claim_comes_before_the_act_and_the_confirmation_after() -> None:
    host = Host()
    run([change("one")], {"a": host})
    claim, act, confirm = host.steps[0].calls
    assert isinstance(claim, Append)
    assert isinstance(act, Exec)
    assert isinstance(confirm, Append)
    assert [mark.state for mark in host.marks] == [State.CLAIMED, State.OWNED]
    assert {mark.birth for mark in host.marks} == {Birth.CREATED}
    assert host.marks[0].fields == ("size",)


def test_what_was_there_before_is_marked_found_and_a_deletion_releases() -> None:
    host = Host()
    run([change("one", action=Action.UPDATE), change("two", action=Action.DELETE)], {"a": host})
    assert {mark.birth for mark in host.marks if mark.name == "one"} == {Birth.FOUND}
    assert parse("\n".join(host.lines))[0].keys() == {("demo", "toy", "one")}


def test_kept_objects_are_released_and_a_destroy_removes_the_mark_file() -> None:
    kept = Mark("demo", "toy", "old", State.OWNED, Birth.FOUND)
    marks = {"a": {("demo", "toy", "old"): kept}}
    host = Host()
    run([], {"a": host}, marks=marks, kept=(Address("toy", "a", "old"),))
    assert ['"released"' in line for line in host.lines] == [True]
    host = Host()
    run([], {"a": host}, marks=marks, kept=(Address("toy", "a", "old"),), clean=True)
    assert host.steps[0].calls == (Exec(("rm", "-f", "/var/lib/vinfra/marks/demo.jsonl")),)


def test_a_destroy_that_failed_in_part_keeps_the_mark_file() -> None:
    marks = {
        "a": {("demo", "toy", name): Mark("demo", "toy", name, State.OWNED, Birth.CREATED) for name in ("one", "two")}
    }
    host = Host(failing("one"))
    gone = [change("one", action=Action.DELETE), change("two", action=Action.DELETE)]
    run(gone, {"a": host}, marks=marks, clean=True)
    assert not any(
        call == Exec(("rm", "-f", "/var/lib/vinfra/marks/demo.jsonl")) for step in host.steps for call in step.calls
    )
    host = Host()
    run(gone, {"a": host}, marks=marks, clean=True)
    assert host.steps[-1].calls == (Exec(("rm", "-f", "/var/lib/vinfra/marks/demo.jsonl")),)


def test_an_update_does_not_forget_that_we_made_it() -> None:
    marks = {"a": {("demo", "toy", "one"): Mark("demo", "toy", "one", State.OWNED, Birth.CREATED)}}
    host = Host()
    run([change("one", action=Action.UPDATE)], {"a": host}, marks=marks)
    assert {mark.birth for mark in host.marks} == {Birth.CREATED}


def later(**now: Any) -> tuple[Change, Callable[[Change], Change]]:
    bound = change("svc", verdict=Verdict.LATER, fields=(FieldChange("size", None, 1),), impact=Impact.LIVE)
    return bound, lambda _: change("svc", **now)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"action": Action.NOOP}, Status.ALREADY),
        ({"fields": (FieldChange("size", None, 1),), "impact": Impact.LIVE}, Status.DONE),
        ({"fields": (FieldChange("other", None, 1),), "impact": Impact.LIVE}, Status.BEYOND),
        ({"fields": (FieldChange("size", None, 1),), "impact": Impact.RESTART}, Status.BEYOND),
        ({"action": Action.DELETE}, Status.BEYOND),
        ({"action": Action.NOOP, "verdict": Verdict.UNKNOWN, "reason": "no answer"}, Status.BEYOND),
    ],
)
def test_what_was_known_only_later_never_exceeds_its_bound(now: dict[str, Any], expected: Status) -> None:
    bound, again = later(**now)
    outcome = run([bound], {"a": Host()}, again=again)
    assert statuses(outcome) == {"svc": expected}
    if expected is Status.BEYOND:
        assert outcome.exit_code is ExitCode.INCOMPLETE


def test_ctrl_c_lets_the_step_under_way_end_and_says_what_is_left() -> None:
    begun = threading.Event()

    def slow(_: Step) -> StepResult:
        begun.set()
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.3)
        return StepResult(0)

    outcome = run([change("one"), change("two")], {"a": Host(slow)})
    assert begun.is_set()
    assert statuses(outcome) == {"one": Status.DONE, "two": Status.LEFT}
    assert outcome.exit_code is ExitCode.INTERRUPTED


def test_what_a_failed_change_had_made_already_is_ours() -> None:
    steps = (Step("make it", (Exec(("true",)),)), Step("start that", (Exec(("true",)),)))
    for summary, last in (("that", State.OWNED), ("it", State.CLAIMED)):
        host = Host(failing(summary))
        run([replace(change("one"), steps=steps)], {"a": host})
        assert host.marks[-1].state is last


def test_what_happens_leaves_no_mark_and_what_a_failed_step_wants_done_is_done() -> None:
    host = Host(failing("down"))
    down = Step("shut down", (Exec(("true", "down")),), otherwise=(Exec(("true", "up")),))
    row = replace(change("one"), happens=True, steps=(Step("note", ()), down, Step("restart", ())))
    outcome = run([row], {"a": host})
    assert statuses(outcome) == {"one": "failed"}
    assert [step.summary for step in host.steps] == ["note", "shut down", "after that failed: shut down"]
    assert host.steps[-1].calls == down.otherwise
    assert host.marks == []
    host.act = lambda _: StepResult(0)
    assert statuses(run([row], {"a": host})) == {"one": "done"}
    assert [step.summary for step in host.steps[3:]] == ["note", "shut down", "restart"]
    assert host.marks == []


def test_what_makes_a_row_clear_is_done_before_it_is_read_again() -> None:
    host, seen = Host(), list[int]()

    def again(row: Change) -> Change:
        seen.append(len(host.steps))
        return replace(row, delta=Delta(Action.NOOP), first=())

    row = replace(change("one", verdict=Verdict.LATER), first=(Step("fetch lists", ()),), steps=())
    assert statuses(run([row], {"a": host}, again=again)) == {"one": "already"}
    assert seen == [1]
    host.act = failing("lists")
    assert statuses(run([row], {"a": host}, again=again)) == {"one": "failed"}
    assert seen == [1]
