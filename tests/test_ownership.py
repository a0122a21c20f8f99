"""Renames, lost marks and adoption of fleets, on hypervisors that are only pretended (see test_look.py)."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pretend import World
from tests.test_look import LOGIN, ONE, WEB, domains, rows
from vinfra import engine
from vinfra.errors import InputError
from vinfra.look.look import Look
from vinfra.model.action import Impact
from vinfra.model.mark import Birth
from vinfra.model.outcome import Observers
from vinfra.model.plan import Plan
from vinfra.model.request import Consent

MOVED = "moved: [{from: fleet:web, to: fleet:front}]\n"
FRONT = MOVED + WEB.replace("web:", "front:").replace("count", "name: \"web-{{ '%02d' % member.number }}\", count")
FORMERLY = "moved: [{from: blueprint:old, to: blueprint:pretend}]\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1", "hv2")


def adopting(world: World, blueprint: str, *targets: str) -> tuple[Look, Plan]:
    request = replace(world.request(blueprint), targets=targets, prune=False)
    look = Look(request, engine.validate(request), world, Observers(), adopting=True)  # type: ignore[arg-type]
    return look, look.plan()


def signed(world: World, host: str, blueprint: str) -> None:
    """Everything on a host as if that blueprint had made it; "" for nobody."""
    here = world.hosts[host]
    here.lines[:] = [line.replace('"pretend"', f'"{blueprint}"') for line in here.lines] if blueprint else []
    for thing in (*here.domains.values(), *here.networks.values()):
        for side in ("xml", "live"):
            xml = getattr(thing, side).replace('blueprint="pretend"', f'blueprint="{blueprint}"')
            setattr(thing, side, xml if blueprint else re.sub(r"<vinfra:owner [^>]*/>", "", xml))


def test_a_fleet_of_another_name_keeps_its_machines(world: World) -> None:
    world.apply(WEB)
    assert rows(world.plan(FRONT)) == []
    assert rows(world.plan(FRONT.replace(MOVED, ""))) == []


def test_a_fleet_of_another_name_must_say_what_its_machines_are_called(world: World) -> None:
    with pytest.raises(InputError, match="keep their names"):
        world.plan(MOVED + WEB.replace("web:", "front:"))


def test_a_wrong_name_removes_no_machine_of_a_fleet_that_was_renamed(world: World) -> None:
    world.apply(WEB)
    wrong = FRONT.replace("web-{{", "www-{{")
    refused = [line for line in rows(world.plan(wrong)) if line.startswith("refused")]
    assert sorted(refused) == [
        "refused domain:web-01 on hv1",
        "refused domain:web-02 on hv2",
        "refused volume:web-01/root on hv1",
        "refused volume:web-02/root on hv2",
    ]
    assert "web-01 was of fleet web, which is front now" in world.plan(wrong).refused[0].delta.reason
    assert "delete domain:web-01 on hv1" in rows(world.plan(wrong.replace(MOVED, "")))


def test_machines_of_a_blueprint_of_another_name_are_not_made_again(world: World) -> None:
    world.apply(ONE)
    signed(world, "hv1", "old")
    assert "refused domain:web-01 on no host" in rows(world.plan(ONE.replace("on: all", "on: hv1")))
    assert rows(world.plan(FORMERLY + ONE)) == ["move volume:web-01/root on hv1", "update domain:web-01 on hv1"]
    world.apply(FORMERLY + ONE)
    assert {mark.blueprint for mark in world.hosts["hv1"].marks.values()} == {"pretend"}
    assert {mark.birth for mark in world.hosts["hv1"].marks.values()} == {Birth.CREATED}
    assert rows(world.plan(FORMERLY + ONE)) == []
    assert rows(world.plan(ONE)) == []
    assert domains(world) == {"hv1": ["web-01"], "hv2": []}


def test_a_network_of_a_blueprint_of_another_name_carries_the_new_one(world: World) -> None:
    lan = "hosts: {hv1: {networks: {lan: {cidr: 192.0.2.0/24}}}}\n"
    world.apply(lan)
    signed(world, "hv1", "old")
    assert rows(world.plan(FORMERLY + lan)) == ["update network:lan on hv1"]
    world.apply(FORMERLY + lan)
    assert 'blueprint="pretend"' in world.hosts["hv1"].networks["lan"].xml
    assert rows(world.plan(lan)) == []
    assert [mark.blueprint for mark in world.hosts["hv1"].marks.values()] == ["pretend"]


def test_what_a_blueprint_of_another_name_no_longer_declares_goes_and_its_marks_too(world: World) -> None:
    world.apply(WEB)
    signed(world, "hv1", "old")
    signed(world, "hv2", "old")
    plan = world.plan(FORMERLY + ONE)
    gone = next(row for row in plan.pending if row.address.name == "web-02")
    assert gone.delta.reason.startswith("left the blueprint; made by old, run run, 20")
    world.apply(FORMERLY + ONE)
    assert domains(world) == {"hv1": ["web-01"], "hv2": []}
    assert world.hosts["hv2"].marks == {}


def test_where_marks_got_lost_nothing_is_pruned(world: World) -> None:
    world.apply(WEB)
    here = world.hosts["hv1"]
    kept, extra = list(here.lines), [re.sub("web-01/root", "extra", line) for line in here.lines if "volume" in line]
    here.volumes["extra.qcow2"] = here.volumes["web-01-root.qcow2"].replace("web-01-root", "extra")
    here.lines[:] = [*kept, *extra]
    assert "delete volume:extra on hv1" in rows(world.plan(ONE))
    here.lines[:] = extra
    plan = world.plan(ONE)
    assert not any("hv1" in line for line in rows(plan))
    assert "delete domain:web-02 on hv2" in rows(plan)
    assert "hv1: web-01 of this blueprint has no mark there any more" in plan.warnings[0]
    world.apply(ONE)
    assert list(here.marks) == ["volume:extra"]


def test_a_machine_that_was_moved_lost_no_mark(world: World) -> None:
    world.apply(ONE)
    world.migrate("web-01", "hv1", "hv2")
    assert not any("no mark" in warning for warning in world.plan(ONE).warnings)


def test_while_a_host_is_dark_nobody_says_that_marks_got_lost(world: World) -> None:
    world.apply(WEB)
    world.hosts["hv1"].lines.clear()
    world.hosts["hv2"].dead = True
    assert not any("no mark" in warning for warning in world.plan(ONE).warnings)


def test_members_of_a_fleet_are_adopted_where_they_are(world: World) -> None:
    world.apply(WEB)
    for host in ("hv1", "hv2"):
        signed(world, host, "")
    assert {line.partition(" ")[0] for line in rows(world.plan(WEB))} == {"refused"}
    look, plan = adopting(world, WEB, "fleet:web")
    assert sorted(rows(plan)) == [
        "adopt domain:web-01 on hv1",
        "adopt domain:web-02 on hv2",
        "adopt volume:web-01/root on hv1",
        "adopt volume:web-02/root on hv2",
    ]
    look.run(plan, Consent(Impact.NONE), "run")
    assert {mark.birth for mark in world.hosts["hv1"].marks.values()} == {Birth.ADOPTED}
    assert world.hosts["hv1"].domains["web-01"].live
    assert rows(world.plan(WEB)) == []


def test_what_a_fleet_brings_and_nobody_made_stops_no_adoption(world: World) -> None:
    world.apply(ONE)
    signed(world, "hv1", "")
    _, plan = adopting(world, LOGIN.replace(", networks: [dev]", ""), "fleet:web")
    assert rows(plan) == ["adopt volume:web-01/root on hv1", "adopt domain:web-01 on hv1"]
    _, plan = adopting(world, LOGIN, "seed:web-01/seed")
    assert rows(plan) == ["refused seed:web-01/seed on hv1"]


def test_what_another_blueprint_owns_is_not_adopted(world: World) -> None:
    world.apply(ONE)
    signed(world, "hv1", "old")
    _, plan = adopting(world, ONE.replace("on: all", "on: hv1"), "*")
    assert not plan.runnable
    assert "old" in plan.refused[0].delta.reason or "not of this blueprint" in plan.refused[0].delta.reason


def test_a_mark_on_the_host_does_not_outweigh_what_a_machine_says_itself(world: World) -> None:
    single = "hosts: {hv1: {domains: {one: {memory: 1GiB, disks: {root: 1GiB}}}}}\n"
    world.apply(single)
    before = list(world.hosts["hv1"].lines)
    signed(world, "hv1", "old")
    world.hosts["hv1"].lines[:] = before
    assert "refused domain:one on hv1" in rows(world.plan(single))
    assert "blueprint old has it" in world.plan(single).refused[0].delta.reason
    _, plan = adopting(world, single, "domain:one")
    assert "owned by blueprint old" in plan.refused[0].delta.reason
