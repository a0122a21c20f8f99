"""What is behind a domain's disk when that is no plain file: a volume of Ceph, and the secret that opens a volume."""

from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

#: With this before it, the name of a volume in Ceph is the source of a disk (`Drive.source`).
CEPH = "rbd "


@dataclass(frozen=True, slots=True)
class Remote:
    """A Ceph: its monitors, as host and port, and who logs in with which secret (its uuid)."""

    monitors: tuple[tuple[str, str], ...]
    user: str = ""
    secret: str = ""


def write(item: Element, source: str, remote: Remote) -> None:
    """The source of a new disk in Ceph."""
    tree = SubElement(item, "source", {"protocol": "rbd", "name": source.removeprefix(CEPH)})
    for host, port in remote.monitors:
        SubElement(tree, "host", {"name": host} | ({"port": port} if port else {}))
    if remote.user:
        auth = SubElement(tree, "auth", {"username": remote.user})
        SubElement(auth, "secret", {"type": "ceph", "uuid": remote.secret})


def secret(item: Element) -> str:
    """The uuid of what opens a disk; it stands in the disk in what is older, else in its source."""
    found = item.find("source/encryption/secret")
    found = item.find("encryption/secret") if found is None else found
    return "" if found is None else found.get("uuid", "")


def lock(item: Element, uuid: str) -> None:
    """Let this secret open a disk."""
    source = item.find("source")
    if source is None or secret(item) == uuid:
        return
    for parent in (item, source):
        for old in parent.findall("encryption"):
            parent.remove(old)
    SubElement(SubElement(source, "encryption", format="luks"), "secret", type="passphrase", uuid=uuid)
