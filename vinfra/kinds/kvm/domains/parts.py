"""The shapes of what a machine's board is described with. One class holds what is wished for and what is found.

What is found is made with `model_construct`, so that whatever a newer libvirt says is kept as it is.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from vinfra.model.spec import field
from vinfra.model.values import SIZES, Size, Text, Whole

MOST = 1 << 13  # CPUs that a set may hold: more than QEMU and libvirt know


def numbers(text: str) -> frozenset[int]:
    """What a set of CPUs or NUMA nodes holds, as libvirt and the kernel write one: `0-3,^2,8`. ValueError if none."""
    found: set[int] = set()
    for piece in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\^?)([0-9]{1,5})(?:-([0-9]{1,5}))?", piece)
        if not match:
            raise ValueError("write numbers and ranges, such as 0-3,8")
        first, last = int(match[2]), int(match[3] or match[2])
        if last < first or last >= MOST:
            raise ValueError(f"{piece} is no range; write numbers and ranges, such as 0-3,8")
        span = range(first, last + 1)
        found = found.difference(span) if match[1] else found.union(span)
    if not found:
        raise ValueError("it is empty")
    return frozenset(found)


def ranged(members: Iterable[int]) -> str:
    """Such a set, always written in the same way."""
    runs: list[list[int]] = []
    for number in sorted(members):
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def canonical(text: str) -> str:
    """A set as libvirt has it, in our way; what is none is kept."""
    try:
        return ranged(numbers(text))
    except ValueError:
        return text


def _pci(value: str) -> str:
    match = re.fullmatch(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[01][0-9a-f]\.[0-7])", value.lower())
    if not match:
        raise ValueError("write a PCI address as lspci -D does: 0000:03:00.0")
    return f"{match[1] or '0000'}:{match[2]}"


def _usb(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", value.lower()):
        raise ValueError("write vendor and product as lsusb does: 1d6b:0002")
    return value.lower()


def _positive(value: int) -> int:
    if value < 1:
        raise ValueError("write at least 1")
    return value


CpuSet = Annotated[Text, AfterValidator(lambda text: ranged(numbers(text)))]
Positive = Annotated[Whole, AfterValidator(_positive)]


class Part(BaseModel):
    """Something that consists of fields; one that is None is not managed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __str__(self) -> str:
        return " ".join(f"{name} {_spelled(value)}" for name, value in self if value is not None)


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "none"
    return (", ".join(value) or "none") if isinstance(value, tuple) else str(value)


def covers(wish: Part | None, found: Part | None) -> bool:
    """Whether what is found is as wished for, as far as that goes."""
    if wish is None or found is None:
        return wish is found
    return all(value is None or getattr(found, name, None) == value for name, value in wish)


class Topology(Part):
    """How virtual CPUs are arranged: their number is the product."""

    sockets: Positive = field("Sockets.", default=1)
    cores: Positive = field("Cores in each.", default=1)
    threads: Positive = field("Threads of each core.", default=1)

    @property
    def total(self) -> int:
        """All virtual CPUs."""
        return self.sockets * self.cores * self.threads

    def __str__(self) -> str:
        return f"{self.sockets}×{self.cores}×{self.threads}"


class Cell(Part):
    """A NUMA node of the machine."""

    cpus: CpuSet = field("Its virtual CPUs.", default=...)
    memory: Size = field("Its memory.", default=...)
    nodes: CpuSet | None = field("The NUMA nodes of the host that its memory comes from, and no others.")

    def __str__(self) -> str:
        where = f" from node {self.nodes}" if self.nodes else ""
        return f"cpus {self.cpus} with {self.memory >> 20}MiB{where}"


class Pinning(Part):
    """Where the machine runs on its host."""

    cpus: dict[Text, CpuSet] | None = field("The host's CPUs for each virtual one; those not named run anywhere.")
    emulator: CpuSet | None = field("The host's CPUs for what QEMU does besides.")
    nodes: CpuSet | None = field("The NUMA nodes of the host that memory comes from, and no others.")


class HostDevices(Part):
    """Devices of the host that the machine gets for itself: exactly these of each sort that is named."""

    pci: tuple[Annotated[Text, AfterValidator(_pci)], ...] | None = field("PCI addresses.")
    usb: tuple[Annotated[Text, AfterValidator(_usb)], ...] | None = field("USB devices as vendor:product.")

    def accepts(self, found: "HostDevices") -> bool:
        """Whether these are the devices, in whatever order."""
        pairs = ((self.pci, found.pci), (self.usb, found.usb))
        return all(wish is None or sorted(wish) == sorted(has or ()) for wish, has in pairs)


class Watchdog(Part):
    """A device that acts when the system does not come back to it in time."""

    model: Literal["i6300esb", "ib700", "itco", "none"] = field(
        "`itco` is part of the q35 board since libvirt 9.1, and cannot be taken out of it.", default=...
    )
    action: Literal["reset", "shutdown", "poweroff", "pause", "none", "dump", "inject-nmi"] = field(
        "What libvirt does then.", default="reset"
    )

    def __str__(self) -> str:
        return self.model if self.model == "none" else f"{self.model} {self.action}"


OwnWatchdog = Annotated[Watchdog, BeforeValidator(lambda value: {"model": value} if isinstance(value, str) else value)]


def spelled(number: int) -> str:
    """A number of bytes as a blueprint writes it, in the largest binary unit that it fills."""
    units = [(size, unit) for unit, size in SIZES.items() if unit == "B" or unit.endswith("iB")]
    size, unit = max(pair for pair in units if pair[0] <= max(number, 1))
    return f"{round(number / size, 1):g}{unit}"
