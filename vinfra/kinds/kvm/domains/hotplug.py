"""What of a difference a running domain takes at once, aspect by aspect: the calls that do it, or why only a boot does.

The running definition is written in a copy as it is to become, by the same hands that write the persistent one; the
devices that then differ are the calls. All is decided from XML, before anything is tried.
"""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from vinfra.kinds.kvm.domains import drives, graphics, media, ports, processors
from vinfra.kinds.kvm.domains.elements import attribute, portable
from vinfra.kinds.kvm.domains.limits import spelled
from vinfra.kinds.kvm.domains.processors import Amount
from vinfra.model.step import Verb, Virt

# Controllers of PCI into which a device can be plugged while the domain runs; on q35 that is one device each.
PORTS = ("pcie-root-port", "pcie-switch-downstream-port")
SLOTS = ("pci-root", "pci-bridge")
SLOTS_OF_A_BUS = 31
PLUGGED = ("disk", "interface", "controller")
# Cards that are not for PCI Express; on q35 they sit behind a bridge that takes them only at boot.
OLD_CARDS = ("e1000", "rtl8139")
WAITS = 30.0  # seconds that a system may take to let a device go, or to take or give memory


@dataclass(frozen=True, slots=True)
class Move:
    """One call that changes a running domain, what it does in words, and the call that takes it back (None: none)."""

    summary: str
    call: Virt
    back: Virt | None
    secret: bool = False


Told = tuple[Move, ...] | str
Live = Callable[[Element, Any], Told]


def memory(tree: Element, wish: Amount) -> Told:
    """By the balloon, up to what it booted with."""
    now = processors.memory(tree)
    if wish.current > now.most:
        return f"it booted with {spelled(now.most)}, and more is given only at boot"
    said = f"set the memory of {_name(tree)} to {spelled(wish.current)} as it runs"
    return (_numbered(tree, Verb.DOMAIN_MEMORY, said, wish.current, now.current),)


def cpus(tree: Element, wish: Amount) -> Told:
    """Up to what it booted with, and down to those that it cannot let go."""
    now, pinned = processors.cpus(tree), processors.pinned(tree)
    if wish.current > now.most:
        return f"it booted with room for {_count(now.most)}"
    if wish.current < pinned:
        return f"{_count(pinned)} of it can be taken away only at boot"
    if wish.current < now.current and tree.get("type") == "qemu":  # the system lets it go, and QEMU never says so
        return "an emulated CPU can be taken away only at boot"
    said = f"give {_name(tree)} {_count(wish.current)} as it runs"
    return (_numbered(tree, Verb.DOMAIN_VCPUS, said, wish.current, now.current),)


def _count(number: int) -> str:
    return f"{number} CPU{'s' * (number != 1)}"


def _numbered(tree: Element, verb: Verb, said: str, wish: int, now: int) -> Move:
    call = Virt(verb, _name(tree), number=wish, seconds=WAITS)
    return Move(said, call, replace(call, number=now))


def disks(tree: Element, wish: Any) -> Told:
    """Plugged in and out; their limits change where they are."""
    return _moves(tree, wish, drives.set_drives, _disk_changed)


def networks(tree: Element, wish: Any) -> Told:
    """Plugged in and out; one keeps its address when it is plugged in elsewhere."""
    return _moves(tree, wish, ports.set_ports, _card_changed)


def cdroms(tree: Element, wish: Any) -> Told:
    """Another medium, or none, in the drive that is there."""
    return _moves(tree, wish, media.set_media, _medium_changed)


def password(tree: Element, wish: str) -> Told:
    """The screens ask for the new one from now on; the old one cannot be read, and so does not come back."""
    name, after = _name(tree), deepcopy(tree)
    graphics.set_password(after, wish)
    made = [Virt(Verb.DEVICE_UPDATE, name, xml=_text(item)) for item in after.iterfind("devices/graphics")]
    note = ElementTree.tostring(graphics.note(name, wish), "unicode")
    made.append(Virt(Verb.DOMAIN_METADATA, name, xml=note, number=1))
    return tuple(Move(f"set the password of {name}'s screen", call, None, secret=True) for call in made)


def _disk_changed(name: str, before: Element, after: Element) -> Iterator[Move]:
    old, new = drives.drive(before), drives.drive(after)
    if old.limits != new.limits:
        yield _both(f"limit {_which(after)} of {name} anew", Virt(Verb.DISK_LIMIT, name), before, after)
    if any(getattr(old, each) != getattr(new, each) for each in ("format", "readonly", *drives.OPTIONS)):
        raise _Boot(f"how {_which(after)} is read and written changes only at boot")


def _card_changed(name: str, before: Element, after: Element) -> Iterator[Move]:
    old, new = ports.port(before), ports.port(after)
    elsewhere = (old.sort, old.source) != (new.sort, new.source)
    fixed = ports.FIXED if elsewhere else (*ports.FIXED, "portgroup")
    if differ := [each for each in fixed if getattr(old, each) != getattr(new, each)]:
        raise _Boot(f"{differ[0]}: of a card that is there it changes only at boot")
    if elsewhere and before.find("virtualport") is not None:
        raise _Boot("a card of a switch with port profiles is plugged in elsewhere only at boot")
    if replace(old, boot=None) != replace(new, boot=None):
        said = f"change the card {new.mac} of {name} as it runs: {replace(new, boot=None)}"
        yield _both(said, Virt(Verb.DEVICE_UPDATE, name), before, after)


def _medium_changed(name: str, before: Element, after: Element) -> Iterator[Move]:
    if drives.source(before) != drives.source(after):
        file = drives.source(after).rpartition("/")[2]
        drive = f"CD-ROM drive {attribute(after, 'target', 'dev')} of {name}"
        said = f"put {file} into {drive}" if file else f"empty {drive}"
        yield _both(said, Virt(Verb.DEVICE_UPDATE, name), before, after)


def _both(said: str, call: Virt, before: Element, after: Element) -> Move:
    """Its turn at boot stays what it was when that was: libvirt refuses to change a device if another one is said."""
    one, two = (_text(item, before.findall("boot")) for item in (after, before))
    return Move(said, replace(call, xml=one), replace(call, xml=two))


class _Boot(Exception):
    """Why a difference cannot be made good while it runs."""


Changed = Callable[[str, Element, Element], Iterator[Move]]


def _moves(tree: Element, wish: Any, write: Callable[[Element, Any], None], changed: Changed) -> Told:
    after = deepcopy(tree)
    write(after, wish)
    before, then = _plugged(tree), _plugged(after)
    stay = [key for key in before if key in then and _text(before[key]) != _text(then[key])]
    try:
        made = [move for key in stay for move in changed(_name(tree), before[key], then[key])]
        out = [item for key, item in before.items() if key not in then]
        new = sorted((item for key, item in then.items() if key not in before), key=lambda item: item.tag)
        _stay({drives.source(item) for item in out}, {drives.source(item) for item in new})
        gone, come = [_unplug(tree, item) for item in out], [_plug(after, item) for item in new]
    except _Boot as why:
        return str(why)
    short = -free(after) if come else 0
    if short > 0:
        return f"no PCI port is free for {'it' if len(come) == 1 else f'{short} of its new devices'}; a boot makes more"
    return (*gone, *come, *made)


def _stay(gone: set[str], come: set[str]) -> None:
    """A disk that is used is not pulled from under its system to come back at once."""
    for file in filter(None, sorted(gone & come)):
        raise _Boot(f"{file.rpartition('/')[2]} moves to another bus only at boot")


def _plugged(tree: Element) -> dict[str, Element]:
    return {_key(item): item for item in tree.find("devices") or () if item.tag in PLUGGED}


def _key(item: Element) -> str:
    """What tells a device apart in one domain."""
    if item.tag == "controller":
        return f"{item.get('type')} {item.get('index')}"
    own = ("target", "dev") if item.tag == "disk" else ("mac", "address")
    said = attribute(item, *own)
    return f"{said} {drives.source(item)}" if item.get("device", "disk") == "disk" and item.tag == "disk" else said


def _unplug(tree: Element, item: Element) -> Move:
    if why := _stuck(tree, item):
        raise _Boot(why)
    said, xml = f"unplug {_which(item)} from {_name(tree)} as it runs", _text(item)
    call = Virt(Verb.DEVICE_DETACH, _name(tree), xml=xml, seconds=WAITS)
    return Move(said, call, Virt(Verb.DEVICE_ATTACH, _name(tree), xml=xml))


def _plug(tree: Element, item: Element) -> Move:
    bus, model = attribute(item, "target", "bus"), attribute(item, "model", "type")
    if bus in ("sata", "ide", "fdc"):
        raise _Boot(f"a drive on {bus} is attached only at boot")
    if item.get("device") == "cdrom" and not drives.source(item):  # libvirt 9.0: 'filename' must not have null value
        raise _Boot("a drive with nothing in it is attached only at boot")
    if model in OLD_CARDS and "q35" in attribute(tree, "os/type", "machine"):
        raise _Boot(f"a card of model {model} is plugged into q35 only at boot")
    xml = _text(item)
    call = Virt(Verb.DEVICE_ATTACH, _name(tree), xml=xml)
    back = Virt(Verb.DEVICE_DETACH, _name(tree), xml=xml, seconds=WAITS)
    return Move(f"plug {_which(item)} into {_name(tree)} as it runs", call, back)


def _stuck(tree: Element, item: Element) -> str:
    """Why a device cannot be unplugged while the domain runs; "" if it can."""
    address, bus = item.find("address"), attribute(item, "target", "bus")
    if bus in ("sata", "ide", "fdc"):
        return f"a drive on {bus} is detached only at boot"
    if address is not None and address.get("type") == "pci":
        model = _pci(tree).get(int(address.get("bus", "0"), 0), "")
        if model not in (*PORTS, *SLOTS):
            return f"{_which(item)} sits in a place of PCI that it leaves only at boot"
    return ""


def _pci(tree: Element) -> dict[int, str]:
    found = tree.iterfind("devices/controller[@type='pci']")
    return {int(item.get("index", "0")): item.get("model", "") for item in found}


def free(tree: Element) -> int:
    """Places where a PCI device can be plugged in while the domain runs, less those that devices without one need."""
    models = _pci(tree)
    addresses = [item.find("address") for item in tree.find("devices") or ()]
    taken = [int(item.get("bus", "0"), 0) for item in addresses if item is not None and item.get("type") == "pci"]
    ways = [bus for bus, model in models.items() if model in PORTS]
    slots = [bus for bus, model in models.items() if model in SLOTS]
    there = len(set(ways) - set(taken)) if ways or not slots else SLOTS_OF_A_BUS * len(slots) - len(taken)
    return there - sum(_needs_port(item) for item in _plugged(tree).values() if item.find("address") is None)


def _needs_port(item: Element) -> bool:
    return item.tag == "interface" or item.get("type") == "scsi" or attribute(item, "target", "bus") == "virtio"


def _which(item: Element) -> str:
    if item.tag == "disk":
        file = drives.source(item).rpartition("/")[2]
        return file or attribute(item, "target", "dev")
    return f"the card {attribute(item, 'mac', 'address')}" if item.tag == "interface" else "a SCSI controller"


def _text(item: Element, more: Iterable[Element] = ()) -> str:
    made = portable(item)
    made.extend(more)
    return ElementTree.tostring(made, "unicode").strip()


def _name(tree: Element) -> str:
    return tree.findtext("name", "")
