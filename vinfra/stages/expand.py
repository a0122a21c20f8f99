"""From declarations to resources: one for each object and host, validated, with its references resolved."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path
from typing import Any

from vinfra.model.address import Address
from vinfra.model.blueprint import Blueprint, Declaration, Resource
from vinfra.model.inventory import Host, Inventory
from vinfra.model.kind import Kinds
from vinfra.model.source import Position, Problem
from vinfra.text.collector import paused
from vinfra.text.complaint import Complaints, near, pathway
from vinfra.text.expression import has_template, names_in
from vinfra.text.item import Item, Maker, rendered_files
from vinfra.text.pattern import ALL, select
from vinfra.text.template import HOST, Bound, Nested, Variables, check_text


def expand(blueprint: Blueprint, inventory: Inventory, kinds: Kinds) -> tuple[tuple[Resource, ...], list[Problem]]:
    """Every resource, in host order and then as declared, and every problem found on the way."""
    with paused():
        expansion = _Expansion(blueprint, inventory, kinds)
        resources = expansion.resources()
        return resources, expansion.complaints.sorted()


@dataclass(frozen=True, slots=True)
class _Wish:
    """One declaration's item on one host."""

    declaration: Declaration
    item: Item
    address: Address


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
        self.scopes = _Scopes(blueprint, inventory)
        self.maker = Maker()
        self.wishes: dict[str, dict[Address, _Wish]] = {host: {} for host in inventory.hosts}
        self.missing: dict[tuple[int, str], _Missing] = {}
        self.circles: set[frozenset[str]] = set()
        self.sound: set[tuple[int, ...]] = set()
        self.broken: set[str] = set()
        self.clashes: set[Position] = set()
        self.identities: dict[tuple[str, str], Address] = {}

    def resources(self) -> tuple[Resource, ...]:
        """All resources; what is wrong is told on the way."""
        patterns = {pattern: select(pattern, self.inventory).hosts for pattern in self._patterns()}
        for declaration in self.blueprint.declarations:
            self._declare(declaration, patterns[declaration.pattern])
        found = tuple(chain.from_iterable(self._linked(host, wishes) for host, wishes in self.wishes.items()))
        self._tell_missing()
        return found

    def _patterns(self) -> set[str]:
        return {declaration.pattern for declaration in self.blueprint.declarations}

    def _declare(self, declaration: Declaration, hosts: tuple[str, ...]) -> None:
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
                self._wish(declaration, item, host)
            else:
                self.broken.add(f"{declaration.kind.rpartition('.')[2]}:{declaration.name}")
                for problem in item:
                    failed.setdefault(problem, []).append(host)
        for problem, where in failed.items():
            whose = "" if len(where) == len(hosts) else f" (for {_some(where)})"
            self.complaints.take(Problem(problem.position, problem.path, problem.message + whose))

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

    def _wish(self, declaration: Declaration, item: Item, host: str) -> None:
        address = Address(declaration.kind, host, declaration.name)
        wishes = self.wishes[host]
        identity = self.kinds[declaration.kind].identity(declaration.name)
        other = self.identities.setdefault((host, identity or str(address)), address)
        first = wishes.get(address)
        if other != address:
            self._clash(
                declaration, f"{other.reference} is declared at {wishes[other].declaration.position}; one must go"
            )
        elif first is None:
            wishes[address] = _Wish(declaration, item, address)
        elif first.item != item:
            where = "" if len(self.inventory.hosts) == 1 else f" for {host}"
            message = f"declared otherwise at {first.declaration.position}{where}; keep one of the two"
            self._clash(declaration, message)

    def _clash(self, declaration: Declaration, message: str) -> None:
        if declaration.position not in self.clashes:
            self.clashes.add(declaration.position)
            self.complaints.take(Problem(declaration.position, pathway(declaration.path), message))

    def _linked(self, host: str, wishes: Mapping[Address, _Wish]) -> Iterator[Resource]:
        """One host's resources, their references turned into addresses."""
        known = {address.reference: address for address in wishes}
        edges: dict[Address, frozenset[Address]] = {}
        for address, wish in wishes.items():
            item, declaration = wish.item, wish.declaration
            needs = after = _NONE
            if item.needs or item.hard or item.soft:
                needs = self._resolved(wish, host, known)
                after = frozenset(known[name] for name in item.soft if name in known) - needs - {address}
                edges[address] = needs | after
            yield Resource(
                address,
                item.desired,
                declaration.position,
                needs,
                after,
                item.protect,
                item.allow,
                self.scopes.of(declaration, host),
            )
        if edges:
            self._check_circles(host, edges, wishes)

    def _resolved(self, wish: _Wish, host: str, known: Mapping[str, Address]) -> frozenset[Address]:
        found: set[Address] = set()
        for reference in chain(wish.item.needs, sorted(wish.item.hard)):
            if reference in known:
                found.add(known[reference])
            elif reference not in self.broken:
                fresh = _Missing(wish.declaration, ("needs",) if reference in wish.item.needs else (), known)
                self.missing.setdefault((id(wish.declaration), reference), fresh).hosts.append(host)
        return frozenset(found)

    def _tell_missing(self) -> None:
        for (_, reference), missing in self.missing.items():
            noun, colon, _ = reference.partition(":")
            if not colon or noun not in self.nouns:
                allowed = ", ".join(sorted(self.nouns))
                message = f"{reference!r} is no reference; write NOUN:NAME, with one of {allowed}"
                message += near(noun, self.nouns)
            else:
                message = f"needs {reference}, which is not declared for {_some(missing.hosts)}"
                message += near(reference, missing.known)
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


class _Scopes:
    """Which variables a declaration sees on a host, and which of them make hosts differ."""

    def __init__(self, blueprint: Blueprint, inventory: Inventory) -> None:
        self._top = blueprint.variables
        self._hosts = inventory.hosts
        self._groups = {name: list(hosts) for name, hosts in inventory.groups.items()}
        self._groups[ALL] = list(inventory.hosts)
        self._facets = {name for host in inventory.hosts.values() for name in host.variables}
        self._made: dict[tuple[int, str], Variables] = {}
        self._surveys: dict[int, Variables] = {}
        self._overlays: dict[str, dict[str, Any]] = {}

    def of(self, declaration: Declaration, host: str) -> Variables:
        """The variables, shared by all declarations of one file on one host."""
        key = (id(declaration.scope), host)
        found = self._made.get(key)
        if found is None:
            overlay = self._overlay(self._hosts[host])
            found = self._made[key] = Variables(declaration.scope, overlay)
        return found

    def depends(self, declaration: Declaration) -> tuple[str, ...]:
        """The names that a declaration uses, directly or not, and that may differ from host to host."""
        survey = self._surveys.get(id(declaration.scope))
        if survey is None:
            survey = self._surveys[id(declaration.scope)] = Variables(declaration.scope, self._all_values(declaration))
        used = survey.reach(names_in(declaration.value))
        return tuple(sorted(name for name in used if name == HOST or name in self._facets))

    def key(self, host: str, depends: tuple[str, ...]) -> tuple[Any, ...]:
        """Equal for hosts on which those names have the same values as written."""
        variables = self._hosts[host].variables
        return tuple(host if name == HOST else id(variables.get(name)) for name in depends)

    def _overlay(self, host: Host) -> dict[str, Any]:
        found = self._overlays.get(host.name)
        if found is None:
            itself = {
                "name": host.name,
                "address": host.address or host.name,
                "port": host.port or 22,
                "user": host.user or "root",
                "groups": list(host.groups),
            }
            found = {**host.variables, **self._top, HOST: itself, "groups": self._groups}
            for name, value in self._top.items():
                below = host.variables.get(name)
                if isinstance(value, Nested) and isinstance(below, dict):
                    found[name] = Variables({name: below}, {name: value})[name]
            self._overlays[host.name] = found
        return found

    def _all_values(self, declaration: Declaration) -> dict[str, Any]:
        """Each name with every value it has anywhere, so that what it leads to is known for all hosts at once."""
        values: dict[str, Any] = {name: [_raw(declaration.scope.get(name))] for name in (*self._facets, *self._top)}
        for variables in (*(host.variables for host in self._hosts.values()), self._top):
            for name, value in variables.items():
                if has_template(value):
                    values[name].append(value)
        return {**values, HOST: {}, "groups": {}}


def _raw(value: Any) -> Any:
    return value.raw if isinstance(value, Bound) else value


def _some(hosts: list[str]) -> str:
    rest = len(hosts) - 3
    return ", ".join(hosts[:3]) + (f" and {rest} more" if rest > 0 else "")
