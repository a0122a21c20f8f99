import json
import os
import resource
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.report import samples
from vinfra.errors import ExitCode, RefusedError, UsageError, VinfraError
from vinfra.model.outcome import ChangeOutcome, Status
from vinfra.model.step import StepResult
from vinfra.report import as_json, interrupted, journal, runs


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


def test_the_plan_says_whose_run_it_is_and_where(tmp_path: Path) -> None:
    plan = samples.rack()
    with journal.Journal(tmp_path, ["apply", "plan.json"], tmp_path / "plan.json") as written:
        written.planned(plan)
        written.exit_code = ExitCode.DONE
    (run,) = runs.runs(tmp_path)
    assert run.owner == plan.blueprint
    assert run.seconds is not None
    shown = "\n".join(line.plain for line in runs.run_detail(run))
    assert f"blueprint  {plan.blueprint}, " in shown
    assert "changes on hv1" in shown
    (line,) = runs.run_lines([run])
    assert f"{run.began}  done" in line.plain
    assert f" s  {run.begin['who']}  apply plan.json" in line.plain


def test_why_something_did_not_run_is_kept_but_not_what_a_program_said(tmp_path: Path) -> None:
    with journal.Journal(tmp_path, ["apply"], tmp_path / "x") as written:
        for status in (Status.BLOCKED, Status.LEFT, Status.FAILED, Status.BEYOND):
            written.change_ended(None, ChangeOutcome(samples.rack().changes[1].address, status, f"why {status}"))
    shown = "\n".join(line.plain for line in runs.run_detail(runs.find(tmp_path, "last")))
    assert "why blocked" in shown
    assert "why left" in shown
    assert "why failed" not in shown
    assert "why beyond" not in shown


def test_the_name_of_a_journal_is_on_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(str(Path(f"/proc/self/fd/{number}").readlink())))
    state = tmp_path / "state"
    with journal.Journal(state, ["apply"], tmp_path / "x"):
        assert {str(state), str(state / "runs")} < set(synced)


def test_a_disk_that_is_really_full_costs_lines_and_not_the_run(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with journal.Journal(tmp_path, ["apply"], tmp_path / "x") as written:
        file = tmp_path / "runs" / f"{written.id}.jsonl"
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 50, hard))
        try:
            written.step_started(samples.rack().changes[1], samples.STEP)
            written.step_started(samples.rack().changes[1], samples.STEP)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        written.exit_code = ExitCode.DONE
    assert "not complete: File too large" in written.trouble
    (run,) = runs.runs(tmp_path)  # there was room again for its end, on a line of its own
    assert (run.status, run.spoilt) == ("done", 1)


def test_strangers_are_named_and_hinder_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEEP", 1)
    written = record(tmp_path)
    folder = tmp_path / "runs"
    (folder / "20200101T000000Z-dir.jsonl").mkdir()
    (folder / "20200101T000000Z-gone.jsonl").symlink_to("nowhere")
    os.mkfifo(folder / "a-pipe.jsonl")
    (folder / "a-zero.jsonl").symlink_to("/dev/zero")
    (folder / "newer.jsonl").write_text('{"event": "begin", "time": "t", "format": 2}\n')
    (folder / "deep.jsonl").write_text("[" * 100_000)
    again = record(tmp_path)
    found, strangers = runs.records(tmp_path)
    assert [run.id for run in found] == [again.id] != [written.id]
    why = {stranger.name: stranger.why for stranger in strangers}
    assert why["20200101T000000Z-dir.jsonl"] == why["a-pipe.jsonl"] == why["a-zero.jsonl"] == "it is no regular file"
    assert why["newer.jsonl"] == "it has format 2; this vinfra reads 1"
    assert why["deep.jsonl"] == "it does not begin as a journal does"
    *_, last = runs.run_lines(found, strangers)
    assert f"{len(strangers)} files there are no journals of this version: " in last.plain


def test_a_journal_killed_between_any_two_bytes(tmp_path: Path) -> None:
    written = record(tmp_path)
    file = tmp_path / "runs" / f"{written.id}.jsonl"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        told(tmp_path)


def told(state: Path) -> None:
    """All that is ever said of journals."""
    found, strangers = runs.records(state)
    runs.run_lines(found, strangers)
    for run in found:
        runs.run_detail(run)
        json.dumps(as_json.run_body(run, events=True))
    interrupted.notes(samples.rack(), state)


def test_two_runs_at_once_have_a_journal_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: record(tmp_path).id, range(40)))
    assert len({run.id for run in runs.runs(tmp_path)}) == len(set(made)) == 40


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_edited_journal_crashes_nothing(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "runs"
    if not folder.exists():
        record(tmp_path)
    file = next(folder.iterdir())
    lines = [json.loads(line) for line in SAMPLE.splitlines()]
    line = data.draw(st.sampled_from(lines))
    key = data.draw(st.sampled_from([*line, "why", "owner"]))
    line[key] = data.draw(ODD)
    text = "\n".join(json.dumps(line) for line in lines)
    at = data.draw(st.integers(0, len(text)))
    file.write_bytes(text[:at].encode() + data.draw(st.binary(max_size=3)) + text[at:].encode())
    told(tmp_path)


SAMPLE = """\
{"time": "2026-01-01T00:00:00.000000+00:00", "event": "begin", "format": 1, "run": "r", "command": ["apply"], "pid": 1}
{"time": "2026-01-01T00:00:01.000000+00:00", "event": "plan", "owner": "rack-a1", "changes": 1, "hosts": ["hv1"]}
{"time": "2026-01-01T00:00:02.000000+00:00", "event": "change", "address": "a:b/c", "action": "create", "fields": []}
{"time": "2026-01-01T00:00:03.000000+00:00", "event": "step", "address": "a:b/c", "step": "do it"}
{"time": "2026-01-01T00:00:04.000000+00:00", "event": "change-end", "address": "a:b/c", "status": "done", "seconds": 1}
{"time": "2026-01-01T00:00:05.000000+00:00", "event": "end", "exit_code": 0, "seconds": 1.5, "error": ""}
"""


def test_a_blueprint_that_is_a_pipe_keeps_nobody_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with journal.Journal(tmp_path, ["apply"], pipe) as written:
        written.exit_code = ExitCode.FAILED
    assert runs.find(tmp_path, "last").begin["digest"] == ""
