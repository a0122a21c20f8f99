"""Give every resource its final shape on its host, from what that host told of itself.

Today that is rendering: values and files that are templates over facts. Choosing a host for what can move (a fleet's
members) belongs here too: it is pure, keeps what it finds where it is, and only then fills.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vinfra.errors import InputError
from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.model.spec import Deferred, Spec, declared
from vinfra.text.template import render, render_text

Render = Callable[[Any, Mapping[str, Any]], Any]


def place(
    resources: tuple[Resource, ...], facts: Mapping[str, Any], read_file: Callable[[Path], str]
) -> tuple[tuple[Resource, ...], dict[Address, str]]:
    """The resources with nothing left to render, and the reason for each that cannot be: those are left out."""
    placed: list[Resource] = []
    refused: dict[Address, str] = {}
    for resource in resources:
        try:
            placed.append(_rendered(resource, {**resource.variables, "facts": facts}, read_file))
        except (InputError, ValidationError) as error:
            refused[resource.address] = _reason(error)
    return tuple(placed), refused


def _rendered(resource: Resource, variables: Mapping[str, Any], read_file: Callable[[Path], str]) -> Resource:
    desired = resource.desired
    if desired is None:
        return resource
    values: dict[str, Any] = {
        name: render(value.raw, variables) for name, value in desired if isinstance(value, Deferred)
    }
    if values:
        desired = desired.replaced(**values)
    filled = _filled(desired, variables, read_file)
    return replace(resource, desired=desired.replaced(**filled) if filled else desired)


def _filled(desired: Spec, variables: Mapping[str, Any], read_file: Callable[[Path], str]) -> dict[str, Any]:
    """The contents of the files that a spec names, for the fields they fill; the names themselves are then dropped."""
    filled: dict[str, Any] = {}
    for name, value in desired:
        target = declared(type(desired), name, "fills")
        if not target or value is None:
            continue
        text = read_file(Path(value))
        filled[target] = render_text(text, variables, value) if declared(type(desired), name, "rendered") else text
        filled[name] = None
    return filled


def _reason(error: InputError | ValidationError) -> str:
    if isinstance(error, InputError):
        return "; ".join(getattr(problem, "message", str(problem)) for problem in error.problems)
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
