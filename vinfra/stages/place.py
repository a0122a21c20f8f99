"""Give every machine that can move its host. Pure: it keeps what it finds where it is, and only then fills.

So adding a host moves nothing, and a machine that somebody moved is where he moved it. While a host that might hold a
machine cannot be read, a machine that is not seen is unknown: it is never created a second time.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vinfra.model.address import Address
from vinfra.model.answer import Answer, Later, Present, Unknown
from vinfra.model.blueprint import Demand, Resource
from vinfra.model.kind import Store, Tenant
from vinfra.model.mark import Mark
from vinfra.model.placement import Placement, Promise
from vinfra.model.room import HOST, UNLIMITED, Lack, Room, told


@dataclass(frozen=True, slots=True)
class Site:
    """One host as a place for machines. `found` holds what it said of each address that has no host; `marks` are the
    names of this blueprint's own there, by kind; `labels` its variables. Sizes in bytes, None when it did not say.
    `promise` is what of them machines may get, `unfit` what it lacks for each machine that needs more than room.
    """

    host: str
    error: str = ""
    found: Mapping[Address, Answer] = field(default_factory=dict)
    tenants: Sequence[Tenant] = ()
    marks: frozenset[tuple[str, str]] = frozenset()
    labels: Mapping[str, Any] = field(default_factory=dict)
    cpus: int | None = None
    memory: int | None = None
    stores: Mapping[str, Store] = field(default_factory=dict)
    promise: Promise = field(default_factory=Promise)
    unfit: Mapping[str, str] = field(default_factory=dict)


def marks_of(marks: Iterable[Mark], owner: str) -> frozenset[tuple[str, str]]:
    """Kind and name of what a blueprint has on a host."""
    return frozenset((mark.kind, mark.name) for mark in marks if mark.blueprint == owner)


def place(
    resources: Iterable[Resource], sites: Mapping[str, Site], owner: str, leaving: frozenset[str] = frozenset()
) -> Placement:
    """Where each machine is or goes. `resources` are those with a demand; those of one machine share it.

    `leaving` are hosts that are to be without machines: who is there goes elsewhere, and nobody comes.
    """
    machines: dict[str, list[Resource]] = {}
    for resource in resources:
        if resource.demand:
            machines.setdefault(resource.demand.member, []).append(resource)
    return _Placing(machines, sites, owner, leaving).all()


def settled(resource: Resource, host: str, known: Mapping[str, Address]) -> Resource:
    """What has no host in its address, on its host: its references looked up among what is `known` there."""
    needs = {known[name] for name in resource.hard if name in known}
    after = {known[name] for name in resource.soft if name in known} - needs
    return replace(resource, where=host, needs=resource.needs | needs, after=resource.after | after)


class _Placing:
    def __init__(
        self, machines: Mapping[str, list[Resource]], sites: Mapping[str, Site], owner: str, leaving: frozenset[str]
    ) -> None:
        self.machines = machines
        self.sites = sites
        self.owner = owner
        self.leaving = leaving
        self.rooms = {host: self._room(site) for host, site in sites.items()}
        self.spread: Counter[tuple[str, str]] = Counter()
        self.where: dict[str, str] = {}
        self.moved: dict[str, tuple[str, str]] = {}
        self.moving: dict[str, tuple[str, str]] = {}
        self.unknown: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.stuck: dict[str, str] = {}

    def all(self) -> Placement:
        """Who is found stays, unless it may not; the others are given the host with the fewest of their fleet and the
        most room.
        """
        missing = [demand for demand, parts in self._demands() if not self._kept(demand, parts)]
        gone = [demand for demand, _ in self._demands() if self._must_go(demand)]
        for demand in gone:
            self._move(demand)
        for demand in missing:
            if demand.member not in self.unknown and demand.member not in self.refused:
                self._fill(demand)
        fresh = {*map(self.where.get, (demand.member for demand in missing)), *(to for _, to in self.moving.values())}
        warnings = tuple(filter(None, (self.rooms[host].overdrawn() for host in self.rooms if host in fresh)))
        return Placement(self.where, self.moved, self.moving, self.unknown, self.refused, self.stuck, warnings)

    def _demands(self) -> list[tuple[Demand, list[Resource]]]:
        return [(parts[0].demand, parts) for parts in self.machines.values() if parts[0].demand]

    def _room(self, site: Site) -> Room:
        used_cpu = sum(tenant.cpu for tenant in site.tenants)
        used_memory = sum(tenant.memory for tenant in site.tenants)
        promise = site.promise
        return Room(
            host=site.host,
            labels=site.labels,
            promise=promise,
            error=site.error,
            cpu=UNLIMITED if site.cpus is None else site.cpus * promise.cpu - used_cpu,
            memory=UNLIMITED
            if site.memory is None
            else (site.memory - promise.reserved) * promise.memory - used_memory,
            disk={name: one.size * (promise.disk or 1.0) - one.promised for name, one in site.stores.items()},
            names=frozenset(tenant.name for tenant in site.tenants if not self._ours(tenant, site)),
        )

    def _ours(self, tenant: Tenant, site: Site) -> bool:
        if tenant.owner:
            return tenant.owner == self.owner
        return any(name == tenant.name for _, name in site.marks)

    def _kept(self, demand: Demand, parts: Sequence[Resource]) -> bool:
        """Whether the machine, or something made for it by a run that was cut off, is on a host already."""
        member, names = demand.member, {(part.address.kind, part.address.name) for part in parts}
        machine = parts[0].address
        there = [
            host
            for host, site in self.sites.items()
            if isinstance(site.found.get(machine), Present) and member not in self.rooms[host].names
        ]
        marked = [host for host, site in self.sites.items() if site.marks & names]
        if len(there) > 1:
            self.refused[member] = f"is on {' and on '.join(there)}; remove one of the two by hand"
        elif there and there[0] not in demand.hosts and not self._marked(machine, there[0]):
            advice = "name that host, or move it there yourself (virsh migrate)"
            self.refused[member] = f"is on {there[0]}, which `on:` does not name, without a mark of ours; {advice}"
        elif there:
            self._stay(demand, there[0])
            before = [host for host in marked if host != there[0]]
            if not self._marked(machine, there[0]) and before:
                self.moved[member] = (before[0], there[0])
        else:
            return self._begun(demand, machine, marked)
        return True

    def _marked(self, machine: Address, host: str) -> bool:
        return (machine.kind, machine.name) in self.sites[host].marks

    def _stay(self, demand: Demand, host: str) -> None:
        """Its place is where it is; what it takes is counted among the tenants of that host already."""
        room = self.rooms[host]
        self._settle(demand, host)
        for pool, size in demand.disk:
            if pool in room.disk:
                room.disk[pool] += size
        for tenant in self.sites[host].tenants:
            if tenant.name == demand.member:
                room.cpu += tenant.cpu
                room.memory += tenant.memory

    def _must_go(self, demand: Demand) -> bool:
        """Whether it is on a host where it may not stay."""
        host = self.where.get(demand.member)
        return (
            host is not None
            and demand.member not in self.moved
            and (host not in demand.hosts or (host in self.leaving and self._is_on(demand, host)))
        )

    def _is_on(self, demand: Demand, host: str) -> bool:
        machine = self.machines[demand.member][0].address
        return isinstance(self.sites[host].found.get(machine), Present)

    def _move(self, demand: Demand) -> None:
        """Give it another host, which its mark does not name yet; it stays where it is until it is carried over."""
        old = self.where[demand.member]
        lacks = {host: self._lack(demand, host) for host in demand.hosts if host not in {old, *self.leaving}}
        free = [host for host, lack in lacks.items() if lack is None]
        if not free:
            named = "" if old in self.leaving else ", which `on:` does not name"
            nowhere = told(lacks) if lacks else "`on:` names no other host"
            self.stuck[demand.member] = f"is on {old}{named}, and cannot go elsewhere: {nowhere}"
            return
        new = min(free, key=lambda host: self._rank(demand, host))
        self.moving[demand.member] = (old, new)
        self.rooms[new].take(demand)
        for label in {self._label(demand, old), f"host {old}"}:
            self.spread[demand.fleet, label] -= 1
        for label in {self._label(demand, new), f"host {new}"}:
            self.spread[demand.fleet, label] += 1

    def _lack(self, demand: Demand, host: str) -> Lack | None:
        """Why a machine cannot come to a host."""
        if host in self.leaving:
            return Lack("is to be without machines")
        if unfit := self.sites[host].unfit.get(demand.member):
            return Lack(unfit)
        return self.rooms[host].lack(demand, tuple(self.rooms.values()))

    def _begun(self, demand: Demand, machine: Address, marked: Sequence[str]) -> bool:
        """Whether a machine that nobody has seen must stay with its marks, or cannot be given a place."""
        member = demand.member
        silent = [host for host in marked if isinstance(self.sites[host].found.get(machine), Later | Unknown)]
        begun = [host for host in marked if host in demand.hosts]
        if silent:
            # It was there when that libvirt last ran. What this plan starts is read again then; the rest is not known.
            answer = self.sites[silent[0]].found[machine]
            if isinstance(answer, Later) and silent[0] in demand.hosts:
                self._settle(demand, silent[0])
            else:
                self.unknown[member] = f"{silent[0]} held it, and does not tell now: {getattr(answer, 'reason', '')}"
        elif blind := self._blind(demand, machine):
            self.unknown[member] = blind
        elif begun and (lack := self._lack(demand, begun[0])):
            self.refused[member] = f"was begun on {begun[0]}, which {lack.told}"
        elif begun:
            self._settle(demand, begun[0])
        else:
            return False
        return True

    def _blind(self, demand: Demand, machine: Address) -> str:
        """A host that may hold it, for all we know."""
        for host in demand.hosts:
            site = self.sites.get(host)
            answer = site.found.get(machine) if site else None
            if site is None or site.error:
                return f"{host} cannot be read, and may hold it"
            if isinstance(answer, Unknown) or (isinstance(answer, Later) and not answer.bare):
                return f"{host} may hold it: {answer.reason}"
        return ""

    def _fill(self, demand: Demand) -> None:
        lacks = {host: self._lack(demand, host) for host in demand.hosts}
        taken = [host for host in demand.hosts if demand.member in self.rooms[host].names]
        free = [host for host, lack in lacks.items() if lack is None]
        if taken or not free:
            self.refused[demand.member] = told({host: lacks[host] for host in taken or demand.hosts})
            return
        self._settle(demand, min(free, key=lambda host: self._rank(demand, host)))

    def _rank(self, demand: Demand, host: str) -> tuple[int, int, float]:
        return (
            self.spread[demand.fleet, self._label(demand, host)],
            self.spread[demand.fleet, f"host {host}"],
            -self.rooms[host].memory,
        )

    def _label(self, demand: Demand, host: str) -> str:
        return f"host {host}" if demand.spread == HOST else str(self.sites[host].labels.get(demand.spread, ""))

    def _settle(self, demand: Demand, host: str) -> None:
        self.where[demand.member] = host
        self.rooms[host].take(demand)
        for label in {self._label(demand, host), f"host {host}"}:
            self.spread[demand.fleet, label] += 1
