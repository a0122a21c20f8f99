"""How problems in files are worded: where, what is wrong, what is allowed, did you mean."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from vinfra.model.source import Locator, Problem

_LISTED = 12


def pathway(pointer: Sequence[str | int]) -> str:
    """A pointer as people read it: `hosts.web.files./etc/motd.mode`, `include[0].file`."""
    text = ""
    for part in pointer:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def near(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean X?` when something allowed is close to the word, otherwise nothing."""
    candidates = list(allowed)
    folded = {name.lower(): name for name in reversed(candidates)}
    found = get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[found[0]]}?" if found else ""


def unknown(noun: str, word: str, allowed: Iterable[str]) -> str:
    """`unknown NOUN; allowed: …; did you mean …?`. The path names the word itself."""
    names = list(allowed)
    listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    return f"unknown {noun}; allowed: {listed or 'none'}{near(word, names)}"


def sort_of(value: Any) -> str:
    """What a value is, in a word for messages."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return "nothing" if value is None else "text"


class Complaints:
    """Problems as they are found, each said once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, source: Locator, pointer: Sequence[str | int], message: str, *, key: bool = False) -> None:
        """One problem with the value at `pointer`, or with its key."""
        if key or not source.spoilt(pointer):
            self.take(Problem(source.position(pointer, key=key), pathway(pointer), message))

    def take(self, *problems: Problem) -> None:
        """Problems found elsewhere."""
        self._found.update(dict.fromkeys(problems))

    def __len__(self) -> int:
        return len(self._found)

    def sorted(self) -> list[Problem]:
        """All of them, by file and position."""
        return sorted(self._found, key=lambda problem: (problem.position, problem.path, problem.message))
