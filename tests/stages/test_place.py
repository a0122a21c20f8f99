"""Machines keep their host; the others get the one with the fewest of their fleet and the most room; never two."""

from typing import Any

from vinfra.model.address import Address
from vinfra.model.answer import Absent, Answer, Later, Present, Unknown
from vinfra.model.blueprint import Demand, Resource
from vinfra.model.kind import Tenant
from vinfra.model.placement import Placement
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
