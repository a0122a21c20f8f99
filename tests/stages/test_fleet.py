"""Fleets: who their members are, what they are made of, and that they are hosts too."""

from pathlib import Path

import pytest

from tests.stages.files import Read, read
from vinfra.model.blueprint import Demand

SUM = "0" * 64
IMAGES = f"""images:
  tiny: {{source: https://example.org/t, sha256: '{SUM}'}}
  other: {{source: https://example.org/o, sha256: '{SUM}'}}
"""
INVENTORY = (
    "hosts: {hv1: {vars: {rack: a}}, hv2: {vars: {rack: b}}, web: }\ngroups: {hypervisors: {hosts: [hv1, hv2]}}\n"
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def expanded(fleet: str, more: str = "", extra: tuple[str, ...] = ()) -> Read:
    text = f"blueprint: b\n{IMAGES}fleets:\n  web: {{on: hypervisors, memory: 1GiB, {fleet}}}\n{more}"
    return read({"web.yaml": text, "inv.yaml": INVENTORY}, extra)


def members(found: Read) -> list[str]:
    assert not found.problems
    return [item.address.name for item in found.resources if item.address.kind == "kvm.domain"]


def test_members_are_counted_from_one() -> None:
    assert members(expanded("count: 3")) == ["web-01", "web-02", "web-03"]
    assert members(expanded("count: 0")) == []
    assert members(expanded("count: '{{ n }}'", extra=("n=2",))) == ["web-01", "web-02"]


def test_named_ones_go_first_and_the_others_keep_their_numbers() -> None:
    assert members(expanded("count: 3, remove: [web-02]")) == ["web-01", "web-03", "web-04"]
    assert members(expanded("count: 0, remove: [web-01]")) == []
    assert members(expanded("count: 1, remove: [web-01, web-02]")) == ["web-03"]
    found = expanded("count: 2, remove: [web-9]")
    assert "'web-9' is none of its members (web-01 … web-03)" in str(found.problems[0])
    found = expanded("for_each: [a], remove: [web-a]")
    assert "`remove:` is for those of `count:`" in str(found.problems[0])
    assert "write a list" in str(expanded("count: 1, remove: web-01").problems[0])
    found = expanded("count: 2, remove: [web-01], overrides: {web-01: {cpu: 2}}")
    assert "web-01" in str(found.problems[0])


def test_what_a_hypervisor_may_promise_is_said_with_ratios_and_sizes() -> None:
    def hypervisor(overcommit: str) -> Read:
        return expanded("count: 1", f"hosts:\n  hv1: {{hypervisor: {{kind: kvm, overcommit: {overcommit}}}}}\n")

    said = hypervisor("{cpu: 8, memory: 1.5, disk: 2, reserved: 4GiB}").field("kvm.hypervisor:hv1/kvm", "overcommit")
    assert (said.cpu, said.memory, said.disk, said.reserved) == (8.0, 1.5, 2.0, 4 << 30)
    for wrong in ("{cpu: 0}", "{memory: -1}", "{disk: many}", "{cpu: 101}"):
        assert "write a number above 0, up to 100" in str(hypervisor(wrong).problems[0])
    assert "cannot depend on facts" in str(hypervisor("'{{ facts.cpu }}'").problems[0])


def test_members_have_the_names_of_a_list_or_a_mapping() -> None:
    assert members(expanded("for_each: [blue, green]")) == ["web-blue", "web-green"]
    named = expanded("for_each: {a: {cpu: 4}}, name: '{{ member.key }}.net', cpu: '{{ member.value.cpu }}'")
    assert members(named) == ["a.net"]
    assert named.field("kvm.domain:a.net", "cpu") == 4


def test_a_member_may_differ_from_the_others_in_part() -> None:
    found = expanded("count: 2, disks: {root: 1GiB, data: 2GiB}, overrides: {web-02: {disks: {data: 3GiB}}}")
    assert members(found) == ["web-01", "web-02"]
    sizes = {item.address.name: item.desired.size for item in found.resources if item.address.kind == "kvm.volume"}  # type: ignore[union-attr]
    gib = 1 << 30
    assert sizes == {"web-01/root": gib, "web-01/data": 2 * gib, "web-02/root": gib, "web-02/data": 3 * gib}


def test_a_member_has_no_host_but_a_demand_that_all_its_parts_share() -> None:
    found = expanded("count: 1, cpu: 2, image: tiny, spread: rack, anti_affinity: web")
    demand = Demand("web-01", "web", ("hv1", "hv2"), 2, 1 << 30, "rack", "web")
    over = expanded("count: 1, anti_affinity: {group: db, over: rack}, disks: {root: 2GiB}")["kvm.domain:web-01"].demand
    assert over is not None
    assert (over.apart, over.over, over.disk) == ("db", "rack", (("default", 2 << 30),))
    assert "group" in str(expanded("count: 1, anti_affinity: {over: rack}").problems[0])
    machine, disk = found["kvm.domain:web-01"], found["kvm.volume:web-01/root"]
    assert machine.demand == disk.demand == demand
    assert not machine.place
    assert disk.address in machine.needs
    assert "image:tiny" in disk.hard


def test_an_image_is_made_where_something_needs_it_and_nowhere_else() -> None:
    found = expanded("count: 1, image: tiny", "hosts: {hv2: {volumes: {data: {image: other}}}}\n")
    images = {str(item.address): item.lazy for item in found.resources if item.address.kind == "kvm.image"}
    assert images == {"kvm.image:hv1/tiny": True, "kvm.image:hv2/tiny": True, "kvm.image:hv2/other": False}


def test_members_are_hosts_in_groups_of_their_own_but_not_in_all() -> None:
    more = "hosts:\n  fleets.web: {files: {/a: '{{ host.name }} {{ member.number }}'}}\n  all: {files: {/b: x}}\n"
    found = expanded("count: 2", more)
    assert not found.problems
    assert found.inventory.groups["fleets.web"] == ("web-01", "web-02")
    assert found.field("host.file:web-02/a", "content") == "web-02 2"
    needs = {str(address) for address in found["host.file:web-02/a"].needs}
    assert needs == {"kvm.guest:web-02"}
    assert [item.address.host for item in found.resources if item.address.name == "/b"] == ["hv1", "hv2", "web"]


def test_what_an_included_file_says_of_members_counts() -> None:
    part = "hosts: {included: {files: {/a: x}}}\n"
    text = "blueprint: b\ninclude: [{file: part.yaml, hosts: fleets.web}]\n"
    text += "fleets: {web: {on: hypervisors, memory: 1GiB, count: 1}}\n"
    found = read({"web.yaml": text, "part.yaml": part, "inv.yaml": INVENTORY})
    assert not found.problems
    assert found["host.file:web-01/a"]


def test_the_key_beside_the_private_one_is_let_in(tmp_path: Path) -> None:
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAA me\n")
    found = expanded("count: 1, access: {key_file: id}")
    assert not found.problems
    assert found.field("kvm.seed:web-01/seed", "public_key") == "ssh-ed25519 AAAA me"
    assert found.field("kvm.guest:web-01", "key_file") == str(tmp_path / "id")
