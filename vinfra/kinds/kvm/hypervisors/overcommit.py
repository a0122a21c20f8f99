"""How much of a hypervisor may be promised to its machines, beyond what it has."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from vinfra.model import spec as shape
from vinfra.model.placement import Promise
from vinfra.model.spec import field
from vinfra.model.values import Size

_USUAL = Promise()


def _ratio(value: Any) -> Any:
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", str(value)) or not 0 < float(value) <= 100:
        raise ValueError("write a number above 0, up to 100: 4 promises each one four times")
    return float(value)


Ratio = Annotated[float, BeforeValidator(_ratio), WithJsonSchema({"type": ["number", "string"]})]


class Overcommit(BaseModel):
    """How many times what a host has may be promised."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cpu: Ratio = field("Virtual CPUs for each of its own.", default=_USUAL.cpu)
    memory: Ratio = field("Memory of machines, for all but what is reserved.", default=_USUAL.memory)
    disk: Ratio | None = field("What volumes may grow to, for what a pool can hold; without it a warning only.")
    reserved: Size = field("Memory that is the host's own.", default=_USUAL.reserved)


class Promising(shape.Spec):
    """What a hypervisor says of its room."""

    overcommit: Overcommit | None = field(
        "How much of it machines may get, `{cpu, memory, disk, reserved}`: 4 virtual CPUs for each of its own, its "
        "memory once, less 512MiB, and disks with a warning, unless said.",
        compared=False,
        when="nothing moves; it counts for members of fleets to come",
        examples=({"cpu": "8", "memory": "1.5", "reserved": "4GiB"},),
    )


def promise(desired: shape.Spec) -> Promise:
    """What may be promised of a host."""
    said = getattr(desired, "overcommit", None)
    return Promise(**dict(said)) if isinstance(said, Overcommit) else Promise()
