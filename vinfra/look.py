"""One look at reality on behalf of a request, and what follows from it: discover, place, diff, plan, apply.

Hosts of the inventory are read first; the virtual machines among the blueprint's hosts after them, for only their
hypervisors know whether they are up and where.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache, partial
from pathlib import Path

from vinfra.errors import RefusedError, Unreachable, UsageError
from vinfra.kinds.host import facts as host_facts
from vinfra.kinds.registry import kinds as known_kinds
from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Later, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta
from vinfra.model.discovery import HostState
from vinfra.model.inventory import Host, Inventory
from vinfra.model.kind import Kinds
from vinfra.model.mark import Mark
from vinfra.model.outcome import Observer, Observers, Outcome
from vinfra.model.placement import Placement
from vinfra.model.plan import Plan
from vinfra.model.request import Consent, Request, Wish
from vinfra.stages.apply import Tools
from vinfra.stages.apply import apply as run_plan
from vinfra.stages.diff import diff, unplaced
from vinfra.stages.discover import Search, Survey, finish, survey
from vinfra.stages.place import Site, marks_of, place, settled
from vinfra.stages.plan import plan as make_plan
from vinfra.stages.plan import with_steps
from vinfra.stages.render import Sources, render
from vinfra.text.fleet import GROUP
from vinfra.text.pattern import select
from vinfra.transport.reach import Connections
from vinfra.transport.secrets import reveal

GUEST = "kvm.guest"
LOGIN = "login"  # among the notes of a guest that can be reached: the host it is
Rows = dict[Address, Change]


@dataclass
class Look:
    """What is wished for, what is there, and the difference."""

    request: Request
    wish: Wish
    connections: Connections
    observer: Observer
    everywhere: bool = False
    kinds: Kinds = field(default_factory=known_kinds)
    states: dict[str, HostState] = field(default_factory=dict)
    placement: Placement = field(default_factory=Placement)
    placed: dict[str, list[Resource]] = field(default_factory=dict)
    _fresh: dict[str, Rows] = field(default_factory=dict)
    _locks: defaultdict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    def plan(self) -> Plan:
        """Discover, place, diff, plan."""
        began = time.monotonic()
        bound, movable = self._wanted()
        self._discover(bound, movable)
        changes = self._diff()
        self._check_targets()
        limit = self._limit
        shown = {host: state for host, state in self.states.items() if limit is None or host in limit}
        owner = self.wish.blueprint.name
        made = make_plan(owner, shown, changes, self.placed, self.kinds, self._leftover)
        warnings = (*self.wish.blueprint.warnings, *made.warnings)
        return replace(
            made,
            changes=(*self._unplaced(movable), *made.changes),
            digest=self.wish.blueprint.digest,
            warnings=warnings,
            seconds=time.monotonic() - began,
            moved=self.placement.moved,
        )

    def run(self, plan: Plan, consent: Consent, run: str) -> Outcome:
        """Ask for consent, then apply."""
        plan = plan.within(consent.max_impact)
        consent.show(plan)
        if plan.refused and not consent.skip_refused:
            rows = "\n  ".join(f"{row.address}: {row.delta.reason}" for row in plan.refused)
            raise RefusedError(
                f"nothing was touched: {len(plan.refused)} refused\n  {rows}", "--skip-refused does the rest"
            )
        if plan.runnable and not consent.confirm(plan):
            raise RefusedError("not confirmed, nothing was touched")
        tools = Tools(
            writer=self.connections.writer,
            again=self._again,
            marks={host: state.marks for host, state in self.states.items()},
            run=run,
            forks=self.request.forks,
            clean=self.everywhere,
        )
        outcomes, interrupted = run_plan(plan, tools, self.observer)
        return Outcome(run, plan, outcomes, interrupted)

    # What is wished for.

    @cached_property
    def _limit(self) -> frozenset[str] | None:
        """The hosts of --limit; None for all."""
        return frozenset(selected(self.wish.inventory, self.request.limit)) if self.request.limit else None

    def _wanted(self) -> tuple[dict[str, list[Resource]], list[Resource]]:
        """The resources aimed at: those of each host that is to be looked at, in inventory order, and the movable."""
        hosts = self.wish.inventory.hosts
        machines = [name for name, host in hosts.items() if host.connection != "guest"]
        within = [name for name in hosts if self._limit is None or name in self._limit]
        aimed = self._with_needs({item.address for item in self.wish.resources if self._aimed(item)})
        # What left the blueprint can be aimed at too, so with targets every host that the blueprint names is looked at.
        named = {resource.address.host for resource in self.wish.resources}
        pruning = bool(self.request.targets) and not self.request.exact and self.request.prune
        looked = [name for name in machines if name in within and (self.everywhere or (pruning and name in named))]
        bound: dict[str, list[Resource]] = {host: [] for host in looked}
        movable: dict[Address, Resource] = {}
        for resource in self.wish.resources:
            if resource.address not in aimed and not resource.lazy:
                continue
            if resource.demand:
                movable[resource.address] = resource
            elif resource.address.host in within or resource.lazy:
                bound.setdefault(resource.address.host, []).append(resource)
        members = bound.keys() - set(machines)  # a virtual machine is found through its hypervisor
        movable |= {item.address: item for item in self.wish.resources if item.demand and item.demand.member in members}
        return bound, list(movable.values())

    def _check_targets(self) -> None:
        """Each --target must name something: one with a slip in it would pass for "no drift"."""
        known = [*self.wish.resources, *(item for state in self.states.values() for item in state.resources)]
        for item in () if self.request.exact else self.request.targets:
            if not any(fnmatchcase(name, item) for resource in known for name in _names(resource)):
                some = ", ".join(sorted({resource.address.reference for resource in known})[:3])
                raise UsageError(
                    f"--target {item!r} names nothing of this blueprint", f"write it like {some or 'file:/etc/motd'}"
                )

    def _with_needs(self, aimed: set[Address]) -> set[Address]:
        """What is aimed at and, unless it is named exactly, what that needs, and what that needs."""
        if self.request.exact or not self.request.targets:
            return aimed
        needs = {resource.address: resource.needs for resource in self.wish.resources}
        open_ends = list(aimed)
        while open_ends:
            more = needs.get(open_ends.pop(), frozenset()) - aimed
            aimed |= more
            open_ends += more
        return aimed

    def _aimed(self, resource: Resource) -> bool:
        if self.request.exact:
            return str(resource.address) in self.request.targets
        return not self.request.targets or any(
            fnmatchcase(name, item) for name in _names(resource) for item in self.request.targets
        )

    @cached_property
    def _declared(self) -> frozenset[Address]:
        return frozenset(resource.address for resource in self.wish.resources if not resource.lazy)

    def _leftover(self, mark: Mark, address: Address) -> bool:
        """Whether a mark's object left this blueprint, and is aimed at. One machine may have two names: see `host`.

        An image that nothing on this host needs any more has left it too.
        """
        elsewhere = mark.host != address.host and mark.host in self.wish.inventory.hosts
        ours = self.request.prune and mark.blueprint == self.wish.blueprint.name and not elsewhere
        here = {resource.address for resource in self.placed.get(address.host, ())}
        declared = address in self._declared or replace(address, host="") in self._declared or address in here
        return ours and not declared and self._aimed(Resource(address, None))

    # What is there.

    def _search(self) -> Search:
        return Search(
            kinds=self.kinds,
            facts=host_facts,
            render=partial(render, sources=Sources(lru_cache(_text), reveal)),
            owner=self.wish.blueprint.name,
            leftover=self._leftover,
        )

    def _discover(self, bound: Mapping[str, Sequence[Resource]], movable: Sequence[Resource]) -> None:
        """Everything but the virtual machines, then those that are up."""
        search, reader, forks = self._search(), self.connections.reader, self.request.forks
        guests = {host: items for host, items in bound.items() if self._host(host).connection == "guest"}
        asked: dict[str, list[Resource]] = {host: list(bound[host]) for host in bound if host not in guests}
        for resource in movable:
            for host in resource.demand.hosts if resource.demand else ():
                asked.setdefault(host, []).append(resource)
        order = [host for host in self.wish.inventory.hosts if host in asked]
        surveys = survey({host: asked[host] for host in order}, search, reader, self.observer, forks)
        owner = self.wish.blueprint.name
        sites = {host: self._site(found, owner) for host, found in surveys.items()}
        self.placement = place(movable, sites, owner)
        self.placed = self._placed({host: bound.get(host, ()) for host in order}, movable)
        self.states = finish(surveys, self.placed, search, reader, self.observer, forks)
        self._join(self.states.values())
        self.placed |= {host: list(items) for host, items in guests.items()}
        coming = {host: self._guest(host, items) for host, items in guests.items()}
        up = {host: guests[host] for host, state in coming.items() if state is None}
        surveys = survey(up, search, reader, self.observer, forks)
        read = finish(surveys, up, search, reader, self.observer, forks)
        self.states |= {host: state or read[host] for host, state in coming.items()}

    def _site(self, found: Survey, owner: str) -> Site:
        facts = found.state.facts
        return Site(
            host=found.host,
            error=found.error,
            found=found.found,
            tenants=found.tenants,
            marks=marks_of(found.state.marks.values(), owner),
            labels=self._host(found.host).variables,
            cpus=(facts.get("cpu") or {}).get("count"),
            memory=(facts.get("memory") or {}).get("total"),
        )

    def _placed(
        self, bound: Mapping[str, Sequence[Resource]], movable: Sequence[Resource]
    ) -> dict[str, list[Resource]]:
        """Each host's resources with what was placed there, without the images that nothing there needs."""
        found = {host: list(items) for host, items in bound.items()}
        for resource in movable:
            member = resource.demand.member if resource.demand else ""
            if member in self.placement.where and member not in self.placement.refused:
                found[self.placement.where[member]].append(resource)
        for host, items in found.items():
            known = {item.address.reference: item.address for item in items}
            items[:] = [settled(item, host, known) if item.demand else item for item in items]
            needed = frozenset().union(*(item.needs | item.after for item in items))
            items[:] = [item for item in items if not item.lazy or item.address in needed]
        return found

    def _guest(self, name: str, items: Sequence[Resource]) -> HostState | None:
        """A virtual machine that cannot be read now, and why; None when it is up and can."""
        address = Address(GUEST, "", name)
        host = self.placement.where.get(name, "")
        answer = self.states[host].answers.get(address) if host in self.states else None
        if isinstance(answer, Present) and LOGIN in answer.notes:
            return None
        if name in self.placement.refused:  # its machine's row says why
            return HostState(name, self.wish.blueprint.name)
        told = self.placement.unknown.get(name)
        told = told or (self.states[host].error if host else "it is on no host")
        if told or isinstance(answer, Unknown) or answer is None:
            reason = told or (answer.reason if isinstance(answer, Unknown) else "its fleet says no `access:`")
            return HostState(name, self.wish.blueprint.name, error=f"{name}: {reason}")
        later = Later(f"{name} is not up", address.reference)
        resources = tuple(replace(item, needs=item.needs | {address}) for item in items)
        return HostState(
            name,
            self.wish.blueprint.name,
            resources=resources,
            answers={item.address: later for item in resources},
        )

    def _join(self, states: Iterable[HostState]) -> None:
        """Make hosts of the virtual machines that have told how to reach them."""
        for answer in (answer for state in states for answer in state.answers.values()):
            if isinstance(answer, Present) and LOGIN in answer.notes:
                self.connections.join(answer.notes[LOGIN])

    def _host(self, name: str) -> Host:
        return self.wish.inventory.hosts[name]

    # What differs.

    def _diff(self) -> dict[str, tuple[Change, ...]]:
        owner, coming = self.wish.blueprint.name, set[Address]()
        changes: dict[str, tuple[Change, ...]] = {}
        for host, state in self.states.items():
            changes[host] = diff(state, self.kinds, owner, coming, self.placement.moved)
            coming |= {change.address for change in changes[host] if change.runnable}
        return changes

    def _unplaced(self, movable: Iterable[Resource]) -> Iterable[Change]:
        """A row for each machine that has no host; it stands for all that the machine is made of."""
        seen: set[str] = set()
        for resource in movable:
            member = resource.demand.member if resource.demand else ""
            if member in seen:
                continue
            seen.add(member)
            if member in self.placement.refused:
                action = Action.MOVE if member in self.placement.where else Action.CREATE
                yield unplaced(resource, Delta(action, verdict=Verdict.REFUSED, reason=self.placement.refused[member]))
            elif member in self.placement.unknown:
                yield unplaced(
                    resource, Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=self.placement.unknown[member])
                )

    def _again(self, planned: Change) -> Change:
        """One row as it is now, for what could not be known when the plan was made.

        A look at a host serves all its rows that it made clear, as the plan's own look did.
        """
        host = planned.place
        with self._locks[host]:
            row = self._fresh.get(host, {}).get(planned.address)
            if row is None or row.delta.verdict is not Verdict.OK:
                self._fresh[host] = self._rows(host)
                row = self._fresh[host].get(planned.address)
        return row or planned

    def _rows(self, host: str) -> Rows:
        search, quiet = self._search(), Observers()
        wanted = {host: self.placed[host]}
        surveys = survey(wanted, search, self.connections.reader, quiet, 1)
        state = finish(surveys, wanted, search, self.connections.reader, quiet, 1)[host]
        if state.error:
            raise Unreachable(state.error)
        self._join([state])
        views = state.scopes(self.kinds)
        rows = diff(state, self.kinds, self.wish.blueprint.name, moved=self.placement.moved)
        return {row.address: with_steps(row, views, self.kinds) for row in rows}


def _names(resource: Resource) -> tuple[str, ...]:
    """What a --target can call it: its address, its reference, and the fleet it belongs to."""
    names = (str(resource.address), resource.address.reference)
    fleet = resource.demand.fleet if resource.demand else ""
    return (*names, f"fleet:{fleet}", f"{GROUP}.{fleet}") if fleet else names


def selected(inventory: Inventory, pattern: str) -> tuple[str, ...]:
    """The hosts a pattern on the command line names. Raises UsageError for one that names none."""
    selection = select(pattern, inventory)
    if selection.complaint or not selection.hosts:
        raise UsageError(f"hosts {pattern!r}: {selection.complaint or selection.warning or 'names no host'}")
    return selection.hosts


def _text(path: Path) -> str:
    """A file's bytes as text; what is not UTF-8 travels by surrogateescape, byte for byte."""
    return path.read_bytes().decode("utf-8", "surrogateescape")
