"""What a Linux host tells of itself: the facts that templates use. A fact that cannot be read is None.

All of them are asked by every plan: one question reads every file of /proc and /sys, which costs less than a few
programs would. docs/reference/facts.md is written from what each topic declares in FACTS.
"""

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from vinfra.kinds.host.facts import (
    certificates,
    clock,
    disks,
    filesystems,
    firmware,
    kernel,
    memory,
    network,
    pci,
    processor,
    security,
    system,
    usage,
    virtualization,
)
from vinfra.kinds.host.facts.told import Told
from vinfra.model.fact import Fact
from vinfra.model.kind import Answers
from vinfra.model.question import Exec, Question, ReadTree

TOPICS: Mapping[str, ModuleType] = {
    "system": system,
    "hardware": firmware,
    "cpu": processor,
    "virtualization": virtualization,
    "memory": memory,
    "disks": disks,
    "filesystems": filesystems,
    "network": network,
    "pci": pci,
    "kernel": kernel,
    "time": clock,
    "security": security,
    "certificates": certificates,
    "usage": usage,
}


def _every(name: str) -> tuple[Any, ...]:
    """What all topics need of one sort; many need the same file."""
    return tuple(dict.fromkeys(item for topic in TOPICS.values() for item in getattr(topic, name, ())))


TREE = ReadTree(_every("FILES"), _every("LINKS"), _every("NAMES"))
PROGRAMS: tuple[Exec, ...] = _every("PROGRAMS")


def ask() -> Iterable[Question]:
    """Everything, in the first round."""
    return (TREE, *PROGRAMS)


def read(answers: Answers) -> Mapping[str, Any]:
    """The facts; each topic on its own, so that one odd answer leaves the others whole."""
    told = Told(answers, TREE)
    facts: dict[str, Any] = {}
    for topic in TOPICS.values():
        facts |= topic.read(told)
    return facts


def documented() -> dict[str, tuple[Fact, ...]]:
    """Every fact that `read` gives, by topic."""
    return {name: topic.FACTS for name, topic in TOPICS.items()}
