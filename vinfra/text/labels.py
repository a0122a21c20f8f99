"""A blueprint's labels: what a site wants to know of a run, such as whose it is or which ticket it is for."""

import re
from collections.abc import Mapping
from typing import Any

from vinfra.errors import InputError
from vinfra.model.source import Pointer, Problem
from vinfra.text.complaint import Complaints, sort_of
from vinfra.text.document import Document
from vinfra.text.names import located
from vinfra.text.template import Variables

LABELS = "labels"
_LONGEST = 200


def label_problem(name: str) -> str:
    """What is wrong with a label's name; "" for nothing."""
    good = re.fullmatch(r"[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?", name)
    return "" if good else "a label's name holds lower-case letters, digits, and . _ - / between them, at most 63"


def labels(
    value: Any, document: Document, scope: Mapping[str, Any], top: Mapping[str, Any], complaints: Complaints
) -> dict[str, str]:
    """The labels of a blueprint, templates over variables rendered."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        complaints.add(document, (LABELS,), f"write a mapping of names to text, not {sort_of(value)}")
        return {}
    found = {}
    for name, raw in value.items():
        here: Pointer = (LABELS, name)
        if complaint := label_problem(name):
            complaints.add(document, here, complaint, key=True)
        elif (text := _rendered(raw, document, here, scope, top, complaints)) is not None:
            found[name] = text
    return found


def _rendered(
    raw: Any,
    document: Document,
    here: Pointer,
    scope: Mapping[str, Any],
    top: Mapping[str, Any],
    complaints: Complaints,
) -> str | None:
    before = len(complaints)
    written = located(raw, document, here, complaints)
    if len(complaints) > before:
        return None
    try:
        text = Variables(scope, top).render(written)
    except InputError as error:
        complaints.take(*(problem for problem in error.problems if isinstance(problem, Problem)))
        return None
    if isinstance(text, str) and re.fullmatch(rf"[^\x00-\x1f\x7f]{{1,{_LONGEST}}}", text):
        return str(text)
    what = "" if isinstance(text, str) else f", not {sort_of(text)}"
    complaints.add(document, here, f"write one line of text, 1 to {_LONGEST} characters{what}")
    return None
