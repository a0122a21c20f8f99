"""What is said of runs that were killed, here or elsewhere."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report import samples
from vinfra.errors import ExitCode, RefusedError
from vinfra.model.change import Change
from vinfra.model.mark import Birth, Mark, State
from vinfra.model.outcome import ChangeOutcome, Status
from vinfra.model.plan import Plan
from vinfra.report import journal
from vinfra.report.interrupted import notes

PLAN = samples.rack()
FIRST, SECOND = PLAN.changes[1], PLAN.changes[3]


def run(state: Path, begun: Sequence[Change] = (), ended: Sequence[Change] = (), plan: Plan = PLAN) -> journal.Journal:
    """A run as far as it came: its process is gone."""
    written = journal.Journal(state, ["apply", "x.yaml"], state / "x.yaml")
    written.planned(plan)
    for change in begun:
        written.change_started(change)
        written.step_started(change, samples.STEP)
    for change in ended:
        written.change_ended(change, ChangeOutcome(change.address, Status.DONE))
    return written


def kill(state: Path, written: journal.Journal) -> None:
    """Make its journal that of a process that is no more."""
    file = state / "runs" / f"{written.id}.jsonl"
    begin, *rest = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps({**json.loads(begin), "birth": "another/1"}), *rest]))


def end(written: journal.Journal, code: ExitCode = ExitCode.DONE) -> None:
    written.exit_code = code
    written.__exit__(None, None, None)


def test_what_a_killed_run_was_at_is_said_until_a_later_one_ended(tmp_path: Path) -> None:
    killed = run(tmp_path, begun=(FIRST, SECOND), ended=(FIRST,))
    assert notes(PLAN, tmp_path) == ()  # it is still running
    kill(tmp_path, killed)
    (note,) = notes(PLAN, tmp_path)
    assert f"run {killed.id} by " in note
    assert f"during {SECOND.address} (set memory of web-01); what it left is read anew" in note
    assert str(FIRST.address) not in note
    with pytest.raises(RefusedError), run(tmp_path):
        raise RefusedError("not confirmed")
    assert notes(PLAN, tmp_path) == (note,)
    assert notes(replace(PLAN, blueprint="other"), tmp_path) == ()
    end(run(tmp_path, plan=replace(PLAN, blueprint="other")))
    assert notes(PLAN, tmp_path) == (note,)
    end(run(tmp_path))
    assert notes(PLAN, tmp_path) == ()


def test_each_killed_run_since_then_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(("1a", "2b", "3c"))
    monkeypatch.setattr(journal.secrets, "token_hex", lambda _: next(names))
    for change in (FIRST, SECOND):
        kill(tmp_path, run(tmp_path, begun=(change,)))
    assert len(notes(PLAN, tmp_path)) == 2
    failed = run(tmp_path, begun=(FIRST,))
    failed.change_ended(FIRST, ChangeOutcome(FIRST.address, Status.FAILED))
    end(failed, ExitCode.FAILED)
    assert notes(PLAN, tmp_path) == ()


def test_a_run_that_had_begun_nothing_left_nothing(tmp_path: Path) -> None:
    kill(tmp_path, run(tmp_path))
    assert notes(PLAN, tmp_path) == ()


def test_a_run_that_was_killed_between_two_changes_is_said(tmp_path: Path) -> None:
    kill(tmp_path, run(tmp_path, begun=(FIRST,), ended=(FIRST,)))
    (note,) = notes(PLAN, tmp_path)
    assert f"when 1 of {len(PLAN.runnable)} changes had ended; what it left is read anew" in note


def test_many_changes_are_counted(tmp_path: Path) -> None:
    changes = [replace(FIRST, address=replace(FIRST.address, name=f"web-{number}")) for number in range(20)]
    kill(tmp_path, run(tmp_path, begun=changes))
    (note,) = notes(PLAN, tmp_path)
    assert "and 17 more" in note


def test_claims_of_a_run_from_elsewhere_are_said(tmp_path: Path) -> None:
    claimed = Mark(PLAN.blueprint, "kvm.domain", "web-01", State.CLAIMED, Birth.CREATED, run="20260101T000000Z-9999")

    def plan(*marks: Mark) -> Plan:
        return replace(PLAN, changes=(replace(FIRST, marks=marks),))

    (note,) = notes(plan(claimed), tmp_path)
    assert "run 20260101T000000Z-9999, of which there is no journal here, began kvm.domain:hv1/web-01" in note
    assert notes(plan(replace(claimed, state=State.OWNED)), tmp_path) == ()
    assert notes(plan(replace(claimed, blueprint="other")), tmp_path) == ()
    ours = run(tmp_path)
    assert notes(plan(replace(claimed, run=ours.id)), tmp_path) == ()


def test_what_is_no_journal_hinders_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    os.mkfifo(folder / "x.jsonl")
    (folder / "y.jsonl").mkdir()
    (folder / "z.jsonl").symlink_to("/dev/zero")
    (folder / "w.jsonl").write_bytes(b"\xff" * 200_000)
    assert notes(PLAN, tmp_path) == ()
    folder.joinpath("x.jsonl").unlink()
    assert notes(PLAN, tmp_path / "none") == ()
