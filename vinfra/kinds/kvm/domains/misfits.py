"""What in a machine's fields does not go together, of its devices, its screen and its login."""

from collections.abc import Iterator, Mapping
from typing import Any

from vinfra.kinds.kvm.domains.devices import Cdrom, Disk, turns
from vinfra.kinds.kvm.seeds import network_config
from vinfra.model import spec as shape


def problem(desired: Any) -> str:
    """The first of them; "" for nothing."""
    return turns(_turns(desired)) or _screen(desired) or _buses(desired) or _entered(desired)


def _turns(desired: Any) -> Iterator[tuple[str, int | None]]:
    yield from ((f"disks: {name}", disk.boot) for name, disk in (desired.disks or {}).items())
    yield from ((f"cdroms: {name}", drive.boot) for name, drive in (desired.cdroms or {}).items())
    yield from ((f"networks: card {number}", nic.boot) for number, nic in enumerate(desired.networks or (), 1))


def _screen(desired: Any) -> str:
    if desired.graphics_password is None or isinstance(desired.graphics, shape.Deferred):
        return ""
    if desired.graphics is None or desired.graphics.type == "none":
        return "graphics_password: say in graphics which screen asks for it"
    return ""


def _entered(desired: Any) -> str:
    """What is wrong with its login and with its first boot, seen from its cards."""
    access, cards, first = desired.access, desired.networks, desired.cloud_init
    if access and not (access.key_file or access.public_key):
        return "access: give a key_file or a public_key"
    if cards is None or isinstance(cards, shape.Deferred):
        return ""
    if access and not cards:
        return "access: it has no network card to log in by; name one under networks"
    if access and access.network and access.network not in (known := [nic.network for nic in cards if nic.network]):
        has = f"they are on {', '.join(known)}" if known else "they are on bridges"
        return f"access: none of its cards is on network {access.network}; {has}"
    number = network_config.beyond(first.network_config, len(cards)) if first else None
    count = f"0 to {len(cards) - 1}" if cards else "none"
    return "" if number is None else f"cloud_init: network_config: there is no card {number}; its cards are {count}"


def _buses(desired: Any) -> str:
    """What q35, the board unless another one is said, has no controller for."""
    if isinstance(desired.machine, shape.Deferred) or (desired.machine and "q35" not in desired.machine):
        return ""
    sorts: dict[str, Mapping[str, Disk | Cdrom]] = {"disks": desired.disks or {}, "cdroms": desired.cdroms or {}}
    for sort, drives in sorts.items():
        for name, drive in drives.items():
            if drive.bus == "ide":
                return f"{sort}: {name}: a q35 machine has no ide; write bus: sata, or machine: pc"
    return ""
