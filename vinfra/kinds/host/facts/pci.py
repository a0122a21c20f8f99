"""Facts: devices on the PCI bus that somebody may want to use or pass on; bridges and the like are left out."""

from collections.abc import Mapping
from typing import Any

from vinfra.kinds.host.facts.told import MOST, Told, pairs, whole
from vinfra.model.fact import TEXT, WHOLE, Fact
from vinfra.model.tree import Tree

BUS, GROUPS = "/sys/bus/pci/devices", "/sys/kernel/iommu_groups"
LEAVES = ("uevent", "numa_node", "sriov_totalvfs", "sriov_numvfs", "physfn/uevent")
FILES = tuple(f"{BUS}/*/{leaf}" for leaf in LEAVES)
NAMES = (BUS, GROUPS, f"{GROUPS}/*/devices/*")
# PCI Code and ID Assignment Specification, the first byte of a class; of the rest nobody asks.
WORDS = {
    **{0x01: "storage", 0x02: "network", 0x03: "display", 0x04: "multimedia", 0x07: "communication"},
    **{0x0B: "processor", 0x0C: "serial bus", 0x0D: "wireless", 0x10: "encryption", 0x11: "signal processing"},
    0x12: "accelerator",
}

FACTS = (
    Fact("pci.ADDRESS.sort", TEXT, "storage, network, display, accelerator …; bridges are left out.", "network"),
    Fact("pci.ADDRESS.class", TEXT, "The class in hexadecimal, as in `lspci -n`.", "020000"),
    Fact("pci.ADDRESS.vendor", TEXT, "The vendor's number.", "8086"),
    Fact("pci.ADDRESS.device", TEXT, "The device's number.", "1572"),
    Fact("pci.ADDRESS.driver", TEXT, "The driver that has it: `vfio-pci` for one that is passed on.", "i40e"),
    Fact("pci.ADDRESS.iommu_group", TEXT, "The group that can only be passed on as a whole.", "31"),
    Fact("pci.ADDRESS.numa_node", WHOLE, "The node that it hangs on; None where that does not matter.", 0),
    Fact("pci.ADDRESS.parent", TEXT, "Of a virtual function: the device it is a part of.", "0000:3b:00.0"),
)


def read(told: Told) -> dict[str, Any]:
    """By address, at most MOST of them."""
    tree = told.tree
    known = devices(tree)
    of = groups(tree)
    found: dict[str, Any] = {}
    for address in sorted(known)[: 4 * MOST]:
        files = known[address]
        event = pairs(files.get("uevent", ""), "=")
        code = whole(event.get("PCI_CLASS", ""), 16)
        sort = None if code is None else WORDS.get(code >> 16)
        if sort is not None and len(found) < MOST:
            vendor, _, device = event.get("PCI_ID", "").lower().partition(":")
            node = whole(files.get("numa_node", ""))
            found[address] = {
                "sort": sort,
                "class": f"{code:06x}",
                "vendor": vendor or None,
                "device": device or None,
                "driver": event.get("DRIVER") or None,
                "iommu_group": of.get(address),
                "numa_node": None if node is None or node < 0 else node,
                "parent": pairs(files.get("physfn/uevent", ""), "=").get("PCI_SLOT_NAME"),
            }
    return {"pci": found if found or BUS in tree.names else None}


def devices(tree: Tree) -> Mapping[str, Mapping[str, str]]:
    """The files of every device, by its address."""
    return tree.below(BUS, *LEAVES)


def groups(tree: Tree) -> dict[str, str]:
    """The IOMMU group of each device."""
    found: dict[str, str] = {}
    for path in tree.names:
        group, between, address = path.removeprefix(f"{GROUPS}/").partition("/devices/")
        if between and path.startswith(f"{GROUPS}/"):
            found[address] = group
    return found
