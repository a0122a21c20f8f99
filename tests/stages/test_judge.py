"""Policies against plans: quotas, windows on the clocks of their zone, labels."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.stages.files import read
from vinfra.kinds.registry import KINDS
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change, Delta
from vinfra.model.plan import Plan
from vinfra.model.policy import Policy
from vinfra.model.spec import Spec
from vinfra.stages.judge import judge
from vinfra.text.site import read_site
from vinfra.text.yaml import parse

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)  # a Tuesday
FILES = {"web.yaml": "blueprint: b\nhosts: {all: }\n", "inv.yaml": "hosts: {a: , b: }\ngroups: {db: {hosts: [b]}}\n"}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def policies(text: str) -> tuple[Policy, ...]:
    document = parse(f"policies: {{p: {{{text}}}}}\n".encode(), "site.yaml")
    found, problems = read_site(document, read(FILES).inventory, KINDS)
    assert not problems
    return found


def row(action: Action, impact: Impact, name: str, host: str = "a", kind: str = "host.file") -> Change:
    there = None if action is Action.CREATE else Spec()
    return Change(Address(kind, host, name), Delta(action, impact=impact, reason="why"), None, there)


def plan(*rows: Change) -> Plan:
    return Plan("b", ("a", "b"), rows, labels={"owner": "me"})


DELETES = plan(
    *(row(Action.DELETE, Impact.LIVE, f"/{number}") for number in range(2)),
    row(Action.REPLACE, Impact.REPLACE, "v", kind="kvm.volume"),
    row(Action.CREATE, Impact.NONE, "/new"),
    *(row(Action.NOOP, Impact.NONE, f"/same{number}") for number in range(7)),
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_deletes: 3", ""),
        ("max_deletes: 2", "3 objects would be deleted; at most 2 may be"),
        ("max_deletes: 0", "3 objects would be deleted; at most 0 may be"),
        ("max_deletes: 30%", ""),
        ("max_deletes: 29%", "3 objects would be deleted; at most 29% of the 10 there are may be"),
        ("max_deletes: 0%", "3 objects would be deleted; at most 0% of the 10 there are may be"),
        ("max_deletes: 0, kind: kvm.volume", "1 kvm.volume would be deleted; at most 0 may be"),
        ("max_deletes: 100%, kind: kvm.volume", ""),
        ("max_deletes: 0, kind: kvm.domain", ""),
        ("require_labels: [owner]", ""),
        ("require_labels: [owner, ticket, team]", "the blueprint says no ticket and no team under `labels:`"),
    ],
)
def test_what_bars_the_whole_plan(text: str, said: str) -> None:
    found = judge(DELETES, policies(text), NOW)
    assert [str(violation) for violation in found.barred] == ([f"policy p (site.yaml:1): {said}"] if said else [])
    assert found.runnable == DELETES.runnable  # the rows stay as they are: all of it is refused


def test_a_plan_that_runs_nothing_violates_nothing() -> None:
    idle = plan(row(Action.NOOP, Impact.NONE, "/same"))
    assert judge(idle, policies("require_labels: [ticket]"), NOW) == idle
    late = replace(DELETES.changes[0], delta=replace(DELETES.changes[0].delta, verdict=Verdict.REFUSED))
    assert judge(plan(late), policies("max_deletes: 0"), NOW).violations == ()


COSTS = plan(
    row(Action.UPDATE, Impact.LIVE, "/live"),
    row(Action.UPDATE, Impact.RESTART, "/restart"),
    row(Action.DELETE, Impact.DATA_LOSS, "/lost", host="b"),
    row(Action.CREATE, Impact.NONE, "/new"),
)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("forbid: restart", ["/restart", "/lost"]),
        ("forbid: data-loss", ["/lost"]),
        ("forbid: live", ["/live", "/restart", "/lost"]),
        ("forbid: all", ["/live", "/restart", "/lost", "/new"]),
        ("forbid: live, hosts: db", ["/lost"]),
        ("forbid: live, hosts: 'all:!db'", ["/live", "/restart"]),
        ("forbid: live, hosts: fleets.web", []),
        ("forbid: restart, days: tue, zone: UTC", ["/restart", "/lost"]),
        ("forbid: restart, days: [mon, wed-sun], zone: UTC", []),
    ],
)
def test_what_is_forbidden_is_refused_row_by_row(text: str, refused: list[str]) -> None:
    found = judge(COSTS, policies(text), NOW)
    assert [item.address.name for item in found.refused] == refused
    assert not found.barred
    for item in found.refused:
        assert item.delta.reason.startswith("policy p (site.yaml:1): ")
        assert item.delta.reason.endswith("; why")
        assert item.held is Verdict.OK


def test_a_machine_is_meant_by_its_own_name_and_by_its_hosts() -> None:
    domain = replace(row(Action.UPDATE, Impact.RESTART, "b", host="", kind="kvm.domain"), where="a")
    volume = replace(domain, address=Address("kvm.volume", "", "b/root"))
    for pattern in ("a", "b"):
        assert len(judge(plan(domain, volume), policies(f"forbid: restart, hosts: {pattern}"), NOW).refused) == 2


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("hours: '08:00-18:00', zone: UTC", ["2026-11-24T08:00", "2026-11-24T17:59"], ["2026-11-24T18:00"]),
        ("hours: '00:00-24:00', zone: UTC", ["2026-11-24T00:00", "2026-11-24T23:59"], []),
        # Over midnight it belongs to the day that it began on.
        (
            "days: fri, hours: '22:00-06:00', zone: UTC",
            ["2026-11-27T22:00", "2026-11-28T05:59"],
            ["2026-11-27T05:00", "2026-11-28T06:00", "2026-11-28T22:00"],
        ),
        (
            "days: sun-mon, hours: '22:00-06:00', zone: UTC",
            ["2026-11-24T05:00", "2026-11-22T23:00"],
            ["2026-11-24T23:00"],
        ),
        ("days: fri-mon, zone: UTC", ["2026-11-28T12:00", "2026-11-30T23:59"], ["2026-11-24T12:00"]),
        # In Berlin it is a day on when it is still evening in Greenwich.
        ("days: wed, zone: Europe/Berlin", ["2026-11-24T23:30"], ["2026-11-24T22:30", "2026-11-25T23:30"]),
        ("days: tue, zone: Pacific/Kiritimati", ["2026-11-24T09:00"], ["2026-11-24T10:00"]),
        # 02:00 to 03:00 is twice in the night in which summer ends, and never in that in which it begins.
        (
            "hours: '02:00-03:00', zone: Europe/Berlin",
            ["2026-10-25T00:00", "2026-10-25T00:59", "2026-10-25T01:00", "2026-10-25T01:59"],
            ["2026-10-25T02:00", "2026-10-24T23:59", "2026-03-29T00:59", "2026-03-29T01:00"],
        ),
        ("hours: '02:30-03:30', zone: Europe/Berlin", ["2026-03-29T01:00"], ["2026-03-29T00:59", "2026-03-29T01:30"]),
        # Nine in the morning is nine in the morning, in winter and in summer.
        ("hours: '09:00-10:00', zone: Europe/Berlin", ["2026-01-15T08:30", "2026-07-15T07:30"], ["2026-07-15T08:30"]),
    ],
)
def test_a_window_goes_by_the_clocks_of_its_zone(window: str, inside: list[str], outside: list[str]) -> None:
    known = policies(f"forbid: live, {window}")
    for moment in (*inside, *outside):
        now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        assert bool(judge(COSTS, known, now).refused) is (moment in inside), moment
