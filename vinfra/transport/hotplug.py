"""What is done to a domain while it runs: devices, virtual CPUs, memory. What its system must agree to is waited for.

libvirt only asks a system to let a device go, and says so; whether it did shows in the running definition. A system
that does not is no reason for a restart: the step fails, and says what was asked.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import libvirt  # type: ignore[import-untyped]

from vinfra.model.step import Virt

_POLL = 0.3
_ASK_AGAIN = 5.0  # a system that boots does not hear yet what it is asked
_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
# What no waiting changes.
_NEVER = (
    *(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_OPERATION_UNSUPPORTED),
    *(libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_OPERATION_INVALID),
)


class Failed(Exception):
    """A verb found that it cannot be done, for a reason that libvirt itself does not give."""


def attach(domain: Any, call: Virt) -> None:
    """Plug a device in, unless it is there already."""
    if _find(domain, _parsed(call.xml)) is None:
        domain.attachDeviceFlags(call.xml, _LIVE)


def detach(domain: Any, call: Virt) -> None:
    """Ask the system to let a device go until it has, for so many seconds."""
    wanted = _parsed(call.xml)

    def ask() -> None:
        there = _find(domain, wanted)
        if there is not None:
            domain.detachDeviceFlags(ElementTree.tostring(there, "unicode"), _LIVE)

    what = (
        "did not let it go in {seconds:g} s\ndoes its system run, and does it use what is to go? a restart does it too"
    )
    _until(lambda: _find(domain, wanted) is None, ask, call, what)


def update(domain: Any, call: Virt) -> None:
    """Change a device where it is: a medium, a network, a link, a bandwidth, a password."""
    domain.updateDeviceFlags(call.xml, _LIVE)


def limit(domain: Any, call: Virt) -> None:
    """Set a disk's limits, all of them: what is not said is not limited."""
    wanted = _parsed(call.xml)
    device = _attribute(wanted, "target", "dev")
    given = {item.tag: int(item.text or 0) for item in wanted.iterfind("iotune/*") if (item.text or "").isdigit()}
    known = domain.blockIoTune(device, _LIVE)
    limits = {name: given.get(name, 0) for name, value in known.items() if isinstance(value, int) and value >= 0}
    limits = {name: value for name, value in limits.items() if not name.endswith("_length") or value}
    domain.setBlockIoTune(device, limits, _LIVE)


def vcpus(domain: Any, call: Virt) -> None:
    """Give the system virtual CPUs, or ask it to let some go until it has."""
    if domain.vcpusFlags(_LIVE) != call.number:
        _until(
            lambda: domain.vcpusFlags(_LIVE) == call.number,
            lambda: domain.setVcpusFlags(call.number, _LIVE),
            call,
            "did not let them go in {seconds:g} s\ndoes its system know how to? a restart does it too",
        )


def memory(domain: Any, call: Virt) -> None:
    """Ask the system for memory, or give it some, until it has followed: libvirt itself does not wait for that."""
    wanted = call.number // 1024
    domain.setMemoryFlags(wanted, _LIVE)
    deadline = time.monotonic() + call.seconds
    while domain.info()[2] != wanted:
        if time.monotonic() > deadline:
            has = domain.info()[2] // 1024
            raise Failed(
                f"{call.name} has {has}MiB after {call.seconds:g} s, and was asked for {wanted // 1024}MiB\n"
                "its system has no balloon driver, or cannot spare the memory; a restart changes it too"
            )
        time.sleep(_POLL)


def _until(done: Callable[[], bool], ask: Callable[[], None], call: Virt, what: str) -> None:
    """Ask again and again until it is done. What libvirt says of a question that is still open counts at the end."""
    deadline, said, asked = time.monotonic() + call.seconds, "", 0.0
    while not done():
        now = time.monotonic()
        if now > deadline:
            reason = f"{call.name} {what.format(seconds=call.seconds)}"
            raise Failed("\n".join(filter(None, (reason, said))))
        if now > asked + _ASK_AGAIN:
            asked = now
            try:
                ask()
            except libvirt.libvirtError as error:
                said = str(error.get_error_message() or error)
                if error.get_error_code() in _NEVER:
                    raise
        time.sleep(_POLL)


def with_passwords(domain: Any, xml: str) -> str:
    """A definition with the passwords of its screens, which nobody who only reads is told, as the domain has them."""
    with suppress(libvirt.libvirtError, ElementTree.ParseError):  # of what is no definition libvirt says so itself
        tree = _parsed(xml)
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        before = {item.get("type"): item for item in _parsed(domain.XMLDesc(flags)).iterfind("devices/graphics")}
        for item in tree.iterfind("devices/graphics"):
            known = before.get(item.get("type"))
            if known is not None and item.get("passwd") is None:
                kept = ("passwd", "passwdValidTo", "connected")
                item.attrib.update({name: value for name in kept if (value := known.get(name)) is not None})
                xml = ElementTree.tostring(tree, "unicode")
    return xml


def _find(domain: Any, wanted: Element) -> Element | None:
    """The device of a running domain that this one is."""
    devices = _parsed(domain.XMLDesc(0)).find("devices")
    same = (item for item in devices or () if item.tag == wanted.tag and _own(item) == _own(wanted))
    return next(same, None)


def _own(item: Element) -> tuple[str, ...]:
    """What tells a device apart from others of its sort."""
    match item.tag:
        case "disk":
            return (_attribute(item, "target", "dev"),)
        case "interface":
            return (_attribute(item, "mac", "address").lower(),)
        case _:
            return item.get("type", ""), item.get("index", "")


def _attribute(item: Element, path: str, name: str) -> str:
    found = item.find(path)
    return "" if found is None else found.get(name, "")


def _parsed(xml: str) -> Element:
    return ElementTree.fromstring(xml)  # noqa: S314  made by a kind, or by the host's own libvirt
