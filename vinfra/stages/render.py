"""Give every resource its final shape on its host, from what that host told of itself: templates over facts, files,
secrets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vinfra import mask
from vinfra.errors import InputError, Unresolved, UsageError, VinfraError
from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.model.change import Delta
from vinfra.model.secret import Secret
from vinfra.model.spec import Deferred, Spec, declared
from vinfra.text.fields import Fault, with_secrets
from vinfra.text.template import render as rendered_value
from vinfra.text.template import render_text


@dataclass(frozen=True, slots=True)
class Sources:
    """Where values come from that the files do not hold: a file beside the blueprint, a secret by its reference.

    Without `reveal` references stay what they are.
    """

    read: Callable[[Path], str]
    reveal: Callable[[Secret], str] | None = None


def render(
    resources: tuple[Resource, ...], facts: Mapping[str, Any], sources: Sources
) -> tuple[tuple[Resource, ...], dict[Address, Delta]]:
    """The resources with nothing left to render, and what to say of each that cannot be; one whose secret cannot be
    had now is unknown, and stops nothing else. They stay among the resources, for others must know of the wish.
    """
    placed: list[Resource] = []
    refused: dict[Address, Delta] = {}
    for resource in resources:
        known = resource
        try:
            known = _rendered(resource, {**resource.variables, "facts": facts}, sources.read)
            known = _revealed(known, sources.reveal)
        except Unresolved as error:
            refused[resource.address] = _set_aside(Verdict.UNKNOWN, _reason(error))
        except (VinfraError, ValidationError) as error:
            refused[resource.address] = _set_aside(Verdict.REFUSED, _reason(error))
        except OSError as error:
            refused[resource.address] = _set_aside(Verdict.REFUSED, f"{error.filename}: {error.strerror}")
        placed.append(known)
    return tuple(placed), refused


def _set_aside(verdict: Verdict, reason: str) -> Delta:
    return Delta(Action.NOOP, verdict=verdict, reason=mask.struck(reason))


def _rendered(resource: Resource, variables: Mapping[str, Any], read_file: Callable[[Path], str]) -> Resource:
    desired = resource.desired
    if desired is None:
        return resource
    values: dict[str, Any] = {
        name: _referring(rendered_value(value.raw, variables), resource)
        for name, value in desired
        if isinstance(value, Deferred)
    }
    if values:
        desired = desired.replaced(**values)
    values = _filled(desired, variables, read_file)
    return replace(resource, desired=desired.replaced(**values) if values else desired)


def _referring(value: Any, resource: Resource) -> Any:
    """A value that facts made, with its references to secrets as such."""
    faults: list[Fault] = []
    value = with_secrets(value, Path(resource.position.file).parent, (), faults)
    if faults:
        raise UsageError(faults[0].message)
    return value


def _revealed(resource: Resource, reveal: Callable[[Secret], str] | None) -> Resource:
    """With its secrets in the clear, in memory only; a spec that has a `secret` flag is flagged by it."""
    desired = resource.desired
    if desired is None or reveal is None:
        return resource
    values: dict[str, Any] = {name: _clear(value, reveal) for name, value in desired if _holds_secret(value)}
    if values and "secret" in type(desired).model_fields:
        values["secret"] = True
    return replace(resource, desired=desired.replaced(**values)) if values else resource


def _holds_secret(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_secret, value.values()))
    return isinstance(value, Secret) or (isinstance(value, list | tuple) and any(map(_holds_secret, value)))


def _clear(value: Any, reveal: Callable[[Secret], str]) -> Any:
    """The value with the secrets in it, however deep, in the clear."""
    if isinstance(value, Secret):
        return reveal(value)
    if isinstance(value, Mapping):
        return {key: _clear(item, reveal) for key, item in value.items()}
    return type(value)(_clear(item, reveal) for item in value) if isinstance(value, list | tuple) else value


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


def _reason(error: VinfraError | ValidationError) -> str:
    if isinstance(error, InputError):
        return "; ".join(getattr(problem, "message", str(problem)) for problem in error.problems)
    if isinstance(error, VinfraError):
        return error.line
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
