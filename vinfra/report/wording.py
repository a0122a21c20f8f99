"""The words of a row: values as a blueprint writes them, and what a change says. Terminal and JSON share them."""

from collections.abc import Mapping
from typing import Any, get_args

from vinfra.model.action import Action, Verdict
from vinfra.model.change import Change, FieldChange
from vinfra.model.secret import Secret
from vinfra.model.source import Position
from vinfra.model.spec import Deferred, Spec
from vinfra.model.values import SIZES, SPANS, Unit
from vinfra.report.content import amount, hidden, is_text
from vinfra.report.visible import shortened, visible

HIDDEN = "(secret)"
ARROW = "→"


def where(position: Position) -> str:
    """`file:line`, or nothing."""
    return f"{visible(position.file)}:{position.line}" if position.file else ""


def unit_of(spec: Spec | None, path: str) -> str:
    """What the numbers of a field count: "bytes", "seconds" or ""."""
    return "" if spec is None else type_unit(type(spec), path.partition(".")[0].partition("[")[0])


def type_unit(spec: type[Spec], name: str) -> str:
    """The same of a declared field."""
    found = spec.model_fields.get(name)
    return "" if found is None else _unit((found.annotation, *found.metadata))


def _unit(parts: tuple[Any, ...]) -> str:
    for part in parts:
        inner = part.name if isinstance(part, Unit) else _unit(get_args(part))
        if inner:
            return str(inner)
    return ""


def spell(value: Any, unit: str = "") -> str:
    """A value in the shape a blueprint would write it, on one line, of any length."""
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and unit:
        return _counted(value, SIZES if unit == "bytes" else SPANS)
    if isinstance(value, bytes):
        return spell(value.decode("utf-8", "surrogateescape"))
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, Deferred):
        return f"{visible(value.raw)} (known later)"
    if isinstance(value, Spec):
        return spell(dict(value), unit)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{visible(key)}: {spell(item, unit)}" for key, item in value.items()) + "}"
    if isinstance(value, set | frozenset):
        return spell(sorted(value, key=str), unit)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(spell(item, unit) for item in value) + "]"
    return visible(value) if str(value).strip() else f'"{visible(value)}"'


def _counted(number: float, units: Mapping[str, float]) -> str:
    """In the largest unit it fills; decimal sizes are for blueprints to write, not for reports."""
    unit = "B" if "B" in units else "s"
    if number:
        fitting = [name for name in units if name not in ("KB", "MB", "GB", "TB") and units[name] <= number]
        unit = max(fitting, key=lambda name: units[name], default=unit)
    return f"{round(number / units[unit], 1):g}{unit}"


def spec_of(change: Change) -> Spec | None:
    """The spec that says what a change's fields are."""
    return change.desired if change.desired is not None else change.actual


def field_words(change: Change, field: FieldChange) -> str:
    """One field's part of a row: `memory 2GiB → 4GiB`; for a creation only where it goes."""
    spec = spec_of(change)
    if change.delta.action is Action.CREATE or is_text(field):
        return _made(spec, field)
    if hidden(field):
        return f"{visible(field.path)} {HIDDEN} changes"
    unit = unit_of(spec, field.path)
    before, after = (shortened(spell(side, unit)) for side in (field.before, field.after))
    return f"{visible(field.path)} {before} {ARROW} {after}"


def what(change: Change) -> str:
    """The words of a row: its fields, and the reason that fields do not tell."""
    delta = change.delta
    fields = delta.fields if delta.action is not Action.DELETE else ()
    told = ", ".join(_open(field) or field_words(change, field) for field in fields)
    reason = visible(delta.reason)
    if delta.verdict is Verdict.LATER:
        bound = f"at most {delta.action.name.lower()}" + (f": {told}" if told else "")
        return f"{reason}; {bound}" if reason else bound
    if delta.verdict is Verdict.REFUSED and not reason.startswith("refused"):
        reason = f"refused, {reason}" if reason else "refused"
    return ": ".join(part for part in (told, reason) if part) or delta.action.name.lower()


def _open(field: FieldChange) -> str:
    """A field of which nobody knows yet what it will be, by its name alone; "" for any other."""
    return visible(field.path) if field.before is None and field.after is None and not field.secret else ""


def _made(spec: Spec | None, field: FieldChange) -> str:
    if hidden(field):
        words = HIDDEN
    elif is_text(field):
        words = amount(field)
    else:
        words = shortened(spell(field.after, unit_of(spec, field.path)))
    return f"{visible(field.path)} {words}"


def cost(change: Change) -> str:
    """The impact column."""
    return "unknown" if change.delta.verdict is Verdict.UNKNOWN else str(change.delta.impact)


def symbol(change: Change) -> str:
    """The first column: the action's sign, or the verdict's when it is not ok."""
    return change.delta.verdict.value or change.delta.action.value
