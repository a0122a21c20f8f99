"""A host's facts in sections, as somebody who knows machines would tell them. What is not known is not said."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vinfra.report.visible import several, visible

Told = Mapping[str, Any]
# More of one sort are counted, unless only this section was asked for.
SHOWN = 12


def sections(facts: Told, only: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Each section's name and lines; those without a line are left out. Nothing of a host's own words is a control."""
    for name, tell in SECTIONS.items():
        if not only or name in only:
            lines = [visible(line) for line in tell(facts) if line]
            most = SHOWN if not only else len(lines)
            if lines:
                yield name, [*lines[:most], *([f"and {len(lines) - most} more"] if len(lines) > most else [])]


def size(number: object) -> str:
    """Bytes in the unit that leaves up to four digits; "" for nothing."""
    if not isinstance(number, int | float):
        return ""
    amount, units = float(number), iter(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))
    unit = next(units)
    while abs(amount) >= 1024 and (more := next(units, "")):
        amount, unit = amount / 1024, more
    return f"{amount:.3g}{unit}" if amount < 1000 else f"{amount:.0f}{unit}"


def share(part: object, whole: object) -> str:
    """A share in percent."""
    if not isinstance(part, int | float) or not isinstance(whole, int | float) or not whole:
        return ""
    return f"{100 * part / whole:.0f} %"


def worded(value: object, yes: str, no: str) -> str:
    """A flag in words; "" for what is neither."""
    return yes if value is True else no if value is False else ""


def span(seconds: object) -> str:
    """How long, in its two largest units."""
    if not isinstance(seconds, int | float):
        return ""
    minutes = int(seconds // 60)
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    return f"{days} d {hours} h" if days else f"{hours} h {rest} min" if hours else f"{rest} min"


def joined(*parts: object, by: str = " · ") -> str:
    """What there is, with something between."""
    return by.join(str(part) for part in parts if part not in (None, "", []))


def said(word: str, value: object) -> str:
    """`word value`, or "" when there is no value."""
    return "" if value in (None, "", []) else f"{word} {value}"


def _get(facts: Told, name: str) -> Told:
    found = facts.get(name)
    return found if isinstance(found, Mapping) else {}


def _count(number: object, noun: str, nouns: str) -> str:
    return "" if not isinstance(number, int) else f"{number} {noun if number == 1 else nouns}"


def _system(facts: Told) -> Iterator[str]:
    system, reboot = _get(facts, "os"), _get(facts, "reboot")
    yield joined(
        system.get("pretty") or system.get("id"),
        facts.get("kernel"),
        facts.get("arch"),
        said("up", span(facts.get("uptime"))),
    )
    yield joined(facts.get("fqdn"), said("systemd", _get(facts, "systemd").get("state")))
    if reboot.get("required"):
        why = said("for kernel", reboot.get("kernel")) or said("for", ", ".join(reboot.get("packages") or ()))
        yield joined("a reboot is due", why, by=" ")


def _hardware(facts: Told) -> Iterator[str]:
    machine, board, case = (_get(facts, name) for name in ("hardware", "board", "chassis"))
    yield joined(
        joined(machine.get("vendor"), machine.get("product"), machine.get("version"), by=" "),
        said("serial", machine.get("serial")),
        case.get("type"),
    )
    yield joined(
        said("board", joined(board.get("vendor"), board.get("product"), by=" ")), said("serial", board.get("serial"))
    )
    known = _get(facts, "firmware")
    secure = worded(known.get("secure_boot"), "secure boot on", "secure boot off" * (known.get("mode") == "efi"))
    version = joined(known.get("vendor"), known.get("version"), said("of", known.get("date")), by=" ")
    yield joined(said("boots by", known.get("mode")), secure, said("firmware", version))


def _cpu(facts: Told) -> Iterator[str]:
    cpu = _get(facts, "cpu")
    yield joined(
        cpu.get("model") or cpu.get("vendor"),
        _count(cpu.get("sockets"), "socket", "sockets"),
        _count(cpu.get("cores"), "core", "cores"),
        _count(cpu.get("threads") or cpu.get("count"), "thread", "threads"),
        said("at most", f"{cpu['max_mhz'] / 1000:.2g} GHz" if cpu.get("max_mhz") else ""),
    )
    yield said("isolated", cpu.get("isolated"))
    for name, node in _get(facts, "numa").items() if len(_get(facts, "numa")) > 1 else ():
        yield joined(f"node {name}: CPUs {node.get('cpus')}", size(_get(node, "memory").get("total")))


def _virtualization(facts: Told) -> Iterator[str]:
    inside, kvm, iommu = (_get(facts, name) for name in ("inside", "kvm", "iommu"))
    container = inside.get("container")
    place = joined(f"{container} container" if container else "", said("on", inside.get("machine")), by=" ")
    yield (
        f"runs {'in a ' if container else ''}{place}"
        if place
        else worded(facts.get("virtualization") == "none", "runs on bare metal", "")
    )
    looked = facts.get("arch") == "x86_64" and _get(facts, "cpu").get("flags")
    yield joined(
        kvm.get("technology") or ("no VT-x, no AMD-V" if looked else ""),
        (kvm.get("slat") or "").upper(),
        worded(kvm.get("device"), "/dev/kvm", "no /dev/kvm"),
        worded(kvm.get("nested"), "nested", "not nested"),
    )
    active = worded(iommu.get("active"), "IOMMU on", "IOMMU off")
    groups = _count(iommu.get("groups"), "group", "groups") if iommu.get("active") else ""
    yield joined(active, groups, iommu.get("table"), iommu.get("argument"))
    for address, one in _get(facts, "sriov").items():
        names = ", ".join(one.get("interfaces") or ())
        yield joined(f"SR-IOV {address}", names, f"{one.get('enabled')} of {one.get('total')} functions")


def _memory(facts: Told) -> Iterator[str]:
    memory = _get(facts, "memory")
    swap = _get(memory, "swap")
    available = size(memory.get("available"))
    yield joined(
        size(memory.get("total")),
        f"{available} available" if available else "",
        f"swap {size(swap.get('total'))}, {size(swap.get('free'))} free"
        if swap.get("total")
        else "no swap" * (swap.get("total") == 0),
        said("transparent huge pages", memory.get("transparent_hugepages")),
    )
    for name, pages in _get(facts, "hugepages").items():
        if pages.get("total"):
            yield f"huge pages of {name}: {pages['total']}, {pages.get('free')} free"


def _disks(facts: Told) -> Iterator[str]:
    for name, disk in _get(facts, "disks").items():
        if disk.get("size") and disk.get("type") != "loop":
            turns = worded(disk.get("rotational"), "rotational", "flash")
            yield joined(
                f"{name} {size(disk['size'])}",
                joined(disk.get("transport"), turns, by=" "),
                disk.get("model"),
                said("serial", disk.get("serial")),
                disk.get("filesystem"),
                ", ".join(disk.get("mountpoints") or ()),
            )
            for part, one in (disk.get("partitions") or {}).items():
                mounts = ", ".join(one.get("mountpoints") or ())
                yield "  " + joined(f"{part} {size(one.get('size'))}", one.get("filesystem"), mounts)
    for name, group in _get(facts, "volume_groups").items():
        volumes = ", ".join(f"{volume} {size(number)}" for volume, number in group["volumes"].items())
        free = size(group.get("free"))
        yield joined(f"volume group {name} {size(group.get('size'))}", f"{free} free" if free else "", volumes)


def _filesystems(facts: Told) -> Iterator[str]:
    for path, one in _get(facts, "filesystems").items():
        full = share(one.get("used"), one.get("size"))
        room = f"{size(one.get('available'))} of {size(one.get('size'))} available" if one.get("size") else ""
        yield joined(f"{path} {one.get('type')}", one.get("device"), room, said("used", full))


def _network(facts: Told) -> Iterator[str]:
    default = _get(facts, "default")
    yield said("default route by", joined(default.get("interface"), said("to", default.get("gateway")), by=" "))
    for name, one in _get(facts, "interfaces").items():
        speed = one.get("speed")
        yield joined(
            f"{name} {one.get('sort')}",
            one.get("state"),
            ", ".join(one.get("addresses") or ()),
            one.get("mac") if one.get("sort") != "loopback" else "",
            said("MTU", one.get("mtu")),
            f"{speed / 1000:g} Gbit/s" if speed and speed >= 1000 else f"{speed} Mbit/s" if speed else "",
            joined(one.get("driver"), said("at", one.get("pci")), by=" "),
            said("port of", one.get("master")),
            said("ports", ", ".join(one.get("ports") or ())),
            said("mode", one.get("mode")),
            said("VLAN", joined(one.get("vlan"), said("on", one.get("parent")), by=" ")) if one.get("vlan") else "",
        )


def _pci(facts: Told) -> Iterator[str]:
    for address, one in _get(facts, "pci").items():
        numbers = joined(one.get("vendor"), one.get("device"), by=":")
        yield joined(
            f"{address} {one.get('sort')}",
            numbers,
            one.get("driver") or "no driver",
            said("IOMMU group", one.get("iommu_group")),
        )


def _kernel(facts: Told) -> Iterator[str]:
    yield str(facts.get("command_line") or "")
    modules = facts.get("kernel_modules")
    yield several(len(modules), "module") if modules else ""
    yield said("installed:", ", ".join(facts.get("kernels") or ()))


def _time(facts: Told) -> Iterator[str]:
    told = _get(facts, "time")
    state = worded(told.get("synchronized"), "synchronized", "not synchronized")
    yield joined(told.get("zone"), told.get("service"), state, said("clock source", told.get("clocksource")))


def _security(facts: Told) -> Iterator[str]:
    told = _get(facts, "security")
    apparmor = worded(told.get("apparmor"), "AppArmor on", "AppArmor off")
    yield joined(said("SELinux", told.get("selinux")), apparmor, said("lockdown", told.get("lockdown")))


def _certificates(facts: Told) -> Iterator[str]:
    for name, told in _get(facts, "certificates").items():
        days = told.get("days")
        end = "" if days is None else "has ended" if days < 0 else f"ends in {_count(days, 'day', 'days')}"
        yield joined(name, ", ".join(told.get("names") or ()), end)


def _usage(facts: Told) -> Iterator[str]:
    usage = _get(facts, "usage")
    load = [f"{number:g}" for number in _get(usage, "load").values() if number is not None]
    memory, cpu = _get(usage, "memory"), _get(usage, "cpu")
    yield joined(
        said("load", " ".join(load)),
        said("CPUs busy since boot", share(cpu.get("busy"), 1)),
        said("memory used", joined(size(memory.get("used")), share(memory.get("share"), 1), by=", ")),
    )
    waits = {name: _get(_get(_get(usage, "pressure"), name), "some").get("avg300") for name in ("cpu", "memory", "io")}
    yield said(
        "waited in the last 5 min:", ", ".join(f"{name} {told:g} %" for name, told in waits.items() if told is not None)
    )
    for name, disk in _get(usage, "disks").items():
        yield f"{name}: {size(disk.get('read'))} read, {size(disk.get('written'))} written since boot"
    for name, one in _get(usage, "network").items():
        if one.get("received") or one.get("sent"):
            yield f"{name}: {size(one.get('received'))} received, {size(one.get('sent'))} sent"


SECTIONS: Mapping[str, Callable[[Told], Iterator[str]]] = {
    "system": _system,
    "hardware": _hardware,
    "cpu": _cpu,
    "virtualization": _virtualization,
    "memory": _memory,
    "disks": _disks,
    "filesystems": _filesystems,
    "network": _network,
    "pci": _pci,
    "kernel": _kernel,
    "time": _time,
    "security": _security,
    "certificates": _certificates,
    "usage": _usage,
}
