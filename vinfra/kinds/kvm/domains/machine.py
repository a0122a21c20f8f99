"""What a blueprint says of a virtual machine: its fields, and the shapes of its disks, network cards and first boot."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from vinfra.kinds.kvm.domains import schedule
from vinfra.model import spec as shape
from vinfra.model.action import Impact
from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.values import SIZES, Flag, Seconds, Size, Text, Whole

MIB = 1 << 20
SEED = "seed"
BOOT: dict[str, Any] = {"impact": Impact.RESTART, "why": "only at boot", "when": "live while it does not run"}


@dataclass(frozen=True, slots=True)
class _Short:
    """In a schema: the model, or a bare scalar for its first field."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


def _short_for(field: str) -> BeforeValidator:
    return BeforeValidator(lambda value: {field: value} if isinstance(value, str | int) else value)


def _key(value: str) -> str:
    if not re.fullmatch(r"(ssh|ecdsa|sk)-[\w@.-]+ [A-Za-z0-9+/]+=*( .*)?", value.strip()):
        raise ValueError("write a public key as its .pub file has it: ssh-ed25519 AAAA…")
    return value.strip()


def _named(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError("write a name that libvirt knows")
    return value


def _mac(value: str) -> str:
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
    mac: Annotated[Text, AfterValidator(_mac)] | None = field(
        "Its address; one made from the machine's name without it."
    )
    model: Literal["virtio", "e1000", "e1000e", "igb", "rtl8139", "vmxnet3"] = field(
        "What the machine sees.", default="virtio"
    )

    @model_validator(mode="after")
    def _whole(self) -> "Nic":
        if (self.network is None) == (self.bridge is None):
            raise ValueError("give either a network or a bridge")
        return self

    def __str__(self) -> str:
        where = self.network or f"bridge {self.bridge}"
        return " ".join(filter(None, (where, self.mac, "" if self.model == "virtio" else self.model)))


def _user_data(value: Any) -> Any:
    if isinstance(value, str) and not value.startswith(("#", "Content-Type:")):
        raise ValueError("write a mapping, or text that begins with #cloud-config (or #! for a script)")
    return value


class CloudInit(_Model):
    """What cloud-init does at the first boot; `reseed` gives a new seed when that changes, `ignore` leaves it."""

    user_data: Annotated[dict[str, Any] | Text | Secret, AfterValidator(_user_data)] | None = field(
        "A mapping, or text that begins with #cloud-config."
    )
    network_config: dict[str, Any] | None = field("cloud-init's network configuration.")
    on_change: Literal["ignore", "reseed"] = field("What to do when the data changes.", default="ignore")


class Access(_Model):
    """How it becomes a host of this run: who logs in with which key, straight or by way of its hypervisor."""

    user: Text = field("Who logs in; made at the first boot.", default="root")
    key_file: Text | None = field("The private key; its public half is beside it, as .pub.")
    public_key: Annotated[Text, AfterValidator(_key)] | None = field("The public key, where that file is not at hand.")
    via: Literal["jump", "direct"] = field("By way of its hypervisor, or straight.", default="jump")
    network: Text | None = field("The network whose lease tells its address; the first one.")
    timeout: Seconds | None = field("How long it may take until it answers.")


OwnDisk = Annotated[Disk, _short_for("size"), _Short()]
OwnNic = Annotated[Nic, _short_for("network"), _Short()]


class Hardware(shape.Spec):
    """What it is made of, and whether it runs."""

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
        "Its network cards: the name of a network each, or `{network, bridge, mac, model}`.",
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
        "Data for cloud-init: `{user_data, network_config, on_change}`; `on_change: reseed` gives it anew when that "
        "changes, `ignore` does not.",
        compared=False,
        examples=({"user_data": {"package_update": "true"}},),
    )
    access: Access | None = field(
        "How it becomes a host of this run: `{user, key_file, public_key, via, network, timeout}`.",
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


class Spec(schedule.Kept, Hardware):
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
    return desired.cloud_init is not None or desired.access is not None


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
    access = desired.access
    return "access: give a key_file or a public_key" if access and not (access.key_file or access.public_key) else ""


def as_found(name: str, defined: Mapping[str, Any], autostart: bool, power: str | None) -> Spec:
    """The fields of a domain as its definition has them (`domain_xml.parse`). A disk is called by its file."""
    files = {drive.source.rpartition("/")[2]: drive for drive in defined["disks"]}
    own = {file.rpartition(".")[0].removeprefix(f"{name}-") or file: drive for file, drive in files.items()}
    same = ("cpu", "machine", "cpu_model", "serial", "rng", "agent")
    return Spec.model_construct(
        **{key: defined[key] for key in same},
        memory=defined["memory"].most,
        disks={disk: Disk.model_construct(volume=drive.source, bus=drive.bus) for disk, drive in own.items()},
        networks=tuple(map(str, defined["networks"])),
        autostart=autostart,
        power=power,
    )


def spelled(number: int) -> str:
    """A number of bytes as a blueprint writes it, in the largest binary unit that it fills."""
    units = [(size, unit) for unit, size in SIZES.items() if unit == "B" or unit.endswith("iB")]
    size, unit = max(pair for pair in units if pair[0] <= max(number, 1))
    return f"{round(number / size, 1):g}{unit}"
