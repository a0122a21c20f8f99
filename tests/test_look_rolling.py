"""Fleets rolled out and taken back on hypervisors that are only pretended: everything else is real."""

from pathlib import Path

import pytest

from tests.pretend import World
from tests.test_look import domains, row, rows
from vinfra.errors import ExitCode
from vinfra.model.request import Consent
from vinfra.model.rollout import batches
from vinfra.report.rollouts import rollout_bodies, rollout_lines

TERMS = "batch: 1, retries: 0, interval: 10ms"
WEB = (
    "fleets: {web: {count: 3, on: all, memory: 1GiB, disks: {root: 1GiB}, access: {key_file: id}, networks: [dev], "
    f"rollout: {{{TERMS}}}}}}}\n"
)
BACK = WEB.replace(TERMS, f"{TERMS}, on_failure: rollback")
MORE = "cpu: 2, memory: 1GiB"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1", "hv2")


def cpus(world: World) -> dict[str, str]:
    found = {name: thing for host in world.hosts.values() for name, thing in host.domains.items()}
    return {name: thing.xml.partition("<vcpu")[2].partition(">")[2][0] for name, thing in sorted(found.items())}


def test_a_new_fleet_comes_all_at_once_and_is_gated_as_a_whole(world: World) -> None:
    plan = world.plan(WEB)
    (line,) = rollout_lines(plan)
    assert line == "rollout web: 3 machines in 1 batch, all of them new; gate ssh; stop at 1 failure"
    outcome = world.apply(WEB)
    assert outcome.exit_code is ExitCode.DONE
    assert [(end.gate.units, end.passage.value) for end in outcome.gates] == [
        (("web-01", "web-02", "web-03"), "passed")
    ]
    assert rows(world.plan(WEB)) == []


def test_members_with_all_that_they_are_made_of_change_one_after_the_other(world: World) -> None:
    files = "hosts: {fleets.web: {files: {/etc/motd: hello}}}\n"
    world.apply(WEB + files)
    wish = WEB.replace("memory: 1GiB", MORE) + files.replace("hello", "bye")
    look, started = world.look(wish), []
    look.observer.change_started = lambda change: started.append(row(change))  # type: ignore[method-assign]
    plan = look.plan()
    (line,) = rollout_lines(plan)
    assert line == "rollout web: 3 machines in 3 batches of 1; gate ssh; stop at 1 failure"
    assert look.run(plan, Consent(), "run").exit_code is ExitCode.DONE
    units = [next(unit for unit in ("web-01", "web-02", "web-03") if unit in line) for line in started]
    assert units == sorted(units)
    assert {unit: units.count(unit) for unit in units} == dict.fromkeys(("web-01", "web-02", "web-03"), 3)


def test_new_members_come_first(world: World) -> None:
    world.apply(WEB.replace("count: 3", "count: 2"))
    plan = world.plan(WEB.replace("memory: 1GiB", MORE))
    (rolling,) = plan.rollouts
    assert [batch.units for batch in batches(rolling, plan.changes)] == [("web-03",), ("web-01",), ("web-02",)]
    (line,) = rollout_lines(plan)
    assert line == "rollout web: 3 machines in the new 1 first, then 2 batches of 1; gate ssh; stop at 1 failure"
    assert rollout_bodies(plan)[0]["batches"][0]["new"] is True


def test_a_member_that_does_not_come_back_stops_the_others(world: World) -> None:
    world.apply(WEB)
    world.sick = {"web-02"}
    outcome = world.apply(WEB.replace("memory: 1GiB", MORE))
    assert cpus(world) == {"web-01": "2", "web-02": "2", "web-03": "1"}
    assert (outcome.exit_code, outcome.reason) == (ExitCode.FAILED, "stopped")
    again = world.apply(WEB.replace("memory: 1GiB", MORE))
    assert cpus(world)["web-03"] == "1", "a run that follows does not go on while web-02 is not well"
    assert [(end.gate.number, end.reason) for end in again.gates] == [(0, "web-02: ssh: connection refused")]
    world.sick = set()
    world.apply(WEB.replace("memory: 1GiB", MORE))
    assert cpus(world) == {"web-01": "2", "web-02": "2", "web-03": "2"}


def test_a_rollback_gives_machines_their_former_definition_and_a_new_one_goes(world: World) -> None:
    world.apply(BACK.replace("count: 3", "count: 2"))
    before = {
        name: (thing.xml, bool(thing.live)) for host in world.hosts.values() for name, thing in host.domains.items()
    }
    marks = {name: set(host.marks) for name, host in world.hosts.items()}
    world.sick = {"web-02"}
    wish = BACK.replace("memory: 1GiB", MORE) + "hosts: {fleets.web: {files: {/etc/motd: hello}}}\n"
    planned = rows(world.plan(wish))
    outcome = world.apply(wish)
    assert outcome.reason == "rolled_back"
    after = {
        name: (thing.xml, bool(thing.live)) for host in world.hosts.values() for name, thing in host.domains.items()
    }
    assert after == before
    assert {name: host.volumes.keys() for name, host in world.hosts.items() if "web-03" in str(host.volumes)} == {}
    assert {name: set(host.marks) for name, host in world.hosts.items() if name in marks} == marks
    assert rows(world.plan(wish)) == planned


def test_where_there_may_be_a_rollback_what_has_no_way_back_is_refused(world: World) -> None:
    off = BACK.replace("memory: 1GiB", "power: stopped, memory: 1GiB")
    world.apply(off)
    plan = world.plan(off.replace("root: 1GiB", "root: 2GiB"))
    assert {change.delta.reason for change in plan.refused} == {
        "a disk that has grown does not get smaller again, and its rollout says on_failure: rollback"
    }


def test_members_that_are_to_be_off_are_not_asked(world: World) -> None:
    off = WEB.replace("memory: 1GiB", "power: stopped, memory: 1GiB")
    world.apply(WEB)
    world.sick = {"web-01", "web-02", "web-03"}
    outcome = world.apply(off)
    assert outcome.reason == ""
    assert not any(thing.live for host in world.hosts.values() for thing in host.domains.values())


def test_a_member_on_a_hypervisor_that_went_dark_counts_as_one_that_failed(world: World) -> None:
    world.apply(WEB)
    dark = next(name for name, found in domains(world).items() if "web-02" in found)
    world.hosts[dark].dead = True
    outcome = world.apply(WEB.replace("memory: 1GiB", MORE))
    assert {end.gate.number for end in outcome.gates} == {0}
    assert "2" not in cpus(world).values()
    bearing = WEB.replace(TERMS, f"{TERMS}, max_fail: 2").replace("memory: 1GiB", MORE)
    assert world.apply(bearing).exit_code is ExitCode.FAILED
    assert "2" in cpus(world).values()


def test_a_limit_asks_and_changes_only_what_is_within(world: World) -> None:
    world.apply(WEB)
    assert "web-02" in domains(world)["hv2"]
    world.sick = {"web-02"}
    outcome = world.apply(WEB.replace("memory: 1GiB", MORE), limit="hv1")
    assert {name for name, count in cpus(world).items() if count == "2"} == set(domains(world)["hv1"])
    assert not any(end.failed for end in outcome.gates)


def test_a_destroy_rolls_nothing_out(world: World) -> None:
    world.apply(BACK)
    look = world.look(BACK, everywhere=True)
    plan = look.plan()
    assert plan.rollouts == ()
    look.run(plan.within(Consent().max_impact), Consent(skip_refused=True), "run")


def test_a_fleet_without_access_is_gated_by_its_own_changes_alone(world: World) -> None:
    plain = WEB.replace("access: {key_file: id}, networks: [dev], ", "")
    world.apply(plain)
    world.sick = {"web-01"}
    outcome = world.apply(plain.replace("memory: 1GiB", MORE))
    assert [len(end.gate.ask) for end in outcome.gates] == [0, 0, 0]
    assert cpus(world) == {"web-01": "2", "web-02": "2", "web-03": "2"}


def test_whoever_is_not_aimed_at_is_asked_all_the_same(world: World) -> None:
    files = "hosts: {fleets.web: {files: {/etc/motd: hello}}}\n"
    world.apply(WEB + files)
    world.sick = {"web-02"}
    changed = WEB + files.replace("hello", "bye")
    outcome = world.apply(changed, targets=("host.file:web-01/etc/motd",))
    assert [(end.gate.number, end.reason) for end in outcome.gates] == [(0, "web-02: ssh: connection refused")]
    world.sick = set()
    outcome = world.apply(changed, targets=("host.file:web-01/etc/motd",))
    assert [end.gate.ask for end in outcome.gates] == [("web-02", "web-03"), ("web-01",)]
    assert outcome.exit_code is ExitCode.DONE


def test_a_machine_that_is_down_and_not_aimed_at_is_not_well(world: World) -> None:
    files = "hosts: {fleets.web: {files: {/etc/motd: hello}}}\n"
    world.apply(WEB + files)
    next(host.domains["web-02"] for host in world.hosts.values() if "web-02" in host.domains).live = ""
    outcome = world.apply(WEB + files.replace("hello", "bye"), targets=("host.file:web-01/etc/motd",))
    assert [(end.gate.number, end.reason) for end in outcome.gates] == [(0, "web-02: does not run")]


def test_a_machine_alone_that_is_aimed_at_is_waited_for(world: World) -> None:
    world.apply(WEB)
    outcome = world.apply(WEB.replace("memory: 1GiB", MORE), targets=("domain:web-01",))
    assert [row(change) for change in outcome.plan.runnable][-1] == "check guest:web-01 on hv1"
    assert outcome.exit_code is ExitCode.DONE
    assert cpus(world) == {"web-01": "2", "web-02": "1", "web-03": "1"}
