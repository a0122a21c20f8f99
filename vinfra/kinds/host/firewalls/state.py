"""What a firewall program holds of ours, and what it is to hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class State:
    """What of ours is in one firewall program: now (`incoming`, `rules`) and at the next boot (`persisted`, `enabled`).

    `incoming` is None while nothing of ours runs; `persisted` is the text from which it is loaded. `rules` are in the
    program's own words, those that are always there left out. `missing` says why it cannot be used, `brings` are
    references to what would bring it. `ours` says that there is something which goes when we go, `hinders` why
    nothing can be changed just now. `former` is what the way back needs.
    """

    incoming: str | None = None
    rules: tuple[str, ...] = ()
    persisted: str | None = None
    enabled: bool = False
    missing: str = ""
    brings: tuple[str, ...] = ()
    ours: bool = False
    hinders: str = ""
    former: Mapping[str, str | None] = field(default_factory=dict)
