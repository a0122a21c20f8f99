"""Mark files that somebody wrote in: nothing is pruned, nothing crashes, and it is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pretend import World
from vinfra.errors import ExitCode
from vinfra.model import mark
from vinfra.model.action import Action
from vinfra.model.plan import Plan
from vinfra.model.question import ReadMarks
from vinfra.model.request import Consent

BOTH = "hosts: {hv1: {networks: {lan: {cidr: 192.0.2.0/24}, dmz: {cidr: 198.51.100.0/24}}}}\n"
ONE = "hosts: {hv1: {networks: {lan: {cidr: 192.0.2.0/24}}}}\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1")


def deleted(plan: Plan) -> list[str]:
    return [change.address.reference for change in plan.pending if change.delta.action is Action.DELETE]


@pytest.mark.parametrize(
    "bad",
    [
        '{"blueprint":"pretend","kind":"kvm.netw',
        "[]",
        '{"blueprint":"pretend","kind":"kvm.network","name":"lan","state":"owned","birth":"created","version":2}',
        '{"blueprint":"pretend","kind":"kvm.network","name":"lan","state":"owned","birth":"created","protect":"no"}',
        '{"blueprint":"pretend","kind":"kvm.network","name":"../lan","state":"owned","birth":"created"}',
        '{"blueprint":"pretend","kind":"host.file","name":"etc/passwd","state":"owned","birth":"created","host":"hv1"}',
    ],
)
def test_one_bad_line_and_nothing_is_pruned_on_that_host(world: World, bad: str) -> None:
    world.apply(BOTH)
    assert deleted(world.plan(ONE)) == ["network:dmz"]
    world.hosts["hv1"].lines.append(bad)
    plan = world.plan(ONE)
    assert deleted(plan) == []
    assert plan.exit_code is ExitCode.DONE
    (warning,) = plan.warnings
    assert warning.startswith("hv1: ")
    assert "nothing is pruned here" in warning
    assert "network:dmz" not in world.plan("hosts: {}\n", everywhere=True).warnings


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.lists(st.text(max_size=3))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_written_into_marks_the_plan_is_made_and_deletes_no_more(world: World, data: st.DataObject) -> None:
    host = world.hosts["hv1"]
    if not hasattr(world, "kept"):
        world.apply(BOTH)
        world.kept = list(host.lines)  # type: ignore[attr-defined]
    lines = list(world.kept)  # type: ignore[attr-defined]
    at = data.draw(st.integers(0, len(lines) - 1))
    record: dict[str, Any] = json.loads(lines[at])
    if data.draw(st.booleans()):
        record[data.draw(st.sampled_from(sorted(record)))] = data.draw(ODD)
        lines[at] = json.dumps(record)
    else:
        spot = data.draw(st.integers(0, len(lines[at])))
        lines[at] = lines[at][:spot] + data.draw(st.text(max_size=3)) + lines[at][spot + data.draw(st.integers(0, 3)) :]
    host.lines = lines
    plan = world.plan(ONE)
    assert set(deleted(plan)) <= {"network:dmz"}
    assert not plan.unknown
    json.dumps([str(warning) for warning in plan.warnings]).encode()
    if plan.warnings:
        assert not deleted(plan)


def test_a_run_leaves_a_worn_mark_file_with_one_line_for_each_mark(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mark, "WORN", 20)
    host = world.hosts["hv1"]
    world.apply(BOTH)
    before = host.marks
    for _ in range(30):
        host.networks["dmz"].autostart = False
        world.apply(BOTH)
    assert 2 <= len(host.lines) <= 23
    assert host.marks.keys() == before.keys()
    assert deleted(world.plan(ONE)) == ["network:dmz"]
    host.lines = [line for line in host.lines for _ in range(30)]
    world.apply(BOTH)  # nothing to do: no lease was taken, so nothing is written
    assert len(host.lines) > 40
    many, told = len(host.lines), host._told
    host.networks["dmz"].autostart = False
    look = world.look(BOTH)
    plan = look.plan()

    def half(question: Any) -> Any:
        raw = told(question)
        return raw._replace(returncode=1, out=raw.out.partition(b"\n")[0]) if isinstance(question, ReadMarks) else raw

    monkeypatch.setattr(host, "_told", half)  # only some of the marks could be read
    look.run(plan, Consent(), "run")
    assert len(host.lines) >= many
    monkeypatch.undo()
    monkeypatch.setattr(mark, "WORN", 20)
    host.networks["dmz"].autostart = False
    host.lines.append("no mark")
    world.apply(BOTH)  # what cannot be read is never thrown away
    assert "no mark" in host.lines
