"""What on a host is this blueprint's by its marks: what has left it, and what a newer version of it made."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from vinfra.checkout import Checkout
from vinfra.model.address import Address
from vinfra.model.mark import Mark
from vinfra.model.request import Request, Wish


@dataclass(eq=False)
class Ours:
    """Marks held against a wish; `everywhere` (a destroy) wants nothing of it."""

    request: Request
    wish: Wish
    everywhere: bool = False

    def left(self, mark: Mark, address: Address) -> bool:
        """Whether a mark's object is no longer declared. One machine may have two names: see `mark.host`.

        An image is not declared for a host, but made where something needs it: see `lazy`.
        """
        elsewhere = mark.host != address.host and mark.host in self.wish.inventory.hosts
        ours = self.request.prune and mark.blueprint == self.wish.blueprint.name and not elsewhere
        return ours and address not in self._declared and replace(address, host="") not in self._declared

    def lazy(self, address: Address) -> bool:
        """Whether it is there only as long as something on its host needs it."""
        return address in self._lazy

    @cached_property
    def _declared(self) -> frozenset[Address]:
        return frozenset(resource.address for resource in self.wish.resources if not resource.lazy)

    @cached_property
    def _lazy(self) -> frozenset[Address]:
        return frozenset(resource.address for resource in self.wish.resources if resource.lazy)

    @cached_property
    def checkout(self) -> Checkout:
        """The files of the wish, and the commit they are of."""
        return Checkout(self.request.blueprint.absolute().parent, self.wish.blueprint.files)

    def behind(self, mark: Mark, marks: Iterable[Mark]) -> str:
        """Why a mark is of a newer version of this blueprint than ours; "" if it is not, or if that does not matter.

        git knows, where there is one. Elsewhere: our version was applied before (one of the host's `marks` says so),
        and nobody wrote in it since.
        """
        ours, checkout = self.wish.blueprint.digest[:16], self.checkout
        if self.everywhere or self.request.supersede or mark.digest == ours:
            return ""
        advice = f"(run {mark.run}, {mark.time}); get it, or --supersede"
        if mark.commit and checkout.commit:
            theirs = f"commit {mark.commit[:12]}, which this checkout, {checkout.commit[:12]}, does not have"
            return "" if checkout.has(mark.commit) else f"last applied from {theirs} {advice}"
        before = any(known.digest == ours and known.time < mark.time for known in marks)
        if not before or checkout.written >= mark.time:
            return ""
        return f"last applied from version {mark.digest}, newer than this one, {ours} {advice}"
