"""What a blueprint says of how much may pass a disk or a network card; each number has its unit."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from vinfra.model.spec import field
from vinfra.model.values import Size, Whole

KIB = 1024
MOST = 10**15  # libvirt takes no larger limit of a disk


class Model(BaseModel):
    """A shape within a field. What goes without saying is not shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Any:
        usual = {name: info.default for name, info in type(self).model_fields.items()}
        return [(name, value) for name, value in self if value != usual[name]]


class Iotune(Model):
    """Limits of a disk, in libvirt's words; those in bytes are a size for each second."""

    total_bytes_sec: Size | None = field("Bytes read and written in a second.")
    read_bytes_sec: Size | None = field("Bytes read in a second.")
    write_bytes_sec: Size | None = field("Bytes written in a second.")
    total_iops_sec: Whole | None = field("Requests in a second.")
    read_iops_sec: Whole | None = field("Requests that read in a second.")
    write_iops_sec: Whole | None = field("Requests that write in a second.")
    total_bytes_sec_max: Size | None = field("Of total_bytes_sec, what a burst may take.")
    read_bytes_sec_max: Size | None = field("Of read_bytes_sec, what a burst may take.")
    write_bytes_sec_max: Size | None = field("Of write_bytes_sec, what a burst may take.")
    total_iops_sec_max: Whole | None = field("Of total_iops_sec, what a burst may take.")
    read_iops_sec_max: Whole | None = field("Of read_iops_sec, what a burst may take.")
    write_iops_sec_max: Whole | None = field("Of write_iops_sec, what a burst may take.")

    @model_validator(mode="after")
    def _whole(self) -> "Iotune":
        given = self.given
        for name, value in given.items():
            if value < 1:
                raise ValueError(f"{name}: write at least 1, or leave it out")
            if value > MOST:
                raise ValueError(f"{name}: libvirt takes at most {MOST}; leave it out for no limit")
            if name.startswith("total") and {name.replace("total", "read"), name.replace("total", "write")} & set(
                given
            ):
                raise ValueError(f"{name}: a limit for both and one for reading or writing exclude each other")
            average = given.get(name.removesuffix("_max"))
            if average is None:
                raise ValueError(f"{name} needs {name.removesuffix('_max')}")
            if average > value:
                raise ValueError(f"{name} is less than {name.removesuffix('_max')}")
        return self

    @property
    def given(self) -> dict[str, int]:
        """What is limited, to how much."""
        return {name: int(value) for name, value in self if value is not None}


class Rate(Model):
    """How much may pass a network card in one direction: a size for each second, in whole KiB as libvirt counts."""

    average: Size = field("What it is held to on average.", default=...)
    peak: Size | None = field("The most of a burst.")
    burst: Size | None = field("How many bytes may pass at peak speed.")

    @model_validator(mode="after")
    def _whole(self) -> "Rate":
        for name, value in self:
            if value is not None and (value < KIB or value % KIB):
                raise ValueError(f"{name}: write whole KiB, as libvirt counts it: 512KiB, 10MiB and the like")
        if self.peak is not None and self.peak < self.average:
            raise ValueError("peak is less than average")
        return self

    @property
    def kib(self) -> tuple[tuple[str, int], ...]:
        """As libvirt writes it: KiB in a second, and KiB."""
        return tuple((name, int(value) // KIB) for name, value in self if value is not None)


class Bandwidth(Model):
    """Both directions, as the machine sees them; one that is left out is not limited."""

    inbound: Rate | None = field("What it receives.")
    outbound: Rate | None = field("What it sends.")
