"""From declarations to resources: one for each object and host, validated, with its references resolved.

What an object is made of (the volumes of a domain) comes with it. Members of fleets have no host yet: `place` gives
them one, and what they refer to is looked up there. Images are made on each host where something may need them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError

from vinfra.model.address import Address
from vinfra.model.blueprint import Blueprint, Declaration, Demand, Resource
from vinfra.model.inventory import Inventory
from vinfra.model.kind import Composite, Exclusive, Kind, Kinds, Machines, Stores, Trait, has
from vinfra.model.machine import GUEST
from vinfra.model.source import Position, Problem
from vinfra.model.values import TYPED
from vinfra.text.access import with_public_key
from vinfra.text.collector import paused
from vinfra.text.complaint import Complaints, near, pathway, unknown
from vinfra.text.expression import has_template, names_in
from vinfra.text.item import Item, Maker, merged, rendered_files
from vinfra.text.pattern import select
from vinfra.text.rollout import one_way
from vinfra.text.scopes import Scopes
from vinfra.text.template import MEMBER, check_text


def expand(blueprint: Blueprint, inventory: Inventory, kinds: Kinds) -> tuple[tuple[Resource, ...], list[Problem]]:
    """Every resource, in host order and then as declared, and every problem found on the way."""
    with paused():
        expansion = _Expansion(blueprint, inventory, kinds)
        resources = expansion.resources()
        expansion.complaints.take(*one_way(blueprint.rollouts, resources, kinds))
        return resources, expansion.complaints.sorted()


@dataclass(frozen=True, slots=True)
class _Wish:
    """One declaration's item on one host, or, with a demand, on the one that it will get."""

    declaration: Declaration
    item: Item
    address: Address
    demand: Demand | None = None
    lazy: bool = False


@dataclass(frozen=True, slots=True)
class _Missing:
    """A reference to something that is not declared, and the hosts on which it is not."""

    declaration: Declaration
    part: tuple[str, ...]
    known: Iterable[str]
    hosts: list[str] = field(default_factory=list)


class _Expansion:
    def __init__(self, blueprint: Blueprint, inventory: Inventory, kinds: Kinds) -> None:
        self.blueprint = blueprint
        self.inventory = inventory
        self.kinds = kinds
        self.nouns = {kind.NAME.rpartition(".")[2] for kind in kinds.values()}
        self.complaints = Complaints()
        self.scopes = Scopes(blueprint, inventory)
        self.maker = Maker()
        self.wishes: dict[str, dict[Address, _Wish]] = {ANYWHERE: {}, **{host: {} for host in inventory.hosts}}
        self.missing: dict[tuple[int, str], _Missing] = {}
        self.circles: set[frozenset[str]] = set()
        self.sound: set[tuple[int, ...]] = set()
        self.broken: set[str] = set()
        self.clashes: set[Position] = set()
        self.identities: dict[tuple[str, str], Address] = {}
        self.lazies: dict[str, Declaration] = {}
        self.machines: dict[str, tuple[str, Declaration]] = {}
        self.alone: dict[str, str] = {}

    def resources(self) -> tuple[Resource, ...]:
        """All resources; what is wrong is told on the way."""
        patterns = {pattern: select(pattern, self.inventory).hosts for pattern in self._patterns()}
        for declaration in self.blueprint.declarations:
            kind = self.kinds[declaration.kind]
            if has(kind, Trait.LAZY):
                self.lazies[f"{kind.NAME.rpartition('.')[2]}:{declaration.name}"] = declaration
            elif has(kind, Trait.FLEET):
                self._fleet(declaration, kind, patterns[declaration.pattern])
            else:
                self._declare(declaration, patterns[declaration.pattern])
        self._make_lazies()
        found = tuple(chain.from_iterable(self._linked(host, wishes) for host, wishes in self.wishes.items()))
        self._tell_missing()
        return found

    def _patterns(self) -> set[str]:
        return {declaration.pattern for declaration in self.blueprint.declarations}

    def _declare(self, declaration: Declaration, hosts: tuple[str, ...], *, lazy: bool = False) -> None:
        """One declaration on all its hosts; made once for all of them that see the same variables."""
        kind = self.kinds[declaration.kind]
        templated = has_template(declaration.value)
        depends = self.scopes.depends(declaration) if templated else ()
        made: dict[tuple[Any, ...], Item | list[Problem]] = {}
        failed: dict[Problem, list[str]] = {}
        for host in hosts:
            key = self.scopes.key(host, depends) if depends else ()
            item = made.get(key)
            if item is None:
                variables = self.scopes.of(declaration, host) if templated else None
                item = made[key] = self.maker.make(declaration, kind, variables)
                if isinstance(item, Item):
                    self._check_files(declaration, item, host)
            if isinstance(item, Item):
                self._wish(declaration, item, host, lazy=lazy)
            else:
                self.broken.add(f"{declaration.kind.rpartition('.')[2]}:{declaration.name}")
                for problem in item:
                    failed.setdefault(problem, []).append(host)
        for problem, where in failed.items():
            whose = "" if len(where) == len(hosts) else f" (for {_some(where)})"
            self.complaints.take(Problem(problem.position, problem.path, problem.message + whose))

    def _fleet(self, fleet: Declaration, kind: Any, hosts: tuple[str, ...]) -> None:
        """Every member as a machine of its own, without a host."""
        value = fleet.value if isinstance(fleet.value, dict) else {}
        own = {key: item for key, item in value.items() if key in kind.OWN and key != "name"}
        if isinstance(own.get("overrides"), dict):
            del own["overrides"]  # its templates are those of the members
        itself: Any = SimpleNamespace(**{**vars(kind), "Spec": kind.Own})
        item = self.maker.make(replace(fleet, value=own), itself, self.scopes.anywhere(fleet))
        if not isinstance(item, Item):
            self.complaints.take(*item)
            return
        machine = self.kinds[kind.MEMBER]
        shared = {key: item for key, item in value.items() if key not in kind.OWN}
        given = value.get("overrides")
        overrides: dict[str, Any] = given if isinstance(given, dict) else {}
        found = self.blueprint.fleets.get(fleet.name, ())
        for name in [name for name in overrides if name not in {member.name for member in found}]:
            position = fleet.source.position((*fleet.pointer, "overrides", name), key=True)
            message = unknown("member", name, [member.name for member in found])
            self.complaints.take(Problem(position, pathway((*fleet.path, "overrides", name)), message))
        made: dict[str, Item | list[Problem]] = {}
        for member in found:
            over = overrides.get(member.name)
            own_value = merged(shared, over)
            declaration = replace(fleet, kind=machine.NAME, name=member.name, value=own_value, over=over)
            key = member.name if member.name in overrides or MEMBER in names_in(own_value) else ""
            if key not in made:
                variables = self.scopes.anywhere(fleet, member) if has_template(own_value) else None
                made[key] = self.maker.make(declaration, machine, variables)
            result = made[key]
            if isinstance(result, Item):
                self._member(declaration, result, item.desired, hosts)
            else:
                self.complaints.take(*result)

    def _member(self, declaration: Declaration, item: Item, fleet: Any, hosts: tuple[str, ...]) -> None:
        machine = self.kinds[declaration.kind]
        if item.desired is None or not isinstance(machine, Machines):
            return
        alone = tuple(machine.alone(item.desired)) if isinstance(machine, Exclusive) else ()
        cpu, memory = machine.demand(item.desired)
        disk = machine.storage(item.desired).items() if isinstance(machine, Stores) else ()
        item = self._referring(item, self.kinds[declaration.kind], declaration.name)
        name = declaration.path[-1]
        where = (fleet.spread, *fleet.apart, tuple(disk))
        way = dict(fleet.migration) if fleet.migration else {}
        demand = Demand(declaration.name, name, hosts, cpu, memory, *where, **way)
        self._wish(declaration, item, ANYWHERE, demand)
        for what in alone:
            if (other := self.alone.setdefault(what, declaration.name)) != declaration.name:
                advice = "write it with {{ member.number }}, or under overrides"
                self._clash(declaration, f"{what} is that of {other} and of {declaration.name}; {advice}")

    def _referring(self, item: Item, kind: Kind, name: str) -> Item:
        hard, soft = kind.references(name, item.desired)
        return replace(item, hard=hard, soft=soft)

    def _parts(self, whole: _Wish, host: str) -> None:
        """What an object is made of, declared by the same lines."""
        kind = self.kinds[whole.address.kind]
        if whole.item.desired is None or not isinstance(kind, Composite):
            return
        declaration = whole.declaration
        for part in kind.parts(declaration.name, whole.item.desired):
            sort = self.kinds[part.kind]
            try:
                desired = sort.Spec.model_validate(dict(part.fields), context=TYPED)
            except ValidationError as error:
                told = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
                message = f"{part.kind.rpartition('.')[2]} {part.name}: {told}"
                self.complaints.take(Problem(declaration.position, pathway(declaration.path), message))
                continue
            if complaint := sort.check(part.name, desired):
                message = f"{part.kind.rpartition('.')[2]} {part.name}: {complaint}"
                self.complaints.take(Problem(declaration.position, pathway(declaration.path), message))
            item = self._referring(Item(desired, (), whole.item.protect, whole.item.allow), sort, part.name)
            self._wish(replace(declaration, kind=part.kind, name=part.name), item, host, whole.demand)

    def _make_lazies(self) -> None:
        """Each image on each host where something may need it; where that is certain, it stays."""
        certain: dict[str, dict[str, None]] = {}
        perhaps: dict[str, dict[str, None]] = {}
        for host, wishes in self.wishes.items():
            for wish in wishes.values():
                for reference in (wish.item.hard | wish.item.soft) & self.lazies.keys():
                    found = perhaps if wish.demand else certain
                    found.setdefault(reference, {}).update(dict.fromkeys(wish.demand.hosts if wish.demand else [host]))
        for reference, declaration in self.lazies.items():
            sure = certain.get(reference, {})
            unsure = tuple(host for host in perhaps.get(reference, {}) if host not in sure)
            self._declare(declaration, tuple(sure))
            self._declare(declaration, unsure, lazy=True)
            if not sure and not unsure:  # nobody wants it, but it must be right
                unused = self.maker.make(declaration, self.kinds[declaration.kind], self.scopes.anywhere(declaration))
                self.complaints.take(*(() if isinstance(unused, Item) else unused))

    def _check_files(self, declaration: Declaration, item: Item, host: str) -> None:
        if item.desired is None:
            return
        for path in rendered_files(item.desired):
            try:
                text = Path(path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                position = declaration.position
                self.complaints.take(Problem(position, pathway(declaration.path), f"cannot read {path}: {error}"))
                continue
            self.complaints.take(*check_text(text, self.scopes.of(declaration, host), path))

    def _wish(
        self, declaration: Declaration, item: Item, host: str, demand: Demand | None = None, *, lazy: bool = False
    ) -> None:
        address = Address(declaration.kind, host, declaration.name)
        wishes = self.wishes[host]
        identity = self.kinds[declaration.kind].identity(declaration.name)
        other = self.identities.setdefault((host, identity or str(address)), address)
        first = wishes.get(address)
        if isinstance(self.kinds[declaration.kind], Machines):
            self._check_machine(declaration, host)
        if other != address:
            self._clash(
                declaration, f"{other.reference} is declared at {wishes[other].declaration.position}; one must go"
            )
        elif first is None:
            try:
                item = replace(item, desired=with_public_key(item.desired, Path(declaration.position.file).parent))
            except ValueError as error:
                self.complaints.take(Problem(declaration.position, pathway(declaration.path), str(error)))
                item = replace(item, hard=frozenset())  # its parts cannot be made, which is said already
                wishes[address] = _Wish(declaration, item, address, demand, lazy)
                return
            wishes[address] = _Wish(declaration, item, address, demand, lazy)
            self._parts(wishes[address], host)
        elif first.item != item:
            where = "" if len(self.inventory.hosts) == 1 else f" for {host}"
            message = f"declared otherwise at {first.declaration.position}{where}; keep one of the two"
            self._clash(declaration, message)

    def _check_machine(self, declaration: Declaration, host: str) -> None:
        """A machine that may be anywhere has its name to itself on every host."""
        taken = self.machines.setdefault(declaration.name, (host, declaration))
        if ANYWHERE in (host, taken[0]) and taken[0] != host:
            self._clash(
                declaration, f"{declaration.name} is declared at {taken[1].position} too; rename one of the two"
            )

    def _clash(self, declaration: Declaration, message: str) -> None:
        if declaration.position not in self.clashes:
            self.clashes.add(declaration.position)
            self.complaints.take(Problem(declaration.position, pathway(declaration.path), message))

    def _linked(self, host: str, wishes: Mapping[Address, _Wish]) -> Iterator[Resource]:
        """One host's resources, their references turned into addresses."""
        known = {address.reference: address for address in wishes}
        guest = self.inventory.hosts[host].connection == "guest" if host else False
        brings = frozenset({Address(GUEST, ANYWHERE, host)}) if guest else _NONE
        edges: dict[Address, frozenset[Address]] = {}
        for address, wish in wishes.items():
            item, declaration = wish.item, wish.declaration
            needs = after = _NONE
            if item.needs or item.hard or item.soft:
                needs = self._resolved(wish, host, known)
                after = frozenset(known[name] for name in item.soft if name in known) - needs - {address}
                edges[address] = needs | after
            free = wish.demand is not None
            yield Resource(
                address,
                item.desired,
                declaration.position,
                needs | brings,
                after,
                item.protect,
                item.allow,
                self.scopes.of(declaration, host) if host else self.scopes.anywhere(declaration),
                demand=wish.demand,
                hard=item.hard.union(item.needs) if free else frozenset(),
                soft=item.soft if free else frozenset(),
                lazy=wish.lazy,
            )
        if edges:
            self._check_circles(host, edges, wishes)

    def _resolved(self, wish: _Wish, host: str, known: Mapping[str, Address]) -> frozenset[Address]:
        found: set[Address] = set()
        for reference in chain(wish.item.needs, sorted(wish.item.hard)):
            if reference in known:
                found.add(known[reference])
            elif reference not in self.broken:
                # What can move needs it on every host that it may get.
                places = wish.demand.hosts if wish.demand else (host,)
                for place in [place for place in places if reference not in self.declared[place]]:
                    fresh = _Missing(wish.declaration, ("needs",) if reference in wish.item.needs else (), known)
                    self.missing.setdefault((id(wish.declaration), reference), fresh).hosts.append(place)
        return frozenset(found)

    @cached_property
    def declared(self) -> dict[str, frozenset[str]]:
        """The references of each host, once all is declared."""
        return {host: frozenset(item.reference for item in wishes) for host, wishes in self.wishes.items()}

    def _tell_missing(self) -> None:
        for (_, reference), missing in self.missing.items():
            noun, colon, _ = reference.partition(":")
            if not colon or noun not in self.nouns:
                allowed = ", ".join(sorted(self.nouns))
                message = f"{reference!r} is no reference; write NOUN:NAME, with one of {allowed}"
                message += near(noun, self.nouns)
            else:
                message = f"needs {reference}, which is not declared for {_some(missing.hosts)}"
                message += near(reference, (*missing.known, *self.lazies))
            declaration = missing.declaration
            position = declaration.source.position((*declaration.pointer, *missing.part))
            self.complaints.take(Problem(position, pathway((*declaration.path, *missing.part)), message))

    def _check_circles(
        self, host: str, edges: Mapping[Address, frozenset[Address]], wishes: Mapping[Address, _Wish]
    ) -> None:
        shape = tuple(id(wishes[address].item) for address in edges)
        if shape in self.sound:
            return
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            circle = list(reversed(error.args[1]))[:-1]
            names = frozenset(address.reference for address in circle)
            if names in self.circles:
                return
            self.circles.add(names)
            order = [address for address in wishes if address in circle]
            start = circle.index(order[0])
            path = [address.reference for address in circle[start:] + circle[: start + 1]]
            first = wishes[order[0]].declaration
            message = f"needs itself in the end, on {host}: {' → '.join(path)}"
            self.complaints.take(Problem(first.position, pathway(first.path), message))
        else:
            self.sound.add(shape)


_NONE: frozenset[Address] = frozenset()
ANYWHERE = ""


def _some(hosts: list[str]) -> str:
    rest = len(hosts) - 3
    return ", ".join(hosts[:3]) + (f" and {rest} more" if rest > 0 else "")
