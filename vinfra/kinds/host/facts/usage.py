"""Facts: what the host does with what it has, as one needs it to see how many hosts would do.

Nobody waits to measure: all of it are averages that the kernel keeps, or counters since the host booted. Two answers of
different times, the later minus the earlier over the difference of `now`, tell what happened in between. In a container
most of it is the whole host's.
"""

from collections.abc import Mapping
from typing import Any

from vinfra.kinds.host.facts.told import MOST, Told, bounded, kilobytes, number, pairs, whole
from vinfra.model.fact import NUMBER, WHOLE, Fact
from vinfra.model.tree import Tree

LOAD, STAT, DISKSTATS, DEVICES = "/proc/loadavg", "/proc/stat", "/proc/diskstats", "/proc/net/dev"
MEMINFO = "/proc/meminfo"
PRESSURE = {name: f"/proc/pressure/{name}" for name in ("cpu", "memory", "io")}
BLOCK = "/sys/class/block"
FILES = (LOAD, STAT, DISKSTATS, DEVICES, MEMINFO, *PRESSURE.values(), f"{BLOCK}/*/size", f"{BLOCK}/*/partition")
TICKS = 100  # proc_stat(5): USER_HZ, which is 100 wherever Linux runs now
SECTOR = 512  # iostats of the kernel's documentation: sectors of 512 bytes, always
TIMES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
# What nobody keeps data on.
NOT_DISKS = ("loop", "ram", "zram", "fd", "sr", "dm-", "md")

_PRESSURE = [
    Fact(
        f"usage.pressure.{what}.{who}.{over}",
        NUMBER,
        f"How long {words} waited for {names}, in the last {over.removeprefix('avg')} seconds.",
        0.12,
        "percent of the time",
    )
    for what, names in (("cpu", "a CPU"), ("memory", "memory"), ("io", "disks"))
    for who, words in (("some", "some program"), ("full", "all programs at once"))
    for over in ("avg10", "avg60", "avg300")
]
FACTS = (
    Fact(
        "usage.load.one",
        NUMBER,
        "Programs that ran or waited for disks, on average of the last minute.",
        3.2,
        "programs",
    ),
    Fact("usage.load.five", NUMBER, "The same of five minutes.", 2.9, "programs"),
    Fact("usage.load.fifteen", NUMBER, "The same of fifteen.", 2.4, "programs"),
    Fact("usage.processes.running", WHOLE, "Threads that run or want to at this moment.", 2),
    Fact("usage.processes.total", WHOLE, "All threads.", 812),
    Fact(
        "usage.cpu.busy",
        NUMBER,
        "The share of all CPUs' time since boot that was neither idle nor waiting.",
        0.18,
        "0 to 1",
    ),
    *(
        Fact(f"usage.cpu.{name}", NUMBER, f"{doc}, all CPUs together since boot.", 81234.5, "seconds")
        for name, doc in (
            ("user", "In programs, guests included"),
            ("system", "In the kernel, interrupts included"),
            ("idle", "With nothing to do"),
            ("iowait", "With nothing to do but to wait for disks"),
            ("steal", "Taken by the hypervisor that this host runs in"),
        )
    ),
    Fact("usage.memory.used", WHOLE, "Total memory minus what is available.", 69_000_000_000, "bytes"),
    Fact("usage.memory.share", NUMBER, "The same as a share of the total.", 0.26, "0 to 1"),
    Fact("usage.swap.used", WHOLE, "Swap that is in use.", 0, "bytes"),
    *_PRESSURE,
    *(
        Fact(f"usage.pressure.{what}.{who}.total", NUMBER, "The same since boot.", 38.2, "seconds")
        for what in PRESSURE
        for who in ("some", "full")
    ),
    Fact("usage.disks.DISK.reads", WHOLE, "Reads that ended, since boot.", 1_204_331),
    Fact("usage.disks.DISK.writes", WHOLE, "Writes that ended, since boot.", 8_120_034),
    Fact("usage.disks.DISK.read", WHOLE, "What was read, since boot.", 41_200_000_000, "bytes"),
    Fact("usage.disks.DISK.written", WHOLE, "What was written, since boot.", 320_500_000_000, "bytes"),
    Fact("usage.disks.DISK.busy", NUMBER, "How long it had something to do, since boot.", 5021.7, "seconds"),
    Fact("usage.network.INTERFACE.received", WHOLE, "What came in, since it is there.", 91_000_000_000, "bytes"),
    Fact("usage.network.INTERFACE.sent", WHOLE, "What went out.", 73_000_000_000, "bytes"),
    Fact("usage.network.INTERFACE.packets_received", WHOLE, "The same in packets.", 81_000_000),
    Fact("usage.network.INTERFACE.packets_sent", WHOLE, "The same in packets.", 64_000_000),
    Fact("usage.network.INTERFACE.errors", WHOLE, "Packets that were damaged, in either direction.", 0),
    Fact("usage.network.INTERFACE.dropped", WHOLE, "Packets that were thrown away, in either direction.", 12),
)


def read(told: Told) -> dict[str, Any]:
    """Averages and counters; the host's `now` and `uptime` belong to them."""
    tree = told.tree
    load = [*tree.text(LOAD).split(), *[""] * 4]
    running, _, threads = load[3].partition("/")
    memory = pairs(tree.text(MEMINFO), ":")
    return {
        "usage": {
            "load": dict(zip(("one", "five", "fifteen"), map(number, load[:3]), strict=True)),
            "processes": {"running": whole(running), "total": whole(threads)},
            "cpu": _cpu(tree.text(STAT)),
            "memory": _used(memory, "MemTotal", "MemAvailable"),
            "swap": {"used": _used(memory, "SwapTotal", "SwapFree")["used"]},
            "pressure": {name: _pressure(tree.text(path)) for name, path in PRESSURE.items()},
            "disks": _disks(tree) or None,
            "network": _network(tree.text(DEVICES)) or None,
        }
    }


def _cpu(text: str) -> dict[str, Any]:
    words = text.partition("\n")[0].split()
    ticks = [whole(item) for item in words[1:9]] if words[:1] == ["cpu"] else []
    seconds = {name: tick / TICKS for name, tick in zip(TIMES, ticks, strict=False) if tick is not None}
    total = sum(seconds.values())
    if len(seconds) < 4:
        return dict.fromkeys(("busy", "user", "system", "idle", "iowait", "steal"))
    idle = seconds["idle"] + seconds.get("iowait", 0)
    return {
        "busy": round(1 - idle / total, 4) if total else None,
        "user": round(seconds["user"] + seconds["nice"], 2),
        "system": round(seconds["system"] + seconds.get("irq", 0) + seconds.get("softirq", 0), 2),
        "idle": seconds["idle"],
        "iowait": seconds.get("iowait"),
        "steal": seconds.get("steal"),
    }


def _used(memory: Mapping[str, str], all_of_it: str, free: str) -> dict[str, Any]:
    total, rest = (kilobytes(memory.get(key, "")) for key in (all_of_it, free))
    used = None if total is None or rest is None else total - rest
    return {"used": used, "share": round(used / total, 4) if used is not None and total else None}


def _pressure(text: str) -> dict[str, Any]:
    """Of Documentation/accounting/psi.rst: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, microseconds."""
    found: dict[str, Any] = {who: dict.fromkeys(("avg10", "avg60", "avg300", "total")) for who in ("some", "full")}
    for line in text.splitlines():
        who, *words = line.split() or [""]
        if who in found:
            told = dict(word.partition("=")[::2] for word in words)
            total = whole(told.get("total", ""))
            found[who] = {key: number(told.get(key, "")) for key in ("avg10", "avg60", "avg300")}
            found[who]["total"] = None if total is None else total / 1_000_000
    return found


def _disks(tree: Tree) -> dict[str, Any]:
    """Of Documentation/admin-guide/iostats.rst; whole disks only, partitions count there too."""
    found: dict[str, Any] = {}
    for words in map(str.split, tree.text(DISKSTATS).splitlines()):
        if len(words) < 13 or len(found) >= MOST or words[2].startswith(NOT_DISKS):
            continue
        if f"{BLOCK}/{words[2]}/size" in tree.files and f"{BLOCK}/{words[2]}/partition" not in tree.files:
            reads, _, read_sectors, _, writes, _, written, _, _, busy = map(whole, words[3:13])
            found[words[2]] = {
                "reads": reads,
                "writes": writes,
                "read": None if read_sectors is None else read_sectors * SECTOR,
                "written": None if written is None else written * SECTOR,
                "busy": None if busy is None else busy / 1000,
            }
    return found


def _network(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in text.splitlines():
        name, colon, rest = line.rpartition(":")
        counts = [whole(item) for item in rest.split()]
        if colon and len(counts) >= 12 and None not in counts:
            known = [count or 0 for count in counts]
            found[name.strip()] = {
                "received": known[0],
                "sent": known[8],
                "packets_received": known[1],
                "packets_sent": known[9],
                "errors": known[2] + known[10],
                "dropped": known[3] + known[11],
            }
    return bounded(found)
