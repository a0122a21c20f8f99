"""The shape of a resource: one frozen pydantic model per kind, which holds both what is desired and what is.

In a desired spec None means "not managed". An actual spec is built with `Spec.model_construct`, so that values a newer
target invents are kept as they are.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, ValidatorFunctionWrapHandler, field_validator
from pydantic.config import JsonDict

from vinfra.model.action import Impact
from vinfra.model.values import TYPED


class Deferred:
    """A value that holds a template over `facts`, which only discovery knows. `raw` is the value as written."""

    __slots__ = ("raw",)

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return f"Deferred({self.raw!r})"


class Spec(BaseModel):
    """Base of every kind's spec. A field may hold a Deferred until `stages.place` has rendered it."""

    # What a change of the fields may bring that is none of them, as a row calls it (that a value is set at boot too).
    FOLLOWS: ClassVar[tuple[str, ...]] = ()

    # An error of pydantic's that nobody foresaw would else quote the values, and some are secret.
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _let_deferred_pass(cls, value: Any, handler: ValidatorFunctionWrapHandler, _: ValidationInfo) -> Any:
        return value if isinstance(value, Deferred) else handler(value)

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """No secret is in what a debugger or a failed assertion shows."""
        for name, value in self:
            hidden = value is not None and name in type(self).model_fields and declared(type(self), name, "secret")
            yield name, ... if hidden else value

    @property
    def deferred(self) -> frozenset[str]:
        """Names of the fields that wait for facts."""
        return frozenset(name for name, value in self if isinstance(value, Deferred))

    def bound(self, name: str) -> Impact:
        """The most that a change of a field costs, as far as it is ever made."""
        impact: Impact = declared(type(self), name, "impact")
        return min(impact, Impact.LIVE) if declared(type(self), name, "refused") else impact

    def replaced(self, **values: Any) -> Self:
        """A copy with other values, validated again."""
        given = {name: value for name, value in self if value is not None}
        return type(self).model_validate({**given, **values}, context=TYPED)


def field(
    doc: str,
    *,
    default: Any = None,
    impact: Impact = Impact.LIVE,
    why: str = "",
    when: str = "",
    refused: bool = False,
    secret: bool = False,
    compared: bool = True,
    additive: bool = False,
    path: bool = False,
    fills: str = "",
    rendered: bool = False,
    identity: bool = False,
    examples: tuple[Any, ...] = (),
) -> Any:
    """Declare a field of a spec.

    `default` is None (not managed), a value, or ... for required. `impact` is the most that changing it costs, `why` it
    costs that, and `when` says on what of the host or the object it depends. One that is `refused` is never changed,
    only told. `secret` values are never shown. A field that is not `compared` steers how the object is made and is no
    property of it. `additive` says that a list names what must be among the actual items; otherwise it names all of
    them. A `path` is a file beside the blueprint: expand makes it absolute. When it `fills` another field, place reads
    it into that one, `rendered` as a template first if so declared. An `identity` value is kept in the mark: without it
    the object could not be found again once its block is gone.
    """
    extra: JsonDict = {"x-impact": str(impact), "x-secret": secret, "x-compared": compared, "x-additive": additive}
    extra |= {"x-why": why, "x-when": when, "x-refused": refused}
    extra |= {"x-path": path, "x-fills": fills, "x-rendered": rendered, "x-identity": identity}
    return Field(default, description=doc, json_schema_extra=extra, examples=list(examples) or None)


def declared(spec: type[Spec], name: str, key: str) -> Any:
    """What `field` declared: "impact" (Impact), "fills", "why" or "when" (text), or one of the flags (bool)."""
    extra = spec.model_fields[name].json_schema_extra
    value = extra.get(f"x-{key}") if isinstance(extra, dict) else None
    if key == "impact":
        return Impact[str(value or "live").upper().replace("-", "_")]
    if key in ("fills", "why", "when"):
        return str(value or "")
    return bool(value) if value is not None else key == "compared"
