"""The parts of a network that libvirt changes while it runs: ranges, leases, names, portgroups.

Each is a list of elements of one tag. An element that says what is wished for stays as libvirt has it, with whatever
others put into it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

Value = Any


@dataclass(frozen=True, slots=True, order=True)
class Lease:
    """An address that is promised to a machine, known by its MAC address, by the name that it asks under, or both."""

    address: str
    name: str = ""
    mac: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.mac, self.address)))

    def clashes(self, other: "Lease") -> bool:
        """Whether libvirt would not have both."""
        pairs = ((self.address, other.address), (self.name, other.name), (self.mac, other.mac))
        return any(one and one == two for one, two in pairs)


@dataclass(frozen=True, slots=True, order=True)
class Record:
    """A name that the network's DNS server knows, and what it says of it."""

    name: str
    told: str

    def __str__(self) -> str:
        return f"{self.name} {self.told}"


@dataclass(frozen=True, slots=True, order=True)
class Tags:
    """VLANs of a port: one whose packets it gets untagged, or, with `trunk`, several tagged ones and a `native` one."""

    vlans: tuple[int, ...]
    native: int = 0
    trunk: bool = False

    def __str__(self) -> str:
        said = f"vlan{'s' * self.trunk} {','.join(map(str, self.vlans))}"
        return f"{said} native {self.native}" if self.native else said


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """A portgroup: the VLANs of the cards that name it, or, of the default one, of those that name none."""

    name: str
    tags: Tags | None = None
    default: bool = False

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, str(self.tags or ""), "default" if self.default else "")))


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort of part: where its elements are, what one says, and the elements that say what is wished for."""

    place: str
    tag: str
    told: Callable[[Element], tuple[Value, ...]]
    made: Callable[[Sequence[Value]], Iterable[Element]]


def _range(item: Element) -> tuple[str, ...]:
    return (f"{item.get('start')}-{item.get('end')}",)


def _ranges(wish: Sequence[str]) -> Iterator[Element]:
    for one in wish:
        first, _, last = one.partition("-")
        yield Element("range", {"start": first, "end": last})


def _lease(item: Element) -> tuple[Lease, ...]:
    return (Lease(item.get("ip", ""), item.get("name", ""), item.get("mac", "").lower()),)


def _leases(wish: Sequence[Lease]) -> Iterator[Element]:
    for one in wish:
        known = {"mac": one.mac, "name": one.name, "ip": one.address}
        yield Element("host", {key: value for key, value in known.items() if value})


def _records(item: Element) -> tuple[Record, ...]:
    return tuple(sorted(Record(name.text or "", item.get("ip", "")) for name in item.iterfind("hostname")))


def _hosts(wish: Sequence[Record]) -> Iterator[Element]:
    """One for each address: libvirt does not take a second one later."""
    for address, records in groupby(sorted(wish, key=lambda one: (one.told, one.name)), lambda one: one.told):
        item = Element("host", {"ip": address})
        for one in records:
            SubElement(item, "hostname").text = one.name
        yield item


def _text(item: Element) -> tuple[Record, ...]:
    return (Record(item.get("name", ""), item.get("value", "")),)


def _texts(wish: Sequence[Record]) -> Iterator[Element]:
    for one in wish:
        yield Element("txt", {"name": one.name, "value": one.told})


_SRV = ("target", "port", "priority", "weight")


def _service(item: Element) -> tuple[Record, ...]:
    parts = (f"_{item.get('service')}", f"_{item.get('protocol')}", item.get("domain", ""))
    told = [item.get(key) or {"target": "."}.get(key, "0") for key in _SRV]
    while len(told) > 2 and told[-1] == "0":
        told.pop()
    return (Record(".".join(filter(None, parts)), " ".join(told)),)


def _services(wish: Sequence[Record]) -> Iterator[Element]:
    for one in wish:
        service, protocol, *domain = one.name.split(".", 2)
        said = {"service": service[1:], "protocol": protocol[1:], "domain": "".join(domain)}
        said |= dict(zip(_SRV, one.told.split(), strict=False))
        yield Element("srv", {key: value for key, value in said.items() if value})


def tags(parent: Element) -> Tags | None:
    """The VLANs of a network or of one of its portgroups."""
    item = parent.find("vlan")
    if item is None:
        return None
    found = [(int(tag.get("id", "0")), tag.get("nativeMode")) for tag in item.iterfind("tag")]
    native = next((number for number, mode in found if mode), 0)
    trunk = len(found) > 1 or item.get("trunk") == "yes"
    return Tags(tuple(sorted(number for number, _ in found)), native, trunk)


def set_tags(parent: Element, wish: Tags | None) -> None:
    """Exactly these VLANs."""
    for old in parent.findall("vlan"):
        parent.remove(old)
    if wish is not None:
        item = SubElement(parent, "vlan", {"trunk": "yes"} if wish.trunk else {})
        for number in wish.vlans:
            native = {"nativeMode": "untagged"} if number == wish.native else {}
            SubElement(item, "tag", {"id": str(number), **native})


def _group(item: Element) -> tuple[Group, ...]:
    return (Group(item.get("name", ""), tags(item), item.get("default") == "yes"),)


def _groups(wish: Sequence[Group]) -> Iterator[Element]:
    for one in wish:
        item = Element("portgroup", {"name": one.name, **({"default": "yes"} if one.default else {})})
        set_tags(item, one.tags)
        yield item


SORTS: Mapping[str, Sort] = {
    "ranges": Sort("ip/dhcp", "range", _range, _ranges),
    "hosts": Sort("ip/dhcp", "host", _lease, _leases),
    "dns": Sort("dns", "host", _records, _hosts),
    "txt": Sort("dns", "txt", _text, _texts),
    "srv": Sort("dns", "srv", _service, _services),
    "portgroups": Sort("", "portgroup", _group, _groups),
}


def _parent(tree: Element, place: str) -> Element | None:
    if not place.startswith("ip/"):
        return tree.find(place) if place else tree
    first = next((item for item in tree.iterfind("ip") if item.get("family", "ipv4") == "ipv4"), None)
    return None if first is None else first.find(place.removeprefix("ip/"))


def told(tree: Element, name: str) -> tuple[Value, ...]:
    """What a network's tree says of one sort, sorted."""
    sort, parent = SORTS[name], _parent(tree, SORTS[name].place)
    items = () if parent is None else parent.iterfind(sort.tag)
    return tuple(sorted(value for item in items for value in sort.told(item)))


def changes(tree: Element, name: str, wish: Sequence[Value]) -> tuple[list[Element], list[Element]]:
    """The elements that go and those that come. One that is called like one that goes keeps what else is in that."""
    sort, parent = SORTS[name], _parent(tree, SORTS[name].place)
    there = [] if parent is None else parent.findall(sort.tag)
    made = list(sort.made(wish))
    wanted, known = [sort.told(item) for item in made], [sort.told(item) for item in there]
    stale = [item for item, value in zip(there, known, strict=True) if value not in wanted]
    fresh = [item for item, value in zip(made, wanted, strict=True) if value not in known]
    if name == "portgroups":
        fresh = [_as_before(item, stale) for item in fresh]
    return stale, fresh


def _as_before(wish: Element, stale: Iterable[Element]) -> Element:
    old = next((item for item in stale if item.get("name") == wish.get("name")), None)
    if old is None:
        return wish
    item = deepcopy(old)
    item.attrib.pop("default", None)
    item.attrib.update(wish.attrib)
    set_tags(item, tags(wish))
    return item


def put(tree: Element, name: str, wish: Sequence[Value]) -> None:
    """Make a tree say what is wished for. Where addresses are given out the network must have some."""
    sort = SORTS[name]
    stale, fresh = changes(tree, name, wish)
    parent = _parent(tree, sort.place)
    if parent is None:
        above = _parent(tree, "ip/.") if sort.place.startswith("ip/") else tree
        if above is None or not fresh:
            return
        parent = SubElement(above, sort.place.removeprefix("ip/"))
    for item in stale:
        parent.remove(item)
    for item in fresh:
        before = ("range",) if name == "ranges" else ("range", "host")
        last = max((at for at, child in enumerate(parent) if child.tag in before), default=-1)
        parent.insert(last + 1 if sort.place == "ip/dhcp" else len(parent), item)


def updates(tree: Element, name: str, wish: Sequence[Value]) -> Iterator[tuple[bool, str]]:
    """What is told to a running network, one element after the other: whether it comes, and its XML."""
    stale, fresh = changes(tree, name, wish)
    for coming, items in ((False, stale), (True, fresh)):
        for item in items:
            plain = deepcopy(item)
            plain.tail = None
            yield coming, tostring(plain, "unicode")
