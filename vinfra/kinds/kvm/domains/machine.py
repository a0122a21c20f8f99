"""What a blueprint says of a virtual machine: its fields, and the shapes of its disks, network cards and first boot."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from vinfra.kinds.kvm.domains import board
from vinfra.kinds.kvm.domains.addresses import ip_address, of_card
from vinfra.kinds.kvm.domains.board import BOOT
from vinfra.kinds.kvm.domains.first_boot import Access, CloudInit
from vinfra.kinds.kvm.domains.parts import spelled
from vinfra.model import spec as shape
from vinfra.model.action import Impact
from vinfra.model.spec import field
from vinfra.model.values import Flag, Size, Text, Whole

MIB = 1 << 20
SEED = "seed"


@dataclass(frozen=True, slots=True)
class Shortened:
    """In a schema: the model, or a bare scalar for its first field."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


def short_for(field: str) -> BeforeValidator:
    """Take a bare scalar for that field of the model."""
    return BeforeValidator(lambda value: {field: value} if isinstance(value, str | int) else value)


def _named(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError("write a name that libvirt knows")
    return value


def as_mac(value: str) -> str:
    """A unicast MAC address, in small letters."""
    if not re.fullmatch(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", value.lower()):
        raise ValueError("write a unicast MAC address, such as 52:54:00:1a:2b:3c")
    return value.lower()


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Disk(_Model):
    """A disk: a volume of its own, empty or made from an image, or one that is declared under `volumes`."""

    size: Size | None = field("How much it holds; the image's own size without it.")
    image: Text | None = field("The image that it is made from.")
    pool: Text | None = field("Its pool, if not the machine's.")
    format: Literal["qcow2", "raw"] | None = field("How its file is written: qcow2, unless said.")
    clone: Literal["cow", "copy"] | None = field("Whether it stands on its image (cow) or not.")
    bus: Literal["virtio", "scsi", "sata", "ide"] = field("What it is attached to.", default="virtio")
    volume: Text | None = field("Instead of all this, a volume declared under `volumes`.")

    @model_validator(mode="after")
    def _whole(self) -> "Disk":
        if self.volume is not None:
            own = [name for name in ("size", "image", "pool", "format", "clone") if getattr(self, name) is not None]
            if own:
                raise ValueError(f"{', '.join(own)}: say that where the volume is declared")
        return self

    def __str__(self) -> str:
        said = [self.volume or (spelled(self.size) if self.size is not None else "")]
        said += [f"from {self.image}"] if self.image else []
        said += [] if self.bus == "virtio" else [self.bus]
        return " ".join(filter(None, said))


class Nic(_Model):
    """A network card on a libvirt network, or on a bridge of the host."""

    network: Text | None = field("A network of libvirt.")
    bridge: Text | None = field("Instead, a bridge of the host.")
    mac: Annotated[Text, AfterValidator(as_mac)] | None = field(
        "Its address; one made from the machine's name without it."
    )
    model: Literal["virtio", "e1000", "e1000e", "igb", "rtl8139", "vmxnet3"] = field(
        "What the machine sees.", default="virtio"
    )
    address: Annotated[Text, AfterValidator(of_card)] | None = field(
        "Its IPv4 address. Alone, its network promises it by DHCP; with a prefix (10.10.0.50/24) cloud-init sets it."
    )
    gateway: Annotated[Text, AfterValidator(ip_address)] | None = field(
        "The way out, where the address is set by cloud-init."
    )
    nameservers: tuple[Annotated[Text, AfterValidator(ip_address)], ...] | None = field(
        "DNS servers, where the address is set by cloud-init."
    )

    @model_validator(mode="after")
    def _whole(self) -> "Nic":
        if (self.network is None) == (self.bridge is None):
            raise ValueError("give either a network or a bridge")
        if self.address is not None and "/" not in self.address and self.network is None:
            raise ValueError(f"address: a bridge promises none; write it with its prefix: {self.address}/24")
        own = [key for key in ("gateway", "nameservers") if getattr(self, key) is not None]
        if own and (self.address is None or self.leased):
            raise ValueError(f"{own[0]}: DHCP tells that; it goes with an address that has a prefix")
        if self.gateway is not None and IPv4Address(self.gateway) not in IPv4Interface(str(self.address)).network:
            raise ValueError(f"gateway: {self.gateway} is not in the network of {self.address}")
        return self

    @property
    def leased(self) -> bool:
        """Whether its network promises its address."""
        return self.address is not None and "/" not in self.address

    def __str__(self) -> str:
        where = self.network or f"bridge {self.bridge}"
        return " ".join(filter(None, (where, self.address, self.mac, "" if self.model == "virtio" else self.model)))


OwnDisk = Annotated[Disk, short_for("size"), Shortened()]
OwnNic = Annotated[Nic, short_for("network"), Shortened()]


class Basics(shape.Spec):
    """What a virtual machine is, but for its board."""

    cpu: Whole = field("Virtual CPUs.", default=1, **BOOT, examples=("2",))
    memory: Size = field(
        "Memory. Less is taken from it, and up to what it booted with given, while it runs.",
        default=...,
        impact=Impact.RESTART,
        why="more than it booted with is given only at boot",
        when="live up to what it booted with, and while it does not run",
        examples=("2GiB",),
    )
    image: Text | None = field("The image that its first disk is made from.", compared=False, examples=("debian-12",))
    disks: dict[Text, OwnDisk] | None = field(
        "Its disks by name: a size, or `{size, image, pool, format, clone, bus, volume}`; `volume` is one declared "
        "under volumes. Without any, an image makes one called `root`.",
        **BOOT,
        examples=({"root": "20GiB"},),
    )
    pool: Text = field("The pool of its disks.", default="default", compared=False)
    networks: tuple[OwnNic, ...] | None = field(
        "Its network cards: the name of a network each, or `{network, bridge, mac, model, address, …}`.",
        **BOOT,
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


class Spec(board.Spec, Basics):
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
    if desired.cpu < 1:
        return "cpu: write at least 1"
    if desired.memory < MIB or desired.memory % MIB:
        return "memory: write whole MiB, as libvirt counts it: 1024MiB, 2GiB and the like"
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
    found = [nic.address.partition("/")[0] for nic in desired.networks or () if nic.address]
    if len(set(found)) < len(found):
        return "networks: two cards cannot have one address"
    access = desired.access
    return "access: give a key_file or a public_key" if access and not (access.key_file or access.public_key) else ""


def as_found(name: str, defined: Mapping[str, Any], autostart: bool, power: str | None) -> Spec:
    """The fields of a domain as its definition has them (`domain_xml.parse`). A disk is called by its file."""
    files = {drive.source.rpartition("/")[2]: drive for drive in defined["disks"]}
    own = {file.rpartition(".")[0].removeprefix(f"{name}-") or file: drive for file, drive in files.items()}
    same = ("cpu", "machine", "cpu_model", "serial", "rng", "agent", *board.FIELDS)
    return Spec.model_construct(
        **{key: defined[key] for key in same},
        memory=defined["memory"].most,
        disks={disk: Disk.model_construct(volume=drive.source, bus=drive.bus) for disk, drive in own.items()},
        networks=tuple(map(str, defined["networks"])),
        autostart=autostart,
        power=power,
    )
