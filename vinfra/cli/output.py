"""Where a command's result goes: text to a terminal or a pipe, or one JSON document."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from vinfra.report.as_json import Document, dumps
from vinfra.report.terminal import emit


def _console(stderr: bool = False) -> Console:
    return Console(file=sys.stderr if stderr else sys.stdout, markup=False, emoji=False, highlight=False)


@dataclass(frozen=True, slots=True)
class Output:
    """Results on `out`, everything else on `err`."""

    json: bool
    out: Console = field(default_factory=_console)
    err: Console = field(default_factory=lambda: _console(stderr=True))

    @property
    def width(self) -> int | None:
        """The terminal's width; None off a terminal."""
        return self.out.width if self.out.is_terminal else None

    @property
    def progress_console(self) -> Console:
        """Drawings go to the terminal people look at; plain lines go where the result goes."""
        return self.err if self.json or self.err.is_terminal else self.out

    def lines(self, lines: Iterable[Text]) -> None:
        """Print text, unless JSON was asked for."""
        if not self.json:
            emit(self.out, lines)

    def text(self, text: str) -> None:
        """Print plain text as it is, unless JSON was asked for."""
        if not self.json:
            self.out.file.write(text.rstrip("\n") + "\n")

    def document(self, document: Document) -> None:
        """Print the document, if JSON was asked for."""
        if self.json:
            self.out.file.write(dumps(document) + "\n")
            self.out.file.flush()

    def warn(self, text: str) -> None:
        """A line beside the result."""
        emit(self.err, [Text.assemble(("warning: ", "yellow"), text)])
