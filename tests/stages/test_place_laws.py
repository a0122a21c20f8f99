"""Of any fleets on any hosts: who has a place keeps it, walls stand, and nobody gets more than there is."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from vinfra.model.address import Address
from vinfra.model.answer import Present
from vinfra.model.blueprint import Demand, Resource
from vinfra.model.kind import Store, Tenant
from vinfra.model.placement import Placement
from vinfra.model.spec import Spec
from vinfra.stages.place import Site, place

GIB = 1 << 30
Sites = dict[str, Site]


@st.composite
def hosts(draw: st.DrawFn, first: int = 1, most: int = 5) -> Sites:
    """Hosts of any size, in up to three racks; some are in none."""
    found = {}
    for number in range(first, first + draw(st.integers(1, most))):
        rack = draw(st.sampled_from(["a", "b", "c", None]))
        found[f"hv{number}"] = Site(
            f"hv{number}",
            labels={"rack": rack} if rack else {},
            cpus=draw(st.integers(1, 8)),
            memory=draw(st.integers(1, 64)) * GIB,
            stores={"default": Store(draw(st.integers(0, 200)) * GIB, 0)},
        )
    return found


@st.composite
def fleets(draw: st.DrawFn, names: tuple[str, ...], prefix: str = "f") -> list[Resource]:
    """Up to three fleets on any of the hosts."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        on = tuple(draw(st.lists(st.sampled_from(names), min_size=1, unique=True)))
        shape = {
            "cpu": draw(st.integers(0, 4)),
            "memory": draw(st.integers(0, 16)) * GIB,
            "spread": draw(st.sampled_from(["host", "rack"])),
            "apart": draw(st.sampled_from(["", "x", "y"])),
            "over": draw(st.sampled_from(["host", "rack"])),
            "disk": (("default", draw(st.integers(0, 40)) * GIB),),
        }
        for member in range(1, draw(st.integers(1, 6)) + 1):
            demand = Demand(f"{prefix}{number}-{member}", f"{prefix}{number}", on, **shape)  # type: ignore[arg-type]
            found.append(Resource(Address("kvm.domain", "", demand.member), Spec(), demand=demand))
    return found


def settled(sites: Sites, machines: list[Resource], found: Placement) -> Sites:
    """The hosts after all that was placed was made."""
    there: dict[str, list[Demand]] = defaultdict(list)
    for machine in machines:
        if machine.demand and machine.demand.member in found.where:
            there[found.where[machine.demand.member]].append(machine.demand)
    result = {}
    for name, site in sites.items():
        own = there[name]
        here = {Address("kvm.domain", "", demand.member): Present(Spec()) for demand in own}
        pool = site.stores["default"]
        taken = sum(size for demand in own for _, size in demand.disk)
        result[name] = replace(
            site,
            found={**site.found, **here},
            tenants=[*site.tenants, *(Tenant(one.member, one.cpu, one.memory, "mine") for one in own)],
            marks=site.marks | {("kvm.domain", one.member) for one in own},
            stores={"default": replace(pool, promised=pool.promised + taken)},
        )
    return result


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_who_has_a_place_keeps_it_whatever_else_changes(data: st.DataObject) -> None:
    sites = data.draw(hosts())
    machines = data.draw(fleets(tuple(sites)))
    first = place(machines, sites, "mine")
    assert first == place(machines, sites, "mine")
    world = settled(sites, machines, first)
    again = place(machines, world, "mine")
    assert again.where == {**again.where, **first.where}
    assert not again.moving and not again.moved
    assert again.where == first.where  # nobody finds room who had none

    added = data.draw(hosts(first=9, most=3))
    more = data.draw(fleets(tuple(world | added), prefix="g"))
    on = tuple(world | added)
    wider = [
        replace(one, demand=replace(one.demand, hosts=(*one.demand.hosts, *added))) for one in machines if one.demand
    ]
    labelled = {name: replace(site, labels={**site.labels, "rack": "z"}) for name, site in (world | added).items()}
    larger = [replace(one, demand=replace(one.demand, memory=one.demand.memory * 9)) for one in wider if one.demand]
    backwards = [*more, *reversed(wider)]
    for wish, where in ((wider, world | added), (backwards, world | added), (wider, labelled), (larger, world | added)):
        after = place(wish, {name: where[name] for name in on}, "mine")
        assert {name: after.where.get(name) for name in first.where} == first.where
        assert not after.moving and not after.moved
    fewer = [one for one in machines if one.demand and not one.demand.member.endswith("-1")]
    kept = place(fewer, world, "mine").where
    assert {name: host for name, host in first.where.items() if not name.endswith("-1")}.items() <= kept.items()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_nobody_gets_more_than_there_is_and_walls_stand(data: st.DataObject) -> None:
    sites = data.draw(hosts())
    machines = data.draw(fleets(tuple(sites)))
    found = place(machines, sites, "mine")
    demands = {one.demand.member: one.demand for one in machines if one.demand}
    assert {*found.where} | {*found.refused} == {*demands}
    for host, site in sites.items():
        here = [demands[name] for name, where in found.where.items() if where == host]
        assert site.memory is not None and site.cpus is not None
        assert sum(one.memory for one in here) <= max(0, site.memory - (512 << 20))
        assert sum(one.cpu for one in here) <= site.cpus * 4
        assert all(host in one.hosts for one in here)
    values = {host: {"host": host, **site.labels} for host, site in sites.items()}
    for name, host in found.where.items():
        for other, there in found.where.items():
            one, two = demands[name], demands[other]
            if name != other and one.apart and one.apart == two.apart:
                assert values[host].get(one.over) != values[there].get(one.over) or one.over not in values[host]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_host_that_is_left_keeps_only_who_can_go_nowhere(data: st.DataObject) -> None:
    sites = data.draw(hosts())
    machines = data.draw(fleets(tuple(sites)))
    first = place(machines, sites, "mine")
    gone = data.draw(st.sampled_from(sorted(sites)))
    after = place(machines, settled(sites, machines, first), "mine", frozenset({gone}))
    there = {name for name, host in first.where.items() if host == gone}
    assert {*after.moving} | {*after.stuck} == there
    assert all(old == gone and new != gone for old, new in after.moving.values())
    assert first.where.items() <= after.where.items()
    assert gone not in {host for name, host in after.where.items() if name not in first.where}
