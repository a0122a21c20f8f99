"""The site file: the policies that every blueprint of a site is held against."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from vinfra.model.action import Impact
from vinfra.model.inventory import Inventory
from vinfra.model.policy import MINUTES, Freeze, Labelled, Policy, Quota, Window
from vinfra.model.source import Pointer, Problem
from vinfra.model.values import Text
from vinfra.text.complaint import Complaints, near, sort_of, unknown
from vinfra.text.document import Document
from vinfra.text.expression import templates_in
from vinfra.text.fields import build
from vinfra.text.fleet import GROUP
from vinfra.text.labels import label_problem
from vinfra.text.names import known_keys
from vinfra.text.pattern import select

KEYS = ("policies",)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RULES = ("max_deletes", "forbid", "require_labels")
WITH = {"kind": "max_deletes", **dict.fromkeys(("days", "hours", "zone", "hosts"), "forbid")}


def _amount(value: Any) -> tuple[int, bool]:
    found = re.fullmatch(r"([0-9]+)(%?)", str(value))
    if not found or (found[2] and int(found[1]) > 100):
        raise ValueError("write a whole number, or a percentage such as 10%")
    return int(found[1]), bool(found[2])


def _days(value: Any) -> frozenset[int]:
    found: set[int] = set()
    for item in value if isinstance(value, list | tuple) else [value]:
        first, dash, last = str(item).partition("-")
        if not {first, last if dash else first} <= set(DAYS):
            raise ValueError(f"write days, such as [mon, wed] or mon-fri; allowed: {', '.join(DAYS)}")
        start, end = DAYS.index(first), DAYS.index(last if dash else first)
        found |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8)}
    if not found:
        raise ValueError("write at least one day")
    return frozenset(found)


def _hours(value: Any) -> tuple[int, int]:
    found = re.fullmatch(r"(\d\d):([0-5]\d)-(\d\d):([0-5]\d)", str(value))
    start, end = (int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])) if found else (MINUTES, 0)
    if start >= MINUTES or end > MINUTES:
        raise ValueError("write a time of day, such as 08:00-18:00, or 22:00-06:00 over midnight")
    if start == end:
        raise ValueError("it begins when it ends; leave `hours` out for the whole day")
    return start, end


def _zone(value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(str(value))
    except (ValueError, OSError, KeyError):
        known = available_timezones()
        none = "" if known else "; this machine has no time zones: install tzdata"
        text = f"there is no time zone {str(value)!r}; write one such as Europe/Berlin or UTC{near(str(value), known)}"
        raise ValueError(text + none) from None


_TEXT = WithJsonSchema({"type": "string"})
Amount = Annotated[
    Any,
    BeforeValidator(_amount),
    WithJsonSchema({"type": ["integer", "string"], "pattern": "^[0-9]+%?$", "minimum": 0}),
]
_DAY = {"type": "string", "pattern": f"^({'|'.join(DAYS)})(-({'|'.join(DAYS)}))?$"}
Days = Annotated[Any, BeforeValidator(_days), WithJsonSchema({"anyOf": [_DAY, {"type": "array", "items": _DAY}]})]
Hours = Annotated[Any, BeforeValidator(_hours), WithJsonSchema({"type": "string", "pattern": "^[0-9:]+-[0-9:]+$"})]


class Rule(BaseModel):
    """A policy as written: exactly one of `max_deletes`, `forbid` and `require_labels`, and what goes with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_deletes: Amount | None = Field(
        None, description="how many objects one plan may delete: a number, or a percentage of those there are"
    )
    kind: Text | None = Field(None, description="with max_deletes: count only this kind, such as kvm.volume")
    forbid: Literal["all", "live", "restart", "replace", "data-loss"] | None = Field(
        None, description="refuse changes of this impact and above; `all` refuses every change"
    )
    days: Days | None = Field(None, description="with forbid: only on these days, such as mon-fri or [sat, sun]")
    hours: Hours | None = Field(
        None,
        description="with forbid: only at this time, such as 08:00-18:00; over midnight it belongs to its first day",
    )
    zone: Annotated[Any, BeforeValidator(_zone), _TEXT] | None = Field(
        None, description="the time zone of days and hours, such as Europe/Berlin"
    )
    hosts: Text | None = Field(None, description="with forbid: only on the hosts of this pattern")
    require_labels: tuple[Text, ...] | None = Field(
        None, description="labels that a blueprint must carry to change anything"
    )


def read_site(
    document: Document | None, inventory: Inventory, kinds: Iterable[str]
) -> tuple[tuple[Policy, ...], list[Problem]]:
    """The policies of a site file, and every problem in it; none of both without one."""
    if document is None or document.tree is None:
        return (), [] if document is None else list(document.problems)
    complaints = Complaints()
    complaints.take(*document.problems)
    known_keys(document.tree, KEYS, document, (), complaints)
    written = document.tree.get("policies")
    if written is not None and not isinstance(written, dict):
        complaints.add(document, ("policies",), f"write a mapping of names, not {sort_of(written)}")
    found = []
    for name, value in (written if isinstance(written, dict) else {}).items():
        pointer: Pointer = ("policies", name)
        rule = _rule(value, document, pointer, complaints)
        complaint = _unfit(rule, inventory, tuple(kinds)) if rule else None
        if complaint:
            complaints.add(document, (*pointer, *complaint[0]), complaint[1], key=not complaint[0])
        elif rule:
            found.append(_policy(name, rule, document, inventory))
    return tuple(found), complaints.sorted()


def _rule(value: Any, document: Document, pointer: Pointer, complaints: Complaints) -> Rule | None:
    if not isinstance(value, dict):
        complaints.add(document, pointer, f"write a mapping with one of {', '.join(RULES)}, not {sort_of(value)}")
        return None
    for key, item in value.items():
        if next(templates_in(item), None) is not None:
            complaints.add(document, (*pointer, key), "no template is rendered here; write the value")
            return None
    made = build(Rule, value, document.directory)
    if isinstance(made, Rule):
        return made
    for fault in made:
        complaints.add(document, (*pointer, *fault.pointer), fault.message, key=fault.key)
    return None


def _unfit(rule: Rule, inventory: Inventory, kinds: tuple[str, ...]) -> tuple[Pointer, str] | None:
    """What is wrong with a combination of fields, or with a name in one of them, and where."""
    given = [name for name, value in rule if value is not None]
    rules = [name for name in RULES if name in given]
    if len(rules) != 1:
        return (), f"write exactly one of {', '.join(RULES)}" + (f", not {' and '.join(rules)}" if rules else "")
    for name in given:
        if WITH.get(name, rules[0]) != rules[0]:
            return (name,), f"{name} goes with {WITH[name]}, not with {rules[0]}"
    if (rule.days or rule.hours) and rule.zone is None:
        return (), "say in which time zone: `zone: Europe/Berlin`, `zone: UTC`"
    if rule.zone is not None and not (rule.days or rule.hours):
        return ("zone",), "there are no days and hours that it could be for"
    if rule.kind is not None and rule.kind not in kinds:
        return ("kind",), unknown("kind", rule.kind, kinds)
    if rule.require_labels is not None and not rule.require_labels:
        return ("require_labels",), "name at least one label"
    for number, label in enumerate(rule.require_labels or ()):
        if complaint := label_problem(label):
            return ("require_labels", number), complaint
    complaint = _selected(rule.hosts, inventory)[1] if rule.hosts is not None else ""
    return (("hosts",), complaint) if complaint else None


def _selected(pattern: str, inventory: Inventory) -> tuple[frozenset[str], str]:
    """The hosts of a pattern, and what is wrong with it. A fleet that this blueprint does not have is no mistake."""
    absent = {name: () for name in re.findall(rf"{GROUP}(?:\.[\w.-]*\w)?", pattern) if name not in inventory.groups}
    found = select(pattern, replace(inventory, groups={**inventory.groups, **absent}))
    return frozenset(found.hosts), found.complaint


def _policy(name: str, rule: Rule, document: Document, inventory: Inventory) -> Policy:
    position = document.position(("policies", name), key=True)
    if rule.max_deletes is not None:
        most, percent = rule.max_deletes
        return Quota(name, position, most, percent, rule.kind or "")
    if rule.require_labels is not None:
        return Labelled(name, position, rule.require_labels)
    impact = Impact.NONE if rule.forbid == "all" else Impact[str(rule.forbid).upper().replace("-", "_")]
    hosts = _selected(rule.hosts, inventory)[0] if rule.hosts is not None else None
    return Freeze(name, position, impact, _window(rule), hosts)


def _window(rule: Rule) -> Window | None:
    if rule.zone is None:
        return None
    start, end = rule.hours or (0, MINUTES)
    days = rule.days or frozenset(range(7))
    clock = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}" if rule.hours else ""
    spelled = ", ".join(name for number, name in enumerate(DAYS) if number in days) if len(days) < 7 else ""
    return Window(days, start, end, rule.zone, " ".join(filter(None, (spelled, clock, str(rule.zone)))))
