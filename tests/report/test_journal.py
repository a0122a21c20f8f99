import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report import samples
from vinfra.errors import ExitCode, RefusedError, UsageError, VinfraError
from vinfra.model.outcome import ChangeOutcome, Status
from vinfra.model.step import StepResult
from vinfra.report import journal, runs


def record(state: Path, code: ExitCode | None = ExitCode.DONE) -> journal.Journal:
    outcome, change, result = samples.failed()
    with journal.Journal(state, ["apply", "x.yaml"], state / "x.yaml") as written:
        written.host_read("hv3", 1.0, "no answer")
        written.change_started(change)
        written.step_started(change, samples.STEP)
        written.step_ended(change, samples.STEP, result)
        written.change_ended(change, outcome.changes[1])
        written.exit_code = code
    return written


def test_journal_tells_the_run(tmp_path: Path) -> None:
    written = record(tmp_path, ExitCode.FAILED)
    file = tmp_path / "runs" / f"{written.id}.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    events = [json.loads(line) for line in file.read_text().splitlines()]
    names = ["begin", "host-unknown", "change", "step", "step-end", "change-end", "end"]
    assert [event["event"] for event in events] == names
    (run,) = runs.runs(tmp_path)
    assert (run.status, run.counts, run.unfinished) == ("failed", {"failed": 1}, [])


def test_a_step_is_on_disk_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with journal.Journal(tmp_path, ["apply"], tmp_path / "x") as written:
        before = len(synced)
        written.step_started(samples.rack().changes[1], samples.STEP)
        assert len(synced) == before + 1
        assert "set memory of web-01" in (tmp_path / "runs" / f"{written.id}.jsonl").read_text()


def test_no_values_no_contents(tmp_path: Path) -> None:
    plan = samples.rack()
    with journal.Journal(tmp_path, ["apply"], tmp_path / "x") as written:
        for change in plan.changes:
            written.change_started(change)
            written.step_ended(change, samples.STEP, StepResult(1, "output", "hunter3"))
            written.change_ended(change, ChangeOutcome(change.address, Status.FAILED, "hunter4"))
    text = next((tmp_path / "runs").iterdir()).read_text()
    assert "hunter" not in text
    assert "welcome" not in text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (RefusedError("stale"), "refused"),
        (ValueError("bug"), "failed"),
    ],
)
def test_the_end_is_noted_whatever_happens(tmp_path: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), journal.Journal(tmp_path, ["apply"], tmp_path / "x"):
        raise error
    assert runs.runs(tmp_path)[0].status == status


def test_running_and_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from vinfra.report.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]), ['apply'], Path('x')); print(j.id, flush=True); sys.stdin.read(); os._exit(9)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert runs.runs(tmp_path)[0].status == "running"
        process.kill()
    assert runs.runs(tmp_path)[0].status == runs.SILENT


def test_cut_lines_and_foreign_files(tmp_path: Path) -> None:
    written = record(tmp_path)
    file = tmp_path / "runs" / f"{written.id}.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    (tmp_path / "runs" / "zzz.jsonl").write_bytes(b"\xff\xfe not ours\n[1]\n")
    (tmp_path / "runs" / "empty.jsonl").touch()
    (run,) = runs.runs(tmp_path)
    assert run.status in (runs.SILENT, "running")  # this very process is the one it names


def test_newest_first_and_retention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEEP", 3)
    made = [record(tmp_path).id for _ in range(5)]
    assert len(set(made)) == 5
    found = [run.id for run in runs.runs(tmp_path)]
    assert found == [name for name in reversed(made) if name in found]
    assert len(found) == 3


def test_a_full_disk_later_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with journal.Journal(tmp_path, ["apply"], tmp_path / "x") as written:

        def full(number: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        written.step_started(samples.rack().changes[1], samples.STEP)
        written.exit_code = ExitCode.DONE
    assert "No space left" in written.trouble


def test_no_place_to_write_is_told_before_anything(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(VinfraError, match="journal cannot be written"):
        journal.Journal(tmp_path, ["apply"], tmp_path / "x")


def test_state_directory() -> None:
    assert journal.state_directory({"VINFRA_STATE": "/s"}) == Path("/s")
    assert journal.state_directory({"XDG_STATE_HOME": "/x"}) == Path("/x/vinfra")


def test_find(tmp_path: Path) -> None:
    written = record(tmp_path)
    assert runs.find(tmp_path, "last").id == written.id
    assert runs.find(tmp_path, written.id[:-2]).id == written.id
    with pytest.raises(UsageError, match="no such run"):
        runs.find(tmp_path, "x")
    assert written.id in "".join(line.plain for line in runs.run_lines(runs.runs(tmp_path)))
    assert "set memory" in "".join(line.plain for line in runs.run_detail(runs.find(tmp_path, "last")))
