"""What a blueprint says of a virtual machine: its fields, and what is wrong with a combination of them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from vinfra.kinds.kvm.domains import board, misfits, schedule
from vinfra.kinds.kvm.domains.board import BOOT
from vinfra.kinds.kvm.domains.devices import Disk, OwnCdrom, OwnDisk, OwnGraphics, OwnNic
from vinfra.kinds.kvm.domains.first_boot import Access, CloudInit
from vinfra.kinds.kvm.domains.parts import MOST
from vinfra.model import spec as shape
from vinfra.model.action import Impact
from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.values import Flag, Size, Text, Whole

MIB = 1 << 20
SEED = "seed"


def _named(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError("write a name that libvirt knows")
    return value


def _password(value: Any) -> Any:
    if value is None or isinstance(value, Secret) or (isinstance(value, str) and value):
        return value
    raise ValueError("write {secret: …}")


Password = Annotated[Any, BeforeValidator(_password), WithJsonSchema({"type": ["string", "object"]})]


class Basics(shape.Spec):
    """What a virtual machine is, but for its board."""

    cpu: Whole = field(
        "Virtual CPUs.",
        default=1,
        impact=Impact.RESTART,
        why=BOOT["why"],
        when="live up to the cpu_max that it booted with, down to what it lets go, and while it does not run",
        examples=("2",),
    )
    cpu_max: Whole | None = field(
        "Up to how many virtual CPUs it can be given while it runs; no more than `cpu` without it.",
        **BOOT,
        examples=("4",),
    )
    memory: Size = field(
        "Memory. Less is taken from it, and up to what it booted with given, while it runs.",
        default=...,
        impact=Impact.RESTART,
        why="more than it booted with is given only at boot",
        when="live up to the memory_max that it booted with, and while it does not run",
        examples=("2GiB",),
    )
    memory_max: Size | None = field(
        "Up to how much memory it can be given while it runs, by its balloon; no more than `memory` without it.",
        **BOOT,
        examples=("4GiB",),
    )
    image: Text | None = field("The image that its first disk is made from.", compared=False, examples=("debian-12",))
    disks: dict[Text, OwnDisk] | None = field(
        "Its disks by name: a size, or `{size, image, pool, format, clone, bus, volume}` with `boot, cache, io, "
        "discard, serial, readonly, shared, iotune`; `volume` is one declared under volumes. Without any, an image "
        "makes one called `root`.",
        impact=Impact.RESTART,
        why=BOOT["why"],
        when="live to attach and detach on virtio and scsi while a PCI port is free, to limit (iotune), and while it "
        "does not run",
        examples=({"root": "20GiB"},),
    )
    cdroms: dict[Text, OwnCdrom] | None = field(
        "Its CD-ROM drives by name, exactly these: a path on the host, the name of an image or nothing, or "
        "`{medium, bus, boot}`.",
        impact=Impact.RESTART,
        why=BOOT["why"],
        when="live to change what is in a drive, for drives on scsi with something in them, and while it does not run",
        examples=({"install": "/srv/iso/debian-12.iso"},),
    )
    pool: Text = field("The pool of its disks.", default="default", compared=False)
    networks: tuple[OwnNic, ...] | None = field(
        "Its network cards: the name of a network each, or `{network, bridge, mac, model, address, gateway, "
        "nameservers, portgroup, boot, link, bandwidth, queues, mtu}`.",
        impact=Impact.RESTART,
        why=BOOT["why"],
        when="live to plug in and out while a PCI port is free, elsewhere, link, bandwidth, and while it does not run",
        examples=(["dev"],),
    )
    machine: Annotated[Text, AfterValidator(_named)] | None = field("libvirt's machine type.", default="q35", **BOOT)
    cpu_model: Annotated[Text, AfterValidator(_named)] | None = field(
        "host-model, host-passthrough or a model that libvirt knows. A new machine gets host-model where the CPU "
        "helps, and libvirt's default where it is emulated.",
        **BOOT,
        examples=("host-model",),
    )
    serial: Flag | None = field("A serial console that the host keeps a log of.", default=True, **BOOT)
    rng: Flag | None = field("Random numbers from the host.", default=True, **BOOT)
    agent: Flag | None = field("The channel of QEMU's guest agent.", default=True, **BOOT)
    graphics: OwnGraphics | None = field(
        "How its screen is served: `vnc`, `spice` or `none`, or `{type, listen, port}`.",
        **BOOT,
        examples=({"type": "vnc", "listen": "127.0.0.1"},),
    )
    graphics_password: Password = field(
        "What its screen asks for; at most eight characters for vnc.", secret=True, examples=({"secret": "env:VNC"},)
    )
    cloud_init: CloudInit | None = field(
        "Data for cloud-init: `{user_data, vendor_data, network_config, on_change}`. When it changes, `ignore` leaves "
        "the machine alone, `reseed` gives it anew for the next boot, `replace` makes the machine anew.",
        compared=False,
        examples=({"user_data": {"package_update": "true"}},),
    )
    access: Access | None = field(
        "How it becomes a host of this run: `{user, key_file, public_key, via, network, timeout, ready}`.",
        compared=False,
        examples=({"user": "root", "key_file": "~/.ssh/id_ed25519"},),
    )
    autostart: Flag | None = field("Whether it starts with its host.", default=True)
    power: Literal["running", "stopped"] | None = field(
        "Whether it runs. It is shut down, never just switched off.",
        default="running",
        impact=Impact.RESTART,
        why="it is shut down",
        when="live to start it",
    )


class Spec(schedule.Kept, board.Spec, Basics):
    """A virtual machine."""


def disks(desired: Spec) -> dict[str, Disk]:
    """The disks by name, in their order. The first is made from the image; without any, an image makes a root disk."""
    given = dict(desired.disks or {})
    if desired.image is None:
        return given
    if not given:
        return {"root": Disk(image=desired.image)}
    first = next(iter(given))
    return {**given, first: given[first].model_copy(update={"image": desired.image})}


def has_seed(desired: Spec) -> bool:
    """Whether it gets data for its first boot."""
    static = any(nic.address and not nic.leased for nic in desired.networks or ())
    return desired.cloud_init is not None or desired.access is not None or static


def address(desired: Spec) -> str | None:
    """The address under which it will answer, None when only its lease tells."""
    only = desired.access.network if desired.access else None
    cards = [nic for nic in desired.networks or () if only in (None, nic.network)]
    return cards[0].address.partition("/")[0] if cards and cards[0].address else None


def usual(desired: Spec) -> frozenset[str]:
    """The fields that go without saying: all but `cpu` have that value unless a blueprint says otherwise."""
    defaults = {name: info.default for name, info in Spec.model_fields.items() if name != "cpu"}
    return frozenset(name for name, value in defaults.items() if getattr(desired, name) == value)


def problem(desired: Spec) -> str:
    """What is wrong with a combination of fields; "" for nothing."""
    if amount := _amount(desired):
        return amount
    given, macs = desired.disks or {}, [nic.mac for nic in desired.networks or () if nic.mac]
    for name in given:
        if name == SEED or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", name):
            return f"disks: {name!r} cannot be the name of a disk; write data, log-2 and the like"
    for name, disk in disks(desired).items():
        if disk.size is None and disk.image is None and disk.volume is None:
            return f"disks: {name} needs a size, an image or a volume"
    first = next(iter(given.values()), None)
    if desired.image is not None and first is not None and (first.volume or first.image):
        return "image: the first disk says itself what it is made from"
    if len(set(macs)) < len(macs):
        return "networks: two cards cannot have one MAC address"
    volumes = [disk.volume for disk in given.values() if disk.volume]
    if twice := next((volume for volume in volumes if volumes.count(volume) > 1), ""):
        return f"disks: two of them are volume {twice}"
    found = [nic.address.partition("/")[0] for nic in desired.networks or () if nic.address]
    if len(set(found)) < len(found):
        return "networks: two cards cannot have one address"
    return misfits.problem(desired)


def _amount(desired: Spec) -> str:
    if desired.cpu < 1:
        return "cpu: write at least 1"
    for name, number in (("cpu", desired.cpu), ("cpu_max", desired.cpu_max)):
        if number is not None and number > MOST:
            return f"{name}: no machine has more than {MOST}"
    if desired.cpu_max is not None and desired.cpu_max < desired.cpu:
        return "cpu_max: it is less than cpu"
    for name, size in (("memory", desired.memory), ("memory_max", desired.memory_max)):
        if size is not None and (size < MIB or size % MIB):
            return f"{name}: write whole MiB, as libvirt counts it: 1024MiB, 2GiB and the like"
    few = desired.memory_max is not None and desired.memory_max < desired.memory
    return "memory_max: it is less than memory" if few else ""


def as_found(name: str, defined: Mapping[str, Any], autostart: bool, power: str | None) -> Spec:
    """The fields of a domain as its definition has them (`domain_xml.parse`). A disk is called by its file."""
    files = {drive.source.rpartition("/")[2]: drive for drive in defined["disks"]}
    own = {file.rpartition(".")[0].removeprefix(f"{name}-") or file: drive for file, drive in files.items()}
    same = ("cpu_max", "memory_max", "machine", "cpu_model", "serial", "rng", "agent", *board.FIELDS)
    return Spec.model_construct(
        **{key: defined[key] for key in same},
        cpu=defined["cpu"].current,
        memory=defined["memory"].current,
        cdroms=tuple(map(str, defined["cdroms"])),
        graphics=tuple(map(str, defined["graphics"])),
        disks={disk: Disk.model_construct(volume=drive.source, bus=drive.bus) for disk, drive in own.items()},
        networks=tuple(map(str, defined["networks"])),
        autostart=autostart,
        power=power,
    )
