"""A domain's CD-ROM drives in its XML. One is known by what is in it; a drive that is left over takes the next medium.

So a changed medium is a change in the drive that is there, which a running machine sees at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains.drives import add_controller, made, source
from vinfra.kinds.kvm.domains.elements import attribute, child, devices, flag, set_turn, turn


@dataclass(frozen=True, slots=True)
class Medium:
    """A CD-ROM drive: the file in it ("" for none), its bus ("" for any), its turn at boot (None: any)."""

    source: str
    bus: str = ""
    boot: int | None = None

    def __str__(self) -> str:
        said = [self.source or "empty", self.bus, f"boot={self.boot}" if self.boot else ""]
        return " ".join(filter(None, said))

    def may_be(self, found: "Medium") -> bool:
        """Whether it can be that drive, with another medium in it."""
        return self.bus in ("", found.bus)

    def accepts(self, found: "Medium") -> bool:
        """Whether a drive that is there is what is meant."""
        return self.may_be(found) and self.source == found.source and self.boot in (None, found.boot)


def media(tree: Element) -> tuple[Medium, ...]:
    """The CD-ROM drives, in libvirt's order."""
    return tuple(map(medium, _drives(tree)))


def medium(item: Element) -> Medium:
    """A CD-ROM drive as its element has it."""
    return Medium(source(item), attribute(item, "target", "bus"), turn(item))


def _drives(tree: Element) -> list[Element]:
    return tree.findall("devices/disk[@device='cdrom']")


def same_media(wish: Sequence[Medium], found: Sequence[Medium]) -> bool:
    """Whether these are the drives that are wished for, in whatever order."""
    pairs, rest = _paired(wish, found)
    return not rest and len(pairs) == len(wish) and all(wish[n].accepts(found[other]) for n, other in pairs.items())


def running_media(wish: Sequence[Medium], found: Sequence[Medium]) -> bool:
    """Whether a running domain has them; in which turn they are tried counts when it starts next."""
    return same_media([replace(one, boot=None) for one in wish], found)


def _paired(wish: Sequence[Medium], found: Sequence[Medium]) -> tuple[dict[int, int], list[int]]:
    """The numbers of what is wished for and there, and of what is left over: first what has its medium already."""
    pairs, rest = dict[int, int](), list(range(len(found)))
    for same in (True, False):
        for number, own in enumerate(wish):
            fit = [other for other in rest if own.may_be(found[other])]
            fit = [other for other in fit if not same or own.source == found[other].source]
            if number not in pairs and fit:
                pairs[number] = fit[0]
                rest.remove(fit[0])
    return pairs, rest


def set_media(tree: Element, wish: Sequence[Medium]) -> None:
    """Exactly these drives. A new one is on the bus that every installer knows, unless another one is wished for."""
    there = _drives(tree)
    pairs, rest = _paired(wish, list(map(medium, there)))
    for number in rest:
        devices(tree).remove(there[number])
    usual = "sata" if "q35" in attribute(tree, "os/type", "machine") else "ide"
    for number, own in enumerate(wish):
        item = there[pairs[number]] if number in pairs else made(tree, "cdrom", own.bus or usual, own.source)
        _load(item, own.source)
        set_turn(tree, item, own.boot)
    add_controller(tree, [own.bus for own in wish])


def _load(item: Element, file: str) -> None:
    if source(item) != file:
        for tag in ("source", "backingStore"):
            for old in item.findall(tag):
                item.remove(old)
        item.set("type", "file")
        if file:
            SubElement(item, "source", {"file": file})
    child(item, "driver").attrib.update(name="qemu", type="raw")
    child(item, "target").attrib.pop("tray", None)
    flag(item, "readonly", True)
