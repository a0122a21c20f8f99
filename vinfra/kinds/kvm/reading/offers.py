"""What a host can do for a domain: `virsh domcapabilities` of each accelerator and board, machine types, devices.

What is not told is no objection: libvirt decides when it is asked.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from xml.etree.ElementTree import Element, ParseError

from vinfra.kinds.kvm.reading.virsh import CAPABILITIES, element
from vinfra.model.kind import Answers
from vinfra.model.question import Raw, ReadLibvirt, ReadTree
from vinfra.model.tree import parse

PCI, USB = "/sys/bus/pci/devices", "/sys/bus/usb/devices"
DEVICES = ReadTree(files=(f"{USB}/*/idVendor", f"{USB}/*/idProduct"), names=(PCI, USB, f"{PCI}/*"))
OFFERS = ReadLibvirt("domcapabilities")
TYPES = {"kvm": "kvm", "tcg": "qemu"}


@dataclass(frozen=True, slots=True)
class Offer:
    """What one accelerator can do on one board; of each CPU model, whether the host's CPU can be it.

    A set is None where this libvirt does not tell.
    """

    modes: frozenset[str]
    models: Mapping[str, bool]
    firmware: frozenset[str] | None
    secure_boot: bool
    tpm: frozenset[str] | None
    emulator: bool
    video: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Offers:
    """All of a host, each by libvirt's type of domain and board; `version` is libvirt's, () where it is not known."""

    found: Mapping[tuple[str, str], Offer]
    machines: frozenset[str]
    version: tuple[int, ...]

    def of(self, accelerator: str, machine: str) -> Offer | None:
        """What holds for a domain."""
        board = "q35" if "q35" in machine else "pc"
        return self.found.get((TYPES.get(accelerator, ""), board))


UNTOLD = Offers({}, frozenset(), ())


def offers(answers: Answers) -> Offers:
    """What was told of it; nothing where nobody asked."""
    return _offers(*(raw if (raw := answers.get(sort)) and raw.ok else None for sort in (OFFERS, CAPABILITIES)))


@lru_cache(maxsize=64)
def _offers(told: Raw | None, host: Raw | None) -> Offers:
    found = dict(_each(told.text)) if told is not None else {}
    text = host.text if host is not None else ""
    machines = frozenset(re.findall(r"<machine\b[^>]*>([^<]+)</machine>", text))
    version = re.search(r"^Using library: libvirt ([0-9.]+)", text, re.MULTILINE)
    return Offers(found, machines, tuple(map(int, version[1].split("."))) if version else ())


def _each(text: str) -> Iterator[tuple[tuple[str, str], Offer]]:
    for xml in re.findall(r"<domainCapabilities>.*?</domainCapabilities>", text, re.DOTALL):
        try:
            tree = element(xml)
        except ParseError:
            continue
        board = "q35" if "q35" in tree.findtext("machine", "") else "pc"
        yield (tree.findtext("domain", ""), board), _offer(tree)


def _offer(tree: Element) -> Offer:
    models = list(tree.iterfind("cpu/mode[@name='custom']/model"))
    return Offer(
        modes=frozenset(item.get("name", "") for item in tree.iterfind("cpu/mode[@supported='yes']")),
        models={item.text or "": item.get("usable") != "no" for item in models},
        firmware=_values(tree.findall("os/enum[@name='firmware']")),
        secure_boot="yes" in (_values(tree.findall("os/loader/enum[@name='secure']")) or ()),
        tpm=_values(tree.findall("devices/tpm/enum[@name='model']")),
        emulator="emulator" in (_values(tree.findall("devices/tpm/enum[@name='backendModel']")) or ()),
        video=_values(tree.findall("devices/video/enum[@name='modelType']")),
    )


def _values(enums: Iterable[Element]) -> frozenset[str] | None:
    """The values of an enumeration, None where there is no such one."""
    found = list(enums)
    return frozenset(item.text or "" for enum in found for item in enum) if found else None


@dataclass(frozen=True, slots=True)
class Plugged:
    """The devices that a host has, by PCI address and by USB vendor and product; None where that cannot be seen."""

    pci: frozenset[str] | None = None
    usb: frozenset[str] | None = None


UNSEEN = Plugged()


def plugged(answers: Answers) -> Plugged:
    """What is there; nothing is known where nobody asked."""
    tree = parse(DEVICES, answers.get(DEVICES))
    pci = frozenset(name.rpartition("/")[2] for name in tree.under(f"{PCI}/*")) if PCI in tree.names else None
    found = tree.below(USB, "idVendor", "idProduct").values()
    usb = frozenset(f"{item.get('idVendor')}:{item.get('idProduct')}" for item in found)
    return Plugged(pci, usb if USB in tree.names else None)
