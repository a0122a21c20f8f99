import json

from tests.report import samples
from tests.report.golden import check
from vinfra.errors import ExitCode, InputError, RefusedError, StepFailed
from vinfra.model.secret import Secret
from vinfra.model.source import Position, Problem
from vinfra.report import as_json
from vinfra.report.failures import Failures


def test_plan_document() -> None:
    document = {**as_json.plan_document(samples.rack()), "vinfra": "VERSION"}
    check("plan-rack.json", as_json.dumps(document) + "\n")


def test_outcome_document() -> None:
    outcome, change, result = samples.failed()
    failures = Failures()
    failures.step_ended(change, samples.STEP, result)
    document = as_json.outcome_document(outcome, "apply", failures)
    del document["plan"], document["vinfra"]
    check("outcome-failed.json", as_json.dumps(document) + "\n")


def test_no_secret_gets_in() -> None:
    assert "hunter" not in as_json.dumps(as_json.plan_document(samples.rack()))
    assert as_json.plain({"a": [Secret("env:X")]}) == {"a": ["(secret)"]}


def test_hostile_text_is_escaped_and_survives() -> None:
    text = as_json.dumps(as_json.plan_document(samples.hostile()))
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["blueprint"] == samples.HOSTILE


def test_same_plan_same_document() -> None:
    one, two = (as_json.dumps(as_json.plan_document(samples.fleet())) for _ in range(2))
    assert one == two


def test_problems_are_told_one_by_one() -> None:
    error = InputError([Problem(Position("a.yaml", 3, 5), "hosts.web", "unknown key")])
    document = as_json.error_document(error, "plan", ExitCode.FAILED)
    assert document["exit_code"] == 1
    assert document["problems"] == [
        {"file": "a.yaml", "line": 3, "column": 5, "path": "hosts.web", "message": "unknown key"}
    ]


def test_other_errors() -> None:
    told = as_json.error_document(RefusedError("stale", "plan again"), "apply", ExitCode.REFUSED)
    assert told["error"] == {"type": "RefusedError", "message": "stale", "hint": "plan again"}
    failed = as_json.error_document(StepFailed("no", 7, "said so"), "apply", ExitCode.FAILED)
    assert failed["error"]["returncode"] == 7
