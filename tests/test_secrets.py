"""Secrets on their way through a plan, on this machine, which is only read: asked late, once, and each on its own."""

import base64
import html
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from vinfra import engine, mask
from vinfra.cli.main import run
from vinfra.errors import ExitCode, InputError, RefusedError
from vinfra.model.action import Action, Verdict
from vinfra.model.change import Change
from vinfra.model.plan import Plan
from vinfra.model.request import Consent, Request
from vinfra.model.secret import SCHEMES
from vinfra.transport.providers import env, sops


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    """A request for files with these contents below a folder that is there."""

    def request(**contents: str) -> Request:
        files = "".join(f"      {tmp_path}/made/{name}: {{content: {{{text}}}}}\n" for name, text in contents.items())
        (tmp_path / "made").mkdir(exist_ok=True)
        (tmp_path / "b.yaml").write_text(f"blueprint: secrets-test\nhosts:\n  here:\n    files:\n{files}")
        (tmp_path / "i.yaml").write_text("hosts: {here: {connection: local, sudo: false}}\n")
        return Request(tmp_path / "b.yaml", tmp_path / "i.yaml")

    return request


def rows(plan: Plan) -> dict[str, Change]:
    return {Path(change.address.name).name: change for change in plan.changes}


def test_what_cannot_be_had_is_unknown_and_stops_nothing_else(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_A", "canary-a")
    request = ask(a="secret: env:CANARY_A", b="secret: env:CANARY_B", c="secret: file:none")
    found = rows(engine.plan(request))
    assert [found[name].delta.verdict for name in "abc"] == [Verdict.OK, Verdict.UNKNOWN, Verdict.UNKNOWN]
    assert "(secret env:CANARY_B): the environment variable CANARY_B is not set" in found["b"].delta.reason
    assert f"(secret file:{request.blueprint.parent}/none): cannot read" in found["c"].delta.reason
    assert engine.plan(request).exit_code is ExitCode.INCOMPLETE


def test_one_that_facts_name_is_a_secret_too(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_HERE", "canary-facts")
    request = ask(a="secret: \"env:CANARY_{{ facts.os.id and 'HERE' }}\"", b='secret: "{{ facts.os.id }}"')
    found = rows(engine.plan(request))
    assert found["a"].delta.verdict is Verdict.OK
    assert [field.secret for field in found["a"].delta.fields if field.path == "content"] == [True]
    assert found["b"].delta.verdict is Verdict.REFUSED
    assert "write a reference to the secret" in found["b"].delta.reason


def test_each_is_asked_for_once_and_only_by_who_compares(
    ask: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = list[str]()

    def fetch(path: str) -> object:
        asked.append(path)
        return {"one": "canary-one", "two": "canary-two"}

    monkeypatch.setattr(sops, "fetch", fetch)
    request = ask(a="secret: sops:db.yaml#one", b="secret: sops:db.yaml#two", c="secret: sops:db.yaml#one")
    files = [str(request.blueprint), "-i", str(request.inventory)]
    for command in (["validate", *files], ["graph", *files], ["explain", "host.file"]):
        assert run(command) == 0
    assert asked == []
    assert run(["plan", *files, "--full", "--json"]) == 2
    assert asked == [str(request.blueprint.parent / "db.yaml")]
    assert run(["plan", *files, "--target", "file:*/a"]) == 2
    assert len(asked) == 2
    told = capsys.readouterr()
    assert "canary" not in told.out + told.err


def test_what_a_target_leaves_out_is_not_asked_for(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    monkeypatch.setattr(env, "fetch", lambda name: asked.append(name) or "canary-value")
    request = ask(a="secret: env:CANARY_A", b="secret: env:CANARY_B")
    assert set(rows(engine.plan(replace(request, targets=("file:*/a",))))) == {"a"}
    assert asked == ["CANARY_A"]


def test_a_wish_that_is_not_known_yet_is_one_all_the_same(ask: Any, tmp_path: Path) -> None:
    """A file that left the blueprint under this name is not removed when it came back under another one."""
    request = ask(a="secret: env:CANARY_NONE")
    (tmp_path / "link").symlink_to(tmp_path / "made")
    (tmp_path / "made/a").write_text("precious")
    request.blueprint.write_text(request.blueprint.read_text() + f"      {tmp_path}/link/a: absent\n")
    found = {change.address.name: change.delta for change in engine.plan(request).changes}
    assert found[f"{tmp_path}/made/a"].verdict is Verdict.UNKNOWN
    assert (
        found[f"{tmp_path}/link/a"].action is not Action.DELETE
        or found[f"{tmp_path}/link/a"].verdict is Verdict.REFUSED
    )


def test_a_saved_plan_goes_stale_with_its_secrets(ask: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CANARY_A", "canary-first")
    request, file = ask(a="secret: env:CANARY_A"), tmp_path / "plan.json"
    engine.save(request, engine.plan(request), file)
    assert "canary" not in file.read_text()
    monkeypatch.setenv("CANARY_A", "canary-second")
    with pytest.raises(RefusedError, match=r"what the step .* does is not what it was when planned") as stale:
        engine.apply_saved(file, Consent())
    assert "hash:" not in str(stale.value)
    monkeypatch.delenv("CANARY_A")
    with pytest.raises(RefusedError, match=r"made/a: cannot be compared now: \(secret env:CANARY_A\)"):
        engine.apply_saved(file, Consent())
    assert list((tmp_path / "made").iterdir()) == []


def test_what_is_written_wrongly_is_not_repeated(ask: Any) -> None:
    with pytest.raises(InputError) as refused:
        engine.validate(ask(a="secret: hunter2-canary", b='secret: "hunter2:canary"'))
    assert "canary" not in str(refused.value)
    assert str(refused.value).count("write a reference to the secret: env:NAME, file:PATH") == 2


def test_programs_that_are_started_do_not_inherit_the_variables(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_INHERITED", "x")
    monkeypatch.setenv("NOT_SECRET", "y")
    engine.validate(ask(a="secret: env:CANARY_INHERITED"))
    assert "CANARY_INHERITED" not in mask.environment()
    assert mask.environment()["NOT_SECRET"] == "y"
    assert env.fetch("CANARY_INHERITED") == "x"


def test_what_was_revealed_is_struck_out_however_it_is_quoted() -> None:
    value = "Xq7&'\"<pä ss\\w0rd>\nsecond-line-canary"
    mask.note(value)
    forms = [value, html.escape(value), html.escape(value, quote=False), json.dumps(value), quote(value), repr(value)]
    forms += [repr(value.encode()), base64.b64encode(value.encode()).decode(), *value.splitlines()]
    for form in (*forms, shlex.quote(value), value.replace("'", "''")):
        struck = mask.struck(f"it is «{form}»")
        assert struck.startswith("it is «")
        assert "Xq7" not in struck, form
        assert "canary" not in struck, form
    assert mask.struck("nothing of it") == "nothing of it"


def test_a_bug_that_holds_a_secret_does_not_tell_it(
    ask: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CANARY_A", 'canary"of a\\bug')
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def bug(plan: Plan, *_: object) -> None:
        raise RuntimeError(f"bug: {plan!r}")

    monkeypatch.setattr("vinfra.report.as_json.plan_document", bug)
    request = ask(a="secret: env:CANARY_A")
    for debug in ("", "1"):
        monkeypatch.setenv("VINFRA_DEBUG", debug)
        assert run(["plan", str(request.blueprint), "-i", str(request.inventory), "--json"]) == 1
    (log,) = tmp_path.glob("vinfra-bug-*.log")
    told = capsys.readouterr()
    assert "bug: Plan(" in told.err
    for text in (log.read_text(), told.out, told.err):
        assert "bug: Plan(" in text
        assert "canary" not in text


def test_the_example_in_the_docs_is_a_blueprint(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs/secrets.md").read_text()
    example = page.split("\n\n    ", 1)[1].split("\n\n", 1)[0]
    (tmp_path / "b.yaml").write_text(f"blueprint: b\nhosts:\n  localhost:\n    {example}\n")
    assert len(engine.validate(Request(tmp_path / "b.yaml")).resources) == 5
    assert [scheme.form for scheme in SCHEMES.values() if f"| `{scheme.form}` |" not in page] == []
