"""What on a host is this blueprint's by its marks: what left it, what a newer version of it made, what it takes over,
and what it owned under a former name.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from vinfra.checkout import Checkout
from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta
from vinfra.model.discovery import Marks
from vinfra.model.kind import Kinds
from vinfra.model.machine import DOMAIN
from vinfra.model.mark import Birth, Mark, State
from vinfra.model.request import Request, Wish
from vinfra.model.source import NOWHERE
from vinfra.stages.discover import Survey


@dataclass(eq=False)
class Ours:
    """Marks held against a wish; `everywhere` (a destroy) wants nothing of it.

    `takes` says which of the wish is to be adopted. `found` are each host's marks as they are there, `former` those
    among them that stand under a former name of the blueprint, by the key that they are to have. `lost` are machines
    of ours without a mark, by host.
    """

    request: Request
    wish: Wish
    everywhere: bool = False
    takes: Callable[[Resource], bool] | None = None
    kinds: Kinds = field(default_factory=dict)
    found: dict[str, Marks] = field(default_factory=dict)
    former: dict[str, dict[tuple[str, str, str], Mark]] = field(default_factory=dict)
    lost: dict[str, list[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The owner."""
        return self.wish.blueprint.name

    def seen(self, host: str, marks: Marks) -> Marks:
        """The marks of a host as if all that is to be adopted or renamed were so already."""
        self.found[host] = marks
        old = [mark for mark in marks.values() if mark.blueprint in self.wish.blueprint.formerly]
        self.former[host] = {(self.name, mark.kind, mark.name): mark for mark in old}
        renamed = {key: replace(mark, blueprint=self.name) for key, mark in self.former[host].items()}
        kept = {key: mark for key, mark in marks.items() if mark.blueprint not in self.wish.blueprint.formerly}
        known = {**renamed, **kept}
        return known | {mark.key: mark for mark in self._adopted(host, known)}

    def _adopted(self, host: str, marks: Marks) -> Iterator[Mark]:
        for resource in self.wish.resources if self.takes else ():
            address = resource.address
            if address.host not in ("", host) or not (self.takes and self.takes(resource)):
                continue
            shared = self.kinds[address.kind].SHARED
            others = [mark for mark in marks.values() if (mark.kind, mark.name) == (address.kind, address.name)]
            mine = next((mark for mark in others if mark.blueprint == self.name), None)
            made = any(mark.ours for mark in others if mark is not mine)
            birth = (Birth.CREATED if made else Birth.FOUND) if shared else Birth.ADOPTED
            fresh = Mark(self.name, address.kind, address.name, State.OWNED, birth, host=host)
            yield mine if mine and (mine.ours or shared) else replace(mine, birth=birth) if mine else fresh

    def judge(self, surveys: Iterable[Survey]) -> None:
        """Find hosts whose marks are not all there: machines that say themselves that they are ours, and have none.

        Not while a host is dark: the mark of a machine that somebody moved may be there.
        """
        surveys = tuple(surveys)
        marks = (mark for found in surveys for mark in found.state.marks.values())
        known = {mark.name for mark in marks if mark.key[:2] == (self.name, DOMAIN)}
        for found in surveys if not any(found.error for found in surveys) else ():
            if names := sorted({one.name for one in found.tenants if one.owner == self.name} - known):
                self.lost[found.host] = names

    def losses(self) -> Iterator[str]:
        """A warning for each such host: nothing is pruned on it."""
        for host, names in self.lost.items():
            told = f"{', '.join(names)} of this blueprint {'has' if len(names) == 1 else 'have'} no mark there any more"
            yield f"{host}: {told}; nothing is pruned on it until vinfra adopt took over what is this blueprint's"

    def left(self, mark: Mark, address: Address) -> bool:
        """Whether a mark's object is no longer declared. One machine may have two names: see `mark.host`.

        An image is not declared for a host, but made where something needs it: see `lazy`.
        """
        elsewhere = mark.host != address.host and mark.host in self.wish.inventory.hosts
        ours = self.request.prune and mark.blueprint == self.name and not elsewhere and address.host not in self.lost
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

    def explained(self, row: Change, marks: Marks) -> Change:
        """A row with what its mark has to do with it: why what goes is ours, and what only changes its owner's name."""
        key = (self.name, row.address.kind, row.address.name)
        mark, old = marks.get(key), self.former.get(row.place, {}).get(key)
        if row.delta == Delta(Action.NOOP) and old is not None and row.desired is not None:
            reason = f"blueprint {old.blueprint} → {self.name}: its mark"
            return replace(row, mark=mark, delta=Delta(Action.MOVE, reason=reason))
        if objection := self._mistaken(row):
            return replace(row, delta=replace(row.delta, verdict=Verdict.REFUSED, reason=objection))
        if row.delta.action is not Action.DELETE or row.position is not NOWHERE or mark is None:
            return row
        why = [] if self.everywhere else ["left the blueprint"]
        why.append(f"{made_by(old or mark)}")
        told = row.delta.reason.removeprefix("refused, ")
        if told == "protected":
            told = "protected (declared again with `protect: false` it is not)"
        if told and row.delta.verdict is Verdict.REFUSED:
            why.insert(0, told)
        elif told:
            why.append(told)
        return replace(row, mark=old or mark, delta=replace(row.delta, reason="; ".join(why)))

    def _mistaken(self, row: Change) -> str:
        """Why a machine whose fleet has another name now does not go, although nothing declares it any more."""
        machine = row.address.name.partition("/")[0]
        old = next((name for name in self.wish.blueprint.renamed if machine.startswith(f"{name}-")), None)
        gone = row.delta.action is Action.DELETE and row.position is NOWHERE and not self.everywhere
        if old is None or not gone or not row.address.kind.startswith("kvm."):
            return ""
        new = self.wish.blueprint.renamed[old]
        advice = f"see that `name:` in fleet {new} calls one so, or drop that line of `moved:` if it may go"
        return f"{machine} was of fleet {old}, which is {new} now; {advice}"


def made_by(mark: Mark) -> str:
    """`made by rack-a1, run …, 2026-11-24T…`: who is to be asked about an object."""
    verb = {Birth.CREATED: "made", Birth.ADOPTED: "adopted", Birth.FOUND: "found"}[mark.birth]
    told = (f"run {mark.run}" if mark.run else "", mark.time, f"by {mark.who}" if mark.who else "")
    return ", ".join(filter(None, (f"{verb} by {mark.blueprint}", *told)))
