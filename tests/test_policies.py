"""Policies through the command line: what is shown, what is refused, that nothing is touched; on pretended hosts."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import vinfra  # noqa: F401  the fixture
from tests.pretend import World
from vinfra import engine
from vinfra.errors import ExitCode, RefusedError
from vinfra.model.action import Impact
from vinfra.model.request import Consent
from vinfra.report.runs import runs

FLEET = "labels: {{owner: me}}\nfleets: {{web: {{count: {}, on: all, memory: {}, disks: {{root: 1GiB}}}}}}\n"
TWO, ONE, MORE = FLEET.format(2, "1GiB"), FLEET.format(1, "1GiB"), FLEET.format(2, "2GiB")
WEEKDAYS = "policies:\n  office-hours:\n    forbid: restart\n    hours: 08:00-18:00\n    days: mon-fri\n    zone: UTC\n"
NOON, NIGHT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC), datetime(2026, 11, 24, 22, 0, tzinfo=UTC)
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, "hv1")
    monkeypatch.setattr(engine, "Connections", lambda _: nullcontext(made))
    monkeypatch.delenv("VINFRA_SITE", raising=False)
    made.apply(TWO)
    return made


def state(world: World) -> Any:
    host = world.hosts["hv1"]
    return sorted(host.domains), sorted(host.volumes), list(host.lines), [thing.xml for thing in host.domains.values()]


def words(world: World, verb: str, blueprint: str, *more: str, site: str = "") -> list[str]:
    world.request(blueprint)
    if site:
        (world.folder / "vinfra-site.yaml").write_text(site)
    yes = () if verb in ("plan", "validate", "drift") else ("--yes",)
    return [verb, str(world.folder / "blueprint.yaml"), "-i", str(world.folder / "inventory.yaml"), *yes, *more]


@pytest.mark.parametrize("more", [(), ("--skip-refused",)])
def test_a_plan_that_deletes_too_much_is_shown_and_not_run(world: World, vinfra: Cli, more: tuple[str, ...]) -> None:  # noqa: F811
    site = "policies:\n  calm: {max_deletes: 1}\n"
    before = state(world)
    code, out, _ = vinfra(*words(world, "plan", ONE, site=site))
    assert code == ExitCode.DIFFERENCES
    assert "! policy calm: refused, 2 objects would be deleted; at most 1 may be  " in out
    assert "vinfra-site.yaml:2" in out
    assert out.splitlines()[-1].endswith("; all of it refused by policy calm.")
    code, _, err = vinfra(*words(world, "apply", ONE, "--max-impact", "data-loss", *more))
    assert code == ExitCode.REFUSED
    assert "policy calm (" in err
    assert "vinfra-site.yaml:2): 2 objects would be deleted; at most 1 may be" in err
    assert "--skip-refused does the rest" not in err
    assert state(world) == before


def test_destroy_is_held_to_them_too(world: World, vinfra: Cli) -> None:  # noqa: F811
    before = state(world)
    site = "policies:\n  calm: {max_deletes: 99%, kind: kvm.volume}\n"
    code, _, err = vinfra(*words(world, "destroy", TWO, "--max-impact", "data-loss", "--skip-refused", site=site))
    assert (code, state(world)) == (ExitCode.REFUSED, before)
    assert "2 kvm.volumes would be deleted; at most 99% of the 2 there are may be" in err
    other = world.folder / "other.yaml"
    other.write_text("policies:\n")
    assert vinfra(*words(world, "destroy", TWO, "--max-impact", "data-loss", "--site", str(other)))[0] == 0


def test_labels_are_required_of_what_changes_something(world: World, vinfra: Cli) -> None:  # noqa: F811
    site = "policies:\n  who: {require_labels: [owner, ticket]}\n"
    assert vinfra(*words(world, "apply", TWO, site=site))[0] == 0  # nothing to do
    code, _, err = vinfra(*words(world, "apply", MORE))
    assert code == ExitCode.REFUSED
    assert "the blueprint says no ticket under `labels:`" in err
    labelled = MORE.replace("owner: me", "owner: me, ticket: '{{ ticket }}'")
    code, out, _ = vinfra(*words(world, "apply", labelled, "--json", "-e", "ticket=CHG-1"))
    assert code == 0
    assert json.loads(out)["plan"]["labels"] == {"owner": "me", "ticket": "CHG-1"}
    assert runs(world.folder / "state")[0].labels == {"owner": "me", "ticket": "CHG-1"}
    assert "owner=me, ticket=CHG-1" in vinfra("runs", "show", "last")[1]


def test_a_window_refuses_its_rows_and_no_others(world: World) -> None:
    (world.folder / "vinfra-site.yaml").write_text(WEEKDAYS)
    request = world.request(MORE.replace("count: 2", "count: 3"))
    shown = engine.plan(request, now=NOON)
    assert [row.address.name for row in shown.refused] == ["web-01", "web-02"]
    assert "vinfra-site.yaml:2): restart or more is forbidden mon, tue, wed, thu, fri 08:00-18:00 UTC; it booted" in (
        shown.refused[0].delta.reason
    )
    assert shown.exit_code is ExitCode.DIFFERENCES
    assert not engine.plan(request).refused  # drift asks nobody for leave
    before = state(world)
    with pytest.raises(RefusedError, match="office-hours"):
        engine.apply(request, Consent(now=lambda: NOON))
    assert state(world) == before
    done = engine.apply(request, Consent(skip_refused=True, now=lambda: NOON))
    assert {end.address.name for end in done.changes} == {"web-03", "web-03/root"}
    assert done.exit_code is ExitCode.REFUSED
    assert engine.apply(request, Consent(now=lambda: NIGHT)).exit_code is ExitCode.DONE


def test_what_counts_for_a_saved_plan_is_when_it_is_applied(world: World) -> None:
    site = world.folder / "elsewhere.yaml"
    site.write_text(WEEKDAYS)
    file, request = world.folder / "plan.json", world.request(MORE, site=site)
    engine.save(request, engine.plan(request, now=NOON), file)  # made while it is forbidden, to be run at night
    before = state(world)
    with pytest.raises(RefusedError, match="policy office-hours"):
        engine.apply_saved(file, Consent(now=lambda: NOON))
    site.write_text("policies: {calm: {forbid: all}}\n")
    with pytest.raises(RefusedError, match="every change is forbidden"):
        engine.apply_saved(file, Consent(now=lambda: NIGHT))
    assert state(world) == before
    site.write_text(WEEKDAYS)
    assert engine.apply_saved(file, Consent(now=lambda: NIGHT)).exit_code is ExitCode.DONE


def test_a_plan_that_a_window_holds_is_saved_and_says_how_to_run_it(world: World, vinfra: Cli) -> None:  # noqa: F811
    saved = world.folder / "a plan.json"
    _, out, _ = vinfra(*words(world, "plan", MORE, "--out", str(saved), site="policies: {calm: {forbid: all}}\n"))
    assert out.splitlines()[-1] == f"Saved. To run exactly this: vinfra apply '{saved}'"


def test_adopting_is_held_to_the_site_file_that_is_named(world: World, vinfra: Cli) -> None:  # noqa: F811
    site = world.folder / "elsewhere.yaml"
    site.write_text("policies: {calm: {forbid: all}}\n")
    world.hosts["hv1"].lines.clear()
    code, _, err = vinfra(*words(world, "adopt", TWO, "domain:*", "--site", str(site)))
    assert (code, "policy calm" in err) == (ExitCode.REFUSED, True)


def test_a_percentage_is_of_what_the_whole_plan_was_about_when_it_was_saved(world: World) -> None:
    saved = world.folder / "plan.json"
    for most, refuses in (("50%", False), ("49%", True)):  # one of two machines goes
        site = f"policies: {{few: {{max_deletes: {most}, kind: kvm.domain}}}}\n"
        (world.folder / "vinfra-site.yaml").write_text(site)
        request = world.request(ONE)
        plan = engine.plan(request, now=NOON)
        assert bool(plan.violations) is refuses
        engine.save(request, plan, saved)
        with pytest.raises(RefusedError) as refused:
            engine.apply_saved(saved, Consent(max_impact=Impact.DATA_LOSS, confirm=lambda _: False))
        assert ("policy few" in str(refused.value)) is refuses


def test_a_saved_plan_may_be_given_another_site_file(world: World) -> None:
    frozen, free = world.folder / "frozen.yaml", world.folder / "free.yaml"
    frozen.write_text("policies: {calm: {forbid: all}}\n")
    free.write_text("policies:\n")
    file, request = world.folder / "plan.json", world.request(MORE, site=free)
    engine.save(request, engine.plan(request, now=NOON), file)
    with pytest.raises(RefusedError, match="policy calm"):
        engine.apply_saved(file, Consent(Impact.DATA_LOSS), site=frozen)
    frozen.unlink()
    assert engine.apply_saved(file, Consent()).exit_code is ExitCode.DONE


@pytest.mark.parametrize("verb", ["validate", "plan", "apply", "destroy"])
def test_a_site_file_that_is_wrong_stops_everything(world: World, vinfra: Cli, verb: str) -> None:  # noqa: F811
    before = state(world)
    code, _, err = vinfra(*words(world, verb, MORE, site="policies:\n  calm: {forbid: restrt}\n"))
    assert (code, state(world)) == (ExitCode.FAILED, before)
    assert "vinfra-site.yaml:2:18: policies.calm.forbid: 'restrt' is not allowed here" in err
    assert "did you mean restart?" in err


def test_which_site_file_counts(world: World, vinfra: Cli, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    named = world.folder / "named.yaml"
    named.write_text("policies: {from-environment: {forbid: all}}\n")
    beside = "policies: {beside: {forbid: all}}\n"
    assert "policy beside" in vinfra(*words(world, "plan", MORE, site=beside))[1]
    monkeypatch.setenv("VINFRA_SITE", str(named))
    assert "policy from-environment" in vinfra(*words(world, "plan", MORE))[1]
    other = world.folder / "other.yaml"
    other.write_text("policies:\n")
    code, out, _ = vinfra(*words(world, "plan", MORE, "--site", str(other)))
    assert code == ExitCode.DIFFERENCES
    assert "policy" not in out
    code, _, err = vinfra(*words(world, "plan", MORE, "--site", str(world.folder / "nosuch.yaml")))
    assert (code, "cannot read the site file" in err) == (ExitCode.FAILED, True)
    monkeypatch.delenv("VINFRA_SITE")
    link = world.folder / "vinfra-site.yaml"
    link.unlink()
    link.symlink_to("nosuch.yaml")  # what leads to nothing is no site without policies
    code, _, err = vinfra(*words(world, "plan", MORE))
    assert (code, "cannot read the site file" in err) == (ExitCode.FAILED, True)


def test_a_violation_in_json(world: World, vinfra: Cli) -> None:  # noqa: F811
    site = "policies:\n  calm: {max_deletes: 0}\n  never: {forbid: data-loss}\n"
    told = json.loads(vinfra(*words(world, "plan", ONE, "--json", site=site))[1])
    calm, never = told["violations"]
    assert (calm["policy"], calm["rows"], calm["position"]["line"]) == ("calm", [], 2)
    assert (never["policy"], never["rows"]) == ("never", ["kvm.volume:hv1/web-02/root"])
    assert told["impact"] == "replace"
    assert told["refused"] == 1
