"""Saved plans over pretended hypervisors: what is read again, and what makes one stale."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.pretend import World
from vinfra import engine
from vinfra.errors import ExitCode, RefusedError
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.mark import Birth, Mark, State
from vinfra.model.plan import Plan
from vinfra.model.request import Consent, Request
from vinfra.report import fingerprint, plan_file

WEB = "fleets: {web: {count: 2, on: all, memory: 1GiB, disks: {root: 1GiB}}}\n"
MORE = WEB.replace("memory: 1GiB", "memory: 1GiB, autostart: false")
NETWORKS = "hosts: {hv1: {networks: {%s}}}\n"
LAN, DMZ = "lan: {cidr: 192.0.2.0/24}", "dmz: {cidr: 198.51.100.0/24}"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, "hv1", "hv2")
    monkeypatch.setattr(engine, "Connections", lambda _: nullcontext(made))
    return made


@pytest.fixture
def file(world: World) -> Path:
    return world.folder / "plan.json"


def save(world: World, file: Path, blueprint: str, **given: Any) -> Request:
    request = world.request(blueprint, **given)
    engine.save(request, engine.plan(request), file)
    world.asked.clear()
    return request


def refusal(file: Path, **given: Any) -> str:
    with pytest.raises(RefusedError) as refused:
        engine.apply_saved(file, Consent(), **given)
    return str(refused.value)


def forge(file: Path, document: dict[str, Any]) -> None:
    """Write a document as somebody would who knows how the checksum is made."""
    file.write_text(json.dumps({**document, "sum": plan_file._sum(document)}))


def rounds(world: World, name: str) -> list[int]:
    """How many questions each round trip to a host carries from now on."""
    host, counts = world.hosts[name], list[int]()
    ask = host.ask
    host.ask = lambda questions: (counts.append(len(questions)), ask(questions))[1]  # type: ignore[method-assign]
    return counts


# What is read again.


def test_it_reads_its_own_hosts_alone_each_in_one_round(world: World, file: Path) -> None:
    world.apply(WEB)
    world.hosts["hv1"].domains["web-01"].autostart = False
    save(world, file, WEB)
    counts = rounds(world, "hv1")
    assert engine.apply_saved(file, Consent()).exit_code is ExitCode.DONE
    assert set(world.asked) == {"hv1"}
    assert len(counts) == 1
    assert world.hosts["hv1"].domains["web-01"].autostart


def test_the_units_that_its_rollout_asks_are_found_wherever_they_are(world: World, file: Path) -> None:
    access = "access: {key_file: id}, networks: [dev], rollout: {retries: 0}"
    web = WEB.replace("memory: 1GiB", f"memory: 1GiB, {access}")
    world.apply(web)
    world.hosts["hv1"].domains["web-01"].autostart = False
    save(world, file, web)
    world.sick = {"web-02"}
    outcome = engine.apply_saved(file, Consent())
    assert [(end.gate.number, end.reason) for end in outcome.gates] == [(0, "web-02: ssh: connection refused")]
    world.sick = set()
    outcome = engine.apply_saved(file, Consent())
    assert [end.gate.ask for end in outcome.gates] == [("web-02",), ("web-01",)]
    assert outcome.exit_code is ExitCode.DONE


def test_a_dark_host_that_it_does_not_touch_stops_nothing(world: World, file: Path) -> None:
    world.apply(WEB)
    world.hosts["hv1"].domains["web-01"].autostart = False
    save(world, file, WEB)
    world.hosts["hv2"].dead = True
    assert engine.apply_saved(file, Consent()).exit_code is ExitCode.DONE


def test_what_could_not_be_read_when_it_was_made_is_said_again(world: World, file: Path) -> None:
    networks = f"hosts: {{hv1: {{networks: {{{LAN}}}}}, hv2: {{networks: {{{LAN}}}}}}}\n"
    world.hosts["hv2"].dead = True
    save(world, file, networks)
    shown: list[Plan] = []
    assert engine.apply_saved(file, Consent(show=shown.append)).exit_code is ExitCode.DONE
    assert "the plan holds nothing of hv2, which could not be read when it was made" in shown[0].warnings


def test_its_own_host_gone_dark_is_named(world: World, file: Path) -> None:
    world.apply(WEB)
    world.hosts["hv1"].domains["web-01"].autostart = False
    save(world, file, WEB)
    world.hosts["hv1"].dead = True
    assert "hv1: cannot be read: hv1 does not answer" in refusal(file)


def test_a_machine_that_is_to_be_made_is_looked_for_everywhere(world: World, file: Path) -> None:
    one = WEB.replace("count: 2", "count: 1")
    save(world, file, one)
    world.apply(one)
    world.migrate("web-01", "hv1", "hv2", autostart=True)
    world.hosts["hv1"].lines.clear()
    assert "kvm.domain:web-01: was for hv1 when planned, and is for hv2" in refusal(file)
    assert set(world.asked) == {"hv1", "hv2"}
    assert "web-01" not in world.hosts["hv1"].domains


def test_a_machine_that_somebody_moved_meanwhile_is_not_made_anew(world: World, file: Path) -> None:
    world.apply(WEB)
    world.hosts["hv1"].domains["web-01"].autostart = False
    save(world, file, WEB)
    world.migrate("web-01", "hv1", "hv2")
    assert "kvm.domain:web-01: was for hv1 when planned, and is for no host (hv2 cannot be read" in refusal(file)


def test_what_follows_a_moved_machine_reads_both_its_hosts(world: World, file: Path) -> None:
    world.hosts |= World(world.folder, "hv3").hosts
    world.apply(WEB, inventory=["hv1", "hv2"])
    world.migrate("web-01", "hv1", "hv2", autostart=True)
    save(world, file, WEB, inventory=["hv1", "hv2", "hv3"])
    assert engine.apply_saved(file, Consent()).exit_code is ExitCode.DONE
    assert set(world.asked) == {"hv1", "hv2"}
    assert not world.hosts["hv1"].marks


def test_what_left_the_blueprint_is_all_that_it_prunes(world: World, file: Path) -> None:
    world.apply(NETWORKS % f"{LAN}, {DMZ}")
    save(world, file, NETWORKS % LAN)
    assert engine.apply_saved(file, Consent()).exit_code is ExitCode.DONE
    assert sorted(world.hosts["hv1"].networks) == ["dev", "lan"]


# What makes it stale, and what does not.


def test_an_unchanged_network_that_vanished_makes_its_machines_plan_stale(world: World, file: Path) -> None:
    networks = "networks: {lan: {on: all, cidr: 192.0.2.0/24}}\n"
    wish = networks + WEB.replace("memory:", "networks: [lan], memory:")
    world.apply(networks)
    save(world, file, wish)
    world.hosts["hv1"].networks["lan"].live = ""
    told = refusal(file)
    assert "and now would be: it does not run (needed by kvm.domain:web-01)" in told
    del world.hosts["hv1"].networks["lan"]
    told = refusal(file)
    assert "kvm.network:hv1/lan: there when planned, now absent (needed by kvm.domain:web-01)" in told
    assert not world.hosts["hv1"].domains


def test_an_edit_elsewhere_does_not_stop_it(world: World, file: Path) -> None:
    world.apply(NETWORKS % f"{LAN}, {DMZ}")
    world.hosts["hv1"].networks["lan"].autostart = False
    save(world, file, NETWORKS % f"{LAN}, {DMZ}")
    del world.hosts["hv1"].networks["dmz"]
    del world.hosts["hv1"].networks["dev"]
    assert engine.apply_saved(file, Consent()).exit_code is ExitCode.DONE
    assert "dmz" not in world.hosts["hv1"].networks


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines.clear(), "our mark was on it when planned, and is gone"),
        (lambda lines: lines.append(mark(state=State.CLAIMED)), "our mark said state 'owned', says 'claimed'"),
        (lambda lines: lines.append(mark(birth=Birth.FOUND)), "our mark said birth 'created', says 'found'"),
        (lambda lines: lines.append(mark(blueprint="b")), "the mark of blueprint b was not on it when planned, and is"),
    ],
)
def test_whose_it_is_counts(world: World, file: Path, change: Callable[[list[str]], None], told: str) -> None:
    world.apply(NETWORKS % LAN)
    world.hosts["hv1"].networks["lan"].autostart = False
    save(world, file, NETWORKS % LAN)
    change(world.hosts["hv1"].lines)
    assert f"kvm.network:hv1/lan: {told}" in refusal(file)


def mark(**changed: Any) -> str:
    owned = Mark("pretend", "kvm.network", "lan", State.OWNED, Birth.CREATED, host="hv1")
    return replace(owned, **changed).line()


def test_a_row_known_later_keeps_its_bound() -> None:
    def plan(cidr: str, impact: Impact = Impact.LIVE) -> Plan:
        delta = Delta(Action.CREATE, (FieldChange("cidr", None, cidr),), impact, Verdict.LATER, "after hypervisor:kvm")
        return Plan("pretend", ("hv1",), (Change(Address("kvm.network", "hv1", "lan"), delta, None, None),))

    saved = {row.address: row for row in fingerprint.rows_of(plan("192.0.2.0/24"), "salt")}
    assert "192.0.2" not in str(saved)

    def moved(now: Plan) -> list[str]:
        return fingerprint.differences(saved, {}, "pretend", "salt", now)

    assert moved(plan("192.0.2.0/24")) == []
    assert moved(plan("192.0.0.0/16")) == ["kvm.network:hv1/lan: what cidr is to be is not what it was when planned"]
    assert moved(plan("192.0.2.0/24", Impact.RESTART)) == [
        "kvm.network:hv1/lan: impact was live when planned, is restart (after hypervisor:kvm)"
    ]


# What it was made from.


def test_each_file_that_changed_is_named(world: World, file: Path) -> None:
    more, values, motd, other = (world.folder / name for name in ("more.yaml", "vars.yaml", "motd", "other"))
    more.write_text("hosts: {hv1: {files: {/etc/motd: {source: motd}, /etc/other: {source: other}}}}\n")
    values.write_text("a: 1\n")
    for source in (motd, other):
        source.write_text("hello\n")
    request = save(world, file, "include: [more.yaml]\n", var_files=(values,), targets=("host.file:hv1/etc/motd",))
    other.write_text("of no row\n")
    for path, text in ((request.blueprint, "# x\n"), (more, "# x\n"), (values, "b: 2\n"), (motd, "x\n")):
        before = path.read_text()
        path.write_text(before + text)
        told = refusal(file)
        assert [line for line in told.splitlines() if str(path) in line]
        assert len(told.splitlines()) == 3
        path.write_text(before)
    motd.unlink()
    assert f"{motd}, the source of host.file:hv1/etc/motd, cannot be read any more" in refusal(file)
    assert not world.asked


def test_values_of_e_count_and_are_not_in_the_file(world: World, file: Path) -> None:
    wish = "hosts: {hv1: {networks: {lan: {cidr: '{{ net }}'}}}}\n"
    given = ("net=192.0.2.0/24",)
    save(world, file, wish, extra=given)
    assert "192.0.2" not in file.read_text()
    assert "-e net was given when planned" in refusal(file)
    assert "-e net has another value than when planned" in refusal(file, extra=("net=192.0.3.0/24",))
    assert "-e more was not given when planned" in refusal(file, extra=(*given, "more=1"))
    assert engine.apply_saved(file, Consent(), extra=given).exit_code is ExitCode.DONE


def test_of_the_inventory_only_its_hosts_entries_count(world: World, file: Path) -> None:
    request = save(world, file, NETWORKS % LAN)
    assert request.inventory
    request.inventory.write_text("hosts: {hv1: {}, hv2: {port: 2222}, hv9: {}}\n")
    entries = {
        "{address: 192.0.2.9}": "inventory: address of hv1 is not what it was",
        "{jump: hv2}": "inventory: jump of hv1 is not what it was",
        "{vars: {a: 1}}": "inventory: variable a of hv1 is not what it was",
    }
    whole = request.inventory.read_text()
    for entry, told in entries.items():
        request.inventory.write_text(whole.replace("hv1: {}", f"hv1: {entry}"))
        assert told in refusal(file)
    assert not world.asked
    request.inventory.write_text(whole)
    assert engine.apply_saved(file, Consent()).exit_code is ExitCode.DONE


def test_another_vinfra_with_the_same_fields_may_run_it(world: World, file: Path) -> None:
    save(world, file, NETWORKS % LAN)
    document = json.loads(file.read_text())
    forge(file, {**document, "vinfra": "9.9.9"})
    forged = json.loads(file.read_text())
    forged["origin"]["schemas"]["kvm.network"] = "another"
    forge(file, forged)
    assert "(by vinfra 9.9.9; this is" in (told := refusal(file))
    assert "kind kvm.network has other fields in this vinfra" in told
    forge(file, {**document, "vinfra": "9.9.9"})
    assert engine.apply_saved(file, Consent()).exit_code is ExitCode.DONE


def test_a_plan_of_an_older_look_at_the_files_is_not_saved(world: World, file: Path) -> None:
    request = world.request(NETWORKS % LAN)
    plan = engine.plan(request)
    world.request(NETWORKS % DMZ)
    with pytest.raises(RefusedError, match="changed while the plan was made"):
        engine.save(request, plan, file)
    assert not file.exists()
