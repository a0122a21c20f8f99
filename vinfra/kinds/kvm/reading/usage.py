"""Who uses a file: domains, whether they run or not, and volumes that stand on it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from vinfra.kinds.kvm.domains import machine
from vinfra.kinds.kvm.reading.virsh import DOMAINS, element, found
from vinfra.kinds.kvm.volumes.storage import stem, volumes
from vinfra.model.blueprint import Resource
from vinfra.model.kind import Answers, Scope


@dataclass(frozen=True, slots=True)
class User:
    """Who uses something: a domain, or a volume that stands on it. `taps`: a running domain's ends of a network.

    `below`: a running domain has it only below another disk, such as a snapshot.
    """

    noun: str
    name: str
    running: bool = False
    taps: tuple[str, ...] = ()
    below: bool = False


def users(answers: Answers) -> Mapping[str, tuple[User, ...]]:
    """Who uses each file, by its path: domains, whether they run or not, and volumes that stand on it."""
    paths: dict[tuple[str, str], str] = {}
    result: dict[str, dict[tuple[str, str], User]] = {}
    for name, known in volumes(answers).items():
        for file, one in known.items():
            paths[name, file] = one.path
            if one.backing:
                result.setdefault(one.backing, {})["volume", one.path] = User("volume", file)
    for name, domain in found(answers, DOMAINS).items():
        for xml in filter(None, (domain.persistent, domain.live)):
            for path, below in _disks(element(xml), paths):
                user = User("domain", name, domain.active, below=below)
                result.setdefault(path, {})["domain", name] = user
    return {path: tuple(known.values()) for path, known in result.items()}


def _disks(domain: Element, paths: Mapping[tuple[str, str], str]) -> Iterator[tuple[str, bool]]:
    """The paths of a domain's disks, and those they stand on where libvirt tells them, and whether it is one below."""
    for disk in domain.iterfind("devices/disk"):
        for source in disk.iter("source"):
            ceph = source.get("name") if source.get("protocol") == "rbd" else None
            path = source.get("file") or source.get("dev") or ceph
            if path := path or paths.get((source.get("pool", ""), source.get("volume", ""))):
                yield path, source is not disk.find("source")


def shared(resource: Resource, scope: Scope) -> bool:
    """Whether another blueprint has a mark on it too: then it stays, and who uses it does not matter."""
    return any(mark.blueprint != scope.owner for mark in scope.marks.get(resource.address.name, ()))


def goes(file: str, scope: Scope) -> bool:
    """Whether the volume, seed or image that a file is goes in this plan; so does what is half fetched."""
    base = stem(file)
    for item in scope.siblings.values():
        if item.desired is not None or item.protect or item.address.noun not in ("volume", "seed", "image"):
            continue
        name = stem(item.address.name)
        if base == name or (item.address.noun == "image" and re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{12}}", base)):
            return True
    return bool(re.fullmatch(r"\..*\.part", file))


def staying(resource: Resource, using: Iterable[User], scope: Scope) -> list[str]:
    """Those who use it and still will after this plan: not those that go, nor domains that let go of it."""
    return [user.name for user in using if not _lets_go(user, resource, scope)]


def _lets_go(user: User, resource: Resource, scope: Scope) -> bool:
    """A domain that stays lets go of what its blueprint no longer names, where it says anything about such things."""
    if user.noun == "volume":
        return goes(user.name, scope)
    domain = scope.siblings.get(f"domain:{user.name}")
    if domain is None or domain.desired is None:
        return domain is not None and not domain.protect
    assert isinstance(domain.desired, machine.Spec)
    if resource.address.noun == "network":
        cards = domain.desired.networks
        return cards is not None and resource.address.name not in [card.network for card in cards]
    wanted = {address.reference for address in domain.needs | domain.after} | domain.hard | domain.soft
    said = domain.desired.disks is not None or domain.desired.image is not None
    return said and resource.address.reference not in wanted
