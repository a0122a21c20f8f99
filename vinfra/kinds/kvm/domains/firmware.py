"""A domain's firmware and TPM in its XML.

Where its variables are kept, and which file is its code, libvirt chooses when the domain is made; that stays.
"""

from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains.elements import child, remove

EFI, BIOS, NONE = "efi", "bios", "none"


def firmware(tree: Element) -> str:
    """efi or bios, whether libvirt chose the files or somebody named them."""
    item = tree.find("os")
    if item is None:
        return BIOS
    loader = item.find("loader")
    return item.get("firmware") or (EFI if loader is not None and loader.get("type") == "pflash" else BIOS)


def set_firmware(tree: Element, wish: str) -> None:
    """libvirt chooses the files. No word at all is QEMU's own BIOS."""
    item = child(tree, "os")
    item.attrib.pop("firmware", None)
    remove(item, [old for old in item if old.tag in ("loader", "nvram", "firmware")])
    if wish != BIOS:
        item.set("firmware", wish)


def secure_boot(tree: Element) -> bool | None:
    """Whether the firmware starts only what is signed, which takes enrolled keys; None where libvirt chooses."""
    told = {item.get("name"): item.get("enabled") == "yes" for item in tree.iterfind("os/firmware/feature")}
    loader = tree.find("os/loader")
    if "secure-boot" in told:
        return told["secure-boot"] and told.get("enrolled-keys", True)
    if firmware(tree) == BIOS:
        return False
    return None if loader is None else loader.get("secure") == "yes" and told.get("enrolled-keys", True)


def set_secure_boot(tree: Element, wish: bool) -> None:
    """With the keys that the firmware's package has enrolled, or firmware that cannot."""
    if not wish and firmware(tree) == BIOS:
        return
    place = child(tree, "os/firmware")
    wished = {"secure-boot": wish, **({"enrolled-keys": True} if wish else {})}
    remove(place, [item for item in place.findall("feature") if item.get("name") in ("secure-boot", "enrolled-keys")])
    for name, enabled in wished.items():
        SubElement(place, "feature", {"enabled": "yes" if enabled else "no", "name": name})


def tpm(tree: Element) -> str:
    """The model of an emulated TPM, "none" without any; one of the host's own is told with its backend."""
    item = tree.find("devices/tpm")
    if item is None:
        return NONE
    backend = item.find("backend")
    sort = "" if backend is None else backend.get("type", "")
    return item.get("model", "") + ("" if sort == "emulator" else f" {sort}")


def set_tpm(tree: Element, wish: str) -> None:
    """A TPM 2.0 that swtpm plays; of one that is there only the model is changed."""
    devices = child(tree, "devices")
    there = devices.find("tpm")
    if there is not None and (wish == NONE or there.find("backend[@type='emulator']") is None):
        devices.remove(there)
        there = None
    if wish == NONE:
        return
    if there is None:
        there = SubElement(devices, "tpm")
        SubElement(there, "backend", {"type": "emulator", "version": "2.0"})
    elif there.get("model") != wish:
        remove(there, there.findall("address"))
    there.set("model", wish)
