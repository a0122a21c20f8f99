"""A virtual machine as it is, whoever made it."""

from dataclasses import dataclass

DOMAIN = "kvm.domain"  # the kind of a machine
GUEST = "kvm.guest"  # the kind of a machine as a host
LOGIN = "login"  # among the notes of a guest that can be reached: the host it is


@dataclass(frozen=True, slots=True)
class Machine:
    """One domain on one host. `state` is in virsh's words ("running", "shut off"), `memory` in bytes.

    `address` is what its network leased to it, or what it had when it last answered vinfra. `blueprint` is its owner
    ("" for none of ours). `user` and `key` are how vinfra knows it as a host: who logs in, and its pinned host key.
    """

    name: str
    host: str
    state: str = ""
    cpu: int = 0
    memory: int = 0
    address: str = ""
    autostart: bool = False
    blueprint: str = ""
    user: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """One host and the machines on it. `error` says why it could not be read.

    `libvirt` is whether it has libvirt, "" for yes, else why not. Processors are counted, memory is in bytes.
    """

    host: str
    error: str = ""
    libvirt: str = ""
    cpu: int | None = None
    memory: int | None = None
    system: str = ""
    machines: tuple[Machine, ...] = ()
