"""A domain's virtual CPUs and its memory in its XML: what it has, and up to how much it can get while it runs.

Memory is given and taken by its balloon: that goes both ways, whereas a module that was plugged in goes only if its
system has put nothing on it. docs/decisions/0027 has the rest.
"""

from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains.elements import KIB, bytes_of, child, whole


class Amount(NamedTuple):
    """CPUs, or bytes of memory: what there is now or at first, and the most that there can be while it runs.

    Of CPUs that are wished for, `most` 0 leaves room for more as it is.
    """

    current: int
    most: int


def _bytes(item: Element | None) -> int:
    return 0 if item is None else bytes_of(item.text, item.get("unit"))


def memory(tree: Element) -> Amount:
    """Bytes: what it has or starts with, and what it booted or boots with."""
    most = _bytes(tree.find("memory"))
    return Amount(_bytes(tree.find("currentMemory")) or most, most)


def fits_memory(wish: Amount, found: Amount) -> bool:
    """Whether a definition will do. Room for more is a field of its own (`memory_max`) where there is some."""
    return found.current == wish.current and (wish.most > wish.current or found.most == wish.most)


def set_memory(tree: Element, wish: Amount) -> None:
    """What it starts with, and what it can get."""
    for name, size in (("memory", wish.most), ("currentMemory", wish.current)):
        item = child(tree, name)
        item.set("unit", "KiB")
        item.text = str(size // KIB)


def memory_max(tree: Element) -> int:
    """Bytes: the most that it can get while it runs."""
    return memory(tree).most


def set_memory_max(tree: Element, wish: int) -> None:
    """That much, of which it keeps what it has."""
    now = memory(tree).current
    set_memory(tree, Amount(min(now, wish) if now else wish, wish))


def cpus(tree: Element) -> Amount:
    """Virtual CPUs: those that it has, and the most."""
    item = tree.find("vcpu")
    return Amount(1, 1) if item is None else Amount(whole(item.get("current") or item.text), whole(item.text))


def set_cpus(tree: Element, wish: Amount) -> None:
    """So many of at most so many; those but the first can go again while it runs, if some can come."""
    item = child(tree, "vcpu")
    most = wish.most or max(wish.current, whole(item.text) if item.get("current") else 0)
    item.text = str(most)
    for old in tree.findall("vcpus"):
        tree.remove(old)
    if most == wish.current:
        item.attrib.pop("current", None)
        return
    item.set("current", str(wish.current))
    each = SubElement(tree, "vcpus")
    for number in range(most):
        state = {"enabled": _yes(number < wish.current), "hotpluggable": _yes(number > 0)}
        SubElement(each, "vcpu", {"id": str(number), **state})


def cpu_max(tree: Element) -> int:
    """The most virtual CPUs."""
    return cpus(tree).most


def set_cpu_max(tree: Element, wish: int) -> None:
    """So many at most, of which it keeps what it has."""
    set_cpus(tree, Amount(min(cpus(tree).current, wish), wish))


def pinned(tree: Element) -> int:
    """How many of its virtual CPUs cannot be taken away while it runs."""
    each = [item for item in tree.iterfind("vcpus/vcpu") if item.get("enabled") == "yes"]
    return sum(item.get("hotpluggable") != "yes" for item in each) if each else cpus(tree).current


def _yes(wish: bool) -> str:
    return "yes" if wish else "no"
