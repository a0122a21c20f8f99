"""What a host cannot do for a machine, said while planning: what its QEMU lacks, and what its hardware lacks.

What is so already is not asked about again: only what changes is looked at.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from vinfra.kinds.kvm.domains import parts
from vinfra.kinds.kvm.domains.backing import PAGES
from vinfra.kinds.kvm.domains.board import most
from vinfra.kinds.kvm.domains.domain_xml import MACHINES, MODES
from vinfra.kinds.kvm.domains.hardware import Site
from vinfra.kinds.kvm.domains.machine import Spec
from vinfra.kinds.kvm.hypervisors import needs
from vinfra.kinds.kvm.reading.offers import DEVICES, OFFERS, Offer
from vinfra.kinds.kvm.reading.virsh import CAPABILITIES
from vinfra.model.kind import Scope
from vinfra.model.question import Question
from vinfra.text.complaint import near

NESTED = ("vmx", "svm")
ITCO = (9, 1)  # the libvirt that knows this watchdog
UNUSED = ("vfio-pci", None)
Wish = Mapping[str, Any]


def ask(scope: Scope) -> Iterable[Question]:
    """What QEMU can do, and which devices there are, where a machine needs to know."""
    specs = [item.desired for item in scope.wanted if isinstance(item.desired, Spec)]
    if any(_special(desired) for desired in specs):
        yield from (OFFERS, CAPABILITIES)
    if any(desired.devices is not None for desired in specs):
        yield DEVICES


def _special(desired: Spec) -> bool:
    asks = (desired.firmware, desired.secure_boot, desired.tpm, desired.video, desired.watchdog, desired.cpu_model)
    return any(value is not None for value in asks) or desired.machine not in (None, *MACHINES)


def objection(
    desired: Spec, changed: Collection[str], wish: Wish, there: Wish | None, scope: Scope, place: Site
) -> str:
    """Why this host will not do; "" for nothing. `changed` are the aspects that will be so, `there` the definition."""
    looked = {name: wish[name] for name in changed if name in wish}
    said = (
        *_needs(desired, looked, wish, scope, place),
        *_offered(looked, wish, there, scope, place),
        *_undeclared(desired, looked, wish, there),
        *_pages(desired, changed, scope, place),
        _memory(desired, changed, scope),
        *_places(looked, scope),
        *_plugged(looked, scope, place),
    )
    return next(filter(None, said), "")


def _needs(desired: Spec, looked: Wish, wish: Wish, scope: Scope, place: Site) -> Iterator[str]:
    found = list(desired.requires or ())
    if "kvm" in found and place.accelerator == "tcg":
        yield "kvm is needed, and on this host a guest was seen not to run with it"
    if "devices" in looked and looked["devices"].pci:
        found.append("iommu")
    nested = [name for name in NESTED if looked.get("cpu_features", {}).get(name) in ("require", "force")]
    if nested and wish.get("accelerator", place.accelerator) == "kvm":
        found.append("nested")
    yield needs.lacking(found, scope)


def _offered(looked: Wish, wish: Wish, there: Wish | None, scope: Scope, place: Site) -> Iterator[str]:
    """What libvirt says that QEMU can, on this accelerator and board."""
    machine = looked.get("machine")
    if machine is not None and place.offers.machines and not _known(machine, place.offers.machines):
        yield _none("machine type", machine, place.offers.machines)
    watchdog = looked.get("watchdog")
    if watchdog is not None and watchdog.model == "itco" and () < place.offers.version < ITCO:
        yield "libvirt knows the watchdog itco since 9.1, and this host has an older one; i6300esb does as well"
    kept = there or {}
    accelerator = wish.get("accelerator") or kept.get("accelerator", "")
    offer = place.offers.of(accelerator, wish.get("machine") or kept.get("machine") or "q35")
    if offer is not None:
        yield _model(looked.get("cpu_model", ""), offer, accelerator)
        yield from _firmware(looked, offer, scope)
        if offer.video is not None and looked.get("video") not in (None, "none", *offer.video):
            yield _none("video card", looked["video"], offer.video)


def _known(machine: str, machines: Iterable[str]) -> bool:
    return any(name == machine or name.startswith(f"{machine}-") for name in machines) or machine in MACHINES


def _model(model: str, offer: Offer, accelerator: str) -> str:
    if model in MODES:
        named = f"with {accelerator.upper()} this host has no cpu_model {model}"
        return "" if model in offer.modes else f"{named}; it has {', '.join(sorted(offer.modes))}"
    if not model or not offer.models:
        return ""
    if model not in offer.models:
        return _none("CPU model", model, offer.models)
    if offer.models[model]:
        return ""
    usable = [name for name, can in offer.models.items() if can]
    return f"the CPU model {model} has what this host's CPU lacks; it can be {', '.join(sorted(usable))}"


def _firmware(looked: Wish, offer: Offer, scope: Scope) -> Iterator[str]:
    """A package that this blueprint brings may hold it: libvirt will see."""
    efi = looked.get("firmware") == "efi" or looked.get("secure_boot")
    if efi and offer.firmware is not None and "efi" not in offer.firmware and not _brings(scope, "ovmf"):
        yield "there is no EFI firmware on this host; declare its package: `packages: {ovmf: {}}`"
    elif looked.get("secure_boot") and not offer.secure_boot and not _brings(scope, "ovmf"):
        yield "this host has no EFI firmware that can do secure boot"
    tpm = looked.get("tpm", "none")
    if tpm == "none":
        return
    if not offer.emulator and not _brings(scope, "swtpm"):
        yield "there is no swtpm on this host to play a TPM; declare its packages: `packages: {swtpm-tools: {}}`"
    if offer.tpm is not None and tpm not in offer.tpm and not _brings(scope, "swtpm"):
        yield _none("TPM", tpm, offer.tpm)


def _brings(scope: Scope, package: str) -> bool:
    names = (f"package:{package}", f"package:{package}-tools")
    return any(name in scope.siblings and scope.siblings[name].desired is not None for name in names)


def _undeclared(desired: Spec, looked: Wish, wish: Wish, there: Wish | None) -> Iterator[str]:
    """What somebody put into the definition must go with the number that changes, and only they know how."""
    cpu, memory = most(desired)
    kept = there or {}
    topology, numa = kept.get("topology"), kept.get("numa") or ()
    if "cpu" in looked and topology is not None and "topology" not in wish and topology.total != cpu:
        yield f"its definition arranges {topology.total} CPUs as {topology}, and {cpu} are declared; declare topology"
    if numa and "numa" not in wish and looked.keys() & {"cpu", "memory"}:
        held = sum(cell.memory for cell in numa)
        if "cpu" in looked or held != memory:
            yield "its definition has NUMA nodes, which CPUs and memory are spread over; declare numa"


def _pages(desired: Spec, changed: Collection[str], scope: Scope, place: Site) -> Iterator[str]:
    size = desired.hugepages
    if size not in PAGES or not {"hugepages", "memory", "power"} & {*changed} or desired.power == "stopped":
        return
    known = scope.facts.get("hugepages")
    pages = (known or {}).get(size)
    sibling = scope.siblings.get(f"hugepages:{size}")
    brings = getattr(sibling, "desired", None)
    count = 0 if brings is None else (brings.count or sum((brings.nodes or {}).values()))
    if pages is None:
        if known is not None and not count:
            yield f"this host's kernel has no huge pages of {size}; it has {', '.join(sorted(known))}"
        return
    free = (pages.get("free") or 0) - (pages.get("reserved") or 0) + max(count - (pages.get("total") or 0), 0)
    need = place.pages.get(size, 0)
    if need > free:
        declare = (pages.get("total") or 0) + need - max((pages.get("free") or 0) - (pages.get("reserved") or 0), 0)
        yield (
            f"this blueprint's machines here need {need} huge pages of {size}, and {free} are free; "
            f"declare `hugepages: {{{size}: {declare}}}` for this host"
        )


def _memory(desired: Spec, changed: Collection[str], scope: Scope) -> str:
    """QEMU would not start, or the host would kill it. How much all machines may have together is a fleet's matter."""
    memory = scope.facts.get("memory") or {}
    total, swap = memory.get("total"), (memory.get("swap") or {}).get("total")
    if total is None or not {"memory", "power"} & {*changed} or desired.power == "stopped":
        return ""
    if desired.memory <= total + (swap or 0):
        return ""
    return f"memory: {parts.spelled(desired.memory)} are more than this host has ({parts.spelled(total)})"


def _places(looked: Wish, scope: Scope) -> Iterator[str]:
    """CPUs and NUMA nodes of the host that there are not."""
    online = (scope.facts.get("cpu") or {}).get("online")
    nodes = scope.facts.get("numa")
    pinning = looked.get("pinning")
    wanted = [cell.nodes for cell in looked.get("numa", ())]
    if pinning is not None:
        wanted.append(pinning.nodes)
        cpus = [*(pinning.cpus or {}).values(), pinning.emulator]
        yield _beyond("CPU", cpus, online)
    if nodes:
        yield _beyond("NUMA node", wanted, parts.ranged(map(int, nodes)))


def _beyond(noun: str, wanted: Iterable[str | None], known: str | None) -> str:
    if not known:
        return ""
    there = parts.numbers(known)
    beyond = sorted({number for text in wanted if text for number in parts.numbers(text)} - there)
    return f"there is no {noun} {beyond[0]} on this host; it has {known}" if beyond else ""


def _plugged(looked: Wish, scope: Scope, place: Site) -> Iterator[str]:
    devices = looked.get("devices")
    if devices is None:
        return
    for noun, wanted, known in (("PCI", devices.pci, place.plugged.pci), ("USB", devices.usb, place.plugged.usb)):
        for name in wanted or ():
            if known is not None and name not in known:
                yield f"there is no {noun} device {name} on this host{_functions(noun, scope)}"
    pci = scope.facts.get("pci") or {}
    for name in devices.pci or ():
        group = pci.get(name, {}).get("iommu_group")
        together = [other for other, item in pci.items() if group and item.get("iommu_group") == group]
        if rest := [other for other in together if other not in devices.pci and pci[other]["driver"] not in UNUSED]:
            yield f"{name} goes only together with {', '.join(rest)}, which the host uses (IOMMU group {group})"


def _functions(noun: str, scope: Scope) -> str:
    """A function that is missing may be a virtual one that nobody has switched on."""
    cards = scope.facts.get("sriov") or {}
    able = [name for name, item in cards.items() if not item.get("enabled")]
    if noun != "PCI" or not able:
        return ""
    return f"; {able[0]} can have virtual functions and has none: write their number to its sriov_numvfs"


def _none(noun: str, name: str, known: Iterable[str]) -> str:
    listed = sorted(known)
    has = f"{', '.join(listed[:12])}{', …' * (len(listed) > 12)}"
    return f"there is no {noun} {name} on this host; it has {has}{near(name, listed)}"
