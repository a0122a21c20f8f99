"""What a domain has or has not in its XML: a serial console, the guest agent's channel, random numbers."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement

AGENT = "org.qemu.guest_agent.0"


def serial_log(name: str) -> str:
    """The file on the host in which libvirt keeps what a domain's serial console shows."""
    return f"/var/log/libvirt/qemu/{name}-serial0.log"


def has_serial(tree: Element) -> bool:
    """Whether it has a serial console that the host keeps our log of."""
    return bool(_logged(tree))


def _logged(tree: Element) -> list[Element]:
    file = serial_log(tree.findtext("name", ""))
    return [
        item for item in tree.iterfind("devices/serial") if file in {log.get("file") for log in item.iterfind("log")}
    ]


def set_serial(tree: Element, wish: bool) -> None:
    """The first serial port as the console, with a log; or no such port."""
    first = (item for item in tree.iterfind("devices/serial") if item.find("target[@port='0']") is not None)
    consoles = (item for item in tree.iterfind("devices/console") if item.find("target[@type='serial']") is not None)
    parent = _without(tree, (*first, *_logged(tree), *consoles))
    if wish:
        log = {"file": serial_log(tree.findtext("name", "")), "append": "on"}
        for tag, target in (("serial", {"port": "0"}), ("console", {"type": "serial", "port": "0"})):
            item = SubElement(parent, tag, {"type": "pty"})
            SubElement(item, "log", log)
            SubElement(item, "target", target)


def has_agent(tree: Element) -> bool:
    """Whether it has the channel on which QEMU's guest agent answers."""
    return bool(_agents(tree))


def _agents(tree: Element) -> list[Element]:
    return [item for item in tree.iterfind("devices/channel") if item.find(f"target[@name='{AGENT}']") is not None]


def set_agent(tree: Element, wish: bool) -> None:
    """That channel, or none."""
    parent = _without(tree, _agents(tree))
    if wish:
        channel = SubElement(parent, "channel", {"type": "unix"})
        SubElement(channel, "target", {"type": "virtio", "name": AGENT})


def has_rng(tree: Element) -> bool:
    """Whether it gets random numbers from its host."""
    return tree.find("devices/rng") is not None


def set_rng(tree: Element, wish: bool) -> None:
    """Such a device, or none."""
    parent = _without(tree, tree.iterfind("devices/rng"))
    if wish:
        rng = SubElement(parent, "rng", {"model": "virtio"})
        SubElement(rng, "backend", {"model": "random"}).text = "/dev/urandom"


def _without(tree: Element, gone: Iterable[Element]) -> Element:
    """The parent of all devices, without these."""
    parent = tree.find("devices")
    assert parent is not None
    for item in dict.fromkeys(gone):
        parent.remove(item)
    return parent
