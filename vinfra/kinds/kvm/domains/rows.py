"""What differs between a domain and what is wished for, as the rows of a plan: its hardware, and what is around it.

The definition and what runs are told apart: a field that is right in the definition and waits for a restart is shown
as `field.running`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import changed
from vinfra.kinds.kvm.domains import board, live
from vinfra.kinds.kvm.domains.domain_xml import ASPECTS, shown
from vinfra.kinds.kvm.domains.machine import Spec
from vinfra.kinds.kvm.reading import ownership
from vinfra.kinds.kvm.reading.virsh import Found
from vinfra.model.action import Impact
from vinfra.model.blueprint import Resource
from vinfra.model.change import FieldChange
from vinfra.model.kind import Scope
from vinfra.model.spec import declared

# A state of libvirt's in the words of a blueprint; one that is not here passes by itself and says nothing.
POWER = {"running": "running", "idle": "running", "shut off": "stopped", "paused": "paused"}
POWER |= {"crashed": "crashed", "pmsuspended": "suspended"}


def hardware(wish: Mapping[str, Any], notes: Mapping[str, Any]) -> Iterator[FieldChange]:
    """Aspect by aspect: what the definition says, and what runs if that is something else again."""
    domain: Found = notes["domain"]
    defined, runs = notes["defined"], notes["live"]
    told = live.told(domain.live, wish) if runs is not None else {}
    for name, value in wish.items():
        now, why = defined[name] if runs is None else runs[name], told.get(name, ())
        cost = (Impact.RESTART, why) if isinstance(why, str) else (Impact.LIVE, "")
        if name in board.FOR_GOOD:
            cost = (Impact.REPLACE, board.STAYS["why"])
        fits = ASPECTS[name].fits(value, defined[name])
        if not fits:
            yield _row(name, shown(defined[name], value), shown(value, value), *cost)
        if name in told and (fits or now != defined[name]):
            yield _row(f"{name}.running", shown(now, value), shown(value, value), *cost)


def _row(path: str, before: Any, after: Any, impact: Impact, why: str) -> FieldChange:
    name = path.partition(".")[0]
    secret = name in Spec.model_fields and bool(declared(Spec, name, "secret"))
    return FieldChange(path, None if secret else before, None if secret else after, impact, secret, why)


def around(resource: Resource, desired: Spec, notes: Mapping[str, Any], scope: Scope) -> Iterator[FieldChange]:
    """What is no part of the hardware: its mark, whether libvirt keeps it, autostart, power."""
    domain: Found = notes["domain"]
    address = str(resource.address)
    blueprint, before = ownership.owner(domain.definition)
    if blueprint in scope.formerly:
        yield FieldChange("owner", blueprint, scope.owner)
    elif before != address:
        yield FieldChange("owner", before or None, address)
    if not domain.persistent:
        yield FieldChange("persistent", False, True)
    if desired.autostart not in (None, domain.autostart):
        yield FieldChange("autostart", domain.autostart, desired.autostart)
    power = POWER.get(domain.state)
    if power is not None and desired.power not in (None, power):
        change = changed(Spec, "power", power, desired.power)
        yield replace(change, impact=Impact.LIVE, why="") if desired.power == "running" else change
