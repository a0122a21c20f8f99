"""Where something was written, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Position(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


NOWHERE = Position("", 0, 0)

Pointer = tuple[str | int, ...]


class Locator(Protocol):
    """Knows where each value of a file stands; a pointer is the keys and indexes that lead to it."""

    def position(self, pointer: Sequence[str | int], *, key: bool = False) -> Position:
        """Where a value begins, or with `key` where its key does; the nearest thing above it when it is not there."""
        ...

    def spoilt(self, pointer: Sequence[str | int]) -> bool:
        """Whether a value holds something that could not be read, and was told already."""
        ...


class Nowhere:
    """The locator of what stands in no file."""

    def position(self, pointer: Sequence[str | int], *, key: bool = False) -> Position:
        return NOWHERE

    def spoilt(self, pointer: Sequence[str | int]) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file, printed as `file:line:column: path: what; allowed; did you mean`.

    `path` is the dotted way to the value, such as `hosts.web.files./etc/motd.mode`.
    """

    position: Position
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.position), self.path, self.message) if part)
