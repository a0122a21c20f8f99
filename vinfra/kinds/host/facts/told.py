"""What a host said to all questions about facts, and how single words of it are read: what is odd is None."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vinfra.model.kind import Answers
from vinfra.model.question import Question, ReadTree
from vinfra.model.tree import Tree, parse

# Nobody reads more of one sort, and no host may fill our memory.
MOST = 512


@dataclass(frozen=True)
class Told:
    """A host's answers. `tree` is everything that was read from files."""

    answers: Answers
    question: ReadTree

    @cached_property
    def tree(self) -> Tree:
        """The files, links and names of the one question that asks for all of them."""
        return parse(self.question, self.answers.get(self.question))

    @cached_property
    def kernel_arguments(self) -> dict[str, str]:
        """The kernel's command line: the last value of each word, "" for a bare one. What follows `--` is init's."""
        own = f" {self.tree.text('/proc/cmdline')} ".partition(" -- ")[0]
        return {key: value.strip('"') for key, _, value in (word.partition("=") for word in own.split())}

    def said(self, question: Question) -> str:
        """Standard output, "" when there is none. Some programs answer with a status other than 0 (`degraded`)."""
        raw = self.answers.get(question)
        return raw.text if raw is not None else ""


def whole(value: object, base: int = 10) -> int | None:
    """A whole number."""
    text = str(value).strip()
    try:
        return int(text, base) if len(text) < 40 and "_" not in text else None
    except ValueError:
        return None


def number(value: object) -> float | None:
    """A number that is one: neither infinite nor `nan`."""
    try:
        found = float(str(value).strip())
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None


def word(value: object) -> str | None:
    """Text without white space around it; None for none, and for what is no text."""
    return (value.strip() or None) if isinstance(value, str) else None


def switch(value: object) -> bool | None:
    """The kernel's words for on and off."""
    return {"1": True, "Y": True, "y": True, "0": False, "N": False, "n": False}.get(str(value).strip())


def pairs(text: str, mark: str) -> dict[str, str]:
    """The first value of each key."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(mark)
        found.setdefault(key.strip(), value.strip())
    return found


def items(text: str, key: str = "") -> list[dict[str, Any]]:
    """The objects of a list in JSON."""
    try:
        value = json.loads(text)
        value = value[key] if key else value
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return objects(value)


def objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list; none of what is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def kilobytes(value: object) -> int | None:
    """Bytes, of what the kernel counts in units of 1024 (`2048 kB`)."""
    found = whole(str(value).removesuffix("kB"))
    return None if found is None else found * 1024


def bounded(found: Mapping[str, Any]) -> dict[str, Any]:
    """The first entries of many."""
    return dict(list(found.items())[:MOST])


def ordered(names: Iterable[str]) -> list[str]:
    """Numbers by size, other words after them by the alphabet."""
    return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
