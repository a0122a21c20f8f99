"""Facts: the machine, its board and case, and how its firmware boots."""

import re
from typing import Any

from vinfra.kinds.host.facts.told import Told, word
from vinfra.model.fact import FLAG, TEXT, Fact
from vinfra.model.tree import Tree

DMI = "/sys/class/dmi/id"
MODEL = "/sys/firmware/devicetree/base/model"
EFI, BIT = "/sys/firmware/efi", "/sys/firmware/efi/fw_platform_size"
# The variable is four bytes of attributes and one that says it.
SECURE = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
PARTS = {
    "hardware": {
        **{"vendor": "sys_vendor", "product": "product_name", "version": "product_version", "family": "product_family"},
        **{"sku": "product_sku", "serial": "product_serial", "uuid": "product_uuid"},
    },
    "board": {"vendor": "board_vendor", "product": "board_name", "version": "board_version", "serial": "board_serial"},
    "chassis": {"vendor": "chassis_vendor", "serial": "chassis_serial", "tag": "chassis_asset_tag"},
    "firmware": {"vendor": "bios_vendor", "version": "bios_version", "release": "bios_release"},
}
TYPE, DATE = "chassis_type", "bios_date"
FILES = (
    *(f"{DMI}/{name}" for part in PARTS.values() for name in part.values()),
    *(f"{DMI}/{TYPE}", f"{DMI}/{DATE}", MODEL, BIT, SECURE),
)
ACPI = "/sys/firmware/acpi"
NAMES = (EFI, DMI, ACPI)
# What makers leave in a field that they do not fill.
EMPTY = re.compile(
    r"(to be filled by o\.?e\.?m\.?|not (specified|applicable|available|provided)|default string|none|n/?a|unknown|"
    r"system (manufacturer|product name|version|serial number)|chassis (manufacturer|version|serial number)|"
    r"base ?board serial number|asset-?[0-9]*|0+|[.x-]+)",
    re.IGNORECASE,
)
# System Management BIOS specification, DSP0134, table 17.
CHASSIS = dict(
    enumerate(
        (
            *("other", "unknown", "desktop", "low-profile desktop", "pizza box", "mini tower", "tower", "portable"),
            *("laptop", "notebook", "hand held", "docking station", "all in one", "sub notebook", "space-saving"),
            *("lunch box", "main server", "expansion", "sub chassis", "bus expansion", "peripheral", "raid"),
            *(
                "rack mount",
                "sealed-case pc",
                "multi-system",
                "compact pci",
                "advanced tca",
                "blade",
                "blade enclosure",
            ),
            *("tablet", "convertible", "detachable", "iot gateway", "embedded pc", "mini pc", "stick pc"),
        ),
        1,
    )
)

FACTS = (
    Fact("hardware.vendor", TEXT, "Who made the machine.", "Dell Inc."),
    Fact("hardware.product", TEXT, "Its model.", "PowerEdge R650"),
    Fact("hardware.version", TEXT, "The model's version.", "pc-q35-7.2"),
    Fact("hardware.family", TEXT, "The family of models.", "PowerEdge"),
    Fact("hardware.sku", TEXT, "Its number in the maker's list.", "0A6B"),
    Fact("hardware.serial", TEXT, "Its serial number; only root may read it.", "7XK2LM3"),
    Fact("hardware.uuid", TEXT, "Its UUID; only root may read it.", "4c4c4544-0058-4b10-8032-b7c04f4c4d33"),
    Fact("board.vendor", TEXT, "Who made the board.", "Dell Inc."),
    Fact("board.product", TEXT, "The board's model.", "0TRVN3"),
    Fact("board.version", TEXT, "Its version.", "A05"),
    Fact("board.serial", TEXT, "Its serial number; only root may read it.", "CNFCP0012345"),
    Fact("chassis.vendor", TEXT, "Who made the case.", "Dell Inc."),
    Fact(
        "chassis.type", TEXT, "What sort of case it is: rack mount, main server, blade, laptop, other …", "rack mount"
    ),
    Fact("chassis.serial", TEXT, "Its serial number; only root may read it.", "7XK2LM3"),
    Fact("chassis.tag", TEXT, "The asset tag that its owner gave it.", "A1-07"),
    Fact("firmware.mode", TEXT, "How it booted: efi or bios; None where it cannot be seen.", "efi"),
    Fact("firmware.secure_boot", FLAG, "Whether secure boot is on; False on a BIOS, None where unknown.", False),
    Fact("firmware.vendor", TEXT, "Who made the firmware.", "Dell Inc."),
    Fact("firmware.version", TEXT, "Its version.", "1.9.2"),
    Fact("firmware.release", TEXT, "Its release, where the firmware tells one.", "1.9"),
    Fact("firmware.date", TEXT, "When it was made, as YYYY-MM-DD.", "2023-02-14"),
)


def read(told: Told) -> dict[str, Any]:
    """What stands in the firmware's tables."""
    tree = told.tree
    found: dict[str, Any] = {
        part: {key: _said(tree, name) for key, name in names.items()} for part, names in PARTS.items()
    }
    found["hardware"]["product"] = found["hardware"]["product"] or word(tree.text(MODEL).strip("\0"))
    code = _said(tree, TYPE) or ""
    found["chassis"]["type"] = CHASSIS.get(int(code) & 127) if code.isdecimal() and len(code) < 4 else None
    mode = _mode(tree)
    return found | {
        "firmware": {"mode": mode, "secure_boot": _secure(tree, mode), **found["firmware"], "date": _date(tree)}
    }


def _said(tree: Tree, name: str) -> str | None:
    text = tree.text(f"{DMI}/{name}")
    return None if EMPTY.fullmatch(text) else text or None


def _mode(tree: Tree) -> str | None:
    """A PC with its tables and without EFI's folder has a BIOS. A container may hide all of them: that says nothing."""
    if EFI in tree.names:
        return "efi"
    return "bios" if {ACPI, DMI} <= tree.names else None


def _secure(tree: Tree, mode: str | None) -> bool | None:
    if mode == "bios":
        return False
    text = tree.files.get(SECURE, "")
    return {"\x01": True, "\x00": False}.get(text[-1:]) if len(text) == 5 else None


def _date(tree: Tree) -> str | None:
    found = re.fullmatch(r"(\d\d)/(\d\d)/(\d{4})", tree.text(f"{DMI}/{DATE}"))
    return f"{found[3]}-{found[1]}-{found[2]}" if found else None
