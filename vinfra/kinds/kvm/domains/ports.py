"""A domain's network cards in its XML. A card is known by what it is plugged into.

One that is plugged in elsewhere keeps its MAC address and its place on the bus, and so its name inside the machine.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains.elements import attribute, child, set_turn, turn

Rates = tuple[tuple[str, int], ...]
DIRECTIONS = ("inbound", "outbound")
RATES = ("average", "peak", "burst")
# What of a card counts only when it is plugged in.
FIXED = ("model", "queues", "mtu")


@dataclass(frozen=True, slots=True)
class Port:
    """A network card. `sort` is "network", "bridge" or what else libvirt knows.

    Of one that is wished for, `mac` "" and otherwise None mean any, and `seed` makes the address of a new one.
    `bandwidth` is what may pass in either direction, in KiB; `boot` its turn.
    """

    sort: str
    source: str
    model: str = "virtio"
    mac: str = ""
    seed: str = field(default="", compare=False)
    portgroup: str | None = None
    link: str | None = None
    bandwidth: tuple[Rates, Rates] | None = None
    queues: int | None = None
    mtu: int | None = None
    boot: int | None = None

    def __str__(self) -> str:
        where = self.source if self.sort == "network" else f"{self.sort} {self.source}"
        said = [where, self.portgroup or "", "" if self.model == "virtio" else self.model]
        said += ["down" if self.link == "down" else ""]
        for direction, rates in zip(DIRECTIONS, self.bandwidth or ((), ()), strict=True):
            said += [f"{direction} {'/'.join(f'{value}KiB' for _, value in rates)}" if rates else ""]
        said += [f"{name}={value}" for name in ("queues", "mtu", "boot") if (value := getattr(self, name))]
        return " ".join(filter(None, said))

    def is_at(self, found: "Port") -> bool:
        """Whether a card that is there is plugged in where this one is to be, as the same card."""
        same = (self.sort, self.source, self.model) == (found.sort, found.source, found.model)
        return same and self.mac in ("", found.mac)

    def accepts(self, found: "Port") -> bool:
        """Whether a card that is there is the one that is meant."""
        names = ("portgroup", "link", "bandwidth", "queues", "mtu", "boot")
        return self.is_at(found) and all(getattr(self, name) in (None, getattr(found, name)) for name in names)


def ports(tree: Element) -> tuple[Port, ...]:
    """The network cards, in libvirt's order."""
    return tuple(map(port, tree.iterfind("devices/interface")))


def port(item: Element) -> Port:
    """A network card as its element has it."""
    sort, source = item.get("type", ""), item.find("source")
    if source is not None and source.get("network"):
        sort = "network"  # while it runs, libvirt gives the type of what that leads to
    said = [] if source is None else [source.get(key, "") for key in (sort, "dev", "path")]
    queues, mtu = attribute(item, "driver", "queues"), attribute(item, "mtu", "size")
    return Port(
        sort,
        next(filter(None, said), ""),
        attribute(item, "model", "type"),
        attribute(item, "mac", "address"),
        portgroup=attribute(item, "source", "portgroup") or None,
        link=attribute(item, "link", "state") or "up",
        bandwidth=(_rates(item, "inbound"), _rates(item, "outbound")),
        queues=int(queues) if queues.isdigit() else None,
        mtu=int(mtu) if mtu.isdigit() else None,
        boot=turn(item),
    )


def _rates(item: Element, direction: str) -> Rates:
    found = ((name, attribute(item, f"bandwidth/{direction}", name)) for name in RATES)
    return tuple((name, int(value)) for name, value in found if value.isdigit())


def same_ports(wish: Sequence[Port], found: Sequence[Port]) -> bool:
    """Whether these are the cards that are wished for, in whatever order."""
    pairs, rest = _paired(wish, found)
    same = all(wish[number].accepts(found[other]) for number, other in pairs.items())
    return len(pairs) == len(wish) and not rest and same


def running_ports(wish: Sequence[Port], found: Sequence[Port]) -> bool:
    """Whether a running domain has them; in which turn they are tried counts when it starts next."""
    return same_ports([replace(card, boot=None) for card in wish], found)


def _paired(wish: Sequence[Port], found: Sequence[Port]) -> tuple[dict[int, int], list[int]]:
    """The numbers of what is wished for and there, and of what is left over. A wish for a certain MAC chooses first."""
    pairs, rest = dict[int, int](), list(range(len(found)))
    for number in sorted(range(len(wish)), key=lambda number: not wish[number].mac):
        here = [other for other in rest if wish[number].is_at(found[other])]
        match = next((other for other in here if wish[number].accepts(found[other])), next(iter(here), None))
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
    for number, card in enumerate(wish):
        if number in pairs:
            item = there[pairs[number]]
        else:
            item = there[rest.pop(0)] if rest else SubElement(parent, "interface")
            _plug(item, card, taken={other.mac for other in ports(tree)})
        _shape(item, card)
        set_turn(tree, item, card.boot)
    for number in rest:
        parent.remove(there[number])


def _plug(item: Element, card: Port, taken: set[str]) -> None:
    fresh = (mac(card.seed, number) for number in count())
    address = card.mac or port(item).mac or next(new for new in fresh if new not in taken)
    # A port profile belongs to the kind of switch it was written for.
    gone = ("source", "model", "mac", *(("virtualport",) if item.get("type") != card.sort else ()))
    for old in [found for found in item if found.tag in gone]:
        item.remove(old)
    item.set("type", card.sort)
    SubElement(item, "mac", {"address": address})
    SubElement(item, "source", {card.sort: card.source})
    SubElement(item, "model", {"type": card.model})


def _shape(item: Element, card: Port) -> None:
    """What is None stays as it is."""
    if card.portgroup is not None:
        child(item, "source").set("portgroup", card.portgroup)
    if card.link is not None:
        child(item, "link").set("state", card.link)
    if card.queues is not None:
        child(item, "driver").attrib.update(name="vhost", queues=str(card.queues))
    if card.mtu is not None:
        child(item, "mtu").set("size", str(card.mtu))
    if card.bandwidth is not None:
        there = child(item, "bandwidth")
        for direction, rates in zip(DIRECTIONS, card.bandwidth, strict=True):
            for old in there.findall(direction):
                there.remove(old)
            if rates:
                SubElement(there, direction, {name: str(value) for name, value in rates})
        if not len(there):
            item.remove(there)


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
