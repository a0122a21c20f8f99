"""The contract of a kind: a module with these members. It is pure; only transports act.

A kind is read top to bottom: its spec, what it asks, how it reads the answers, how it compares, what it does. The
defaults worth sharing (compare, nothing to wait for) are functions in `kinds.compare` that a kind assigns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from vinfra.model import spec as shape
from vinfra.model.action import Impact
from vinfra.model.answer import Answer
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, Undo
from vinfra.model.mark import Mark
from vinfra.model.placement import Promise
from vinfra.model.question import Question, Raw
from vinfra.model.step import Step

Answers = Mapping[Question, Raw]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a kind sees of one host: its name, its facts, and the resources of this kind that matter there.

    `owner` is the blueprint that is being planned, `formerly` are names that it had before (`moved:`).

    `wanted` are those the blueprint declares (absent ones included) together with those a blueprint left behind, which
    are to go. `marks` are the host's marks of this kind, by name, of every blueprint. `facts` is empty until the first
    round of questions was answered; `siblings` are all resources wanted on this host, by reference (`file:/etc/motd`).
    `changing` are the references of those that change in this very plan; kinds are diffed in dependency order.
    `restarting` are those among them that stop for a while, or worse. `made` are the references of what this blueprint
    created here, by its marks of every kind.
    """

    host: str
    wanted: tuple[Resource, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    marks: Mapping[str, tuple[Mark, ...]] = field(default_factory=dict)
    siblings: Mapping[str, Resource] = field(default_factory=dict)
    changing: frozenset[str] = frozenset()
    restarting: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()
    owner: str = ""
    formerly: frozenset[str] = frozenset()

    def mine(self, name: str) -> Mark | None:
        """This blueprint's mark on one of them."""
        return next((mark for mark in self.marks.get(name, ()) if mark.blueprint == self.owner), None)


class Trait(Enum):
    """What sets a kind apart; it says so in `TRAITS`.

    TOP: it may also stand at the top of a blueprint, with `on:` naming its hosts. LAZY: it stands there alone, without
    `on:`, and is made on each host where something needs it. SINGLE: a host has one, so its section holds its fields.
    FLEET: its members are machines of another kind. WAITS: its steps only wait. HAPPENS: it is no object but something
    that happens (a reboot), so nobody owns it: no mark is left of it.
    """

    TOP = "top"
    LAZY = "lazy"
    SINGLE = "single"
    FLEET = "fleet"
    WAITS = "waits"
    HAPPENS = "happens"


@dataclass(frozen=True, slots=True)
class Removal:
    """What it costs that an object goes, why, and on what it depends; a kind says so in `REMOVAL`."""

    impact: Impact = Impact.LIVE
    why: str = ""
    when: str = ""


def removal(kind: object) -> Removal:
    """What the deletion of a kind's objects costs."""
    return getattr(kind, "REMOVAL", Removal())


def has(kind: object, trait: Trait) -> bool:
    """Whether a kind has a trait."""
    return trait in getattr(kind, "TRAITS", ())


@dataclass(frozen=True, slots=True)
class Part:
    """Something that an object is made of and that is declared with it: kind, name, and fields as in a blueprint."""

    kind: str
    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A machine that lives on a host, ours or not, and what it may take of it at any time: virtual CPUs and bytes.

    `owner` is the blueprint in its own mark ("" for none).
    """

    name: str
    cpu: int
    memory: int
    owner: str = ""


@runtime_checkable
class Composite(Protocol):
    """A kind whose objects bring others along: the packages of a hypervisor, the volumes of a domain."""

    def parts(self, name: str, desired: shape.Spec) -> Iterable[Part]:
        """What is declared with it, before discovery. Parts of what can move go where it goes."""
        ...


@runtime_checkable
class Machines(Protocol):
    """A kind whose objects are placed on hosts by what they need and what is free."""

    def demand(self, desired: shape.Spec) -> tuple[int, int]:
        """Virtual CPUs and bytes of memory."""
        ...

    def tenants(self, answers: "Answers") -> Iterable[Tenant]:
        """Every machine on a host, from the answers of the first round."""
        ...


@runtime_checkable
class Exclusive(Protocol):
    """A kind whose objects have what no other one may have, wherever the two are placed."""

    def alone(self, desired: shape.Spec) -> Iterable[str]:
        """What that is, in words that are the same for whoever has it."""
        ...


@dataclass(frozen=True, slots=True)
class Store:
    """A pool of volumes on a host, in bytes: what it can hold, and what its volumes may grow to."""

    size: int
    promised: int


@runtime_checkable
class Stores(Protocol):
    """A kind whose objects take room in pools."""

    def storage(self, desired: shape.Spec) -> Mapping[str, int]:
        """What an object's own volumes may grow to, by pool."""
        ...

    def stores(self, answers: "Answers") -> Mapping[str, Store]:
        """The pools of a host, from the answers of the first round."""
        ...


@runtime_checkable
class Choosy(Protocol):
    """A kind whose objects need what not every host has: they are placed where nothing is missing."""

    def unfit(self, desired: shape.Spec, facts: Mapping[str, Any]) -> str:
        """What a host with these facts lacks for it, as in `hv1 has no huge pages of 1GiB`: "has no …"; "" if it fits.

        Facts that are not known speak against no host.
        """
        ...


@runtime_checkable
class Movable(Protocol):
    """A kind of machines that can be carried over to another host, all that they are made of with them."""

    def stays(self, resource: Resource, answers: tuple[Answer, Answer], scopes: tuple[Scope, Scope]) -> str:
        """Why one cannot go from the first host to the second, in a clause: "its new host has no pool fast"."""
        ...

    def carry(self, resource: Resource, answer: Answer, to: str) -> tuple[Step, str]:
        """The step that does it, run where it is, and how it goes, in a few words."""
        ...


@runtime_checkable
class Promises(Protocol):
    """A kind that says how much of its host may be promised to machines."""

    def promise(self, desired: shape.Spec) -> Promise:
        """That of this object."""
        ...


@runtime_checkable
class Reversible(Protocol):
    """A kind whose creations and updates have a way back, so that a rollout of it can be rolled back."""

    def undo(self, change: Change, scope: Scope) -> Undo | str:
        """What takes a change back to what was found before it, or in a sentence why this one has no way back.

        Never asked of a deletion. It must also do when the change was cut off in the middle.
        """
        ...


@runtime_checkable
class Prepares(Protocol):
    """A kind that can make clear itself what it knows only later: package lists that are old are fetched first."""

    def prepare(self, change: Change, scope: Scope) -> Sequence[Step]:
        """What is done at apply before a row with verdict LATER is read again."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """Something that a host has, as a blueprint would declare it. `fields` is None when it cannot be declared, and
    `note` says what of it cannot. `owner` is the blueprint in its own mark ("" for none).
    """

    name: str
    fields: Mapping[str, Any] | None = None
    note: str = ""
    owner: str = ""


@runtime_checkable
class Lists(Protocol):
    """A kind that can list all of its objects on a host, whoever made them: for `import` and `unmanaged`."""

    def ask_all(self, answers: "Answers") -> Iterable[Question]:
        """What must be read, as `ask`, but by no name."""
        ...

    def listing(self, scope: Scope, answers: "Answers") -> Iterable[Listed]:
        """Everything of this kind that is worth a word, in a stable order. `scope` wants nothing; its marks count."""
        ...


@runtime_checkable
class Carries(Protocol):
    """A kind whose objects carry their owner on themselves, beside the mark on the host."""

    def carried(self, answer: Answer) -> str:
        """The blueprint that an object says it belongs to; "" for none."""
        ...

    def own(self, change: Change, scope: Scope) -> Sequence[Step]:
        """What writes this blueprint's name there, and changes nothing else."""
        ...


class Kind(Protocol):
    """One kind of object, `NAME` as in `host.file`.

    `SECTION` is its key in a blueprint (`files`), `SHORTHAND` the field that a bare scalar means ("" for none), `ORDER`
    its place among a host's kinds where references leave the order open (lower first; deletions run the other way).
    `SHARED` says that several blueprints may own one together (a package); it goes with the last of them. One may have
    `REMOVAL` and `TRAITS` as well: see `Removal` and `Trait`.
    """

    NAME: str
    SECTION: str
    SHORTHAND: str
    ORDER: int
    SHARED: bool

    @property
    def Spec(self) -> type[shape.Spec]:  # noqa: N802  the class itself
        """The frozen pydantic model of its fields."""
        ...

    def check(self, name: str, desired: shape.Spec | None) -> str:
        """What is wrong with this name or this combination of fields, in a sentence; "" for nothing."""
        ...

    def identity(self, name: str) -> str:
        """What a name stands for on a host, such as `path:/srv`; two resources with one identity clash."""
        ...

    def references(self, name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
        """References (`file:/etc/motd`): those that must be declared, and those that come first if they are."""
        ...

    def ask(self, scope: Scope, answers: Answers) -> Iterable[Question]:
        """What must be read. Called again with the answers so far, until it asks nothing new. Repeats are free."""
        ...

    def read(self, scope: Scope, answers: Answers) -> Mapping[str, Answer]:
        """The answer for each wanted name. A question that failed is Unknown, with the reason."""
        ...

    def diff(self, resource: Resource, answer: Answer, scope: Scope) -> Delta:
        """What differs. Called only with Present and Absent; `desired` None asks for the deletion."""
        ...

    def steps(self, change: Change, scope: Scope) -> Sequence[Step]:
        """What closes the change. Called only when there is something to do."""
        ...


class FactsReader(Protocol):
    """How a host's facts are read, in the same two pure parts; they travel in the first round of questions."""

    def ask(self) -> Iterable[Question]:
        """What must be read."""
        ...

    def read(self, answers: Answers) -> Mapping[str, Any]:
        """The facts, by the names that templates use (`facts.os.id`)."""
        ...


Kinds = Mapping[str, Kind]
