"""How text changes, line by line: a short unified diff to stand under a row."""

import difflib
from collections.abc import Iterator

from vinfra.model.change import FieldChange
from vinfra.model.secret import Secret
from vinfra.report.visible import lines_of, several, visible

SHORT = 12
# difflib's time grows with the product of both lengths; a longer text is told by its number of lines.
LONGEST = 5000


def hidden(field: FieldChange) -> bool:
    """Whether a field's values must not be shown."""
    return field.secret or isinstance(field.before, Secret) or isinstance(field.after, Secret)


def is_text(field: FieldChange) -> bool:
    """Whether a field holds lines of text, whose difference is shown line by line."""
    sides = [side for side in (field.before, field.after) if side is not None]
    if hidden(field) or not sides or not all(isinstance(side, str | bytes) for side in sides):
        return False
    return field.path == "content" or any(len(lines_of(side)) > 1 for side in sides)


def difference(field: FieldChange, full: bool = False, reverse: bool = False) -> list[str]:
    """The lines of a unified diff from before to after (or back), each harmless, at most SHORT unless `full`."""
    before, after = (field.after, field.before) if reverse else (field.before, field.after)
    old, new = lines_of(before), lines_of(after)
    if "\0" in "".join((*old[:50], *new[:50])) or len(old) > LONGEST or len(new) > LONGEST:
        return []
    lines = list(_lines(old, new))
    if full or len(lines) <= SHORT:
        return lines
    return [*lines[: SHORT - 1], f"… {len(lines) - SHORT + 1} more lines; --full shows them"]


def _lines(old: list[str], new: list[str]) -> Iterator[str]:
    for number, line in enumerate(difflib.unified_diff(old, new, n=2)):
        if number < 2:  # the two lines that would name files
            continue
        yield visible(line.removesuffix("\n").replace("\t", "    "))
        if not line.endswith("\n"):
            yield "\\ no newline at the end"


def amount(field: FieldChange) -> str:
    """How much of the text changes, in words that fit a row."""
    old, new = lines_of(field.before), lines_of(field.after)
    if field.before is None:
        return several(len(new), "line")
    if field.after is None:
        return f"{several(len(old), 'line')} removed"
    lines = difference(field, full=True)
    if not lines:
        return f"{several(len(old), 'line')} → {several(len(new), 'line')}"
    come, go = sum(line[0] == "+" for line in lines), sum(line[0] == "-" for line in lines)
    return f"+{come} -{go} lines"
