"""Checks that names and variables share, wherever they are written."""

import re
from typing import Any

from vinfra.errors import InputError
from vinfra.model.source import Locator, Pointer, Problem
from vinfra.text.complaint import Complaints, near, pathway, sort_of
from vinfra.text.expression import Templated, compiled, is_template, placed
from vinfra.text.template import RESERVED

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def variables(value: Any, source: Locator, pointer: Pointer, complaints: Complaints) -> dict[str, Any]:
    """A `vars` mapping, its names checked and its templates knowing where they stand."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        complaints.add(source, pointer, f"write a mapping of variables, not {sort_of(value)}")
        return {}
    result: dict[str, Any] = {}
    for name, raw in value.items():
        here = (*pointer, name)
        if name in RESERVED:
            complaints.add(source, here, f"the name {name!r} is vinfra's own; choose another", key=True)
        elif not _VARIABLE.fullmatch(name):
            complaints.add(
                source, here, "a variable's name holds letters, digits and _, and begins with no digit", key=True
            )
        else:
            result[name] = located(raw, source, here, complaints)
    return result


def located(value: Any, source: Locator, pointer: Pointer, complaints: Complaints) -> Any:
    """A tree whose templates know where they stand; the tree itself when it holds none. Complains of bad syntax."""
    if isinstance(value, dict):
        pairs = {key: located(item, source, (*pointer, key), complaints) for key, item in value.items()}
        return pairs if any(pairs[key] is not item for key, item in value.items()) else value
    if isinstance(value, list):
        items = [located(item, source, (*pointer, index), complaints) for index, item in enumerate(value)]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if not is_template(value):
        return value
    text = Templated(value, source.position(pointer), pathway(pointer))
    try:
        compiled(text)
    except InputError as error:
        told = placed(error, text.position, text.path).problems
        complaints.take(*(problem for problem in told if isinstance(problem, Problem)))
    return text


def known_keys(
    value: dict[str, Any], allowed: tuple[str, ...], source: Locator, pointer: Pointer, complaints: Complaints
) -> None:
    """Complain of every key that is not allowed."""
    for key in value:
        if key not in allowed:
            message = f"unknown key; allowed: {', '.join(allowed)}{near(key, allowed)}"
            complaints.add(source, (*pointer, key), message, key=True)
