"""What most kinds share: comparing field by field, and the parts of the contract that need nothing special."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Removal, Scope
from vinfra.model.spec import Spec, declared

SAME = Delta(Action.NOOP)
FREE = Removal()


def compare(actual: Spec | None, desired: Spec, skip: Iterable[str] = ()) -> tuple[FieldChange, ...]:
    """The declared fields that differ; with no `actual`, all that are declared.

    A field that is None in `desired` is not managed, one that is not `compared` is no property of the object. Of an
    `additive` list only the items that are missing count, and they alone are the change's `after`. Of a secret field it
    is said that it differs, and nothing else.
    """
    spec, left_out = type(desired), frozenset(skip)
    found = []
    for name, wish in desired:
        if wish is None or name in left_out or not declared(spec, name, "compared"):
            continue
        before, after = getattr(actual, name, None), wish
        if declared(spec, name, "additive"):
            after = _missing(before, wish)
            if not after:
                continue
            before = None
        if before != after:
            if declared(spec, name, "secret"):
                before = after = None
            found.append(changed(spec, name, before, after))
    return tuple(found)


def changed(spec: type[Spec], name: str, before: Any, after: Any) -> FieldChange:
    """One field's change, at what its declaration says that it costs."""
    impact, why = declared(spec, name, "impact"), declared(spec, name, "why")
    return FieldChange(name, before, after, impact, bool(declared(spec, name, "secret")), why)


def _missing(before: Any, wish: Iterable[Any]) -> tuple[Any, ...]:
    there = frozenset(before or ())
    return tuple(item for item in dict.fromkeys(wish) if item not in there)


def created(fields: Iterable[FieldChange], reason: str = "", impact: Impact = Impact.NONE) -> Delta:
    """The delta of an object that is to come; that costs nobody anything unless `impact` says so."""
    made = (replace(item, impact=min(item.impact, impact), why="") for item in fields)
    return Delta(Action.CREATE, tuple(made), impact, reason=reason)


def updated(fields: Iterable[FieldChange], reason: str = "") -> Delta:
    """The delta of an object that is there: none without fields, else as costly as the costliest of them."""
    changes = tuple(fields)
    if not changes:
        return SAME
    return Delta(Action.UPDATE, changes, max(change.impact for change in changes), reason=because(changes, reason))


def because(fields: Iterable[FieldChange], *said: str) -> str:
    """The words of a row beside its fields: why the costliest ones cost more than `live`, and what else is said."""
    changes = tuple(fields)
    most = max((Impact.RESTART, *(change.impact for change in changes)))
    why = (change.why for change in changes if change.impact is most)
    return "; ".join(dict.fromkeys(filter(None, (*why, *said))))


def deleted(cost: Removal = FREE, reason: str = "") -> Delta:
    """The delta of an object that is to go."""
    return Delta(Action.DELETE, impact=cost.impact, reason="; ".join(filter(None, (cost.why, reason))))


def refused(action: Action, reason: str, fields: Iterable[FieldChange] = ()) -> Delta:
    """What would have to be done, and why it will not be."""
    return Delta(action, tuple(fields), verdict=Verdict.REFUSED, reason=reason)


def later(action: Action, reason: str, fields: Iterable[FieldChange] = ()) -> Delta:
    """What cannot be known before a change of this plan has run; `fields` are the most that will be done."""
    changes = tuple(fields)
    heaviest = max((change.impact for change in changes), default=Impact.NONE)
    impact = Impact.NONE if action is Action.CREATE and heaviest <= Impact.LIVE else heaviest
    return Delta(action, changes, impact, Verdict.LATER, because(changes, reason))


def bringers(scope: Scope, *sorts: str) -> list[str]:
    """What changes on this host before, and may bring what is missing now: `package:nginx`, `file:/etc/x`, ..

    `sorts` are beginnings of references. What is about to be removed brings nothing.
    """
    found = sorted(ref for ref in scope.changing if ref.startswith(sorts))
    gone = {ref for ref in found if ref in scope.siblings and scope.siblings[ref].desired is None}
    return [ref for ref in found if ref not in gone]


def no_check(_name: str, _desired: Spec | None) -> str:
    """Any name and any combination of fields will do."""
    return ""


def own_identity(_name: str) -> str:
    """Its address says it all."""
    return ""


def no_references(_name: str, _desired: Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Needs nothing else of this host."""
    return frozenset(), frozenset()


def former(change: Change) -> Change:
    """A change's opposite, as if its former values were wished for; what was made is to go again.

    Fields that this change does not touch are wished for as they are, so that steps that set them set nothing new.
    """
    if change.delta.action is Action.CREATE:
        return replace(change, delta=replace(change.delta, action=Action.DELETE, fields=()), desired=None)
    assert change.desired is not None
    shape = type(change.desired)
    found = {name: value for name, value in change.actual or () if declared(shape, name, "compared")}
    values = {**dict(change.desired), **{name: value for name, value in found.items() if value is not None}}
    fields = tuple(replace(item, before=item.after, after=item.before) for item in change.delta.fields)
    return replace(change, delta=replace(change.delta, fields=fields), desired=shape.model_construct(**values))
