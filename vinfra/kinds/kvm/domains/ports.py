"""A domain's network cards in its XML. A card is known by what it is plugged into.

One that is plugged in elsewhere keeps its MAC address and its place on the bus, and so its name inside the machine.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from xml.etree.ElementTree import Element, SubElement


@dataclass(frozen=True, slots=True)
class Port:
    """A network card. `sort` is "network", "bridge" or what else libvirt knows.

    Of one that is wished for, `mac` "" means any, and `seed` makes the address of a new one.
    """

    sort: str
    source: str
    model: str = "virtio"
    mac: str = ""
    seed: str = field(default="", compare=False)

    def __str__(self) -> str:
        where = self.source if self.sort == "network" else f"{self.sort} {self.source}"
        return where + ("" if self.model == "virtio" else f" {self.model}")

    def accepts(self, found: "Port") -> bool:
        """Whether a card that is there is the one that is meant."""
        same = (self.sort, self.source, self.model) == (found.sort, found.source, found.model)
        return same and self.mac in ("", found.mac)


def ports(tree: Element) -> tuple[Port, ...]:
    """The network cards, in libvirt's order."""
    return tuple(map(_port, tree.iterfind("devices/interface")))


def _port(item: Element) -> Port:
    sort, source = item.get("type", ""), item.find("source")
    if source is not None and source.get("network"):
        sort = "network"  # while it runs, libvirt gives the type of what that leads to
    said = [] if source is None else [source.get(key, "") for key in (sort, "dev", "path")]
    return Port(
        sort, next(filter(None, said), ""), _attribute(item, "model", "type"), _attribute(item, "mac", "address")
    )


def _attribute(item: Element, tag: str, name: str) -> str:
    found = item.find(tag)
    return "" if found is None else found.get(name, "")


def same_ports(wish: Sequence[Port], found: Sequence[Port]) -> bool:
    """Whether these are the cards that are wished for, in whatever order."""
    pairs, rest = _paired(wish, found)
    return len(pairs) == len(wish) and not rest


def _paired(wish: Sequence[Port], found: Sequence[Port]) -> tuple[dict[int, int], list[int]]:
    """The numbers of what is wished for and there, and of what is left over. A wish for a certain MAC chooses first."""
    pairs, rest = dict[int, int](), list(range(len(found)))
    for number in sorted(range(len(wish)), key=lambda number: not wish[number].mac):
        match = next((other for other in rest if wish[number].accepts(found[other])), None)
        if match is not None:
            pairs[number] = match
            rest.remove(match)
    return pairs, rest


def set_ports(tree: Element, wish: Sequence[Port]) -> None:
    """Exactly these cards: what is missing is plugged over from what is too many, and only then made."""
    parent = tree.find("devices")
    assert parent is not None
    there = list(tree.iterfind("devices/interface"))
    pairs, rest = _paired(wish, ports(tree))
    for number, port in enumerate(wish):
        if number not in pairs:
            item = there[rest.pop(0)] if rest else SubElement(parent, "interface")
            _plug(item, port, taken={other.mac for other in ports(tree)})
    for number in rest:
        parent.remove(there[number])


def _plug(item: Element, port: Port, taken: set[str]) -> None:
    fresh = (mac(port.seed, number) for number in count())
    address = port.mac or _port(item).mac or next(new for new in fresh if new not in taken)
    # A port profile belongs to the kind of switch it was written for.
    gone = ("source", "model", "mac", *(("virtualport",) if item.get("type") != port.sort else ()))
    for old in [child for child in item if child.tag in gone]:
        item.remove(old)
    item.set("type", port.sort)
    SubElement(item, "mac", {"address": address})
    SubElement(item, "source", {port.sort: port.source})
    SubElement(item, "model", {"type": port.model})


def macs(tree: Element | None, wish: Sequence[Port]) -> tuple[str, ...]:
    """The address that each of these cards has or will have, in a domain that is there or is to come."""
    made = Element("domain")
    SubElement(made, "devices")
    made = made if tree is None else deepcopy(tree)
    set_ports(made, wish)
    known = ports(made)
    pairs, _ = _paired(wish, known)
    return tuple(known[pairs[number]].mac for number in range(len(wish)))


def mac(seed: str, number: int) -> str:
    """An address in QEMU's block, the same each time, so that a machine that is made again keeps its lease."""
    digits = sha256(f"{seed}/{number}".encode()).hexdigest()
    return ":".join(("52:54:00", digits[:2], digits[2:4], digits[4:6]))
