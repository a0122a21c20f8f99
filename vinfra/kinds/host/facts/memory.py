"""Facts: memory, huge pages, and the NUMA nodes that both are spread over."""

from collections.abc import Iterable, Mapping
from typing import Any

from vinfra.kinds.host.facts.security import chosen
from vinfra.kinds.host.facts.told import Told, kilobytes, ordered, pairs, whole
from vinfra.model.fact import TEXT, WHOLE, Fact
from vinfra.model.tree import Tree

MEMINFO = "/proc/meminfo"
PAGES, NODES = "/sys/kernel/mm/hugepages", "/sys/devices/system/node"
TRANSPARENT = "/sys/kernel/mm/transparent_hugepage/enabled"
TOTAL, FREE, RESERVED, SURPLUS = "nr_hugepages", "free_hugepages", "resv_hugepages", "surplus_hugepages"
FILES = (
    *(MEMINFO, TRANSPARENT),
    *(f"{PAGES}/hugepages-*/{leaf}" for leaf in (TOTAL, FREE, RESERVED, SURPLUS)),
    *(f"{NODES}/node[0-9]*/{leaf}" for leaf in ("cpulist", "meminfo", "distance")),
    *(f"{NODES}/node[0-9]*/hugepages/hugepages-*/{leaf}" for leaf in (TOTAL, FREE)),
)

FACTS = (
    Fact("memory.total", WHOLE, "What the kernel has.", 270_000_000_000, "bytes"),
    Fact("memory.available", WHOLE, "What programs could get without swapping.", 201_000_000_000, "bytes"),
    Fact("memory.free", WHOLE, "What nobody uses, not even as a cache.", 12_000_000_000, "bytes"),
    Fact("memory.buffers", WHOLE, "The kernel's buffers of disks.", 900_000_000, "bytes"),
    Fact("memory.cached", WHOLE, "The kernel's cache of files.", 88_000_000_000, "bytes"),
    Fact("memory.committed", WHOLE, "What programs were promised.", 91_000_000_000, "bytes"),
    Fact("memory.swap.total", WHOLE, "All swap together.", 8_589_934_592, "bytes"),
    Fact("memory.swap.free", WHOLE, "What of it is free.", 8_589_934_592, "bytes"),
    Fact("memory.transparent_hugepages", TEXT, "always, madvise or never.", "madvise"),
    Fact(
        "hugepages.SIZE.size",
        WHOLE,
        "The size of one page; SIZE spells it, such as `2MiB` or `1GiB`.",
        1 << 30,
        "bytes",
    ),
    Fact("hugepages.SIZE.total", WHOLE, "How many pages of this size are set aside.", 64, "pages"),
    Fact("hugepages.SIZE.free", WHOLE, "How many of them are free.", 32, "pages"),
    Fact("hugepages.SIZE.reserved", WHOLE, "How many of the free ones are promised.", 0, "pages"),
    Fact("hugepages.SIZE.surplus", WHOLE, "How many there are beyond what was set aside.", 0, "pages"),
    Fact("numa.NODE.cpus", TEXT, "The CPUs of this node; NODE is its number.", "0-15,32-47"),
    Fact("numa.NODE.memory.total", WHOLE, "The memory of this node.", 135_000_000_000, "bytes"),
    Fact("numa.NODE.memory.free", WHOLE, "What nobody uses of it.", 6_000_000_000, "bytes"),
    Fact("numa.NODE.distances.NODE", WHOLE, "How far another node's memory is; 10 is its own.", 21),
    Fact("numa.NODE.hugepages.SIZE.total", WHOLE, "How many huge pages of this size are here.", 32, "pages"),
    Fact("numa.NODE.hugepages.SIZE.free", WHOLE, "How many of them are free.", 16, "pages"),
)


def read(told: Told) -> dict[str, Any]:
    """Everything that is counted in pages."""
    tree = told.tree
    found = pairs(tree.text(MEMINFO), ":")

    def size(key: str) -> int | None:
        return kilobytes(found[key]) if key in found else None

    return {
        "memory": {
            "total": size("MemTotal"),
            "available": size("MemAvailable"),
            "free": size("MemFree"),
            "buffers": size("Buffers"),
            "cached": size("Cached"),
            "committed": size("Committed_AS"),
            "swap": {"total": size("SwapTotal"), "free": size("SwapFree")},
            "transparent_hugepages": chosen(tree.text(TRANSPARENT)),
        },
        "hugepages": _pages(tree) or None,
        "numa": _nodes(tree) or None,
    }


def _pages(tree: Tree) -> dict[str, Any]:
    known = tree.below(PAGES, TOTAL, FREE, RESERVED, SURPLUS)
    return {
        spelled(size): {
            "size": size,
            "total": _count(known[name], TOTAL),
            "free": _count(known[name], FREE),
            "reserved": _count(known[name], RESERVED),
            "surplus": _count(known[name], SURPLUS),
        }
        for size, name in _sizes(known)
    }


def _size(name: str) -> int | None:
    """Of `hugepages-2048kB`."""
    return kilobytes(name.removeprefix("hugepages-")) if name.startswith("hugepages-") else None


def _sizes(names: Iterable[str]) -> list[tuple[int, str]]:
    known = ((_size(name), name) for name in names)
    return sorted((size, name) for size, name in known if size)


def spelled(size: int) -> str:
    """A page's size as blueprints spell it: 2MiB, 1GiB, 64KiB."""
    unit, name = next((unit, name) for unit, name in UNITS if size >= unit or unit == 1)
    return f"{size // unit}{name}"


UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))


def _count(files: Mapping[str, str], leaf: str) -> int | None:
    return whole(files.get(leaf, ""))


def _nodes(tree: Tree) -> dict[str, Any]:
    plain = ("cpulist", "meminfo", "distance")
    deep = {path.partition("/hugepages/")[2].rpartition("/")[0] for path in tree.files if path.startswith(NODES)} - {""}
    known = tree.below(NODES, *plain, *(f"hugepages/{size}/{leaf}" for size in deep for leaf in (TOTAL, FREE)))
    numbers = ordered(name.removeprefix("node") for name in known if name.startswith("node"))
    return {number: _node(known[f"node{number}"], numbers, _sizes(deep)) for number in numbers}


def _node(files: Mapping[str, str], numbers: list[str], sizes: list[tuple[int, str]]) -> dict[str, Any]:
    memory = pairs("\n".join(line.partition(" ")[2].strip() for line in _after_node(files.get("meminfo", ""))), ":")
    far = files.get("distance", "").split()
    pages = {
        spelled(size): {leaf: whole(files.get(f"hugepages/{name}/{file}", "")) for leaf, file in _LEAVES.items()}
        for size, name in sizes
        if f"hugepages/{name}/{TOTAL}" in files
    }
    return {
        "cpus": files.get("cpulist") or None,
        "memory": {
            "total": kilobytes(memory.get("MemTotal", "")),
            "free": kilobytes(memory.get("MemFree", "")),
        },
        "distances": {number: whole(text) for number, text in zip(numbers, far, strict=False)} or None,
        "hugepages": pages or None,
    }


_LEAVES = {"total": TOTAL, "free": FREE}


def _after_node(text: str) -> list[str]:
    """Of `Node 0 MemTotal: 1 kB` what stands behind the word Node."""
    return [line.strip().removeprefix("Node ") for line in text.splitlines()]
