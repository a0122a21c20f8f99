"""Machines that go to another host, from plan to apply and back, on hypervisors that are only pretended."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.pretend import GIB, Thing, World, volume
from tests.test_look import IMAGE, SHA, WEB, domains, rows
from vinfra import engine
from vinfra.errors import UsageError
from vinfra.kinds.kvm.volumes import storage
from vinfra.look.evacuation import evacuation
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.change import Change
from vinfra.model.mark import NAMESPACE, State
from vinfra.model.outcome import Status
from vinfra.model.plan import Plan

ONE = WEB.replace("count: 2", "count: 1")
HERE, THERE = ONE.replace("on: all", "on: hv1"), ONE.replace("on: all", "on: hv2")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1", "hv2")


def machine(plan: Plan) -> Change:
    return next(row for row in plan.changes if row.address.reference == "domain:web-01")


def empty(world: World, host: str) -> bool:
    return not (world.hosts[host].domains or world.hosts[host].volumes or world.hosts[host].marks)


def test_what_on_does_not_name_any_more_is_carried_over_live_and_leaves_nothing(world: World) -> None:
    world.apply(HERE)
    born = world.hosts["hv1"].marks
    plan = world.plan(THERE)
    assert rows(plan) == ["move domain:web-01 on hv1"]
    row = machine(plan)
    assert (row.delta.impact, row.goes_to) == (Impact.LIVE, "hv2")
    assert row.delta.reason == "hv1 → hv2, as it runs, with its disks"
    world.apply(THERE)
    assert domains(world) == {"hv1": [], "hv2": ["web-01"]}
    assert empty(world, "hv1")
    marks = world.hosts["hv2"].marks
    assert {name: mark.birth for name, mark in marks.items()} == {name: mark.birth for name, mark in born.items()}
    assert {mark.state for mark in marks.values()} == {State.OWNED}
    assert rows(world.plan(THERE)) == []


def test_what_else_differs_is_changed_where_it_is_and_then_it_goes(world: World) -> None:
    world.apply(HERE)
    larger = THERE.replace("memory: 1GiB", "memory: 2GiB")
    row = machine(world.plan(larger))
    assert (row.delta.action, row.delta.impact) == (Action.MOVE, Impact.RESTART)
    assert [field.path for field in row.delta.fields] == ["memory"]
    assert row.steps[-1].summary == "carry web-01 over to hv2 as it runs"
    world.apply(larger)
    assert rows(world.plan(larger)) == []
    assert domains(world) == {"hv1": [], "hv2": ["web-01"]}


def fetched(world: World, host: str) -> None:
    """The image, which a host itself fetches, by a program."""
    file = f"deb-{SHA[:12]}.qcow2"
    world.hosts[host].volumes[file] = volume(storage.xml(file, "qcow2", GIB))


@pytest.mark.parametrize("evacuated", [False, True])
def test_its_image_comes_before_it_and_goes_after_it(world: World, evacuated: bool) -> None:
    here, there = (IMAGE + text.replace("disks: {root: 1GiB}", "image: deb") for text in (HERE, THERE))
    world.apply(here)
    fetched(world, "hv1")
    file = "web-01-root.qcow2"
    backing = ("/var/lib/libvirt/images/" + f"deb-{SHA[:12]}.qcow2", "qcow2")
    world.hosts["hv1"].volumes[file] = volume(storage.xml(file, "qcow2", GIB, backing))
    wish = {"blueprint": here.replace("on: hv1", "on: all"), "leaving": frozenset({"hv1"})}
    wish = wish if evacuated else {"blueprint": there}
    plan = world.plan(**wish)  # type: ignore[arg-type]
    gone, come, row = (
        next(row for row in plan.runnable if row.delta.action is action)
        for action in (Action.DELETE, Action.CREATE, Action.MOVE)
    )
    assert (str(gone.address), str(come.address)) == ("kvm.image:hv1/deb", "kvm.image:hv2/deb")
    assert come.address in row.after
    assert row.address in gone.after
    world.apply(**wish)  # type: ignore[arg-type]
    fetched(world, "hv2")
    assert rows(world.plan(**wish)) == []  # type: ignore[arg-type]
    assert "image:deb" not in world.hosts["hv1"].marks


@pytest.mark.parametrize("lost", ["before", "half", "after"])
@pytest.mark.parametrize("back", [False, True])
def test_a_run_that_dies_on_the_way_leaves_one_machine_and_the_next_clears_up(
    world: World, lost: str, back: bool
) -> None:
    world.apply(HERE)
    world.lost = lost
    outcome = world.apply(THERE)
    assert [change.status for change in outcome.changes] == [Status.LEFT]
    world.lost = ""
    wish, home, other = (HERE, "hv1", "hv2") if back else (THERE, "hv2", "hv1")
    plan = world.plan(wish)
    assert not plan.refused
    assert {row.delta.impact for row in plan.runnable} <= {Impact.NONE, Impact.LIVE}
    world.apply(wish)
    assert rows(world.plan(wish)) == []
    assert domains(world)[home] == ["web-01"]
    assert empty(world, other)
    marks = world.hosts[home].marks
    assert {mark.state for mark in marks.values()} == {State.OWNED}
    assert {"domain:web-01", "volume:web-01/root"} <= marks.keys()
    world.apply(THERE if back else HERE)
    assert domains(world)[other] == ["web-01"]
    assert empty(world, home)


@pytest.mark.parametrize("lost", ["", "before", "after"])
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("said", [False, True])
def test_a_disk_that_both_hosts_see_is_never_taken_for_a_copy(world: World, lost: str, back: bool, said: bool) -> None:
    shared = "migration: {shared: [default]}, memory"
    here, there = (text.replace("memory", shared) for text in (HERE, THERE))
    world.hosts["hv2"].pools = world.hosts["hv1"].pools
    world.apply(here)
    disks = dict(world.hosts["hv1"].volumes)
    world.lost = lost
    world.apply(there)
    world.lost = ""
    wish = here if back else there
    wish = wish if said else wish.replace(shared, "memory")  # somebody took the line away after the kill
    look = world.look(wish)
    assert not [row for row in look.plan().changes if row.delta.action is Action.DELETE]
    if said:
        world.apply(wish)
        assert domains(world) == {"hv1": ["web-01"] * back, "hv2": ["web-01"] * (not back)}
        assert rows(world.plan(wish)) == []
        assert lost or back or not world.hosts["hv1"].marks
    assert world.hosts["hv1"].volumes == disks


def test_a_version_that_was_applied_before_clears_up_after_itself_too(world: World) -> None:
    world.apply(THERE)
    world.apply(HERE)
    world.lost = "half"
    world.apply(THERE)
    world.lost = ""
    look = world.look(THERE)
    assert {mark.digest for mark in world.hosts["hv2"].marks.values()} == {look.wish.blueprint.digest[:16]}
    world.apply(THERE)
    assert rows(world.plan(THERE)) == []
    assert empty(world, "hv1")


def test_one_that_can_go_nowhere_is_refused_where_it_is(world: World) -> None:
    world.apply(ONE.replace("on: all", "on: hv1"))
    world.hosts["hv2"].memory = GIB
    plan = world.plan(THERE)
    assert rows(plan) == ["refused domain:web-01 on hv1"]
    assert "hv2 has 0.5GiB of memory left, 1.0GiB are needed" in machine(plan).delta.reason
    world.hosts["hv2"].memory = 64 * GIB
    del world.hosts["hv2"].pools["default"]
    assert "there is no pool default" in machine(world.plan(THERE)).delta.reason


@pytest.mark.parametrize(
    ("device", "runs", "why"),
    [
        ("<hostdev mode='subsystem' type='pci'/>", True, "it has devices of its host"),
        ("<disk><source><encryption/></source></disk>", True, "its disks are encrypted, with a secret of its host"),
        ("<tpm/>", False, "it is off, and its TPM's state is a file of its host: start it first"),
        ("<tpm/>", True, ""),
    ],
)
def test_what_it_has_of_its_host_keeps_it_there(world: World, device: str, runs: bool, why: str) -> None:
    power = "" if runs else "power: stopped, "
    here, there = (text.replace("memory", f"{power}memory") for text in (HERE, THERE))
    world.apply(here)
    domain = world.hosts["hv1"].domains["web-01"]
    domain.xml, domain.live = (xml.replace("</devices>", f"{device}</devices>") for xml in (domain.xml, domain.live))
    row = machine(world.plan(there))
    assert (row.delta.verdict is Verdict.REFUSED) is bool(why)
    assert not why or row.delta.reason == f"is on hv1 and is to go to hv2, but {why}"


@pytest.mark.parametrize("runs", [True, False])
def test_its_snapshots_keep_it_there(world: World, runs: bool) -> None:
    """libvirt moves none that runs with some, and of one that is off it would forget them on the way."""
    here, there = (text if runs else text.replace("memory", "power: stopped, memory") for text in (HERE, THERE))
    world.apply(here)
    domain = world.hosts["hv1"].domains["web-01"]
    domain.snapshots = ("clean",)
    assert machine(world.plan(there)).delta.reason.endswith("its 1 snapshot cannot go along: delete it first")
    domain.snapshots = ()
    assert rows(world.plan(there)) == ["move domain:web-01 on hv1"]


def test_a_limit_that_does_not_name_the_new_host_holds_it(world: World) -> None:
    world.apply(HERE)
    assert "--limit does not name that one" in machine(world.plan(THERE, limit="hv1")).delta.reason
    assert rows(world.plan(THERE, limit="hv*")) == ["move domain:web-01 on hv1"]


def test_a_host_that_is_left_is_empty_afterwards_and_stays_so(world: World) -> None:
    world.apply(WEB)
    assert domains(world) == {"hv1": ["web-01"], "hv2": ["web-02"]}
    gone = frozenset({"hv1"})
    assert rows(world.plan(WEB, leaving=gone)) == ["move domain:web-01 on hv1"]
    world.apply(WEB, leaving=gone)
    assert domains(world) == {"hv1": [], "hv2": ["web-01", "web-02"]}
    assert empty(world, "hv1")
    assert rows(world.plan(WEB)) == []


def test_a_guarded_machine_moves_too_and_keeps_its_guard(world: World) -> None:
    here, there = (text.replace("memory", "protect: true, memory") for text in (HERE, THERE))
    world.apply(here)
    world.lost = "after"
    world.apply(there)
    world.lost = ""
    world.apply(there)
    assert empty(world, "hv1")
    assert world.hosts["hv2"].marks["domain:web-01"].protect
    assert rows(world.plan(there)) == []


def test_an_evacuation_moves_machines_and_leaves_all_else(world: World) -> None:
    world.apply(WEB)
    other = WEB.replace("memory: 1GiB", "memory: 1GiB, overrides: {web-02: {memory: 2GiB}}")
    look = world.look(f"hosts: {{hv1: {{files: {{/etc/x: a}}}}}}\n{other}", leaving=frozenset({"hv1"}))
    plan = evacuation(look.plan(), look.moves, frozenset({"hv1"}))
    assert rows(plan) == ["move domain:web-01 on hv1"]


def test_who_cannot_leave_is_named_with_the_reason(world: World) -> None:
    world.apply(WEB)
    here = world.hosts["hv1"]
    for name, owner in (("theirs", ""), ("rack-01", "rack")):
        mark = f"<metadata><v:owner xmlns:v='{NAMESPACE}' blueprint='{owner}' address='x'/></metadata>" if owner else ""
        xml = f"<domain><name>{name}</name>{mark}<memory>1024</memory><vcpu>1</vcpu></domain>"
        here.domains[name] = Thing(xml, xml)
    here.domains["idle"] = Thing(xml.replace("rack-01", "idle"))
    fixed = f"{WEB}domains:\n  lone: {{on: hv1, memory: 1GiB}}\n"
    world.apply(fixed)
    world.hosts["hv2"].memory = 2 * GIB
    look = world.look(fixed, leaving=frozenset({"hv1"}))
    plan = evacuation(look.plan(), look.moves, frozenset({"hv1"}))
    told = {row.address.name: row.delta.reason for row in plan.refused}
    assert told["web-01"].startswith("is on hv1, and cannot go elsewhere: hv2 has 0.5GiB of memory left")
    assert told["lone"] == "is declared for hv1 itself, under domains: make it a fleet of one, or shut it down"
    assert told["rack-01"] == "is of blueprint rack: evacuate hv1 with that one too"
    assert told["theirs"] == "was not made by vinfra: move it yourself (virsh migrate), or shut it down"
    assert "idle" not in told


@pytest.mark.parametrize("twice", [True, False])
def test_one_that_cannot_be_moved_now_is_named_by_an_evacuation(world: World, twice: bool) -> None:
    """It runs there: a host that is said to be empty may be switched off."""
    world.apply(HERE)
    here, there = world.hosts["hv1"], world.hosts["hv2"]
    there.domains["web-01"] = here.domains["web-01"] if twice else here.domains.pop("web-01")
    look = world.look(ONE, leaving=frozenset({"hv2"}))
    [row] = evacuation(look.plan(), look.moves, frozenset({"hv2"})).changes
    assert row.delta.verdict is Verdict.REFUSED
    assert ("is on hv1 and on hv2" if twice else "has to be applied") in row.delta.reason


def test_an_evacuation_of_what_is_no_host_is_wrong_usage(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "Connections", lambda _: nullcontext(world))
    with pytest.raises(UsageError, match="hv9"):
        engine.evacuation(world.request(WEB), "hv9")
    with pytest.raises(UsageError, match="web-01 is itself a machine"):
        engine.evacuation(world.request(WEB), "web-01")
    world.apply(WEB)
    assert rows(engine.evacuation(world.request(WEB), "hv1")) == ["move domain:web-01 on hv1"]
    both = engine.evacuation(world.request(WEB), "hv*")
    assert {row.delta.reason for row in both.refused} == {
        f"is on {host}, and cannot go elsewhere: `on:` names no other host" for host in ("hv1", "hv2")
    }
