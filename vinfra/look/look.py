"""One look at reality on behalf of a request, and what follows from it: discover, place, diff, plan, apply.

Hosts of the inventory are read first; the virtual machines among the blueprint's hosts after them, for only their
hypervisors know whether they are up and where.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache, partial
from pathlib import Path

from vinfra.errors import RefusedError, Unreachable, UsageError
from vinfra.kinds.host import facts as host_facts
from vinfra.kinds.registry import kinds as known_kinds
from vinfra.look.aim import Aim, names_of
from vinfra.look.moves import Moves
from vinfra.look.ours import Ours
from vinfra.look.rolled import Standing, rolled, standing, way_back
from vinfra.look.sites import sites_of
from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Later, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, Undo
from vinfra.model.discovery import HostState
from vinfra.model.inventory import Host
from vinfra.model.kind import Kinds
from vinfra.model.lease import Lease
from vinfra.model.machine import GUEST, LOGIN
from vinfra.model.mark import Mark
from vinfra.model.outcome import Observer, Observers, Outcome
from vinfra.model.placement import Placement
from vinfra.model.plan import Plan
from vinfra.model.request import Consent, Request, Wish
from vinfra.stages.adopt import adopt
from vinfra.stages.apply import Tools
from vinfra.stages.apply import apply as run_plan
from vinfra.stages.diff import diff, unplaced
from vinfra.stages.discover import Search, finish, survey
from vinfra.stages.gate import watch
from vinfra.stages.place import place, settled
from vinfra.stages.plan import plan as make_plan
from vinfra.stages.plan import with_steps
from vinfra.stages.render import Sources, render
from vinfra.transport import health
from vinfra.transport.leases import Leases, died, holder
from vinfra.transport.reach import Connections

Rows = dict[Address, Change]


@dataclass
class Look:
    """What is wished for, what is there, and the difference."""

    request: Request
    wish: Wish
    connections: Connections
    observer: Observer
    everywhere: bool = False
    adopting: bool = False
    kinds: Kinds = field(default_factory=known_kinds)
    states: dict[str, HostState] = field(default_factory=dict)
    placement: Placement = field(default_factory=Placement)
    moves: Moves = field(init=False)
    placed: dict[str, list[Resource]] = field(default_factory=dict)
    neighbours: dict[str, list[Resource]] = field(default_factory=dict)
    _fresh: dict[str, Rows] = field(default_factory=dict)
    _cleared: defaultdict[str, set[Address]] = field(default_factory=lambda: defaultdict(set))
    _locks: defaultdict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    @cached_property
    def aim(self) -> Aim:
        """What of the wish is aimed at."""
        return Aim(self.request, self.wish, self.everywhere)

    def plan(self) -> Plan:
        """Discover, place, diff, plan."""
        began = time.monotonic()
        self._discover()
        changes = self._diff()
        self._check_targets()
        shown = {host: state for host, state in self.states.items() if self._shown(state)}
        made = make_plan(self.wish.blueprint.name, shown, changes, self.kinds, self._leftover)
        made = self.moves.shown(made, self.states)
        warnings = (
            *self.wish.blueprint.warnings,
            *self._ours.losses(),
            *self._bystanders(),
            *self._idle(),
            *self.placement.warnings,
            *made.warnings,
        )
        made = replace(
            made,
            changes=(*self._unplaced(), *made.changes),
            digest=self.wish.blueprint.digest,
            commit=self._ours.checkout.commit,
            labels=self.wish.blueprint.labels,
            warnings=warnings,
            seconds=time.monotonic() - began,
        )
        return made if self.everywhere else rolled(made, self.wish, self._standing, self._undo)

    def _standing(self) -> Standing:
        hosts, seen = self.wish.inventory.hosts, (self.placement, self.placed, self.states)
        return standing(hosts, self.aim.within, *seen, self.aim.off)

    def _undo(self, change: Change) -> Undo | str:
        return way_back(change, self.kinds, self.states)

    def run(self, plan: Plan, consent: Consent, run: str) -> Outcome:
        """Ask for consent, then apply."""
        plan = plan.within(consent.max_impact)
        consent.show(plan)
        if plan.barred or (plan.refused and not consent.skip_refused):
            told = "\n  ".join(plan.objections)
            hint = "" if plan.barred else "--skip-refused does the rest"
            raise RefusedError(f"nothing was touched: {len(plan.objections)} refused\n  {told}", hint)
        if plan.runnable and not consent.confirm(plan):
            raise RefusedError("not confirmed, nothing was touched")
        leases = Leases(self.connections, holder(run), self.request.forks)
        tools = Tools(
            writer=leases.writer,
            again=self._again,
            marks={host: state.marks for host, state in self.states.items()},
            former=self._ours.former,
            run=run,
            forks=self.request.forks,
            clean=self.everywhere,
            worn=frozenset(host for host, state in self.states.items() if state.worn),
            watch=lambda gate, stop: watch(gate, stop, partial(health.ask, self.connections)),
            undo=self._undo,
        )
        dead = {host for host, lease in self.held.items() if died(lease.holder)}  # taking its lease clears up after it
        places = {host for row in plan.runnable for host in (row.place, row.goes_to)}
        busy = (places | dead) & self.states.keys()
        with leases:
            leases.take({host: self.states[host].lease for host in busy if self._read(host)})
            return Outcome(run, plan, *run_plan(plan, tools, self.observer))

    def _read(self, host: str) -> bool:
        """Whether the host was read itself: a machine that is not up yet is held once it is."""
        return bool(self.states[host].facts)

    @property
    def held(self) -> dict[str, Lease]:
        """The hosts that somebody else is changing right now: what was read of them will not stay so.

        Whoever has died may still have a step under way there.
        """
        return {host: state.lease for host, state in self.states.items() if state.lease.held}

    def _check_targets(self) -> None:
        """Each --target must name something: one with a slip in it would pass for "no drift"."""
        known = [*self.wish.resources, *(item for state in self.states.values() for item in state.resources)]
        for item in () if self.request.exact else self.request.targets:
            if not any(fnmatchcase(name, item) for resource in known for name in names_of(resource)):
                some = ", ".join(sorted({resource.address.reference for resource in known})[:3])
                raise UsageError(
                    f"--target {item!r} names nothing of this blueprint", f"write it like {some or 'file:/etc/motd'}"
                )

    @cached_property
    def _ours(self) -> Ours:
        takes = self.aim.whole if self.adopting else None
        return Ours(self.request, self.wish, self.everywhere, takes, self.kinds)

    def _leftover(self, mark: Mark, address: Address) -> bool:
        """Whether a mark's object left this blueprint, is aimed at, and is needed by nothing here any more."""
        left = self._ours.left(mark, address) or (self.request.prune and self.moves.rest(mark, address.host))
        if not left or not self.aim.aimed(Resource(address, None)):
            return False
        # While a machine has no place, nobody knows whether an image of its is needed here.
        unsettled = self._ours.lazy(address) and bool(self.placement.unknown or self.placement.refused)
        known = (*self.placed[address.host], *self._around(address.host))
        return not unsettled and not any(resource.address == address for resource in known)

    def _behind(self, mark: Mark) -> str:
        state = self.states.get(mark.host)
        return self._ours.behind(mark, state.marks.values() if state else ())

    # What is there.

    def _search(self) -> Search:
        text = lru_cache(_text)
        return Search(
            kinds=self.kinds,
            facts=host_facts,
            render=partial(render, sources=Sources(text, self.connections.secrets.reveal)),
            outline=partial(render, sources=Sources(text)),
            owner=self.wish.blueprint.name,
            leftover=self._leftover,
            allow={} if self.everywhere else self.wish.blueprint.allow,
            around=self._around,
            seen=self._ours.seen,
            formerly=self.wish.blueprint.formerly,
        )

    def _around(self, host: str) -> list[Resource]:
        return self.neighbours.get(host, [])

    def _discover(self) -> None:
        """Everything but the virtual machines, then those that are up."""
        search, reader, forks, owner = (
            self._search(),
            self.connections.reader,
            self.request.forks,
            self.wish.blueprint.name,
        )
        declared: dict[str, list[Resource]] = {host: [] for host in self.wish.inventory.hosts}
        for resource in self.wish.resources:
            if not resource.demand:
                declared[resource.address.host].append(resource)
        bound = {host: declared[host] for host in self.aim.machines}
        self._divide(bound)
        asked = {host: [*self.placed[host], *self.aim.movable] for host in self.aim.machines}
        surveys = survey(asked, search, reader, self.observer, forks)
        self._ours.judge(surveys.values())
        declared_there = {host: (*self.placed[host], *self._around(host)) for host in self.aim.machines}
        sites = sites_of(surveys, declared_there, self.wish, self.aim.movable, self.kinds)
        self.placement = place(self.aim.movable, sites, owner, self.request.leaving)
        self.moves = Moves(owner, self.placement, self.aim.movable, surveys, self.kinds, self.aim.within)
        self._divide(self._placed(bound))
        self.states = finish(surveys, self.placed, search, reader, self.observer, forks)
        self.states = {host: self.moves.unguarded(state) for host, state in self.states.items()}
        self._join(self.states.values())
        guests = {
            host: [item for item in items if item.address in self.aim.wanted]
            for host, items in declared.items()
            if items and self._host(host).connection == "guest" and self.aim.within(host)
        }
        guests = {host: items for host, items in guests.items() if items}
        self.placed |= guests
        coming = {host: self._guest(host, items) for host, items in guests.items()}
        up = {host: guests[host] for host, state in coming.items() if state is None}
        surveys = survey(up, search, reader, self.observer, forks)
        read = finish(surveys, up, search, reader, self.observer, forks)
        self.states |= {host: state or read[host] for host, state in coming.items()}

    def _divide(self, found: Mapping[str, Sequence[Resource]]) -> None:
        """What is wanted of each host, and what stands around it. A machine that is a host is read in any case."""
        guests = {item.address.host for item in self.wish.resources if item.address in self.aim.wanted}
        guests |= self.aim.asked
        for host, items in found.items():
            wanted = [item for item in items if item.address in self.aim.wanted or _is_guest(item, guests)]
            known = {item.address for item in wanted}
            self.placed[host] = wanted
            self.neighbours[host] = [item for item in items if item.address not in known]

    def _placed(self, bound: Mapping[str, Sequence[Resource]]) -> dict[str, list[Resource]]:
        """Each host's resources with what was placed there, without the images that nothing there needs."""
        found = {host: list(items) for host, items in bound.items()}
        for resource in self.aim.movable:
            host = self.placement.where.get(resource.demand.member) if resource.demand else None
            if host is not None:
                found[host].append(resource)
        for host, items in found.items():
            known = {item.address.reference: item.address for item in items}
            items[:] = [settled(item, host, known) if item.demand else item for item in items]
            needed = frozenset().union(*(item.needs | item.after for item in items))
            needed |= {known[name] for name in self.moves.wanted(host) if name in known}
            items[:] = [item for item in items if not item.lazy or item.address in needed]
        return found

    def _guest(self, name: str, items: Sequence[Resource]) -> HostState | None:
        """A virtual machine that cannot be read now, and why; None when it is up and can."""
        address = Address(GUEST, "", name)
        host = self.placement.where.get(name, "")
        answer = self.states[host].answers.get(address) if host in self.states else None
        if isinstance(answer, Present) and LOGIN in answer.notes:
            return None
        if name in self.placement.refused or name in self.aim.off:  # its machine's row says why, or a warning
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
            rows = diff(state, self.kinds, owner, coming, self.placement.moved, self._behind)
            rows = self.moves.cleared(rows, state)
            changes[host] = self._told(tuple(row for row in rows if self._asked_for(row)), state)
            if self.aim.within(host):
                coming |= {change.address for change in changes[host] if change.runnable}
        return changes

    def _told(self, rows: tuple[Change, ...], state: HostState) -> tuple[Change, ...]:
        """The rows with what marks have to do with them."""
        if not self.adopting:
            return tuple(self._ours.explained(row, state.marks) for row in rows)
        aimed = {item.address: self.aim.aimed(item) for item in state.resources}
        rows = tuple(row for row in rows if aimed.get(row.address))
        return adopt(rows, state, self.kinds, self._ours.found.get(state.host, {}), self.aim.patterned)

    def _asked_for(self, change: Change) -> bool:
        """What was read only because something else needed to know it makes no row."""
        return change.address in self.aim.wanted or change.desired is None

    def _idle(self) -> Iterator[str]:
        for name in sorted(self.aim.off & self.states.keys()):
            yield f"{name} is to be off: what is declared for it as a host waits until it runs"

    def _shown(self, state: HostState) -> bool:
        """Not a host that was read only to see whether it holds a machine of ours, and does not."""
        host = state.host
        if not self.aim.within(host):
            return False
        everywhere = self.everywhere or (self.request.everywhere and bool(state.error))
        named = host in self.wish.blueprint.hosts or self._host(host).connection == "guest" or everywhere
        return named or bool(state.resources)

    def _bystanders(self) -> Iterator[str]:
        """Hosts that nobody names any more may still hold a machine that is about to be made."""
        made = any(item.demand and not self._is_there(item) for item in self.aim.movable)
        for host, state in self.states.items():
            if made and state.error and not self._shown(state) and self.aim.within(host):
                yield f"{host} could not be read; a machine that it still holds would be made a second time"

    def _is_there(self, resource: Resource) -> bool:
        host = self.placement.where.get(resource.demand.member, "") if resource.demand else ""
        return host in self.states and isinstance(self.states[host].answers.get(resource.address), Present)

    def _unplaced(self) -> Iterator[Change]:
        """A row for each machine that has no host; it stands for all that the machine is made of."""
        seen: set[str] = set()
        for resource in self.aim.movable:
            demand = resource.demand
            if demand is None or demand.member in seen:
                continue
            seen.add(demand.member)
            if resource.address not in self.aim.wanted or not any(map(self.aim.within, demand.hosts or ("",))):
                continue
            if reason := self.placement.refused.get(demand.member):
                yield unplaced(resource, Delta(Action.CREATE, verdict=Verdict.REFUSED, reason=reason))
            elif reason := self.placement.unknown.get(demand.member):
                yield unplaced(resource, Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=reason))

    def _again(self, planned: Change) -> Change:
        """One row as it is now, for what could not be known when the plan was made.

        A look at a host serves all its rows that it made clear. They are asked for in turn: those before have ended.
        """
        host = planned.place
        with self._locks[host]:
            row = self._fresh.get(host, {}).get(planned.address)
            if row is None or row.delta.verdict is not Verdict.OK:
                self._fresh[host] = self._rows(host)
                row = self._fresh[host].get(planned.address)
            self._cleared[host].add(planned.address)
        return row or planned

    def _rows(self, host: str) -> Rows:
        search, quiet, wanted = self._search(), Observers(), {host: self.placed[host]}
        surveys = survey(wanted, search, self.connections.reader, quiet, 1)
        state = finish(surveys, wanted, search, self.connections.reader, quiet, 1)[host]
        if state.error:
            raise Unreachable(state.error)
        self._join([state])
        views = state.scopes(self.kinds)
        owner, moved = self.wish.blueprint.name, self.placement.moved
        rows = diff(state, self.kinds, owner, moved=moved, behind=self._behind, ended=self._cleared[host])
        return {row.address: with_steps(row, views, self.kinds) for row in rows}


def _is_guest(resource: Resource, hosts: Collection[str]) -> bool:
    return resource.address.kind == GUEST and resource.address.name in hosts


def _text(path: Path) -> str:
    """A file's bytes as text; what is not UTF-8 travels by surrogateescape, byte for byte."""
    return path.read_bytes().decode("utf-8", "surrogateescape")
