"""A command line as a blueprint writes it: a list, so that nobody's shell takes it apart."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from vinfra.model.values import Text


def _arguments(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("write a list, one item for each argument: no shell reads it; for one, [sh, -c, …]")  # noqa: TRY004
    return value


Arguments = Annotated[tuple[Text, ...], BeforeValidator(_arguments)]
