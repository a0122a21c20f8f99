"""Facts: inside what the host runs, and what it can do for guests of its own."""

from collections.abc import Iterable
from typing import Any

from vinfra.kinds.host.facts.firmware import DMI
from vinfra.kinds.host.facts.pci import BUS, GROUPS, devices, groups
from vinfra.kinds.host.facts.processor import CPUINFO
from vinfra.kinds.host.facts.told import MOST, Told, pairs, switch, whole
from vinfra.model.fact import FLAG, TEXT, TEXTS, WHOLE, Fact
from vinfra.model.question import Exec
from vinfra.model.tree import Tree

# The CPU's flag for virtualisation (/proc/cpuinfo), the module of Linux that uses it, what its maker calls it, and its
# tables for the memory of guests (SLAT): the flag, and the module's parameter, have the same name.
MODULES = {"vmx": "kvm_intel", "svm": "kvm_amd"}
MAKERS = {"vmx": "VT-x", "svm": "AMD-V"}
SLAT = {"vmx": "ept", "svm": "npt"}
PARAMETERS = {module: f"/sys/module/{module}/parameters" for module in MODULES.values()}
DEVICE, UNITS, TABLES = "/dev/kvm", "/sys/class/iommu", "/sys/firmware/acpi/tables"
CONTAINER, HYPERVISOR = "/run/systemd/container", "/sys/hypervisor/type"
FILES = (
    *(f"{folder}/nested" for folder in PARAMETERS.values()),
    *(f"{PARAMETERS[MODULES[flag]]}/{name}" for flag, name in SLAT.items()),
    *(CONTAINER, HYPERVISOR),
)
NAMES = (DEVICE, f"{UNITS}/*", f"{TABLES}/DMAR", f"{TABLES}/IVRS", f"{BUS}/*/net/*")
VIRTUAL = Exec(("systemd-detect-virt",))
PROGRAMS = (VIRTUAL,)
# systemd-detect-virt(1): what it says of containers.
CONTAINERS = frozenset({"docker", "lxc", "lxc-libvirt", "openvz", "podman", "proot", "pouch", "rkt", "systemd-nspawn"})
CONTAINERS |= {"container-other", "wsl"}
# What virtual machines say they are made by; from within a container there is nothing else to see.
MAKERS_OF_VMS = (
    *(("QEMU", "kvm"), ("KVM", "kvm"), ("VMware", "vmware"), ("innotek", "oracle"), ("Xen", "xen")),
    *(("Amazon EC2", "amazon"), ("Google", "google"), ("OpenStack", "kvm"), ("Bochs", "bochs")),
)

FACTS = (
    Fact("virtualization", TEXT, "Inside what it runs, the innermost: kvm, vmware, docker …, or none.", "none"),
    Fact("inside.container", TEXT, "The container it is, if it is one.", "docker"),
    Fact("inside.machine", TEXT, "The virtual machine it runs in, as far as one can see.", "kvm"),
    Fact("inside.hypervisor", FLAG, "Whether the CPU says that a hypervisor stands between.", False),
    Fact("kvm.technology", TEXT, "VT-x or AMD-V, when the CPU shows its flag.", "VT-x"),
    Fact("kvm.flag", TEXT, "That flag: vmx or svm.", "vmx"),
    Fact("kvm.device", FLAG, "Whether /dev/kvm is there; that guests run with it, only a guest can prove.", True),
    Fact("kvm.module", TEXT, "The module that is loaded: kvm_intel or kvm_amd.", "kvm_intel"),
    Fact("kvm.nested", FLAG, "Whether guests may have guests, as the module says; None while it is not loaded.", True),
    Fact("kvm.slat", TEXT, "The CPU's second level of address translation: ept or npt.", "ept"),
    Fact("kvm.slat_used", FLAG, "Whether the module uses it.", True),
    Fact("iommu.active", FLAG, "Whether devices are in groups, so that they can be passed on.", True),
    Fact("iommu.groups", WHOLE, "How many groups there are.", 62),
    Fact("iommu.table", TEXT, "The firmware's table: DMAR (Intel) or IVRS (AMD).", "DMAR"),
    Fact("iommu.units", TEXTS, "The units that the kernel uses.", ["dmar0", "dmar1"]),
    Fact("iommu.argument", TEXT, "What the kernel was told of it.", "intel_iommu=on iommu=pt"),
    Fact("sriov.ADDRESS.total", WHOLE, "How many virtual functions this device can have.", 64),
    Fact("sriov.ADDRESS.enabled", WHOLE, "How many it has.", 8),
    Fact("sriov.ADDRESS.interfaces", TEXTS, "Its network interfaces.", ["eno1np0"]),
)


def read(told: Told) -> dict[str, Any]:
    """What runs it, and what it could run."""
    tree = told.tree
    known = pairs(tree.text(CPUINFO).partition("\n\n")[0], ":")
    flags = {*known.get("flags", "").split(), *known.get("vmx flags", "").split()}
    said = told.said(VIRTUAL).strip() or None
    return {
        "virtualization": said,
        "inside": _inside(tree, said, flags),
        "kvm": _kvm(tree, flags),
        "iommu": _iommu(told),
        "sriov": _sriov(tree),
    }


def flag_of(flags: Iterable[str]) -> str:
    """The CPU's flag for virtualisation, "" for none."""
    known = frozenset(flags)
    return next((flag for flag in MODULES if flag in known), "")


def _inside(tree: Tree, said: str | None, flags: set[str]) -> dict[str, Any]:
    container = said if said in CONTAINERS else tree.text(CONTAINER) or None
    machine = None if said in CONTAINERS or said in (None, "none") else said
    if machine is None:
        vendor, product = (tree.text(f"{DMI}/{name}") for name in ("sys_vendor", "product_name"))
        hyper_v = "microsoft" if (vendor, product) == ("Microsoft Corporation", "Virtual Machine") else None
        named = next((name for maker, name in MAKERS_OF_VMS if vendor.startswith(maker)), hyper_v)
        machine = tree.text(HYPERVISOR) or (named if "hypervisor" in flags or named in ("kvm", "xen") else None) or None
    return {"container": container, "machine": machine, "hypervisor": "hypervisor" in flags if flags else None}


def _kvm(tree: Tree, flags: set[str]) -> dict[str, Any]:
    flag = flag_of(flags)
    module = next((name for name, folder in PARAMETERS.items() if f"{folder}/nested" in tree.files), None)
    slat = SLAT[flag] if flag and SLAT[flag] in flags else None
    folder = PARAMETERS.get(module or "", "")
    used = next((tree.text(path) for name in SLAT.values() if (path := f"{folder}/{name}") in tree.files), "")
    return {
        "technology": MAKERS.get(flag),
        "flag": flag or None,
        "device": DEVICE in tree.names if tree.names else None,
        "module": module,
        "nested": nests(tree.text(f"{folder}/nested")) if module else None,
        "slat": slat,
        "slat_used": switch(used),
    }


def nests(text: str) -> bool:
    """The parameter `nested`: newer kernels write Y and N, older ones and AMD's module 1 and 0."""
    return switch(text) is True


def _iommu(told: Told) -> dict[str, Any]:
    tree = told.tree
    number = len(set(groups(tree).values()))
    units = [path.removeprefix(f"{UNITS}/") for path in tree.under(f"{UNITS}/*")][:MOST]
    words = ("intel_iommu", "amd_iommu", "iommu", "arm-smmu.disable_bypass")
    said = [f"{word}={told.kernel_arguments[word]}" for word in words if word in told.kernel_arguments]
    return {
        "active": number > 0 if GROUPS in tree.names else None,
        "groups": number if GROUPS in tree.names else None,
        "table": next((table for table in ("DMAR", "IVRS") if f"{TABLES}/{table}" in tree.names), None),
        "units": units or None,
        "argument": " ".join(said) or None,
    }


def _sriov(tree: Tree) -> dict[str, Any] | None:
    """Devices that can have virtual functions; {} when there is none, None when the bus cannot be seen."""
    found: dict[str, Any] = {}
    for address, files in sorted(devices(tree).items()):
        total = whole(files.get("sriov_totalvfs", ""))
        if total and len(found) < MOST:
            names = tree.under(f"{BUS}/{address}/net/*")
            found[address] = {
                "total": total,
                "enabled": whole(files.get("sriov_numvfs", "")),
                "interfaces": [name.rpartition("/")[2] for name in names],
            }
    return found if found or BUS in tree.names else None
