"""Rollouts as they run, against writers that succeed, fail and vanish, and units that are well or not."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from tests.stages.test_apply import Host, change, failing, later
from vinfra.errors import ExitCode, Unreachable
from vinfra.model.action import Action, Impact
from vinfra.model.address import Address
from vinfra.model.change import Change, FieldChange, Undo
from vinfra.model.mark import Birth, Mark, State, parse
from vinfra.model.outcome import Observers, Outcome
from vinfra.model.plan import Plan
from vinfra.model.rollout import Batch, Check, Gate, GateEnd, Roll, Rolling, Rollout
from vinfra.model.step import Exec, Step
from vinfra.stages.apply import Tools, apply
from vinfra.stages.gate import watch

HOSTS = ("a", "b", "c", "d")


class Notes(Observers):
    """What a rollout tells while it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def change_started(self, change: Change) -> None:
        self.told.append(f"{change.address.host}/{change.address.name}")

    def batch_started(self, roll: Roll, batch: Batch) -> None:
        self.told.append(f"batch {batch.number}: {''.join(batch.units)}")

    def gate_ended(self, end: GateEnd) -> None:
        self.told.append(f"gate {end.gate.number} {end.passage}: {','.join(end.failed)}")


def rows(hosts: Iterable[str] = HOSTS, **delta: Any) -> list[Change]:
    delta = {"action": Action.UPDATE, "impact": Impact.LIVE, **delta}
    return [change("x", host, **delta) for host in hosts]


def undo(row: Change) -> Undo:
    return Undo((Step(f"unmake {row.address.name}", (Exec(("true",)),)),), early=row.delta.action is Action.CREATE)


def run(
    changes: list[Change],
    hosts: Mapping[str, Host] | None = None,
    ill: Iterable[str] = (),
    **given: Any,
) -> tuple[Outcome, list[str]]:
    """Roll it out. `ill` units are not well; what is no tool is a term of the rollout."""
    tools = {name: given.pop(name) for name in ("marks", "former", "again", "watch", "undo") if name in given}
    hosts = hosts or {host: Host() for host in HOSTS}
    sick, new, members = set(ill), given.pop("new", ()), given.pop("members", {})
    tools.setdefault("watch", lambda gate, _: {unit: "ill" for unit in gate.ask if unit in sick})
    roll = Roll("all", HOSTS, Rollout.model_validate(given))
    units = {row.address: row.place for row in changes if row.place in HOSTS} | members
    rolling = Rolling(roll, HOSTS, units, frozenset(new))
    plan = Plan("demo", HOSTS, tuple(changes), rollouts=(rolling,))
    notes = Notes()
    base = {"again": lambda row: row, "marks": {}, "undo": undo}
    ran = apply(plan, Tools(hosts.__getitem__, run="r1", **{**base, **tools}), notes)
    return Outcome("r1", plan, *ran), notes.told


def statuses(outcome: Outcome) -> dict[str, str]:
    return {f"{end.address.host}/{end.address.name}": end.status.value for end in outcome.changes}


def test_a_batch_waits_for_the_gate_of_the_one_before() -> None:
    outcome, told = run(rows(), batch=2)
    assert [sorted(told[1:3]), sorted(told[5:7])] == [["a/x", "b/x"], ["c/x", "d/x"]]
    assert [told[0], told[3], told[4], told[7]] == ["batch 1: ab", "gate 1 passed: ", "batch 2: cd", "gate 2 passed: "]
    assert outcome.exit_code is ExitCode.DONE
    assert outcome.reason == ""


def test_a_unit_that_is_not_well_stops_what_comes_after_it() -> None:
    outcome, told = run(rows(), ill="b")
    assert told == ["batch 1: a", "a/x", "gate 1 passed: ", "batch 2: b", "b/x", "gate 2 stopped: b"]
    assert statuses(outcome) == {"a/x": "done", "b/x": "done", "c/x": "left", "d/x": "left"}
    assert outcome.changes[2].reason == "rollout all was stopped at batch 2: b: ill"
    assert (outcome.exit_code, outcome.reason) == (ExitCode.FAILED, "stopped")


def test_a_change_that_fails_counts_as_a_unit_that_is_not_well() -> None:
    outcome, told = run(rows(), {**{host: Host() for host in HOSTS}, "a": Host(failing("x"))})
    assert told == ["batch 1: a", "a/x", "gate 1 stopped: a"]
    assert statuses(outcome) == {"a/x": "failed", "b/x": "left", "c/x": "left", "d/x": "left"}


def test_a_lost_host_counts_too() -> None:
    def lose(_: Step) -> Any:
        raise Unreachable("a: connection lost")

    outcome, told = run(rows(), {**{host: Host() for host in HOSTS}, "a": Host(lose)})
    assert told[-1] == "gate 1 stopped: a"
    assert outcome.exit_code is ExitCode.FAILED


def test_so_many_may_fail_and_the_run_says_that_they_did() -> None:
    outcome, told = run(rows(), ill="ac", max_fail=1)
    assert [line for line in told if line.startswith("gate")] == [
        "gate 1 passed: a",
        "gate 2 passed: ",
        "gate 3 stopped: c",
    ]
    assert statuses(outcome)["d/x"] == "left"
    outcome, _ = run(rows(), ill="a", max_fail="25%")
    assert set(statuses(outcome).values()) == {"done"}
    assert (outcome.exit_code, outcome.reason) == (ExitCode.FAILED, "unhealthy")


def test_a_rollout_that_was_stopped_does_not_go_on_by_itself() -> None:
    outcome, told = run(rows("cd"), ill="b")
    assert told == ["gate 0 stopped: b"]
    assert statuses(outcome) == {"c/x": "left", "d/x": "left"}
    assert outcome.changes[0].reason == "rollout all was stopped before its first batch: b: ill"


def test_what_is_in_no_rollout_does_not_wait() -> None:
    free = change("free", "e")
    outcome, told = run([*rows(), free], {**{host: Host() for host in HOSTS}, "e": Host()}, ill="a")
    assert "e/free" in told
    assert statuses(outcome)["e/free"] == "done"


def test_what_needs_something_that_was_held_back_is_blocked() -> None:
    need = replace(change("user", "e"), after=frozenset({Address("toy", "d", "x")}))
    outcome, _ = run([*rows(), need], {**{host: Host() for host in HOSTS}, "e": Host()}, ill="a")
    assert statuses(outcome)["e/user"] == "blocked"


def test_a_rollback_takes_back_what_this_run_did_the_last_batch_first() -> None:
    hosts = {host: Host() for host in HOSTS}
    outcome, told = run(rows(), hosts, ill="b", on_failure="rollback")
    assert told[-3:] == ["gate 2 rolled_back: b", "b/x", "a/x"]
    assert statuses(outcome) == {"a/x": "rolled-back", "b/x": "rolled-back", "c/x": "left", "d/x": "left"}
    assert (outcome.exit_code, outcome.reason) == (ExitCode.FAILED, "rolled_back")
    assert [step.summary for step in hosts["a"].steps] == ["make x", "unmake x", "note the owner as before"]
    assert hosts["c"].steps == []


def test_marks_say_again_what_they_said_before() -> None:
    was = Mark("demo", "toy", "x", State.OWNED, Birth.CREATED, run="r0", fields=("size",))
    hosts = {host: Host() for host in HOSTS}
    run(rows(), hosts, ill="b", on_failure="rollback", marks={"a": {("demo", "toy", "x"): was}})
    assert parse("\n".join(hosts["a"].lines))[0] == {("demo", "toy", "x"): was}
    assert parse("\n".join(hosts["b"].lines))[0] == {}


def test_marks_of_a_former_name_stand_under_it_again() -> None:
    hosts = {host: Host() for host in HOSTS}
    key = ("demo", "toy", "x")
    old = Mark("old", "toy", "x", State.OWNED, Birth.CREATED, host="a", run="r0")
    seen = {"a": {key: replace(old, blueprint="demo")}}
    run(rows(), hosts, ill="b", on_failure="rollback", marks=seen, former={"a": {key: old}})
    found, _ = parse("\n".join(hosts["a"].lines))
    assert list(found.values()) == [old]


def test_on_a_host_what_was_made_last_goes_first_and_what_was_changed_follows() -> None:
    names = {"dir": Action.CREATE, "file": Action.CREATE, "conf": Action.UPDATE, "service": Action.UPDATE}
    changes = [change(name, "a", action=action) for name, action in names.items()]
    _, told = run(changes, ill="a", on_failure="rollback")
    assert told[-4:] == ["a/file", "a/dir", "a/conf", "a/service"]


def test_a_change_that_failed_in_the_middle_is_taken_back_too() -> None:
    hosts = {**{host: Host() for host in HOSTS}, "a": Host(failing("x"))}
    hosts["a"].act = lambda step: failing("x")(step) if step.summary == "make x" else failing()(step)
    outcome, _ = run(rows(), hosts, on_failure="rollback")
    assert [step.summary for step in hosts["a"].steps] == ["make x", "unmake x", "note the owner as before"]
    assert statuses(outcome)["a/x"] == "rolled-back"
    assert outcome.changes[0].reason == "rollout all failed at batch 1: a"
    assert outcome.gates[-1].failed == {"a": "toy:x failed"}


def test_what_was_made_inside_of_a_new_machine_goes_with_it() -> None:
    hosts = {**{host: Host() for host in HOSTS}, "hv": Host()}
    machine, inside = change("d", "hv"), change("file", "d")
    outcome, _ = run([machine, inside], hosts, ill="d", on_failure="rollback", new="d", members={machine.address: "d"})
    assert statuses(outcome) == {"hv/d": "rolled-back", "d/file": "rolled-back"}
    assert outcome.changes[1].reason == "gone with its machine"
    assert [step.summary for step in hosts["d"].steps] == ["make file"]
    assert [step.summary for step in hosts["hv"].steps] == ["make d", "unmake d", "note the owner as before"]


def test_what_cannot_be_taken_back_does_not_keep_the_rest() -> None:
    hosts = {host: Host() for host in HOSTS}
    broken = change("first", "b", action=Action.UPDATE)
    hosts["b"].act = lambda step: failing("first")(step) if step.summary.startswith("unmake") else failing()(step)
    outcome, _ = run([broken, *rows("ab")], hosts, ill="b", on_failure="rollback")
    assert statuses(outcome) == {"b/first": "failed", "a/x": "rolled-back", "b/x": "rolled-back"}
    assert "could not be taken back: unmake first: no space left" in outcome.changes[0].reason


def test_deletions_wait_until_nothing_can_go_back_any_more() -> None:
    gone = change("old", "a", action=Action.DELETE)
    _, told = run([gone, *rows("ab")], on_failure="rollback")
    assert told[-2:] == ["gate 2 passed: ", "a/old"]
    outcome, told = run([gone, *rows("ab")], ill="b", on_failure="rollback")
    assert "a/old" not in told
    assert statuses(outcome)["a/old"] == "left"


def test_what_is_known_only_later_and_has_no_way_back_does_not_run() -> None:
    bound, _ = later()
    host = Host()
    now = {"action": Action.UPDATE, "fields": (FieldChange("size", None, 1),), "impact": Impact.LIVE}
    outcome, _ = run(
        [bound],
        {**{name: Host() for name in HOSTS}, "a": host},
        on_failure="rollback",
        again=lambda _: change("svc", **now),
        undo=lambda _: "nobody knows what was in it",
    )
    assert statuses(outcome) == {"a/svc": "beyond"}
    assert host.steps == []


def test_ctrl_c_at_a_gate_leaves_the_rest_and_takes_nothing_back() -> None:
    def waiting(gate: Gate, stop: threading.Event) -> Mapping[str, str]:
        if gate.number:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.wait(5)
        return dict.fromkeys(gate.ask, "ill")

    outcome, told = run(rows(), watch=waiting, on_failure="rollback", max_fail=3)
    assert told == ["batch 1: a", "a/x", "gate 1 interrupted: a"]
    assert statuses(outcome) == {"a/x": "done", "b/x": "left", "c/x": "left", "d/x": "left"}
    assert outcome.exit_code is ExitCode.INTERRUPTED


def gate(units: str = "ab", number: int = 1, bearable: int = 0, **terms: Any) -> Gate:
    terms = {"interval": "10ms", "retries": 2, **terms}
    return Gate(
        Roll("all", tuple(units), Rollout.model_validate(terms)), number, 2, tuple(units), tuple(units), {}, bearable
    )


class Asked:
    """Answers in turn for each unit, the last one for ever."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers, self.count = answers, dict.fromkeys(answers, 0)

    def __call__(self, unit: str, check: Check, seconds: float) -> str:
        self.count[unit] += 1
        return self.answers[unit][min(self.count[unit], len(self.answers[unit])) - 1]


def test_a_unit_has_some_tries_to_become_well() -> None:
    asked = Asked(a=["no", "no", ""], b=["no", "no", "no", ""])
    assert watch(gate(bearable=1), threading.Event(), asked) == {"b": "ssh: no"}
    assert asked.count == {"a": 3, "b": 3}


def test_once_it_is_well_any_failure_within_the_window_counts() -> None:
    found = watch(gate("a", monitor="60s"), threading.Event(), Asked(a=["no", "", "", "no", ""]))
    assert re.fullmatch(r"ssh: no \(after \d+ s of health\)", found["a"])
    asked = Asked(a=["", ""])
    began = time.monotonic()
    assert watch(gate("a", monitor="500ms"), threading.Event(), asked) == {}
    assert time.monotonic() - began >= 0.5
    assert asked.count["a"] > 1


def test_what_earlier_runs_did_is_looked_at_and_not_watched() -> None:
    asked = Asked(a=["", "no"])
    assert watch(gate("a", number=0, monitor="10s"), threading.Event(), asked) == {}
    assert asked.count["a"] == 1


def test_nobody_is_watched_any_longer_once_too_many_failed() -> None:
    found: dict[str, str] = {}
    done = threading.Thread(
        target=lambda: found.update(watch(gate(monitor="60s", retries=0), threading.Event(), Asked(a=[""], b=["no"])))
    )
    done.daemon = True
    done.start()
    done.join(10)
    assert found == {"b": "ssh: no"}


def test_a_gate_waits_before_the_next_batch_and_not_after_the_last() -> None:
    stop, waited = threading.Event(), threading.Event()
    work: Callable[[], None] = lambda: (watch(gate("a", delay="60s"), stop, Asked(a=[""])), waited.set())[1]  # noqa: E731
    threading.Thread(target=work, daemon=True).start()
    assert not waited.wait(0.3)
    stop.set()
    assert waited.wait(10)
    assert watch(gate("a", number=2, delay="60s"), threading.Event(), Asked(a=[""])) == {}


def test_each_check_is_asked_in_turn_and_the_first_that_fails_is_told() -> None:
    seen: list[str] = []

    def ask(unit: str, check: Check, seconds: float) -> str:
        seen.append(f"{check} {seconds:g}")
        return "closed" if check.tcp else ""

    health = ["ssh", {"tcp": 80}, {"command": ["true"]}]
    assert watch(gate("a", health=health, retries=0, timeout="3s"), threading.Event(), ask) == {"a": "tcp 80: closed"}
    assert seen == ["ssh 3", "tcp 80 3"]
