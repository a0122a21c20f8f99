"""Fleets from plan to apply and back, on hypervisors that are only pretended.

Everything but the hosts is real: a request's files, expand, discover, place, diff, plan, apply and every kind.
"""

import re
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.pretend import GIB, World, volume
from vinfra import engine
from vinfra.errors import ExitCode, RefusedError
from vinfra.kinds.kvm.volumes import storage
from vinfra.model.action import Action, Verdict
from vinfra.model.change import Change
from vinfra.model.mark import Birth
from vinfra.model.outcome import Status
from vinfra.model.plan import Plan
from vinfra.model.request import Consent

WEB = "fleets: {web: {count: 2, on: all, memory: 1GiB, disks: {root: 1GiB}}}\n"
ONE = WEB.replace("count: 2", "count: 1")
ACCESS = "access: {key_file: id}, networks: [dev]"
LOGIN = ONE.replace("memory: 1GiB", f"memory: 1GiB, {ACCESS}")
APART = "fleets: {db: {count: 2, on: all, memory: 1GiB, disks: {root: 1GiB}, anti_affinity: db}}\n"
SHA = "a" * 64
IMAGE = f"images: {{deb: {{source: 'http://example.net/deb.qcow2', sha256: {SHA}}}}}\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1", "hv2")


def row(change: Change) -> str:
    """A row in words: `create domain:web-01 on hv1`; what cannot be done is `refused` or `unknown`."""
    verdict = change.delta.verdict
    word = verdict.name if verdict in (Verdict.REFUSED, Verdict.UNKNOWN) else change.delta.action.name
    return f"{word.lower()} {change.address.reference} on {change.place or 'no host'}"


def rows(plan: Plan) -> list[str]:
    return [row(change) for change in plan.pending]


def domains(world: World) -> dict[str, list[str]]:
    return {name: sorted(host.domains) for name, host in world.hosts.items() if host.hypervisor}


def test_what_was_applied_leaves_nothing_to_do(world: World) -> None:
    blueprint = WEB.replace("memory: 1GiB", f"memory: 1GiB, {ACCESS}")
    outcome = world.apply(blueprint)
    assert {change.status for change in outcome.changes} == {Status.DONE}
    assert domains(world) == {"hv1": ["web-01"], "hv2": ["web-02"]}
    again = world.plan(blueprint)
    assert rows(again) == []
    assert again.exit_code is ExitCode.DONE


def test_adding_a_host_moves_nothing(world: World) -> None:
    world.apply(WEB)
    world.hosts |= World(world.folder, "hv0", "hv3").hosts
    assert rows(world.plan(WEB, inventory=["hv0", "hv1", "hv2", "hv3"])) == []


def test_a_target_is_placed_as_in_the_whole_plan(world: World) -> None:
    world.apply(APART.replace("count: 2", "count: 1"))
    world.hosts["hv2"].memory = 32 * GIB  # on its own it would go where the most room is: beside db-01
    whole = [line for line in rows(world.plan(APART)) if "db-02" in line]
    assert rows(world.plan(APART, targets=("domain:db-02",))) == whole
    assert "create domain:db-02 on hv2" in whole


def test_a_machine_waits_for_its_secret_and_no_other_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    data = "cloud_init: {on_change: reseed, user_data: {password: {secret: env:CANARY_%s}}}"
    machines = (f"{name}: {{count: 1, on: all, memory: 1GiB, {data % name.upper()}}}" for name in ("web", "db"))
    fleets = "fleets:\n  " + "\n  ".join(machines)
    monkeypatch.setenv("CANARY_DB", "canary-db")
    told = {change.address.reference: change.delta for change in world.plan(fleets).changes}
    assert told["seed:web-01/seed"].verdict is Verdict.UNKNOWN
    assert "CANARY_WEB is not set" in told["seed:web-01/seed"].reason
    world.apply(fleets)
    assert sorted(name for names in domains(world).values() for name in names) == ["db-01"]
    monkeypatch.setenv("CANARY_WEB", "canary-web")
    world.apply(fleets)
    assert sorted(name for names in domains(world).values() for name in names) == ["db-01", "web-01"]
    assert rows(world.plan(fleets)) == []
    monkeypatch.setenv("CANARY_WEB", "rotated")
    (row,) = rows(world.plan(fleets))
    assert row.startswith("update seed:web-01/seed")


def test_a_saved_plan_is_run_where_it_was_made_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "Connections", lambda _: nullcontext(world))
    world.apply(APART.replace("count: 2", "count: 1"))
    world.hosts["hv2"].memory = 32 * GIB
    file, request = world.folder / "plan.json", world.request(APART)
    engine.save(request, engine.plan(request), file)
    assert engine.apply_saved(file, Consent()).exit_code is ExitCode.DONE
    assert domains(world) == {"hv1": ["db-01"], "hv2": ["db-02"]}


def test_a_saved_plan_is_stale_when_a_machine_would_go_to_another_host(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "Connections", lambda _: nullcontext(world))
    world.apply(ONE)
    file, request = world.folder / "plan.json", world.request(WEB)
    engine.save(request, engine.plan(request), file)
    world.hosts["hv2"].memory = GIB  # half of that is kept for the host itself
    with pytest.raises(RefusedError, match="domain:web-02: was for hv2 when planned, and is for hv1"):
        engine.apply_saved(file, Consent())
    assert domains(world) == {"hv1": ["web-01"], "hv2": []}


def test_a_fleet_of_none_prunes_its_members(world: World) -> None:
    world.apply(WEB)
    none = WEB.replace("count: 2", "count: 0")
    assert sorted(rows(world.plan(none))) == [
        "delete domain:web-01 on hv1",
        "delete domain:web-02 on hv2",
        "delete volume:web-01/root on hv1",
        "delete volume:web-02/root on hv2",
    ]
    world.apply(none)
    assert domains(world) == {"hv1": [], "hv2": []}
    assert not world.hosts["hv1"].volumes


def test_a_section_left_empty_prunes_what_was_in_it(world: World) -> None:
    world.apply("hosts: {hv1: {networks: {lan: {cidr: 192.0.2.0/24}}}}\n")
    assert "lan" in world.hosts["hv1"].networks
    empty = "hosts: {hv1: {networks: {}}}\n"
    assert rows(world.plan(empty)) == ["delete network:lan on hv1"]
    world.apply(empty)
    assert list(world.hosts["hv1"].networks) == ["dev"]


def test_the_marks_follow_a_machine_that_was_moved_even_if_it_changes_too(world: World) -> None:
    world.apply(ONE)
    world.migrate("web-01", "hv1", "hv2")
    plan = world.plan(ONE)
    assert rows(plan) == ["move volume:web-01/root on hv2", "update domain:web-01 on hv2"]
    world.apply(ONE)
    assert world.hosts["hv2"].domains["web-01"].autostart
    assert not world.hosts["hv1"].marks
    assert {name: mark.birth for name, mark in world.hosts["hv2"].marks.items()} == {
        "volume:web-01/root": Birth.CREATED,
        "domain:web-01": Birth.CREATED,
    }
    assert rows(world.plan(ONE)) == []
    gone = world.plan(ONE, everywhere=True)
    assert rows(gone) == ["delete domain:web-01 on hv2", "delete volume:web-01/root on hv2"]


@pytest.mark.parametrize("running", [False, True])
def test_a_machine_that_was_moved_is_followed_before_it_answers(world: World, running: bool) -> None:
    world.apply(LOGIN)
    world.migrate("web-01", "hv1", "hv2", autostart=True)
    domain = world.hosts["hv2"].domains["web-01"]
    domain.xml, domain.live = (re.sub(r"<[\w:]*guest [^>]*/>", "", xml) for xml in (domain.xml, domain.live))
    domain.live *= running
    plan = world.plan(LOGIN)
    assert not plan.refused
    assert "create guest:web-01 on hv2" in rows(plan)
    assert f"{'move' if running else 'update'} domain:web-01 on hv2" in rows(plan)
    world.apply(LOGIN)
    assert domain.live
    assert not world.hosts["hv1"].marks
    assert rows(world.plan(LOGIN)) == []


def test_nothing_moves_from_a_host_to_itself(world: World) -> None:
    world.apply(ONE)
    world.migrate("web-01", "hv1", "hv2", autostart=True)
    followed = [line for line in world.hosts["hv1"].lines if "kvm.volume" in line]
    world.hosts["hv2"].lines += followed  # a run that followed the machine was cut off
    plan = world.plan(ONE, inventory=["hv2", "hv1"])
    assert {change.came_from for change in plan.pending if change.delta.action is Action.MOVE} == {"hv1"}


def test_guests_of_one_host_are_awaited_side_by_side(world: World) -> None:
    del world.hosts["hv2"]
    world.hosts["hv1"].delay = 1.0
    look = world.look(LOGIN.replace("count: 1", "count: 4"))
    plan = look.plan()
    began = time.monotonic()
    outcome = look.run(plan, Consent(), "run")
    assert time.monotonic() - began < 3
    assert sum(change.address.noun == "guest" for change in plan.runnable) == 4
    assert outcome.exit_code is ExitCode.DONE


def test_what_is_on_a_machine_waits_until_it_is_back_from_its_restart(world: World) -> None:
    world.apply(LOGIN)
    wish = LOGIN.replace("memory:", "cpu: 2, memory:") + "hosts: {fleets.web: {files: {/etc/motd: hello}}}\n"
    look, started = world.look(wish), []
    look.observer.change_started = lambda change: started.append(row(change))
    plan = look.plan()
    expected = ["update domain:web-01 on hv1", "check guest:web-01 on hv1", "create file:/etc/motd on web-01"]
    assert rows(plan) == expected
    look.run(plan, Consent(), "run")
    assert started == expected


def test_memory_changed_as_it_runs_makes_nobody_wait(world: World) -> None:
    world.apply(LOGIN.replace("1GiB, access", "2GiB, access"))
    assert rows(world.plan(LOGIN)) == ["update domain:web-01 on hv1"]
    world.apply(LOGIN)
    assert rows(world.plan(LOGIN)) == []


def test_a_machine_that_is_to_be_off_is_no_unknown_host(world: World) -> None:
    off = LOGIN.replace("memory:", "power: stopped, autostart: false, memory:")
    off += "hosts: {fleets.web: {files: {/etc/motd: hello}}}\n"
    world.apply(off)
    plan = world.plan(off)
    assert not plan.unknown
    assert any("web-01 is to be off" in warning for warning in plan.warnings)
    assert plan.exit_code is ExitCode.DONE


def test_a_machine_made_anew_where_its_mark_is_keeps_away_from_those_it_must_not_meet(world: World) -> None:
    world.apply(APART)
    world.hosts["hv2"].domains.pop("db-02")
    world.migrate("db-01", "hv1", "hv2", autostart=True)
    plan = world.plan(APART)
    assert "refused domain:db-02 on no host" in rows(plan)
    assert "anti_affinity" in plan.refused[0].delta.reason


def test_a_limit_leaves_out_the_fleets_of_other_hosts(world: World) -> None:
    world.hosts["hv2"].memory = GIB
    big = "fleets:\n  big: {count: 1, on: hv2, memory: 8GiB, disks: {root: 1GiB}}\n"
    both = f"{big}  web: {{count: 1, on: hv1, memory: 1GiB, disks: {{root: 1GiB}}}}\n"
    assert "refused domain:big-01 on no host" in rows(world.plan(both))
    limited = rows(world.plan(both, limit="hv1"))
    assert limited == ["create volume:web-01/root on hv1", "create domain:web-01 on hv1"]


def test_a_target_that_is_no_machine_asks_its_own_host_alone(world: World) -> None:
    world.hosts["hv2"].dead = True
    fleet = "fleets: {web: {count: 1, on: hv2, memory: 1GiB, image: deb}}\n"
    plan = world.plan(
        f"hosts: {{hv1: {{files: {{/etc/x: a}}}}}}\n{IMAGE}{fleet}", targets=("file:/etc/x",), prune=False
    )
    assert rows(plan) == ["create file:/etc/x on hv1"]
    assert set(world.asked) == {"hv1"}
    assert plan.exit_code is ExitCode.DIFFERENCES


def test_an_image_stays_while_nobody_knows_where_its_machine_is(world: World) -> None:
    blueprint = IMAGE + "fleets: {web: {count: 1, on: all, memory: 1GiB, image: deb}}\n"
    world.apply(blueprint)
    here = world.hosts["hv1"]
    file = f"deb-{SHA[:12]}.qcow2"
    here.volumes[file] = volume(storage.xml(file, "qcow2", GIB))  # the host itself fetches it, by a program
    assert here.marks["image:deb"].birth is Birth.CREATED
    here.domains.clear()
    world.hosts["hv2"].dead = True
    plan = world.plan(blueprint)
    assert "unknown domain:web-01 on no host" in rows(plan)
    assert not [change for change in plan.changes if change.delta.action is Action.DELETE]


def test_a_bystander_that_is_dark_stops_nothing_but_is_named_when_a_machine_is_made(world: World) -> None:
    here = ONE.replace("on: all", "on: hv1")
    without = world.plan(here, inventory=["hv1"])
    world.hosts["hv2"].dead = True
    plan = world.plan(here)
    assert (rows(plan), plan.exit_code) == (rows(without), without.exit_code)
    assert [warning for warning in plan.warnings if warning.startswith("hv2 could not be read")]
    world.apply(here)
    after = world.plan(here)
    assert (rows(after), after.exit_code, after.warnings) == ([], ExitCode.DONE, ())


def test_a_machine_of_a_hypervisor_that_went_dark_is_not_made_elsewhere(world: World) -> None:
    world.apply(WEB)
    world.hosts["hv2"].dead = True
    assert "unknown domain:web-02 on no host" in rows(world.plan(WEB))
    assert world.apply(WEB).exit_code is ExitCode.INCOMPLETE
    assert domains(world) == {"hv1": ["web-01"], "hv2": ["web-02"]}


def test_a_hypervisor_that_goes_dark_while_it_works_is_taken_up_again_later(world: World) -> None:
    look, dark = world.look(WEB), world.hosts["hv2"]
    look.observer.change_started = lambda change: setattr(dark, "dead", change.address.reference == "domain:web-02")
    assert look.run(look.plan(), Consent(), "run").exit_code is ExitCode.INCOMPLETE
    dark.dead = True
    world.apply(WEB)
    assert domains(world) == {"hv1": ["web-01"], "hv2": []}
    dark.dead = False
    world.apply(WEB)
    assert domains(world) == {"hv1": ["web-01"], "hv2": ["web-02"]}


DISK = "hosts: {hv1: {domains: {db: {memory: 1GiB, disks: {root: 1GiB}}}}}\n"


def test_no_disks_are_none_and_the_disk_goes_only_after_its_machine_let_go_of_it(world: World) -> None:
    world.apply(DISK)
    without = DISK.replace("{root: 1GiB}", "{}")
    plan = world.plan(without)
    assert rows(plan) == ["update domain:db on hv1", "delete volume:db/root on hv1"]
    assert plan.runnable[1].after == {plan.runnable[0].address}
    world.apply(without)
    here = world.hosts["hv1"]
    assert not here.volumes
    assert "db-root" not in here.domains["db"].xml
    assert rows(world.plan(without)) == []


def test_a_disk_stays_while_its_machine_cannot_let_go_of_it(world: World) -> None:
    world.apply(DISK)
    world.apply(refused := DISK.replace("{root: 1GiB}", "{}, networks: [nowhere]"))
    assert "refused domain:db on hv1" in rows(world.plan(refused))
    assert list(world.hosts["hv1"].volumes) == ["db-root.qcow2"]


def test_a_machine_lies_where_its_pool_is_and_not_where_that_cannot_go(world: World) -> None:
    blueprint = "hosts: {hv1: {pools: {default: /srv/elsewhere}, domains: {db: {memory: 1GiB, disks: {root: 1GiB}}}}}\n"
    machine = next(change for change in world.plan(blueprint).changes if change.address.noun == "domain")
    assert "/var/lib/libvirt/images/db-root.qcow2" in str(machine.steps)


def test_a_target_comes_with_all_that_it_comes_after(world: World) -> None:
    blueprint = "hosts: {hv1: {pools: {fast: /srv/fast}, volumes: {log: {size: 1GiB, pool: fast}, data: 1GiB}}}\n"
    plan = world.plan(blueprint, targets=("volume:log",))
    assert rows(plan) == ["create pool:fast on hv1", "create volume:log on hv1"]
