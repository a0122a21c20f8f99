"""Scalar types of specs. A scalar's source text counts: `0644`, `1.10` and `no` reach the target as they were written.

The loader gives plain (unquoted) scalars as `Plain`, quoted ones as `str`, and `!raw` ones as `Literal`, none of them
converted; these types convert where a field says so. Sizes are in bytes, durations in seconds.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema

# The context of a validation whose values come from specs, not from a blueprint: a number there has its unit already.
TYPED = {"typed": True}


class Plain(str):
    """Text of an unquoted YAML scalar, just as it was written."""

    __slots__ = ()


class Literal(str):
    """Text tagged `!raw`: never a template."""

    __slots__ = ()


class FromFile(str):
    """The text of a file beside the blueprint; `file` is its name, for what is wrong in it."""

    file: str

    def __new__(cls, text: str, file: str) -> "FromFile":
        made = super().__new__(cls, text)
        made.file = file
        return made


@dataclass(frozen=True, slots=True)
class Unit:
    """What a type's numbers count ("bytes", "seconds"), so that reports can spell them as blueprints do."""

    name: str


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _flag(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("true", "True", "TRUE"):
        return True
    if isinstance(value, str) and value in ("false", "False", "FALSE"):
        return False
    raise ValueError("write true or false")


def _whole(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+", value):
        return int(value)
    raise ValueError("write a whole number")


def _mode(value: str) -> str:
    if not re.fullmatch(r"0?[0-7]{3,4}", value):
        raise ValueError("write octal digits, such as 0644")
    return value.lstrip("0").rjust(4, "0")


SIZES = {
    **{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40},
    **{"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12},
}
SPANS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _quantity(units: dict[str, Any], sample: str) -> Any:
    def convert(value: Any, info: ValidationInfo) -> Any:
        if info.context == TYPED and isinstance(value, int | float):
            return value
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", str(value))
        if not found:
            raise ValueError(f"write a number and a unit, such as {sample}")
        number, unit = found.groups()
        if unit not in units:
            wrong = f"{unit!r} is not a unit here" if unit else "a bare number has no unit"
            raise ValueError(f"{wrong}; write {', '.join(units)}, such as {sample}")
        return float(number) * units[unit]

    return convert


_SCALAR = WithJsonSchema({"type": ["string", "number", "boolean"]})

Text = Annotated[str, BeforeValidator(_text), _SCALAR]
Flag = Annotated[bool, BeforeValidator(_flag)]
Whole = Annotated[int, BeforeValidator(_whole)]
Mode = Annotated[str, BeforeValidator(_text), AfterValidator(_mode), _SCALAR]
Size = Annotated[int, BeforeValidator(_quantity(SIZES, "4GiB")), WithJsonSchema({"type": "string"}), Unit("bytes")]
Seconds = Annotated[
    float, BeforeValidator(_quantity(SPANS, "10s")), WithJsonSchema({"type": "string"}), Unit("seconds")
]
