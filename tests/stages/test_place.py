"""Machines keep their host; the others get the one with the fewest of their fleet and the most room; never two."""

from typing import Any

from vinfra.model.address import Address
from vinfra.model.answer import Absent, Answer, Later, Present, Unknown
from vinfra.model.blueprint import Demand, Resource
from vinfra.model.kind import Store, Tenant
from vinfra.model.placement import Placement, Promise
from vinfra.model.spec import Spec
from vinfra.stages.place import Site, place

GIB = 1 << 30
HOSTS = ("hv1", "hv2", "hv3")
THERE = Present(Spec())


def address(name: str) -> Address:
    return Address("kvm.domain", "", name)


def machine(name: str, **demand: Any) -> Resource:
    given = {"member": name, "fleet": "web", "hosts": HOSTS, "cpu": 1, "memory": GIB, **demand}
    return Resource(address(name), Spec(), demand=Demand(**given))


def site(
    host: str,
    *tenants: str,
    owner: str = "mine",
    marks: tuple[str, ...] = (),
    answers: dict[str, Answer] | None = None,
    **more: Any,
) -> Site:
    found = {address(name): THERE for name in tenants} | {address(k): v for k, v in (answers or {}).items()}
    here = [Tenant(name, 1, GIB, owner) for name in tenants]
    own = frozenset(("kvm.domain", name) for name in marks)
    return Site(host, found=found, tenants=here, marks=own, **{"cpus": 4, "memory": 9 * GIB, **more})


def placed(machines: list[Resource], *sites: Site) -> Placement:
    return place(machines, {item.host: item for item in sites}, "mine")


def fleet(count: int, **demand: Any) -> list[Resource]:
    return [machine(f"web-{number}", **demand) for number in range(1, count + 1)]


def test_a_fleet_is_spread_evenly() -> None:
    found = placed(fleet(6), *map(site, HOSTS))
    assert sorted(found.where.values()) == ["hv1", "hv1", "hv2", "hv2", "hv3", "hv3"]
    assert not found.refused


def test_a_fleet_is_spread_over_racks_first() -> None:
    sites = [site("hv1", labels={"rack": "a"}), site("hv2", labels={"rack": "a"}), site("hv3", labels={"rack": "b"})]
    found = placed(fleet(4, spread="rack"), *sites)
    assert sorted(found.where.values()) == ["hv1", "hv2", "hv3", "hv3"]


def test_adding_a_host_moves_nothing_and_gets_what_is_new() -> None:
    sites = [site("hv1", "web-1", marks=("web-1",)), site("hv2", "web-2", marks=("web-2",)), site("hv3")]
    found = placed(fleet(3), *sites)
    assert found.where == {"web-1": "hv1", "web-2": "hv2", "web-3": "hv3"}
    assert not found.moved


def test_what_somebody_moved_by_hand_is_where_it_is() -> None:
    found = placed(fleet(1), site("hv1", marks=("web-1",)), site("hv2", "web-1"), site("hv3"))
    assert found.where == {"web-1": "hv2"}
    assert found.moved == {"web-1": ("hv1", "hv2")}


def test_what_is_on_a_host_that_is_no_longer_named_is_not_made_twice() -> None:
    found = placed([machine("web-1", hosts=("hv1",))], site("hv1"), site("hv2", "web-1"))
    assert "hv2" in found.refused["web-1"]
    assert "web-1" not in found.where


def test_while_a_host_that_may_hold_it_is_unknown_it_is_unknown() -> None:
    for dark in (Site("hv2", error="no answer"), site("hv2", answers={"web-2": Unknown("libvirt hangs")})):
        found = placed(fleet(2), site("hv1", "web-1", marks=("web-1",)), dark, site("hv3"))
        assert found.where == {"web-1": "hv1"}
        assert "hv2" in found.unknown["web-2"]


def test_a_host_that_is_about_to_become_a_hypervisor_holds_nothing_yet() -> None:
    nothing = Later("libvirt is not there yet", "hypervisor:kvm", bare=True)
    sites = [site(host, answers={"web-1": nothing}) for host in HOSTS]
    assert placed(fleet(1), *sites).where == {"web-1": "hv1"}


def test_a_hypervisor_that_does_not_run_may_hold_anything_and_holds_what_it_held() -> None:
    asleep = {name: Later("libvirt is off", "hypervisor:kvm") for name in ("web-1", "web-2")}
    found = placed(fleet(2), site("hv1"), site("hv2", marks=("web-1",), answers=asleep), site("hv3"))
    assert found.where == {"web-1": "hv2"}
    assert "hv2 may hold it" in found.unknown["web-2"]


def test_what_a_run_that_was_cut_off_began_goes_on_there() -> None:
    found = placed(fleet(1), site("hv1"), site("hv2", marks=("web-1",), answers={"web-1": Absent()}), site("hv3"))
    assert found.where == {"web-1": "hv2"}


def test_a_name_that_another_domain_has_is_refused() -> None:
    found = placed(fleet(1), site("hv1"), site("hv2", "web-1", owner=""), site("hv3"))
    assert "hv2 has a domain web-1 that is not of this blueprint" in found.refused["web-1"]
    found = placed(fleet(1), site("hv1", "web-1", owner="theirs"), site("hv2"), site("hv3"))
    assert "not of this blueprint" in found.refused["web-1"]


def test_two_of_one_name_are_refused() -> None:
    found = placed(fleet(1), site("hv1", "web-1"), site("hv2", "web-1"), site("hv3"))
    assert "hv1 and on hv2" in found.refused["web-1"]


def test_anti_affinity_keeps_machines_of_any_fleet_apart() -> None:
    pair = [machine("db-1", fleet="db", apart="db"), machine("backup-1", fleet="backup", apart="db")]
    found = placed(pair, site("hv1"), site("hv2"), site("hv3"))
    assert found.where["db-1"] != found.where["backup-1"]
    found = placed(fleet(4, apart="web"), *map(site, HOSTS))
    assert len(set(found.where.values())) == 3
    assert "anti_affinity" in found.refused["web-4"]


def test_what_does_not_fit_is_refused_with_the_reason_for_each_host() -> None:
    found = placed(fleet(3, memory=8 * GIB), site("hv1"), site("hv2", "a", "b"), site("hv3", cpus=1, memory=None))
    assert sorted(found.where.values()) == ["hv1", "hv3", "hv3"]
    found = placed(fleet(9, hosts=("hv3",)), site("hv3", cpus=2, memory=None))
    assert len(found.where) == 8
    assert "0 virtual CPUs left" in found.refused["web-9"]


def test_what_is_there_is_counted_once() -> None:
    sites = [site("hv1", "web-1", memory=2 * GIB + (512 << 20))]
    found = placed(fleet(2, hosts=("hv1",)), *sites)
    assert found.where == {"web-1": "hv1", "web-2": "hv1"}


def test_what_a_host_outside_on_held_is_unknown_while_its_libvirt_does_not_answer() -> None:
    silent = site("hv2", marks=("web-1",), answers={"web-1": Unknown("libvirt's daemon does not run")})
    found = placed([machine("web-1", hosts=("hv1",))], site("hv1"), silent)
    assert "hv2 held it" in found.unknown["web-1"]
    assert not found.where


def test_anti_affinity_over_racks_keeps_them_out_of_one_rack() -> None:
    racks = {"hv1": "a", "hv2": "a", "hv3": "b"}
    sites = [site(host, labels={"rack": rack}) for host, rack in racks.items()]
    found = placed(fleet(3, apart="db", over="rack"), *sites)
    assert sorted(racks[host] for host in found.where.values()) == ["a", "b"]
    assert "hv2 has another machine of 'db' in rack a (anti_affinity)" in found.refused["web-3"]
    mixed = [machine("db-1", apart="db"), machine("db-2", apart="db", over="rack")]  # one wall is enough
    assert {racks[host] for host in placed(mixed, *sites).where.values()} == {"a", "b"}
    found = placed(fleet(1, apart="db", over="zone"), *sites)
    assert "hv1 has no variable 'zone', which anti_affinity is over" in found.refused["web-1"]


def test_what_may_be_promised_of_a_host_is_what_it_says() -> None:
    [big] = fleet(1, memory=12 * GIB, cpu=8, hosts=("hv1",))
    assert "9.0" not in placed([big], site("hv1")).refused["web-1"]
    generous = Promise(cpu=8, memory=2.0, reserved=0)
    assert placed([big], site("hv1", cpus=1, promise=generous)).where == {"web-1": "hv1"}
    assert "has 8.5GiB of memory left, 12.0GiB are needed" in placed([big], site("hv1")).refused["web-1"]
    frugal = Promise(reserved=8 * GIB)
    assert "has 1.0GiB of memory left" in placed([big], site("hv1", promise=frugal)).refused["web-1"]
    narrow = Promise(cpu=1.5)
    small = fleet(1, cpu=7, hosts=("hv1",))
    told = placed(small, site("hv1", promise=narrow)).refused["web-1"]
    assert told == "hv1 has 6 virtual CPUs left (1.5 for each of its own), 7 are needed"


def test_what_fits_nowhere_says_what_each_host_has_left() -> None:
    found = placed(fleet(1, memory=64 * GIB), site("hv1"), site("hv2", memory=31 * GIB), site("hv3", "a"))
    assert found.refused["web-1"] == "no host has 64.0GiB of memory left: hv1 8.5GiB, hv2 30.5GiB, hv3 7.5GiB"
    found = placed(fleet(1, cpu=17), *map(site, HOSTS))
    assert found.refused["web-1"] == "no host has 17 virtual CPUs left: hv1 16, hv2 16, hv3 16"


def test_disks_beyond_their_pool_are_a_warning_or_with_a_ratio_refused() -> None:
    tight, roomy = {"default": Store(20 * GIB, 15 * GIB)}, {"default": Store(90 * GIB, 0)}
    disks = fleet(2, disk=(("default", 8 * GIB),), hosts=("hv1",))
    found = placed(disks, site("hv1", stores=tight))
    assert found.where == {"web-1": "hv1", "web-2": "hv1"}
    assert found.warnings == (
        "hv1: pool default has 11.0GiB less than its disks may grow to, those of this plan included",
    )
    found = placed(disks, site("hv1", stores=tight, promise=Promise(disk=1.2)))
    assert found.where == {"web-1": "hv1"}
    assert found.refused == {"web-2": "hv1 has 1.0GiB left in pool default, 8.0GiB are needed"}
    assert not placed(disks, site("hv1", stores=roomy)).warnings
    both = fleet(1, disk=(("default", 200 * GIB),), hosts=("hv1", "hv2"))
    strict = {"stores": tight, "promise": Promise(disk=1.0)}
    found = placed(both, site("hv1", **strict), site("hv2", **strict))  # type: ignore[arg-type]
    assert found.refused["web-1"] == "no host has 200.0GiB in pool default left: hv1 5.0GiB, hv2 5.0GiB"


def test_a_host_that_lacks_what_a_machine_needs_is_passed_over() -> None:
    lacking = site("hv1", unfit={"web-1": "has no huge pages"})
    assert placed(fleet(1, hosts=("hv1", "hv2")), lacking, site("hv2")).where == {"web-1": "hv2"}
    assert placed(fleet(1, hosts=("hv1",)), lacking).refused == {"web-1": "hv1 has no huge pages"}


def test_what_on_does_not_name_any_more_is_to_move_to_a_host_that_it_names() -> None:
    here = site("hv1", "web-1", "web-2", marks=("web-1", "web-2"))
    found = placed(fleet(2, hosts=("hv2", "hv3")), here, site("hv2"), site("hv3"))
    assert found.where == {"web-1": "hv1", "web-2": "hv1"}
    assert found.moving == {"web-1": ("hv1", "hv2"), "web-2": ("hv1", "hv3")}
    found = placed(fleet(2, hosts=("hv2",)), here, site("hv2", memory=2 * GIB))
    assert found.moving == {"web-1": ("hv1", "hv2")}
    assert found.stuck == {
        "web-2": "is on hv1, which `on:` does not name, and cannot go elsewhere: "
        "hv2 has 0.5GiB of memory left, 1.0GiB are needed"
    }


def test_a_host_that_is_to_be_empty_gets_nobody_and_loses_who_is_there() -> None:
    sites = {one.host: one for one in (site("hv1", "web-1", marks=("web-1",)), site("hv2"), site("hv3"))}
    found = place(fleet(3), sites, "mine", frozenset({"hv1"}))
    assert found.moving == {"web-1": ("hv1", "hv2")}
    assert set(found.where.values()) == {"hv1", "hv2", "hv3"}
    assert [host for name, host in found.where.items() if name != "web-1"] == ["hv3", "hv2"]
    alone = place(fleet(1, hosts=("hv1",)), sites, "mine", frozenset({"hv1"}))
    assert alone.stuck == {"web-1": "is on hv1, and cannot go elsewhere: `on:` names no other host"}
