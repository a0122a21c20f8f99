"""How a fact is declared: what `facts.…` in a template means, in which unit, and how it looks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TEXT, WHOLE, NUMBER, FLAG, TEXTS = "text", "whole number", "number", "flag", "list of text"
SORTS: Mapping[str, tuple[type, ...]] = {
    TEXT: (str,),
    WHOLE: (int,),
    NUMBER: (int, float),
    FLAG: (bool,),
    TEXTS: (list,),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact. A part of `path` in capitals stands for any name: `disks.DISK.size`. Every fact may be None."""

    path: str
    sort: str
    doc: str
    example: Any
    unit: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The path in its parts."""
        return tuple(self.path.split("."))


def stands_for_any(part: str) -> bool:
    """Whether a part stands for any name."""
    return part.isupper()


def outline(facts: Iterable[Fact]) -> dict[str, Any]:
    """The facts as a tree; leaves are Facts."""
    tree: dict[str, Any] = {}
    for fact in facts:
        node = tree
        for part in fact.parts[:-1]:
            node = node.setdefault(part, {})
        node[fact.parts[-1]] = fact
    return tree


def known(tree: Mapping[str, Any], name: str) -> Any:
    """What is declared under this name, or under the one in capitals that stands for any; None for nothing."""
    if name in tree and not stands_for_any(name):
        return tree[name]
    return next((below for key, below in tree.items() if stands_for_any(key)), None)
