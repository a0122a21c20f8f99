import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report import samples
from vinfra.cli.commands import SUMMARIES
from vinfra.cli.explain import command_docs
from vinfra.errors import HostKeyRefused, InputError, RefusedError, StepFailed, Unreachable
from vinfra.model.outcome import Outcome
from vinfra.model.source import Position, Problem

PROGRAM = [sys.executable, "-c", "from vinfra.cli.main import main; main()"]
HEAVY = {"pydantic", "pyinfra", "paramiko", "jinja2", "yaml", "jsonschema"}


def imported_by(*arguments: str) -> set[str]:
    code = "import sys\nfrom vinfra.cli.main import run\nrun(sys.argv[1:])\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_help_imports_nothing_heavy() -> None:
    found = imported_by("--help")
    assert "typer" in found
    assert not found & (HEAVY | {"rich"})


@pytest.mark.parametrize("command", ["plan", "apply", "runs", "lab"])
def test_help_of_a_command_imports_no_engine(command: str) -> None:
    found = imported_by(command, "-h")
    assert "typer" in found
    assert not found & (HEAVY - {"pydantic"})  # typer reads parameters with it


@pytest.mark.parametrize("command", sorted(SUMMARIES))
def test_every_command_has_help(vinfra: Any, command: str) -> None:
    code, out, _ = vinfra(command, "--help")
    assert code == 0
    assert f"vinfra {command}" in out


def test_every_command_is_in_the_table_of_help(vinfra: Any) -> None:
    code, out, _ = vinfra("--help")
    assert code == 0
    assert all(f"  {command} " in out for command in SUMMARIES)


def test_every_command_is_documented() -> None:
    docs = {doc.name: doc for doc in command_docs()}
    assert {name.split()[1] for name in docs} == set(SUMMARIES)
    for doc in docs.values():
        assert doc.doc, doc.name
        assert all(option.doc for option in doc.options), doc.name


def test_nothing_said_is_help_and_an_error(vinfra: Any) -> None:
    code, out, _ = vinfra()
    assert code == 1
    assert "Usage: vinfra" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("plna",),
        ("plan",),
        ("plan", "x", "--bogus"),
        ("plan", "x", "--forks", "none"),
        ("plan", "x", "-e", "novalue"),
        ("apply", "x", "--yes", "--max-impact", "huge"),
        ("runs", "show"),
        ("runs", "show", "nosuch"),
        ("--bogus",),
    ],
)
def test_wrong_usage_is_1_never_2(vinfra: Any, arguments: tuple[str, ...]) -> None:
    code, out, err = vinfra(*arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("vinfra: ")
    code, out, err = vinfra(*arguments, "--json")
    assert code == json.loads(out)["exit_code"] == 1


def test_did_you_mean(vinfra: Any) -> None:
    assert "Did you mean 'plan'" in vinfra("plna")[2]


@pytest.mark.parametrize("command", ["plan", "drift"])
def test_exit_codes_of_looking(vinfra: Any, engine: Any, command: str) -> None:
    engine("plan", samples.demo_empty())
    assert vinfra(command, "x.yaml")[0] == 0
    engine("plan", replace(samples.fleet(20), unknown={}))
    assert vinfra(command, "x.yaml")[0] == 2
    engine("plan", samples.rack())
    assert vinfra(command, "x.yaml")[0] == 4
    code, out, err = vinfra(command, "x.yaml", "--json")
    assert (code, json.loads(out)["exit_code"], json.loads(out)["command"], err) == (4, 4, command, "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError([Problem(Position("a.yaml", 1, 2), "x", "wrong"), "and this"]), 1),
        (RefusedError("stale", "plan again"), 3),
        (Unreachable("no answer"), 4),
        (HostKeyRefused("changed"), 4),
        (StepFailed("no", 1, "words\x1b[31m"), 1),
        (KeyboardInterrupt(), 130),
        (ValueError("a bug\x1b[31m"), 1),
    ],
)
def test_errors_become_exit_codes(vinfra: Any, engine: Any, error: BaseException, code: int) -> None:
    engine("plan", error)
    found, out, err = vinfra("plan", "x.yaml")
    assert (found, out) == (code, "")
    assert "\x1b" not in err
    assert "Traceback" not in err
    found, out, _ = vinfra("plan", "x.yaml", "--json")
    assert (found, json.loads(out)["exit_code"]) == (code, code)


def test_problems_stand_on_their_lines(vinfra: Any, engine: Any) -> None:
    engine("plan", InputError([Problem(Position("a.yaml", 1, 2), "x", "wrong"), "and this"]))
    assert vinfra("plan", "x.yaml")[2].splitlines()[:2] == ["a.yaml:1:2: x: wrong", "and this"]


def test_a_bug_leaves_a_log(vinfra: Any, engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    engine("plan", ValueError("deep down"))
    err = vinfra("plan", "x.yaml")[2]
    (log,) = tmp_path.glob("vinfra-bug-*.log")
    assert str(log) in err
    assert "Traceback" in log.read_text()
    monkeypatch.setenv("VINFRA_DEBUG", "1")
    assert "Traceback" in vinfra("plan", "x.yaml")[2]


def test_options_reach_the_engine(vinfra: Any, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = engine("plan", samples.demo_empty())
    words = "-i inv -e a=1 -e @f -f v.yaml --limit web --target file:* --target x --forks 7 --no-prune"
    options = words.split()
    vinfra("plan", "x.yaml", *options)
    (request, _) = calls[0]
    assert request.inventory == Path("inv")
    assert request.extra == ("a=1", "@f")
    assert request.var_files == (Path("v.yaml"),)
    assert (request.limit, request.targets, request.forks, request.prune) == ("web", ("file:*", "x"), 7, False)
    monkeypatch.setenv("VINFRA_INVENTORY", "/env/inv")
    vinfra("plan", "x.yaml")
    assert calls[1][0].inventory == Path("/env/inv")


def test_plan_out_saves(vinfra: Any, engine: Any) -> None:
    engine("plan", samples.rack())
    calls = engine("save", None)
    _, out, _ = vinfra("plan", "x.yaml", "--out", "p.json")
    assert calls[0][2] == Path("p.json")
    assert "vinfra apply p.json" in out


@pytest.mark.parametrize("command", ["apply", "destroy"])
@pytest.mark.parametrize("json_too", [(), ("--json",)])
def test_nobody_to_answer_is_refused_at_once(vinfra: Any, engine: Any, command: str, json_too: tuple[str, ...]) -> None:
    calls = engine(command, samples.failed()[0])
    code, out, err = vinfra(command, "x.yaml", *json_too)
    assert code == 1
    assert "--yes" in out + err
    assert not calls


def act(request: Any, consent: Any, observer: Any, run: str) -> Outcome:
    plan = samples.rack()
    consent.show(plan)
    assert consent.confirm(plan)
    outcome, change, result = samples.failed()
    observer.change_started(change)
    observer.step_started(change, samples.STEP)
    observer.step_ended(change, samples.STEP, result)
    for end in outcome.changes:
        observer.change_ended(change, end)
    return replace(outcome, run=run)


@pytest.mark.parametrize("command", ["apply", "destroy"])
def test_acting_tells_and_is_journalled(vinfra: Any, engine: Any, command: str) -> None:
    engine(command, act)
    code, out, _ = vinfra(command, "x.yaml", "--yes", "--max-impact", "data-loss")
    assert code == 1
    assert "Plan: 2 create" in out
    assert "failed  kvm.domain:hv1/web-01" in out
    assert f"vinfra {command} x.yaml --yes --max-impact data-loss does the rest" in out
    code, out, _ = vinfra("runs")
    assert code == 0
    assert f"{command} x.yaml --yes" in out
    code, out, _ = vinfra("runs", "show", "last", "--json")
    told = json.loads(out)
    assert (told["command"], told["exit_code"]) == ("runs show", 0)  # the document's own
    assert (told["run"]["status"], told["run"]["command"][0], told["run"]["exit_code"]) == ("failed", command, 1)


@pytest.mark.parametrize(
    "word", [("-e", "pw=s3cret"), ("-epw=s3cret",), ("--extra", "pw=s3cret"), ("--extra=pw=s3cret",)]
)
def test_values_of_variables_are_not_kept(vinfra: Any, engine: Any, word: tuple[str, ...], tmp_path: Path) -> None:
    calls = engine("apply", act)
    _, out, err = vinfra("apply", "x.yaml", "--yes", *word)
    assert calls[0][0].extra == ("pw=s3cret",)
    journal = next((tmp_path / "state" / "runs").iterdir()).read_text()
    assert "s3cret" not in out + err + journal
    assert "pw=…" in out


def test_acting_as_json_is_one_document(vinfra: Any, engine: Any) -> None:
    engine("apply", act)
    code, out, err = vinfra("apply", "x.yaml", "--yes", "--json")
    document = json.loads(out)
    assert document["exit_code"] == code == 1
    assert document["ended"] == {"blocked": 1, "done": 1, "failed": 1, "left": 1}
    assert document["plan"]["blueprint"] == "rack-a1"
    assert "failed" in err  # plain progress lines


def test_a_saved_plan_is_known_by_what_it_holds(vinfra: Any, engine: Any, tmp_path: Path) -> None:
    named: dict[str, Any] = {}

    def act_saved(file: Path, consent: Any, observer: Any, run: str, **given: Any) -> Outcome:
        named.update(given)
        return act(None, consent, observer, run)

    saved = engine("apply_saved", act_saved)
    file = tmp_path / "plan.bin"
    file.write_text('{"vinfra": "0.1.0"}')
    assert vinfra("apply", str(file), "--yes", "--forks", "3")[0] == 1
    assert (saved[0][0], named["forks"]) == (file, 3)
    code, _, err = vinfra("apply", str(file), "--yes", "--limit", "web")
    assert code == 1
    assert "saved plan" in err
    applied = engine("apply", act)
    (tmp_path / "x.yaml").write_text("blueprint: x\n")
    vinfra("apply", str(tmp_path / "x.yaml"), "--yes")
    assert applied


def test_refusal_is_journalled(vinfra: Any, engine: Any) -> None:
    engine("apply", RefusedError("no", "do this"))
    code, _, err = vinfra("apply", "x.yaml", "--yes")
    assert code == 3
    assert err == "vinfra: no\n  do this\n"
    assert "refused" in vinfra("runs")[1]


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "version", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pipesize=4096
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.wait()
    process.stderr.close()


@pytest.mark.parametrize(("closed", "code"), [("<&-", 1), ("<&- >&- 2>&-", 1), (">&- 2>&-", 1)])
def test_what_was_closed_before_we_began_is_no_bug(tmp_path: Path, closed: str, code: int) -> None:
    command = ("sh", "-c", f'exec "$@" {closed}', "sh", *PROGRAM, "apply", "x.yaml")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "bug" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "nor is there a log of one"


def test_output_in_a_poor_locale() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([*PROGRAM, "--help"], env=environment, capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "offered"),
    [("vinfra pl", "plan"), ("vinfra plan --lim", "--limit"), ("vinfra runs s", "show"), ("vinfra lab u", "up")],
)
def test_completion(words: str, offered: str) -> None:
    environment = {
        **os.environ,
        "_VINFRA_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, check=False)
    assert offered in done.stdout.split(), done


def test_version(vinfra: Any) -> None:
    assert vinfra("--version")[1].startswith("vinfra ")
    assert json.loads(vinfra("version", "--json")[1])["command"] == "version"
