"""What discovery found out about one object. "Could not look" is never "not there"."""

from dataclasses import dataclass, field
from typing import Any

from vinfra.model.spec import Spec


@dataclass(frozen=True, slots=True)
class Present:
    """The object exists. `notes` holds what the kind learned beside its fields (who needs it, what it would break)."""

    actual: Spec
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Absent:
    """The object does not exist; we looked. `notes` as in Present."""

    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown:
    """We could not look: shown, exit 4, nothing is planned on it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Later:
    """Cannot be known before something in this very plan has run: what `by` names (`hypervisor:kvm`).

    `reason` is why not now. `bare`: nothing at all can be there yet.
    """

    reason: str
    by: str
    bare: bool = False


Answer = Present | Absent | Unknown | Later
