"""What every change costs, from what the kinds declare: the rows of docs/reference/impact.md."""

from collections.abc import Iterator
from dataclasses import dataclass

from vinfra.model.action import Impact
from vinfra.model.kind import Kind, Kinds, Trait, has, removal
from vinfra.model.spec import declared

REMOVED = "(removed)"


@dataclass(frozen=True, slots=True)
class Cost:
    """The most that changing one field of an object that is there costs, why, and on what it depends.

    `refused`: the change is told and never made. The field REMOVED stands for the object itself, when it goes.
    """

    kind: str
    field: str
    impact: Impact
    why: str = ""
    when: str = ""
    refused: bool = False

    @property
    def said(self) -> str:
        """The impact in words."""
        return f"{self.impact}, so it is refused" if self.refused else str(self.impact)


def costs(kinds: Kinds) -> list[Cost]:
    """A row for every field that is compared, or that a kind reacts to, and one for each kind's removal."""
    return [cost for kind in kinds.values() for cost in _of(kind, kinds)]


def _of(kind: Kind, kinds: Kinds) -> Iterator[Cost]:
    # A fleet's other fields are those of its members.
    known = kinds[getattr(kind, "MEMBER", "")].Spec.model_fields if has(kind, Trait.FLEET) else {}
    spec = kind.Spec
    for name in spec.model_fields:
        why, when = str(declared(spec, name, "why")), str(declared(spec, name, "when"))
        if name not in known and (declared(spec, name, "compared") or why or when):
            refused = bool(declared(spec, name, "refused"))
            yield Cost(kind.NAME, name, declared(spec, name, "impact"), why, when, refused)
    goes = removal(kind)
    yield Cost(kind.NAME, REMOVED, goes.impact, goes.why, goes.when)
