"""A fleet: many machines of one description, each placed on a host that has room for it.

It has no object of its own: its members are domains, whose fields stand in it beside its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from vinfra.kinds.compare import SAME, no_references, own_identity
from vinfra.kinds.kvm.domains import machine
from vinfra.model.action import Impact
from vinfra.model.answer import Answer
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.question import Question
from vinfra.model.rollout import Rollout
from vinfra.model.spec import Spec as Shape
from vinfra.model.spec import field
from vinfra.model.step import Step
from vinfra.model.values import Text, Whole

NAME = "kvm.fleet"
SECTION = "fleets"
SHORTHAND = ""
ORDER = 140
SHARED = False
TRAITS = frozenset({Trait.FLEET})
MEMBER = "kvm.domain"
PLACED = "nothing moves; it counts for members to come"
REMOVAL = Removal(Impact.DATA_LOSS, "its members go, and what is on their disks is lost")
FEWER: dict[str, Any] = {
    "impact": Impact.DATA_LOSS,
    "why": "the disks of members that go are lost",
    "when": "free for members that come",
}


class Apart(BaseModel):
    """Machines of one group, and the variable of hosts whose values they never share."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    group: Text = field("The word that machines which keep apart have in common.", default=...)
    over: Text = field("What they never share: `host`, or a variable of the hosts such as `rack`.", default="host")


class Migration(BaseModel):
    """How a member gets to another host."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: Literal["relay", "tcp", "tls"] = field(
        "`relay`: through vinfra's own two SSH logins. `tcp`: straight from host to host, faster and readable on the "
        "way; `tls`: the same, encrypted by libvirt's certificates on both. The variable `migration_address` of a host "
        "says where others reach it, if not where vinfra does.",
        default="relay",
    )
    shared: tuple[Text, ...] = field("Pools whose volumes both hosts see, so that they stay.", default=())


class Own(Shape):
    """What a fleet says beside what its members are."""

    count: Whole | None = field("How many members; or `for_each`.", **FEWER, examples=(4,))
    for_each: list[Text] | dict[str, Any] | None = field(
        "A member for each item of a list, or each key of a mapping: `member.key` and `member.value` in templates.",
        **FEWER,
    )
    name: Text | None = field(
        "What members are called: a template over `member.number`, `member.key` and `member.value`. Without it "
        "`web-01`, or `web-blue` with `for_each`.",
        **FEWER,
        examples=("web{{ member.number }}.example.net",),
    )
    overrides: dict[str, Any] | None = field(
        "Fields that are different for some members, by the member's name.",
        impact=Impact.DATA_LOSS,
        why="as those fields of a domain",
    )
    spread: Text = field(
        "Over what its members are spread evenly: `host`, or a variable of the hosts such as `rack`.",
        default="host",
        when=PLACED,
    )
    anti_affinity: Apart | Text = field(
        "Machines with the same word here never share a host; with `{group, over}` never a rack or a zone: a value of "
        "that variable of the hosts.",
        default="",
        when=PLACED,
        examples=("db", {"group": "db", "over": "rack"}),
    )
    migration: Migration | None = field(
        "How a member gets to another host when `on` no longer names its own, or a host is evacuated: "
        "`{path, shared}`; with its disks and through vinfra's logins, unless said.",
        compared=False,
        examples=({"path": "tls", "shared": ["nfs"]},),
    )
    remove: tuple[Text, ...] | None = field(
        "Members that go, by name: `count` others stay or come, and none gets another number. Without it the highest "
        "numbers go first.",
        **FEWER,
        examples=(["web-02"],),
    )
    rollout: Rollout | None = field(
        "How a change is rolled out over the members, as under a host pattern: in which batches, and what must hold "
        "before the next.",
        compared=False,
        examples=({"batch": "25%", "monitor": "10s", "health": ["ssh", {"tcp": 80}]},),
    )

    @property
    def apart(self) -> tuple[str, str]:
        """Which machines its own keep apart from ("" for none), and over what."""
        word = self.anti_affinity
        return (word.group, word.over) if isinstance(word, Apart) else (word, "host")


class Spec(Own, machine.Spec):
    """A fleet of virtual machines: its own fields, and those of each of its members."""


OWN = frozenset(Own.model_fields)
identity = own_identity
references = no_references


def check(_name: str, desired: Shape | None) -> str:
    """Members that are to keep apart have a word in common."""
    word = getattr(desired, "anti_affinity", None)
    return (
        "anti_affinity: group: write a word; without one nothing keeps apart"
        if isinstance(word, Apart) and not word.group
        else ""
    )


def ask(_scope: Scope, _answers: Answers) -> Iterable[Question]:
    """Nothing: its members ask."""
    return ()


def read(_scope: Scope, _answers: Answers) -> Mapping[str, Answer]:
    """Nothing."""
    return {}


def diff(_resource: Resource, _answer: Answer, _scope: Scope) -> Delta:
    """Never different: its members are."""
    return SAME


def steps(_change: Change, _scope: Scope) -> Sequence[Step]:
    """None."""
    return ()
