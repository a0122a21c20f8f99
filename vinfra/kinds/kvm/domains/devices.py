"""What a blueprint says of a machine's devices: disks, CD-ROM drives, network cards and its screen."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator

from vinfra.kinds.kvm.domains.addresses import ipv4, of_card
from vinfra.kinds.kvm.domains.limits import Bandwidth, Iotune, Model
from vinfra.kinds.kvm.domains.parts import spelled
from vinfra.model.spec import field
from vinfra.model.values import Flag, Size, Text, Whole

VNC = 5900  # its first port; QEMU serves it on no lower one
MOST_TURNS = 10_000  # libvirt takes more; nobody has as many devices
SERIAL = 20  # characters of a disk's serial number that a virtio disk can tell


@dataclass(frozen=True, slots=True)
class Shortened:
    """In a schema: the model, or a bare scalar for its first field."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


def short_for(field: str) -> BeforeValidator:
    """Take a bare scalar for that field of the model."""
    return BeforeValidator(lambda value: {field: value} if isinstance(value, str | int) else value)


def _medium(value: Any) -> Any:
    return {"medium": value or ""} if value is None or isinstance(value, str) else value


def as_mac(value: str) -> str:
    """A unicast MAC address, in small letters."""
    if not re.fullmatch(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", value.lower()) or set(value) <= {"0", ":"}:
        raise ValueError("write a unicast MAC address, such as 52:54:00:1a:2b:3c")
    return value.lower()


def _port(value: Any) -> Any:
    if value == "auto" or (re.fullmatch(r"[1-9][0-9]{0,4}", str(value)) and int(str(value)) <= 65535):
        return str(value)
    raise ValueError("write auto, or a port such as 5901")


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError("write an address of the host, such as 127.0.0.1 or 0.0.0.0") from None


Boot = Whole | None


class Disk(Model):
    """A disk: a volume of its own, empty or made from an image, or one that is declared under `volumes`."""

    size: Size | None = field("How much it holds; the image's own size without it.")
    image: Text | None = field("The image that it is made from.")
    pool: Text | None = field("Its pool, if not the machine's.")
    format: Literal["qcow2", "raw"] | None = field("How its file is written: qcow2, unless said.")
    clone: Literal["cow", "copy"] | None = field("Whether it stands on its image (cow) or not.")
    bus: Literal["virtio", "scsi", "sata", "ide"] = field("What it is attached to.", default="virtio")
    volume: Text | None = field("Instead of all this, a volume declared under `volumes`.")
    boot: Boot = field("Its turn when the machine looks for a system: 1 is the first.")
    cache: Literal["none", "writeback", "writethrough", "directsync", "unsafe"] | None = field(
        "The host's cache of it."
    )
    io: Literal["threads", "native", "io_uring"] | None = field("How the host reads and writes it.")
    discard: Literal["unmap", "ignore"] | None = field("Whether what the machine discards is given back.")
    serial: Text | None = field("The serial number that the machine sees.")
    readonly: Flag = field("Whether the machine can only read it.", default=False)
    shared: Flag | None = field("Whether several machines may use it at once.")
    iotune: Iotune | None = field("Its limits in libvirt's words, such as `{total_iops_sec: 500}`; `{}` for none.")

    @model_validator(mode="after")
    def _whole(self) -> "Disk":
        if self.volume is not None:
            own = [name for name in ("size", "image", "pool", "format", "clone") if getattr(self, name) is not None]
            if own:
                raise ValueError(f"{', '.join(own)}: say that where the volume is declared")
        if self.io == "native" and self.cache not in ("none", "directsync"):
            raise ValueError("io: native needs cache: none or directsync")
        if self.readonly and self.bus in ("sata", "ide"):
            raise ValueError(f"readonly: a {self.bus} disk cannot be; put it on virtio or scsi")
        if self.shared and self.volume is None and self.format != "raw":
            raise ValueError("shared: only format: raw can be used by several machines at once")
        if self.serial is not None and not re.fullmatch(rf"[A-Za-z0-9_.+-]{{1,{SERIAL}}}", self.serial):
            raise ValueError(f"serial: write at most {SERIAL} letters, digits, '.', '_', '+' and '-'")
        return self

    def __str__(self) -> str:
        said = [self.volume or (spelled(self.size) if self.size is not None else "")]
        said += [f"from {self.image}"] if self.image else []
        said += [] if self.bus == "virtio" else [self.bus]
        return " ".join(filter(None, said))


class Cdrom(Model):
    """A CD-ROM drive and what is in it."""

    medium: Text = field("A path on the host, or the name of an image; nothing is in it without.", default="")
    bus: Literal["scsi", "sata", "ide", "usb"] | None = field("What it is attached to: sata, on `pc` ide.")
    boot: Boot = field("Its turn when the machine looks for a system: 1 is the first.")

    @property
    def image(self) -> str:
        """The image in it, "" when that is a path or nothing."""
        return "" if self.medium.startswith("/") else self.medium


class Nic(Model):
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
    gateway: Annotated[Text, AfterValidator(ipv4)] | None = field(
        "The way out, where the address is set by cloud-init."
    )
    nameservers: tuple[Annotated[Text, AfterValidator(ipv4)], ...] | None = field(
        "DNS servers, where the address is set by cloud-init."
    )
    portgroup: Text | None = field("The network's portgroup that it belongs to.")
    boot: Boot = field("Its turn when the machine looks for a system: 1 is the first.")
    link: Literal["up", "down"] | None = field("Whether its cable is plugged in.")
    bandwidth: Bandwidth | None = field(
        "How much may pass: `{inbound: {average, peak, burst}, outbound: …}`; `{}` for no limit."
    )
    queues: Whole | None = field("How many queues of a virtio card work side by side.")
    mtu: Whole | None = field("The largest packet that it tells the machine.")

    @model_validator(mode="after")
    def _whole(self) -> "Nic":
        if (self.network is None) == (self.bridge is None):
            raise ValueError("give either a network or a bridge")
        if self.portgroup is not None and self.network is None:
            raise ValueError("portgroup: only a network of libvirt has them")
        if self.queues is not None and (self.model != "virtio" or not 1 <= self.queues <= 256):
            raise ValueError("queues: 1 to 256, and only of a virtio card")
        if self.mtu is not None and not 68 <= self.mtu <= 65521:
            raise ValueError("mtu: write 68 to 65521")
        self._addressed()
        return self

    def _addressed(self) -> None:
        if self.address is not None and "/" not in self.address and self.network is None:
            raise ValueError(f"address: a bridge promises none; write it with its prefix: {self.address}/24")
        own = [key for key in ("gateway", "nameservers") if getattr(self, key) is not None]
        if own and (self.address is None or self.leased):
            raise ValueError(f"{own[0]}: DHCP tells that; it goes with an address that has a prefix")
        if self.gateway is not None and IPv4Address(self.gateway) not in IPv4Interface(str(self.address)).network:
            raise ValueError(f"gateway: {self.gateway} is not in the network of {self.address}")
        if self.gateway is not None and self.gateway == str(self.address).partition("/")[0]:
            raise ValueError(f"gateway: {self.gateway} is the card's own address")

    @property
    def leased(self) -> bool:
        """Whether its network promises its address."""
        return self.address is not None and "/" not in self.address

    def __str__(self) -> str:
        where = self.network or f"bridge {self.bridge}"
        return " ".join(filter(None, (where, self.address, self.mac, "" if self.model == "virtio" else self.model)))


class Graphics(Model):
    """The machine's screen as the host serves it."""

    type: Literal["vnc", "spice", "none"] = field("How it is served; `none` for no screen.", default="vnc")
    listen: Annotated[Text, AfterValidator(_address)] = field(
        "The address of the host that it is served on.", default="127.0.0.1"
    )
    port: Annotated[str, BeforeValidator(_port)] = field("The port, or `auto` for one that is free.", default="auto")

    @model_validator(mode="after")
    def _whole(self) -> "Graphics":
        if self.type == "vnc" and self.port != "auto" and int(self.port) < VNC:
            raise ValueError(f"port: vnc begins with {VNC}")
        return self

    def __str__(self) -> str:
        return "none" if self.type == "none" else f"{self.type} {self.listen} {self.port}"


OwnDisk = Annotated[Disk, short_for("size"), Shortened()]
OwnNic = Annotated[Nic, short_for("network"), Shortened()]
OwnCdrom = Annotated[Cdrom, BeforeValidator(_medium), Shortened()]
OwnGraphics = Annotated[Graphics, short_for("type"), Shortened()]


def turns(named: Iterator[tuple[str, int | None]]) -> str:
    """What is wrong with the order in which devices are tried; "" for nothing."""
    taken: dict[int, str] = {}
    for name, turn in named:
        if turn is not None and turn < 1:
            return f"{name}: boot begins with 1"
        if turn is not None and turn > MOST_TURNS:
            return f"{name}: boot ends with {MOST_TURNS}"
        if turn is not None and turn in taken:
            return f"{name}: boot {turn} is that of {taken[turn]} already"
        if turn is not None:
            taken[turn] = name
    return ""
