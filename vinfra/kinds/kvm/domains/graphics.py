"""A domain's screen in its XML, and the password that it asks for.

libvirt hands a password out to nobody who only reads. So the definition carries a slow hash of the one it was given,
in its metadata; the definition and what runs each have theirs.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains.elements import attribute, child, devices
from vinfra.model.mark import SECRETS_NAMESPACE

ElementTree.register_namespace("vinfra-secrets", SECRETS_NAMESPACE)
_NOTE = f"{{{SECRETS_NAMESPACE}}}secrets"
VNC_PASSWORD = 8  # bytes: what is longer is cut off by the protocol itself


@dataclass(frozen=True, slots=True)
class Screen:
    """How a screen is served: vnc, spice, or what else libvirt knows. `port` is "auto" or a number."""

    sort: str
    listen: str = ""
    port: str = "auto"

    def __str__(self) -> str:
        return f"{self.sort} {self.listen} {self.port}"


def screens(tree: Element) -> tuple[Screen, ...]:
    """The screens, in libvirt's order."""
    return tuple(map(_screen, tree.iterfind("devices/graphics")))


def _screen(item: Element) -> Screen:
    port = item.get("port", "-1")
    auto = item.get("autoport") == "yes" or port == "-1"
    listen = attribute(item, "listen[@type='address']", "address") or item.get("listen", "")
    return Screen(item.get("type", ""), listen, "auto" if auto else port)


def ports_in_use(tree: Element) -> Iterator[str]:
    """The ports that its screens are served on."""
    for item in tree.iterfind("devices/graphics"):
        yield from (port for name in ("port", "tlsPort") if (port := item.get(name, "-1")) != "-1")


def set_screens(tree: Element, wish: Sequence[Screen]) -> None:
    """Exactly these; one of that sort that is there keeps what else it is told."""
    parent, there = devices(tree), list(tree.iterfind("devices/graphics"))
    for item in there:
        parent.remove(item)
    for own in wish:
        item = next((old for old in there if old.get("type") == own.sort), Element("graphics", {"type": own.sort}))
        parent.append(item)
        for name in ("listen", "port", "autoport"):
            item.attrib.pop(name, None)
        item.attrib.update({"autoport": "yes"} if own.port == "auto" else {"port": own.port, "autoport": "no"})
        for old in item.findall("listen"):
            item.remove(old)
        SubElement(item, "listen", {"type": "address", "address": own.listen})


def noted(tree: Element) -> str:
    """What stands for the password, "" for nothing."""
    note = tree.find(f"metadata/{_NOTE}")
    return "" if note is None else note.get("graphics", "")


def is_password(wish: str, found: str) -> bool:
    """Whether a note stands for this password."""
    salt, _, _ = found.partition("$")
    return bool(found) and found == _hashed(wish, salt)


@lru_cache(maxsize=1024)
def _hashed(password: str, salt: str) -> str:
    digest = hashlib.scrypt(password.encode(), salt=salt.encode(), n=1 << 14, r=8, p=1, dklen=24)
    return f"{salt}${digest.hex()}"


def note(name: str, password: str) -> Element:
    """What stands for a password in the metadata of a domain."""
    return Element(_NOTE, {"graphics": _hashed(password, name)})


def set_password(tree: Element, wish: str) -> None:
    """Every screen asks for it."""
    for item in tree.iterfind("devices/graphics"):
        item.set("passwd", wish)
    metadata = child(tree, "metadata")
    for old in metadata.findall(_NOTE):
        metadata.remove(old)
    metadata.append(note(tree.findtext("name", ""), wish))
