"""The stages in order. This is the only module that knows every part and wires them together.

load → validate → expand → discover → place → diff → plan → apply → report
"""

import time
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

from vinfra.errors import InputError, RefusedError, Unreachable, UsageError
from vinfra.kinds.host import facts as host_facts
from vinfra.kinds.registry import kinds as known_kinds
from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change
from vinfra.model.discovery import HostState
from vinfra.model.inventory import Inventory
from vinfra.model.kind import Kinds
from vinfra.model.mark import Mark
from vinfra.model.outcome import Observer, Observers, Outcome
from vinfra.model.plan import Plan
from vinfra.model.request import Consent, Request, Wish
from vinfra.model.source import Problem
from vinfra.report import plan_file
from vinfra.stages.apply import Tools
from vinfra.stages.apply import apply as run_plan
from vinfra.stages.diff import diff
from vinfra.stages.discover import Search, discover
from vinfra.stages.expand import expand
from vinfra.stages.load import load
from vinfra.stages.place import Sources, place
from vinfra.stages.plan import plan as make_plan
from vinfra.stages.plan import with_steps
from vinfra.stages.validate import validate as check
from vinfra.text.inventory import read_inventory
from vinfra.text.pattern import select
from vinfra.text.yaml import parse
from vinfra.transport.reach import Connections
from vinfra.transport.secrets import reveal

NOBODY = Observers()


def validate(request: Request) -> Wish:
    """Load, validate and expand. Raises InputError with every problem of every file."""
    kinds = known_kinds()
    loaded = load(request.blueprint, request.inventory, request.var_files, request.extra)
    blueprint, inventory, invalid = check(loaded, kinds)
    resources, wrong = expand(blueprint, inventory, kinds)
    problems: list[Problem] = sorted({*loaded.problems, *invalid, *wrong}, key=lambda problem: problem.position)
    if problems:
        raise InputError(problems)
    return Wish(blueprint, inventory, resources)


def plan(request: Request, observer: Observer = NOBODY) -> Plan:
    """Everything up to the plan. Touches nothing."""
    wish = validate(request)
    with Connections(wish.inventory) as connections:
        return _Look(request, wish, connections, observer).plan()


def apply(request: Request, consent: Consent, observer: Observer = NOBODY, run: str = "") -> Outcome:
    """Plan, ask for consent, run. Raises RefusedError before the first step when the plan holds what may not run."""
    wish = validate(request)
    with Connections(wish.inventory) as connections:
        look = _Look(request, wish, connections, observer)
        return look.run(look.plan(), consent, run)


def destroy(request: Request, consent: Consent, observer: Observer = NOBODY, run: str = "") -> Outcome:
    """Remove all that this blueprint created on the inventory's hosts; what was there before stays."""
    wish = validate(request)
    with Connections(wish.inventory) as connections:
        look = _Look(request, replace(wish, resources=()), connections, observer, everywhere=True)
        return look.run(look.plan(), consent, run)


def facts(inventory: Path | None, pattern: str, forks: int = 50, observer: Observer = NOBODY) -> dict[str, HostState]:
    """The hosts of a pattern as they describe themselves; `error` in a state says why one could not be read."""
    machines = _inventory(inventory)
    with Connections(machines) as connections:
        search = Search({}, host_facts, lambda resources, _: (resources, {}))
        hosts = dict.fromkeys(_selected(machines, pattern), ())
        return discover(hosts, search, connections.reader, observer, forks)


def save(request: Request, plan: Plan, file: Path) -> None:
    """Write a plan file: versioned JSON, 0600, no secrets."""
    plan_file.write(file, plan, _inputs(request))


def apply_saved(
    file: Path, consent: Consent, observer: Observer = NOBODY, run: str = "", *, extra: tuple[str, ...] = ()
) -> Outcome:
    """Run a saved plan, or refuse: it was made for another blueprint, inventory or reality.

    `extra` are the `-e` items the plan was made with; the file holds only their names.
    """
    saved = plan_file.read(file)
    given = {item if item.startswith("@") else item.partition("=")[0] for item in extra}
    if missing := sorted(set(saved.extra) ^ given):
        raise RefusedError(
            f"{file} was made with -e {', '.join(saved.extra) or 'nothing'}", f"mind {', '.join(missing)}"
        )
    request = Request(**saved.inputs, extra=extra, targets=saved.addresses, exact=True)
    wish = validate(request)
    if wish.blueprint.digest != saved.digest:
        raise RefusedError(f"{file}: the blueprint, its variables or the inventory changed since", "plan again")
    with Connections(wish.inventory) as connections:
        look = _Look(request, wish, connections, observer)
        fresh = look.plan()
        if stale := plan_file.differences(saved, fresh):
            raise RefusedError(f"{file} is stale:\n  " + "\n  ".join(stale), "plan again")
        return look.run(fresh, consent, run)


@dataclass
class _Look:
    """One look at reality, and what follows from it."""

    request: Request
    wish: Wish
    connections: Connections
    observer: Observer
    everywhere: bool = False
    kinds: Kinds = field(default_factory=known_kinds)
    states: dict[str, HostState] = field(default_factory=dict)

    def plan(self) -> Plan:
        """Discover, diff, plan."""
        wanted = self._wanted()
        began = time.monotonic()
        self.states = self._discover(wanted)
        owner = self.wish.blueprint.name
        changes = {host: diff(state, self.kinds, owner) for host, state in self.states.items()}
        self._check_targets()
        made = make_plan(owner, self.states, changes, wanted, self.kinds, self._leftover)
        warnings = (*self.wish.blueprint.warnings, *made.warnings)
        return replace(made, digest=self.wish.blueprint.digest, warnings=warnings, seconds=time.monotonic() - began)

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

    def _wanted(self) -> dict[str, list[Resource]]:
        """The resources aimed at, by host, in inventory order; with `everywhere` every host in reach of --limit."""
        limit = _selected(self.wish.inventory, self.request.limit or "all")
        aimed = self._with_needs({item.address for item in self.wish.resources if self._aimed(item.address)})
        # What left the blueprint can be aimed at too, so with targets every host that the blueprint names is looked at.
        named = {resource.address.host for resource in self.wish.resources}
        pruning = bool(self.request.targets) and not self.request.exact and self.request.prune
        looked = limit if self.everywhere else [host for host in limit if pruning and host in named]
        wanted: dict[str, list[Resource]] = {host: [] for host in looked}
        for resource in self.wish.resources:
            if resource.address in aimed and resource.address.host in limit:
                wanted.setdefault(resource.address.host, []).append(resource)
        return wanted

    def _check_targets(self) -> None:
        """Each --target must name something: one with a slip in it would pass for "no drift"."""
        known = {*self._declared, *(item.address for state in self.states.values() for item in state.resources)}
        for item in () if self.request.exact else self.request.targets:
            if not any(fnmatchcase(name, item) for address in known for name in (str(address), address.reference)):
                some = ", ".join(sorted(address.reference for address in known)[:3])
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

    @cached_property
    def _declared(self) -> frozenset[Address]:
        return frozenset(resource.address for resource in self.wish.resources)

    def _leftover(self, mark: Mark, address: Address) -> bool:
        """Whether a mark's object left this blueprint, and is aimed at. One machine may have two names: see `host`."""
        elsewhere = mark.host != address.host and mark.host in self.wish.inventory.hosts
        ours = self.request.prune and mark.blueprint == self.wish.blueprint.name and not elsewhere
        return ours and address not in self._declared and self._aimed(address)

    def _aimed(self, address: Address) -> bool:
        names = (str(address), address.reference)
        if self.request.exact:
            return names[0] in self.request.targets
        return not self.request.targets or any(
            fnmatchcase(name, item) for name in names for item in self.request.targets
        )

    def _discover(self, wanted: dict[str, list[Resource]]) -> dict[str, HostState]:
        search = Search(
            kinds=self.kinds,
            facts=host_facts,
            place=partial(place, sources=Sources(lru_cache(_text), reveal)),
            owner=self.wish.blueprint.name,
            leftover=self._leftover,
        )
        return discover(wanted, search, self.connections.reader, self.observer, self.request.forks)

    def _again(self, planned: Change) -> Change:
        """One row as it is now, for what could not be known when the plan was made."""
        host = planned.address.host
        wanted = {host: [resource for resource in self.wish.resources if resource.address.host == host]}
        look = replace(self, observer=Observers(), states={})
        state = look._discover(wanted)[host]
        if state.error:
            raise Unreachable(state.error)
        rows = (row for row in diff(state, self.kinds, self.wish.blueprint.name) if row.address == planned.address)
        return with_steps(next(rows, planned), state.scopes(self.kinds), self.kinds)


def _inventory(file: Path | None) -> Inventory:
    if file is None:
        return read_inventory(None)[0]
    try:
        document = parse(file.read_bytes(), str(file))
    except OSError as error:
        raise UsageError(f"cannot read the inventory {file}: {error.strerror or error}") from None
    inventory, problems = read_inventory(document)
    if problems := [*document.problems, *problems]:
        raise InputError(problems)
    return inventory


def _selected(inventory: Inventory, pattern: str) -> tuple[str, ...]:
    """The hosts a pattern on the command line names. Raises UsageError for one that names none."""
    selection = select(pattern, inventory)
    if selection.complaint or not selection.hosts:
        raise UsageError(f"hosts {pattern!r}: {selection.complaint or selection.warning or 'names no host'}")
    return selection.hosts


def _text(path: Path) -> str:
    """A file's bytes as text; what is not UTF-8 travels by surrogateescape, byte for byte."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _inputs(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in ("blueprint", "inventory", "var_files", "extra", "limit", "prune")}
