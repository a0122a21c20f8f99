"""From a tree to a spec: secrets and paths are resolved, and what pydantic complains of is said in our words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vinfra.model.secret import Secret
from vinfra.model.source import Pointer
from vinfra.model.spec import Deferred, Spec, declared
from vinfra.text.complaint import near, sort_of, unknown
from vinfra.text.expression import is_secret
from vinfra.text.paths import beside
from vinfra.text.references import problem, secret

Model = TypeVar("Model", bound=BaseModel)


class Fault(NamedTuple):
    """What is wrong with the value at `pointer`, or with its key."""

    pointer: Pointer
    message: str
    key: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What a spec's fields ask of the builder."""

    names: tuple[str, ...]
    secrets: frozenset[str]
    paths: tuple[str, ...]


@lru_cache
def shape_of(spec: type[BaseModel]) -> Shape:
    """The fields of a spec, those that may hold a secret, and those that are paths beside the blueprint."""
    fields = spec.model_fields
    return Shape(
        names=tuple(fields),
        secrets=frozenset(name for name, info in fields.items() if _admits_secret(info.annotation)),
        paths=tuple(name for name in fields if issubclass(spec, Spec) and declared(spec, name, "path")),
    )


def _admits_secret(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_admits_secret(info.annotation) for info in annotation.model_fields.values())
    return annotation in (Secret, Any) or any(map(_admits_secret, get_args(annotation)))


def build(
    spec: type[Model], values: dict[str, Any], directory: Path, extra: tuple[str, ...] = ()
) -> Model | list[Fault]:
    """The spec, or everything that is wrong with its values, written in a file of that directory.

    `extra` are keys that are allowed beside its fields.
    """
    faults: list[Fault] = []
    shape = shape_of(spec)
    for name in shape.secrets & values.keys():
        values = {**values, name: with_secrets(values[name], directory, (name,), faults)}
    try:
        made = spec.model_validate(values)
    except ValidationError as error:
        return [*faults, *_explained(error, values, (*shape.names, *extra))]
    return faults or made


def absolute(directory: Path, path: Any) -> Any:
    """A path as seen from the directory of the file it is written in; a deferred one too."""
    if isinstance(path, Deferred):
        raw = str(path.raw)
        return path if raw.startswith("/") else Deferred(f"{directory.absolute()}/{raw}")
    if not isinstance(path, str):
        return path
    return beside(directory.absolute(), path)


def with_secrets(value: Any, directory: Path, pointer: Pointer, faults: list[Fault]) -> Any:
    """The value with its references to secrets as such, however deep."""
    if is_secret(value):
        reference = str(value["secret"])
        if complaint := problem(reference):
            faults.append(Fault((*pointer, "secret"), complaint))
        return secret(reference, directory)
    if isinstance(value, dict):
        return {key: with_secrets(item, directory, (*pointer, key), faults) for key, item in value.items()}
    if isinstance(value, list):
        return [with_secrets(item, directory, (*pointer, index), faults) for index, item in enumerate(value)]
    return value


def _explained(error: ValidationError, values: Any, names: tuple[str, ...]) -> Iterator[Fault]:
    """One fault for each value that is wrong. The branches of a union complain each; they speak as one."""
    said: dict[tuple[Pointer, bool], list[str]] = {}
    for item in error.errors(include_url=False):
        pointer = _pointer(item, values)
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            key = str(item["loc"][-1])
            allowed = names if len(pointer) == 1 else ()
            message = unknown("field", key, allowed) if allowed else "unknown field"
            said.setdefault((pointer, True), []).append(message)
        else:
            said.setdefault((pointer, False), []).append(_message(item))
    branches = {pointer[:-1] for pointer, _ in said if len(pointer) > 1} & {pointer for pointer, _ in said}
    for (pointer, of_key), messages in said.items():
        if any(pointer[: len(branch)] == branch and pointer != branch for branch in branches):
            continue
        yield Fault(pointer, _united(messages), of_key)


def _pointer(item: ErrorDetails, values: Any) -> Pointer:
    """pydantic's location without the names of union branches: only what is in the values."""
    here: Any = values
    pointer: list[str | int] = []
    for part in item["loc"]:
        if isinstance(here, dict | list):
            try:
                here = here[part]  # type: ignore[index]
            except (KeyError, IndexError, TypeError):
                continue
            pointer.append(part)
    return tuple(pointer)


def _united(messages: list[str]) -> str:
    unique = list(dict.fromkeys(messages))
    asked = [message.removeprefix("write ") for message in unique if message.startswith("write ")]
    if len(unique) == 1 or len(asked) != len(unique):
        return next((message for message in unique if not message.startswith("write ")), unique[0])
    given = next((part for part in asked if ", not " in part), "")
    choices = [part.partition(", not ")[0] for part in asked]
    return f"write {' or '.join(choices)}" + (", not " + given.partition(", not ")[2] if given else "")


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "mapping_type": "a mapping",
}
_SECRET_TYPES = ("dataclass_type", "dataclass_exact_type", "is_instance_of")


def _message(item: ErrorDetails) -> str:
    kind, given = item["type"], item["input"]
    if isinstance(given, Secret) or is_secret(given):
        return "a secret is not allowed here"
    if kind == "missing":
        name = str(item["loc"][-1])
        return "write {secret: env:NAME}" if name == "reference" else f"the field {name!r} is required"
    if kind in _SECRET_TYPES:
        return "write {secret: env:NAME}"
    if kind in _WANTED:
        odd = isinstance(given, dict | list | tuple) or given is None
        return f"write {_WANTED[kind]}" + (f", not {sort_of(given)}" if odd else "")
    if kind in ("literal_error", "enum"):
        allowed = re.findall(r"'([^']*)'", str(item["ctx"]["expected"]))
        return f"{str(given)!r} is not allowed here; allowed: {', '.join(allowed)}{near(str(given), allowed)}"
    if kind in ("value_error", "assertion_error"):
        return str(item["ctx"]["error"])
    return item["msg"].replace("Input should be", "must be").replace("Input should", "must")
