"""What may cost how much, from the files to what is run, on hypervisors that are only pretended."""

from pathlib import Path

import pytest

from tests.pretend import World
from vinfra.errors import InputError, RefusedError
from vinfra.model.action import Impact
from vinfra.model.outcome import Status
from vinfra.model.request import Consent

FLEET = "fleets: {web: {count: 2, on: all, memory: 1GiB, disks: {root: 1GiB}, cloud_init: {}, allow: data-loss}}\n"
ALONE = "domains: {db: {on: hv1, memory: 1GiB, disks: {root: 1GiB, log: 1GiB}, power: stopped, allow: data-loss}}\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1")


def run(world: World, blueprint: str, limit: Impact = Impact.RESTART, *, everywhere: bool = False) -> set[Status]:
    look = world.look(blueprint, everywhere=everywhere)
    return {end.status for end in look.run(look.plan(), Consent(limit), "run").changes}


@pytest.mark.parametrize("left", [1, 0])
def test_a_fleets_allow_reaches_members_that_leave_it_and_all_they_are_made_of(world: World, left: int) -> None:
    run(world, FLEET)
    less = FLEET.replace("count: 2", f"count: {left}")
    gone = [row for row in world.plan(less).pending if row.address.name.startswith("web-02")]
    assert {row.address.noun for row in gone} == {"domain", "volume", "seed"}
    assert {row.allow for row in gone} == {Impact.DATA_LOSS}
    assert run(world, less) == {Status.DONE}
    assert sorted(world.hosts["hv1"].domains) == ["web-01"][:left]


@pytest.mark.parametrize(
    "blueprint",
    [
        FLEET.replace(", allow: data-loss", "").replace("count: 2", "count: 1"),
        FLEET.replace("web:", "www:"),
        "hosts: {hv1: {networks: {}}}\n",
    ],
    ids=["says nothing", "is another fleet", "is gone"],
)
def test_where_the_fleet_says_nothing_any_more_its_data_is_not_lost(world: World, blueprint: str) -> None:
    run(world, FLEET)
    with pytest.raises(RefusedError, match=r"more than --max-impact restart; .*what is on it is lost"):
        run(world, blueprint)
    assert sorted(world.hosts["hv1"].domains) == ["web-01", "web-02"]


def test_a_machines_allow_reaches_the_disks_that_leave_it(world: World) -> None:
    run(world, ALONE)
    assert "db-log.qcow2" in world.hosts["hv1"].volumes
    assert run(world, ALONE.replace(", log: 1GiB", "")) == {Status.DONE}
    assert "db-log.qcow2" not in world.hosts["hv1"].volumes


def test_destroy_asks_for_the_flag_whatever_was_allowed(world: World) -> None:
    run(world, FLEET)
    with pytest.raises(RefusedError, match="data-loss: more than"):
        run(world, FLEET, everywhere=True)
    assert run(world, FLEET, Impact.DATA_LOSS, everywhere=True) == {Status.DONE}


@pytest.mark.parametrize("count", [0, 1])
def test_what_a_fleet_allows_is_checked_with_and_without_members(world: World, count: int) -> None:
    with pytest.raises(InputError) as error:
        world.plan(FLEET.replace("count: 2", f"count: {count}").replace("data-loss", "data-los"))
    assert str(error.value).count("did you mean data-loss?") == 1


def test_a_row_says_why_it_costs_what_it_costs(world: World) -> None:
    run(world, FLEET)
    more = FLEET.replace("memory: 1GiB", "memory: 2GiB, cpu: 2")
    row = next(row for row in world.plan(more).pending if row.address.name == "web-01")
    assert row.delta.impact is Impact.RESTART
    assert row.delta.reason == "it booted with room for 1 CPU; it booted with 1GiB, and more is given only at boot"
    with pytest.raises(RefusedError, match="restart: more than --max-impact live; it booted with room for 1 CPU"):
        run(world, more.replace(", allow: data-loss", ""), Impact.LIVE)
