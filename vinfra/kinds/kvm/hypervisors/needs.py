"""What hardware a host must have for what its machines want, and what to switch on where it has not.

A fact that is not known is no objection: libvirt will tell.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from vinfra.kinds.host.facts.virtualization import MAKERS, MODULES, SLAT
from vinfra.model.kind import Scope

Need = Literal["kvm", "nested", "iommu", "sr-iov", "slat"]
Facts = Mapping[str, Any]


def _technology(facts: Facts) -> str:
    """What VT-x or AMD-V is called here; both names where the CPU's maker is not known."""
    vendor = _fact(facts, "cpu.vendor") or ""
    named = {"GenuineIntel": "VT-x", "AuthenticAMD": "AMD-V (SVM)", "HygonGenuine": "AMD-V (SVM)"}.get(vendor)
    return named or " or ".join(MAKERS.values())


def _fact(facts: Facts, path: str) -> Any:
    value: Any = facts
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _kvm(facts: Facts, _brought: frozenset[str]) -> str:
    flags, device = _fact(facts, "cpu.flags"), _fact(facts, "kvm.device")
    if flags is None or facts.get("arch") not in (None, "x86_64") or set(MODULES) & set(flags) or device is not False:
        return ""
    where = "nested virtualisation in the hypervisor that this host runs in" if _inside(facts) else "the firmware"
    return f"the CPU shows no {' or '.join(MODULES)}, and there is no /dev/kvm: enable {_technology(facts)} in {where}"


def _inside(facts: Facts) -> bool:
    return bool(_fact(facts, "inside.machine") or _fact(facts, "inside.hypervisor"))


def _nested(facts: Facts, brought: frozenset[str]) -> str:
    if "nested" in brought or _fact(facts, "kvm.nested") is not False:
        return _kvm(facts, brought)
    module = _fact(facts, "kvm.module")
    return f"{module} does not let guests have guests; declare `hypervisor: {{kind: kvm, nested: true}}`"


def _iommu(facts: Facts, brought: frozenset[str]) -> str:
    if _fact(facts, "iommu.active") is not False:
        return ""
    intel = _fact(facts, "iommu.table") == "DMAR" or _fact(facts, "cpu.vendor") == "GenuineIntel"
    argument, name = ("intel_iommu", "Intel VT-d") if intel else ("amd_iommu", "AMD-Vi (IOMMU)")
    if f"kernel_argument:{argument}" in brought:
        return f"no IOMMU is active before a restart with {argument}: apply that first, with --skip-refused"
    if _inside(facts):
        return "no IOMMU is active: give this host one in the hypervisor that it runs in (libvirt: <iommu/>)"
    told = [] if _fact(facts, "iommu.table") else [f"enable {name} in the firmware"]
    told += [f"start the kernel with {argument}=on (`kernel_arguments`)"] if intel else []
    return f"no IOMMU is active: {' and '.join(told) or 'take iommu=off and amd_iommu=off from the kernel arguments'}"


def _sriov(facts: Facts, _brought: frozenset[str]) -> str:
    if facts.get("sriov") != {}:
        return ""
    return "no device here can have virtual functions: enable SR-IOV in the firmware and in the card's own setup"


def _slat(facts: Facts, brought: frozenset[str]) -> str:
    flags, flag = _fact(facts, "cpu.flags"), _fact(facts, "kvm.flag")
    if flags is None or flag is None:
        return _kvm(facts, brought)
    name = SLAT[flag]
    if _fact(facts, "kvm.slat") is None:
        return f"the CPU has no {name.upper()}: it is too old, or the hypervisor that this host runs in hides it"
    if _fact(facts, "kvm.slat_used") is False:
        return f"{MODULES[flag]} was loaded with {name}=0: set {name}=1 (`kernel_modules`) and load it anew"
    return ""


NEEDS: dict[str, Callable[[Facts, frozenset[str]], str]] = {
    "kvm": _kvm,
    "nested": _nested,
    "iommu": _iommu,
    "sr-iov": _sriov,
    "slat": _slat,
}


def lacking(needs: Iterable[str], scope: Scope) -> str:
    """The first of these that a host lacks, and what helps; "" for none, or as long as no facts are known."""
    brought = {name for name, sibling in scope.siblings.items() if sibling.desired is not None}
    hypervisor = scope.siblings.get("hypervisor:kvm")
    if getattr(hypervisor and hypervisor.desired, "nested", None):
        brought.add("nested")
    for need in needs:
        if reason := NEEDS[need](scope.facts, frozenset(brought)):
            return f"{need} is needed, and {reason}"
    return ""


def unfit(desired: Any, facts: Facts) -> str:
    """What a host lacks for a machine that no blueprint can bring there, so that it is placed elsewhere."""
    for need in ("kvm", "sr-iov", "slat"):
        if need in (desired.requires or ()) and (reason := NEEDS[need](facts, frozenset())):
            return f"lacks {need}: {reason}"
    return ""
