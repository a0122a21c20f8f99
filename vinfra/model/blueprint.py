"""What is wished for: declarations as written, and the resources they expand to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.model.action import Impact
from vinfra.model.address import Address
from vinfra.model.rollout import Roll
from vinfra.model.source import NOWHERE, Locator, Nowhere, Pointer, Position
from vinfra.model.spec import Spec


@dataclass(frozen=True, slots=True)
class Declaration:
    """One item of one section for one host pattern, before templates are rendered.

    `value` is the tree as written (dict, list, text, None). `scope` holds the variables of the file it stands in and
    of the include that brought it. `path` is the dotted way to it, `pointer` the same for `source`, which knows where
    each of its parts stands. `over` is what a fleet says of this member alone, under `overrides`.
    """

    kind: str
    pattern: str
    name: str
    value: Any
    scope: Mapping[str, Any]
    path: tuple[str, ...]
    position: Position
    pointer: Pointer = ()
    source: Locator = field(default_factory=Nowhere, compare=False, repr=False)
    over: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Member:
    """One machine of a fleet, as templates see it in `member`: its name, its number from 1, and, with `for_each`, its
    key and value there (for a list both are the item).
    """

    name: str
    number: int
    key: str = ""
    value: Any = None

    def facets(self) -> dict[str, Any]:
        """The variable `member`."""
        return {"name": self.name, "number": self.number, "key": self.key, "value": self.value}


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A blueprint with its includes. `name` is the owner that marks carry; `digest` is over every file read,
    `digests` has each file's own.

    `variables` are those of var files and of -e, which win over a declaration's scope and over the inventory's.
    `warnings` are lines worth reading that stop nothing. `fleets` holds the members of each fleet by its name, `allow`
    what each fleet's members may cost, also when they leave it. `hosts` are all that one of the patterns names, whether
    anything is declared for them or not; `rollouts` say which of them change a batch at a time. `labels` are for people
    and for the site's policies. Of `moved:`, `formerly` are names that the blueprint had, `renamed` the fleets that
    have another name now, new one by old one.
    """

    name: str
    declarations: tuple[Declaration, ...]
    variables: Mapping[str, Any]
    files: tuple[str, ...] = ()
    digest: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fleets: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)
    hosts: frozenset[str] = frozenset()
    allow: Mapping[str, Impact] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    rollouts: tuple[Roll, ...] = ()
    formerly: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a machine that may run on several hosts asks of the one it gets; shared by all resources it is made of.

    `member` is its name, `fleet` the name of the fleet it belongs to, `hosts` are the candidates in inventory order.
    `cpu` counts virtual CPUs, `memory` bytes. `spread` is "host" or a variable of hosts (`rack`) over whose values the
    fleet is spread evenly. Machines with the same `apart` ("" for none) never share a value of `over`, "host" or such a
    variable. `disk` is what its own volumes may grow to, by pool.
    """

    member: str
    fleet: str
    hosts: tuple[str, ...]
    cpu: int
    memory: int
    spread: str = "host"
    apart: str = ""
    over: str = "host"
    disk: tuple[tuple[str, int], ...] = ()
    path: str = "relay"
    shared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resource:
    """One object that is to exist on one host, or, with `desired` None, to be absent.

    `needs` are the addresses that must be done before it; `after` are those that come first if they are there.
    `protect` refuses its deletion; `allow` raises --max-impact for it alone. `variables` render its deferred fields.

    What can move has no host in its address, but a `demand`; `where` is the host that `place` gave it, and `hard` and
    `soft` are the references that become `needs` and `after` there. A `lazy` one (an image) is dropped by `place`
    unless something on its host needs it.
    """

    address: Address
    desired: Spec | None
    position: Position = NOWHERE
    needs: frozenset[Address] = frozenset()
    after: frozenset[Address] = frozenset()
    protect: bool = False
    allow: Impact = Impact.NONE
    variables: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    where: str = ""
    demand: Demand | None = None
    hard: frozenset[str] = frozenset()
    soft: frozenset[str] = frozenset()
    lazy: bool = False

    @property
    def place(self) -> str:
        """The host it is on or goes to, "" when nobody has decided yet."""
        return self.where or self.address.host
