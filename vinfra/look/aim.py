"""What a request aims at: the resources, and the hosts that must be read for them. Pure."""

from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property

from vinfra.errors import UsageError
from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.model.inventory import Inventory
from vinfra.model.machine import GUEST
from vinfra.model.request import Request, Wish
from vinfra.text.fleet import GROUP
from vinfra.text.pattern import select


@dataclass(eq=False)
class Aim:
    """--limit and --target applied to a wish; with `everywhere` every host in reach is looked at."""

    request: Request
    wish: Wish
    everywhere: bool = False

    @cached_property
    def limit(self) -> frozenset[str] | None:
        """The hosts of --limit; None for all."""
        return frozenset(selected(self.wish.inventory, self.request.limit)) if self.request.limit else None

    def within(self, host: str) -> bool:
        return self.limit is None or host in self.limit

    @cached_property
    def wanted(self) -> frozenset[Address]:
        """What is aimed at, and where a host is known already, within --limit."""
        aimed = self.with_needs({item.address for item in self.wish.resources if self.aimed(item)})
        aimed |= {item for item in self._guests if item.name in self._touched}
        lazy = {item.address for item in self.wish.resources if item.lazy}
        return frozenset(item for item in aimed | lazy if not item.host or self.within(item.host))

    @cached_property
    def asked(self) -> frozenset[str]:
        """The machines that rollouts of what is aimed at ask how they are, whether they are aimed at or not."""
        known = {item.name for item in self._guests}
        units = (frozenset(roll.units) for roll in self.wish.blueprint.rollouts)
        return frozenset().union(*(roll & known for roll in units if roll & self._touched))

    @cached_property
    def _touched(self) -> frozenset[str]:
        """The units of rollouts that something is aimed at of: with a machine it must be known when it is up again."""
        aimed = (item for item in self.wish.resources if self.aimed(item))
        named = {item.demand.member if item.demand else item.address.host for item in aimed}
        return frozenset(named & {unit for roll in self.wish.blueprint.rollouts for unit in roll.units})

    @cached_property
    def _guests(self) -> frozenset[Address]:
        return frozenset(item.address for item in self.wish.resources if item.address.kind == GUEST)

    @cached_property
    def movable(self) -> tuple[Resource, ...]:
        """Everything that can move, if any of it is aimed at or is a host that is: each one's place counts for all."""
        movable = [item for item in self.wish.resources if item.demand]
        members = {item.demand.member for item in movable if item.demand}
        wanted = {item.address.host for item in self.wish.resources if item.address in self.wanted}
        aimed = any(item.address in self.wanted for item in movable)
        return tuple(movable) if aimed or wanted & members else ()

    @cached_property
    def machines(self) -> tuple[str, ...]:
        """The hosts that are read first: all that something is wanted of, and all of them where machines may be."""
        only = self.request.only
        if only is not None:
            return tuple(n for n, host in self.wish.inventory.hosts.items() if n in only and host.connection != "guest")
        named = self.wish.blueprint.hosts if self.request.prune and not self.request.exact else frozenset()
        needed = {item.address.host for item in self.wish.resources if item.address in self.wanted and not item.lazy}
        return tuple(
            name
            for name, host in self.wish.inventory.hosts.items()
            if host.connection != "guest"
            and (
                self.movable
                or (
                    self.within(name)
                    and (self.everywhere or self.request.everywhere or name in named or name in needed)
                )
            )
        )

    def with_needs(self, aimed: set[Address]) -> set[Address]:
        """What is aimed at and, unless it is named exactly, what that needs, and what that needs."""
        if self.request.exact or not self.request.targets:
            return aimed
        needs = {resource.address: resource.needs | resource.after for resource in self.wish.resources}
        open_ends = list(aimed)
        while open_ends:
            more = needs.get(open_ends.pop(), frozenset()) - aimed
            aimed |= more
            open_ends += more
        return aimed

    def aimed(self, resource: Resource) -> bool:
        if self.request.exact:
            return str(resource.address) in self.request.targets
        return not self.request.targets or any(
            fnmatchcase(name, item) for name in names_of(resource) for item in self.request.targets
        )

    def whole(self, resource: Resource) -> bool:
        """Whether it is aimed at, or belongs to a machine of which something is: that has one place for all of it."""
        return self.aimed(resource) or bool(resource.demand and resource.demand.member in self._members)

    @cached_property
    def _members(self) -> frozenset[str]:
        return frozenset(item.demand.member for item in self.wish.resources if item.demand and self.aimed(item))

    @cached_property
    def patterned(self) -> frozenset[Address]:
        """What a --target names by a pattern or a fleet alone, and nobody wrote out."""
        own = ((item.address, {str(item.address), item.address.reference}) for item in self.wish.resources)
        return frozenset(address for address, names in own if not names & {*self.request.targets})

    @cached_property
    def off(self) -> frozenset[str]:
        """Machines that are to be off: what is declared of them as hosts waits."""
        found = (item for item in self.movable if getattr(item.desired, "power", "") == "stopped")
        return frozenset(item.address.name for item in found)


def names_of(resource: Resource) -> tuple[str, ...]:
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


def require_declared(request: Request, wish: Wish) -> None:
    """Each target must name something that is declared. Raises UsageError."""
    known = {name for item in wish.resources for name in names_of(item)}
    for target in request.targets:
        if not any(fnmatchcase(name, target) for name in known):
            near = get_close_matches(target, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "declare it first; `vinfra validate` lists what is declared"
            raise UsageError(f"{target!r} is not declared in {request.blueprint}", hint)
