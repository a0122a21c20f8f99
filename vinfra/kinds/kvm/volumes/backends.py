"""What a host must have for a pool of some type: libvirt's own part for it, and the program that libvirt calls."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vinfra.kinds.host.files import paths
from vinfra.kinds.kvm.reading.virsh import BACKENDS, element
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Question

FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")


@dataclass(frozen=True, slots=True)
class Tool:
    """A program, and the packages that have it: those of Debian and its kin, and those of Red Hat's."""

    program: str
    debian: str
    redhat: str

    def package(self, scope: Scope) -> str:
        """The one of this host."""
        family = (scope.facts.get("os") or {}).get("family", "")
        return self.redhat if family in ("redhat", "suse") else self.debian


TOOLS = {
    "logical": Tool("lvcreate", "lvm2", "lvm2"),
    "iscsi": Tool("iscsiadm", "open-iscsi", "iscsi-initiator-utils"),
    "nfs": Tool("mount.nfs", "nfs-common", "nfs-utils"),
    "cifs": Tool("mount.cifs", "cifs-utils", "cifs-utils"),
    "glusterfs": Tool("mount.glusterfs", "glusterfs-client", "glusterfs-fuse"),
}


def tool(desired: Any) -> Tool | None:
    """The program that libvirt calls for such a pool."""
    sort = getattr(desired, "type", "")
    return TOOLS.get((desired.format or "nfs") if sort == "netfs" else sort)


def packages(desired: Any) -> Iterator[str]:
    """References to the packages that such a pool may need; those that are declared come first."""
    sort, needed = getattr(desired, "type", "dir"), tool(desired)
    if sort != "dir":
        yield f"package:{_driver(sort)}"
    if needed is not None:
        yield from (f"package:{name}" for name in dict.fromkeys((needed.debian, needed.redhat)))


def _driver(sort: str) -> str:
    return f"libvirt-daemon-driver-storage-{'core' if sort in ('dir', 'netfs') else sort}"


def _places(wishes: Iterable[Any]) -> list[str]:
    needed = dict.fromkeys(found.program for wish in wishes if (found := tool(wish)) is not None)
    return [f"{folder}/{program}" for program in needed for folder in FOLDERS]


def ask(wishes: Iterable[Any]) -> Iterator[Question]:
    """Nothing for folders; else what libvirt can have, and whether the programs are there."""
    special = [wish for wish in wishes if getattr(wish, "type", "dir") != "dir"]
    if special:
        yield BACKENDS
        yield from paths.ask(_places(special))


def lacking(desired: Any, wishes: Iterable[Any], scope: Scope, answers: Answers) -> str:
    """The package that this host lacks for a pool, and what it is needed for; "" when it has all, or brings it."""
    sort, needed = getattr(desired, "type", "dir"), tool(desired)
    if sort != "dir" and not _supported(sort, answers) and not _brought(_driver(sort), scope):
        return f"libvirt on this host has no pools of type {sort}; declare packages: {{{_driver(sort)}: }}"
    if needed is None:
        return ""
    special = [wish for wish in wishes if getattr(wish, "type", "dir") != "dir"]
    looks = paths.read(_places(special), answers)
    there = any(isinstance(looks[f"{folder}/{needed.program}"], paths.Found) for folder in FOLDERS)
    package = needed.package(scope)
    if there or _brought(package, scope):
        return ""
    return f"no {needed.program} on this host, which a pool of type {sort} needs; declare packages: {{{package}: }}"


def _supported(sort: str, answers: Answers) -> bool:
    """What libvirt says; an old one says nothing, and then it is tried."""
    raw = answers.get(BACKENDS)
    if raw is None or not raw.ok or not raw.text.strip():
        return True
    known = {pool.get("type"): pool.get("supported") for pool in element(raw.text.strip()).iterfind("pool")}
    return known.get(sort) != "no"


def _brought(package: str, scope: Scope) -> bool:
    sibling = scope.siblings.get(f"package:{package}")
    return sibling is not None and sibling.desired is not None
