"""What a blueprint says of a machine's board: processors, memory, firmware, devices beside disks and cards."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from vinfra.kinds.kvm.domains import parts
from vinfra.kinds.kvm.domains.backing import PAGES
from vinfra.kinds.kvm.domains.parts import Cell, HostDevices, OwnWatchdog, Pinning, Topology
from vinfra.kinds.kvm.hypervisors.needs import NEEDS, Need
from vinfra.model import spec as shape
from vinfra.model.action import Impact
from vinfra.model.spec import field
from vinfra.model.values import Flag, Text

BOOT: dict[str, Any] = {"impact": Impact.RESTART, "why": "only at boot", "when": "live while it does not run"}
STAYS: dict[str, Any] = {
    "impact": Impact.REPLACE,
    "why": "a system is installed for one firmware, and its keys and boot entries lie in the NVRAM, which is kept",
    "when": "refused once the machine is there",
    "refused": True,
}
FOR_GOOD = ("firmware", "secure_boot")
Policy = Literal["force", "require", "optional", "disable", "forbid"]


def _few(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(value)) < len(value):
        raise ValueError("one of them is there twice")
    return value


class Spec(shape.Spec):
    """The board of a virtual machine."""

    topology: Topology | None = field(
        "How its virtual CPUs are arranged: `{sockets, cores, threads}`, whose product is their number.",
        **BOOT,
        examples=({"sockets": 1, "cores": 2, "threads": 2},),
    )
    cpu_features: dict[Text, Policy] | None = field(
        "What its CPU has to have or must not show, beside its model: `require`, `disable`, `force`, `optional` or "
        "`forbid` for each feature.",
        **BOOT,
        examples=({"vmx": "require", "mpx": "disable"},),
    )
    hugepages: Literal["2MiB", "1GiB", "none"] | None = field(
        "The size of the host's huge pages that its memory consists of.", **BOOT, examples=("2MiB",)
    )
    numa: tuple[Cell, ...] | None = field(
        "Its NUMA nodes: `{cpus, memory, nodes}` each, with `nodes` of the host that the memory comes from.",
        **BOOT,
        examples=([{"cpus": "0-1", "memory": "1GiB", "nodes": "0"}],),
    )
    pinning: Pinning | None = field(
        "Where it runs: `{cpus, emulator, nodes}`, with CPUs of the host for virtual ones and for QEMU itself, and "
        "NUMA nodes for its memory.",
        **BOOT,
        examples=({"cpus": {"0": "4", "1": "5"}, "emulator": "0-1", "nodes": "0"},),
    )
    firmware: Literal["efi", "bios"] | None = field(
        "What starts it; BIOS unless said. With efi its variables are kept over every change.",
        **STAYS,
        examples=("efi",),
    )
    secure_boot: Flag | None = field(
        "Whether its firmware starts only what is signed; off unless said.", **STAYS, examples=("true",)
    )
    tpm: Literal["tpm-crb", "tpm-tis", "none"] | None = field(
        "A TPM 2.0, played by swtpm on the host.", **BOOT, examples=("tpm-crb",)
    )
    devices: HostDevices | None = field(
        "Devices of the host that it gets for itself: `{pci, usb}`.",
        **BOOT,
        examples=({"pci": ["0000:03:00.0"], "usb": ["0951:1666"]},),
    )
    video: Literal["virtio", "vga", "qxl", "bochs", "cirrus", "ramfb", "none"] | None = field(
        "The model of its video card.", **BOOT, examples=("virtio",)
    )
    watchdog: OwnWatchdog | None = field(
        "A watchdog: its model, or `{model, action}`.", **BOOT, examples=({"model": "i6300esb", "action": "reset"},)
    )
    balloon: Flag | None = field("Whether memory can be taken from it while it runs; it can, unless said.", **BOOT)
    requires: Annotated[tuple[Need, ...], AfterValidator(_few)] | None = field(
        f"What its host must have beside what all this needs anyway: {', '.join(NEEDS)}.",
        compared=False,
        examples=(["kvm", "slat"],),
    )


FIELDS = tuple(name for name in Spec.model_fields if name != "requires")


def bringers(desired: Spec) -> frozenset[str]:
    """What comes first if the blueprint declares it: pages, firmware, a TPM."""
    return frozenset(
        {
            *({f"hugepages:{desired.hugepages}"} if desired.hugepages in PAGES else ()),
            *({"package:ovmf"} if desired.firmware == "efi" else ()),
            *({"package:swtpm", "package:swtpm-tools"} if desired.tpm not in (None, "none") else ()),
        }
    )


def most(desired: Any) -> tuple[int, int]:
    """The virtual CPUs and the bytes of memory that a machine may ever have."""
    return getattr(desired, "cpu_max", None) or desired.cpu, getattr(desired, "memory_max", None) or desired.memory


def problem(desired: Any) -> str:
    """What is wrong with a combination of a machine's fields; "" for nothing. What waits for facts waits here, too."""
    cpu, memory = most(desired)
    model = desired.cpu_model
    known = desired.model_copy(update=dict.fromkeys(desired.deferred))
    if "firmware" in desired.deferred:
        known = known.model_copy(update={"secure_boot": None})
    said = (*_processors(known, cpu, model), *_memory(known, memory, cpu), *_rest(known, known.machine))
    return next(filter(None, said), "")


def _processors(desired: Spec, cpu: int, cpu_model: object) -> Iterator[str]:
    if desired.topology is not None and desired.topology.total != cpu:
        yield f"topology: {desired.topology} are {desired.topology.total} CPUs, and it has {cpu}"
    if desired.cpu_features and not cpu_model:
        yield "cpu_features: they need a cpu_model that they are added to, such as host-model"
    if odd := [name for name in desired.cpu_features or () if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name)]:
        yield f"cpu_features: {odd[0]!r} is no feature of a CPU; write one as libvirt does, such as vmx or sse4.2"
    pins = desired.pinning.cpus if desired.pinning is not None else None
    for number in pins or ():
        if not number.isdecimal() or str(int(number)) != number or int(number) >= cpu:
            yield f"pinning: there is no virtual CPU {number}; they are 0 to {cpu - 1}"


def _memory(desired: Spec, memory: int, cpu: int) -> Iterator[str]:
    page = PAGES.get(desired.hugepages or "", 1 << 20)
    if desired.balloon is False and memory != getattr(desired, "memory", memory):
        yield "balloon: it is what memory_max is given and taken by; leave one of the two out"
    if memory % page:
        yield f"hugepages: memory must be a whole number of pages of {desired.hugepages}"
    cells = desired.numa or ()
    members = [number for cell in cells for number in parts.numbers(cell.cpus)]
    if cells and sorted(members) != [*range(cpu)]:
        yield f"numa: each of the virtual CPUs 0 to {cpu - 1} must be in one node, and is not"
    held = sum(cell.memory for cell in cells)
    if cells and held != memory:
        yield f"numa: the nodes have {held >> 20}MiB together, and the machine {memory >> 20}MiB"
    if any(not cell.memory or cell.memory % page for cell in cells):
        yield f"numa: the memory of each node must be a whole number of {desired.hugepages or 'MiB'}"


def _rest(desired: Spec, machine: str | None) -> Iterator[str]:
    old = machine is not None and "q35" not in machine and machine.startswith("pc")
    if desired.secure_boot and desired.firmware != "efi":
        yield "secure_boot: only with `firmware: efi`"
    if desired.secure_boot and old:
        yield "secure_boot: it needs a q35 machine, as its firmware runs in system management mode"
    if desired.watchdog is not None and desired.watchdog.model == "itco" and old:
        yield "watchdog: itco is part of the q35 board"
    if desired.watchdog is not None and desired.watchdog.model == "none" and desired.watchdog.action != "reset":
        yield "watchdog: one that is not there does nothing"
    devices = desired.devices or HostDevices()
    for sort in (devices.pci or (), devices.usb or ()):
        if twice := sorted({name for name in sort if sort.count(name) > 1}):
            yield f"devices: {twice[0]} is there twice"
