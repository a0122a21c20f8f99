"""Rollouts in words: in a plan, while they go on, in the journal and at the end."""

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.model.test_rollout import change, rolling
from vinfra.model.action import Action
from vinfra.model.outcome import ChangeOutcome, Outcome, Status
from vinfra.model.plan import Plan
from vinfra.model.rollout import Gate, GateEnd, Passage, batches
from vinfra.report.as_json import outcome_document
from vinfra.report.ending import ending_lines
from vinfra.report.failures import Failures
from vinfra.report.journal import Journal
from vinfra.report.progress import Progress
from vinfra.report.rollouts import rollout_lines
from vinfra.report.runs import find, run_detail
from vinfra.report.terminal import plan_lines

UNITS = ("a", "b", "c", "d", "e")


def plan(changed: str = "abcde", new: str = "", gone: str = "", **terms: object) -> Plan:
    rows = [*map(change, changed), *(change(unit, "old", Action.DELETE) for unit in gone)]
    return Plan("b", UNITS, tuple(rows), rollouts=(rolling(rows, new=tuple(new), **terms),))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "5 hosts in 5 batches of 1; gate ssh; stop at 1 failure"),
        ({"batch": 5}, "5 hosts in 1 batch of 5; gate ssh; stop at 1 failure"),
        ({"batch": 2}, "5 hosts in 3 batches of 2, the last of 1; gate ssh; stop at 1 failure"),
        ({"batch": 3}, "5 hosts in 2 batches of 3 and 2; gate ssh; stop at 1 failure"),
        ({"batch": [1, 2]}, "5 hosts in 3 batches of 1, 2 and 2; gate ssh; stop at 1 failure"),
        (
            {"new": "ab", "batch": 2},
            "5 hosts in the new 2 first, then 2 batches of 2 and 1; gate ssh; stop at 1 failure",
        ),
        ({"new": "abcde"}, "5 hosts in 1 batch, all of them new; gate ssh; stop at 1 failure"),
        ({"changed": "ab"}, "2 hosts in 2 batches of 1; first the other 3 must be well; gate ssh; stop at 1 failure"),
        ({"health": [], "max_fail": "40%"}, "5 hosts in 5 batches of 1; gate none; stop at 3 failures"),
        (
            {"health": ["ssh", {"tcp": 80}], "monitor": "1m", "on_failure": "rollback", "gone": "a"},
            "5 hosts in 5 batches of 1; gate ssh, tcp 80 for 60 s; rollback at 1 failure; "
            "1 deletion after the last gate",
        ),
    ],
)
def test_the_plan_says_what_will_be_done(given: dict[str, object], line: str) -> None:
    made = plan(**given)  # type: ignore[arg-type]
    assert list(rollout_lines(made)) == [f"rollout all: {line}"]
    assert f"rollout all: {line}" in [text.plain for text in plan_lines(made)]


def test_the_plan_says_at_once_when_nothing_will_be_done() -> None:
    rows = [change("a")]
    dark = replace(rolling(rows), dark={"d": "no answer"})
    (line,) = rollout_lines(Plan("b", UNITS, tuple(rows), rollouts=(dark,)))
    assert line.endswith("; stop at 1 failure; stops before its first batch, for d could not be read")
    bearing = replace(rolling(rows, max_fail=1), dark={"d": "no answer"})
    (line,) = rollout_lines(Plan("b", UNITS, tuple(rows), rollouts=(bearing,)))
    assert line.endswith("; stop at 2 failures")


def test_a_rollout_without_a_part_in_the_plan_is_not_told() -> None:
    assert list(rollout_lines(plan(changed=""))) == []


def ended(passage: Passage, number: int = 2, **failed: str) -> GateEnd:
    made = plan(batch=2)
    units = batches(made.rollouts[0], made.changes)[number - 1].units if number else ("d",)
    return GateEnd(Gate(made.rollouts[0].roll, number, 3, units, units), passage, failed)


def test_the_run_says_where_it_is(tmp_path: Path) -> None:
    made = plan(batch=2)
    batch = batches(made.rollouts[0], made.changes)[1]
    console = Console(file=io.StringIO())
    with Journal(tmp_path, ["apply"], tmp_path / "b.yaml") as journal, Progress(console) as progress:
        for observer in (journal, progress, Failures()):
            observer.gate_ended(ended(Passage.PASSED, 0))
            observer.batch_started(made.rollouts[0].roll, batch)
            observer.gate_ended(ended(Passage.STOPPED, c="tcp 80: \x1b[31mrefused"))
            observer.gate_ended(ended(Passage.ROLLED_BACK, c="ssh: no", d="ssh: no"))
            observer.gate_ended(ended(Passage.INTERRUPTED))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "rollout all: what earlier runs did is well",
        "rollout all: batch 2 of 3: c, d",
        "rollout all: batch 2 of 3 is not well: c: tcp 80: \\x1b[31mrefused; stopped",
        "rollout all: batch 2 of 3 is not well: c: ssh: no; d: ssh: no; taken back",
        "rollout all: batch 2 of 3 was not waited for; interrupted",
    ]
    told = "\n".join(line.plain for line in run_detail(find(tmp_path, journal.id)))
    assert "batch         all  2  c, d" in told
    assert "gate          all  2  rolled_back  c: ssh: no  d: ssh: no" in told


def test_the_journal_keeps_nothing_that_a_command_printed(tmp_path: Path) -> None:
    made = plan(health=[{"command": ["sh", "-c", "cat (x)"]}, "ssh"])
    end = GateEnd(
        Gate(made.rollouts[0].roll, 1, 3, ("c", "d"), ("c", "d")),
        Passage.STOPPED,
        {"c": "command sh -c cat (x): exit status 3 (hunter2)", "d": "ssh: no (none)"},
    )
    row = change("e")
    with Journal(tmp_path, ["apply"], tmp_path / "b.yaml") as journal:
        journal.gate_ended(end)
        journal.change_ended(row, ChangeOutcome(row.address, Status.LEFT, f"rollout all was stopped: {end.reason}"))
    kept = (tmp_path / "runs" / f"{journal.id}.jsonl").read_text()
    assert "hunter2" in end.reason
    assert "hunter2" not in kept
    assert kept.count("command sh -c cat (x): exit status 3") == 2
    assert kept.count("ssh: no (none)") == 2


def test_a_terminal_shows_the_batch_that_is_at_it() -> None:
    made = plan(batch=2)
    environment = {"TERM": "xterm-256color"}
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40, _environ=environment)
    with Progress(console, patience=0.01) as progress:
        progress.expect(made)
        progress.change_started(made.changes[0])
        progress.batch_started(made.rollouts[0].roll, batches(made.rollouts[0], made.changes)[1])
        time.sleep(0.4)
    assert isinstance(console.file, io.StringIO)
    assert "rollout all: batch 2 of 3: c, d" in console.file.getvalue()


def test_what_was_taken_back_counts_once(tmp_path: Path) -> None:
    row = change("a")
    console = Console(file=io.StringIO())
    with Journal(tmp_path, ["apply"], tmp_path / "b.yaml") as journal, Progress(console) as progress:
        progress.expect(plan(changed="a"))
        for observer in (journal, progress):
            for status in (Status.DONE, Status.ROLLED_BACK):
                observer.change_started(row)
                observer.change_ended(row, ChangeOutcome(row.address, status))
    assert find(tmp_path, journal.id).counts == {"rolled-back": 1}
    assert isinstance(console.file, io.StringIO)
    assert [line.split()[0] for line in console.file.getvalue().splitlines()] == ["[1/1]", "[1/1]"]


def test_the_end_names_the_gate_and_json_the_reason() -> None:
    made, end = plan(changed="ab"), ended(Passage.ROLLED_BACK, 1, a="ssh: no")
    changes = [ChangeOutcome(row.address, Status.ROLLED_BACK, "taken back: a: ssh: no") for row in made.changes]
    outcome = Outcome("r", made, tuple(changes), gates=(end,))
    lines = [line.plain for line in ending_lines(outcome, Failures(), "vinfra apply b.yaml")]
    assert lines[1] == "rolled-back toy:a/x  taken back: a: ssh: no"
    assert lines[-2] == "Applied: 2 rolled back.  run r"
    assert "rollout all: batch 1 of 3 is not well: a: ssh: no; taken back" in lines
    document = outcome_document(outcome, "apply", Failures())
    assert (document["exit_code"], document["reason"]) == (1, "rolled_back")
    assert document["gates"][0]["failed"] == {"a": "ssh: no"}
    assert document["plan"]["rollouts"][0]["batches"][0] == {"units": ["a"], "new": False, "changes": ["toy:a/x"]}
