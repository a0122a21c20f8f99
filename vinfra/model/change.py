"""The difference between desired and actual, and what closing it costs."""

from dataclasses import dataclass, field, replace
from typing import Any

from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.mark import Mark
from vinfra.model.source import NOWHERE, Position
from vinfra.model.spec import Spec
from vinfra.model.step import Step


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field's way from `before` to `after` (None: not there). A secret one never shows its values.

    `why` says what makes it cost more than `live`.
    """

    path: str
    before: Any
    after: Any
    impact: Impact = Impact.LIVE
    secret: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """What a kind's diff says of one object. `reason` is the part of the row that fields do not tell; `notice` is said
    where there is no row, for nothing is to be done.
    """

    action: Action
    fields: tuple[FieldChange, ...] = ()
    impact: Impact = Impact.NONE
    verdict: Verdict = Verdict.OK
    reason: str = ""
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Undo:
    """How to take a change back. `early` ones go first, last made first, while what they stand on is still there.

    The others (what was changed gets its former value, what runs is restarted) follow in the order of the plan.
    """

    steps: tuple[Step, ...] = ()
    early: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a plan: a delta on an address, with the steps that close it.

    `desired` is None when the object is to be absent, `actual` when it is. `after` holds the addresses that must be
    done first. `allow`, `protect`, `where` and `fleet` are the resource's own. One that `waits` only waits for
    something to happen, so the other changes of its host run on meanwhile. `came_from` is the host that it was marked
    on until somebody moved it, `marks` are all that its host has of it, of whichever blueprint; `mark` is the one that
    says why a row is this blueprint's to do: what left it. `held` is its verdict as it was before a policy refused it.
    `goes_to` is the host that its last step carries it over to, with all that is a part of it; its marks follow.
    A row with verdict LATER is an upper bound: at apply `first` makes it clear, if there is a way; then it is read
    again, and does at most these fields. One that `happens` is no object: it leaves no mark.
    """

    address: Address
    delta: Delta
    desired: Spec | None
    actual: Spec | None
    position: Position = NOWHERE
    steps: tuple[Step, ...] = ()
    first: tuple[Step, ...] = ()
    after: frozenset[Address] = frozenset()
    notes: dict[str, Any] = field(default_factory=dict)
    allow: Impact = Impact.NONE
    protect: bool = False
    where: str = ""
    waits: bool = False
    happens: bool = False
    came_from: str = ""
    goes_to: str = ""
    marks: tuple[Mark, ...] = ()
    fleet: str = ""
    held: Verdict | None = None
    mark: Mark | None = None

    @property
    def place(self) -> str:
        """The host that its steps run on; "" when it has none."""
        return self.where or self.address.host

    def refused(self, why: str) -> "Change":
        """The row as one that will not be done, and why; what was said before stays."""
        said = "; ".join(filter(None, (why, self.delta.reason)))
        return replace(self, delta=replace(self.delta, verdict=Verdict.REFUSED, reason=said))

    @property
    def pending(self) -> bool:
        """Whether there is anything to do or to tell."""
        return self.delta.action is not Action.NOOP or self.delta.verdict is not Verdict.OK

    @property
    def runnable(self) -> bool:
        """Whether apply will touch it."""
        return self.delta.action is not Action.NOOP and self.delta.verdict in (Verdict.OK, Verdict.LATER)
