"""What stages need of a transport. Reading and writing are two protocols, so that what only reads cannot write."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from vinfra.model.question import Question, Raw
from vinfra.model.step import Step, StepResult


class Reader(Protocol):
    """Asks one host. There is no way to change anything through it."""

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        """Every answer, in one round trip. Raises TransportError when the host cannot be asked at all."""
        ...


class Writer(Reader, Protocol):
    """Asks and changes one host."""

    def run(self, step: Step) -> StepResult:
        """Run a step's calls, stopping at the first that fails. Raises TransportError."""
        ...
