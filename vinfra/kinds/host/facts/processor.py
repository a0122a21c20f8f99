"""Facts: processors, their number in every sense, their flags."""

from typing import Any

from vinfra.kinds.host.facts.told import Told, pairs, switch, whole
from vinfra.model.fact import FLAG, TEXT, TEXTS, WHOLE, Fact
from vinfra.model.question import Exec

CPUINFO, CPU = "/proc/cpuinfo", "/sys/devices/system/cpu"
PACKAGE, SIBLINGS = "topology/physical_package_id", "topology/thread_siblings_list"
ONLINE, ISOLATED, SMT = f"{CPU}/online", f"{CPU}/isolated", f"{CPU}/smt/active"
FASTEST = f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq"
FILES = (
    *(CPUINFO, ONLINE, ISOLATED, SMT, FASTEST),
    *(f"{CPU}/cpu[0-9]*/{leaf}" for leaf in (PACKAGE, SIBLINGS)),
)
CPUS = Exec(("nproc",))
PROGRAMS = (CPUS,)

FACTS = (
    Fact("cpu.count", WHOLE, "How many processors programs may use, as `nproc` says it.", 64),
    Fact("cpu.model", TEXT, "The model's name.", "AMD EPYC 7313P 16-Core Processor"),
    Fact("cpu.vendor", TEXT, "Who made it, as the CPU says it.", "AuthenticAMD"),
    Fact("cpu.flags", TEXTS, "What the first CPU can do, in the kernel's words.", ["fpu", "svm"]),
    Fact("cpu.sockets", WHOLE, "How many packages there are.", 2),
    Fact("cpu.cores", WHOLE, "How many cores, in all packages together.", 32),
    Fact("cpu.threads", WHOLE, "How many threads, in all cores together.", 64),
    Fact("cpu.threads_per_core", WHOLE, "How many of them share a core.", 2),
    Fact("cpu.smt", FLAG, "Whether threads share cores (hyper-threading).", True),
    Fact("cpu.online", TEXT, "Which are switched on.", "0-63"),
    Fact("cpu.isolated", TEXT, "Which the scheduler leaves alone (`isolcpus=`).", "8-15"),
    Fact("cpu.max_mhz", WHOLE, "The highest frequency of the first one, where the kernel steers it.", 3729, "MHz"),
    Fact("cpu.microcode", TEXT, "The microcode that is loaded.", "0xa0011d1"),
)


def read(told: Told) -> dict[str, Any]:
    """What /proc/cpuinfo says of the first one, and /sys of how they hang together."""
    tree = told.tree
    first = pairs(tree.text(CPUINFO).partition("\n\n")[0], ":")
    flags = first.get("flags") or first.get("Features")
    found = tree.below(CPU, PACKAGE, SIBLINGS)
    packages = {one[PACKAGE] for one in found.values() if PACKAGE in one}
    cores = {one[SIBLINGS] for one in found.values() if SIBLINGS in one}
    threads = sum(SIBLINGS in one for one in found.values()) or None
    fastest = whole(tree.text(FASTEST))
    return {
        "cpu": {
            "count": whole(told.said(CPUS)),
            "model": first.get("model name") or first.get("Model") or None,
            "vendor": first.get("vendor_id") or first.get("CPU implementer") or None,
            "flags": flags.split() if flags else None,
            "sockets": len(packages) or None,
            "cores": len(cores) or None,
            "threads": threads,
            "threads_per_core": threads // len(cores) if threads else None,
            "smt": switch(tree.text(SMT)),
            "online": tree.text(ONLINE) or None,
            "isolated": tree.text(ISOLATED) or None,
            "max_mhz": None if fastest is None else fastest // 1000,
            "microcode": first.get("microcode"),
        }
    }
