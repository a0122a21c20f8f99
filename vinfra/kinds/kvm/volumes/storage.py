"""What lies in libvirt's pools: how it is called there, and what it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from xml.etree.ElementTree import Element, SubElement, tostring

from vinfra.kinds.kvm.reading.virsh import POOLS, element, found, missing
from vinfra.model.answer import Later, Unknown
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Raw

DEFAULT = "default"
_EXTENSION = re.compile(r"\.(qcow2|raw|iso)$")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
# libvirt tells qemu-img a new volume's size in KiB, rounded up.
GRAIN = 1024


def stem(name: str) -> str:
    """The file's name without its extension: `web-01-root` for `web-01/root` and for `web-01-root.qcow2`."""
    return _EXTENSION.sub("", name.replace("/", "-"))


def file_name(name: str, extension: str) -> str:
    """What a volume is called in its pool: `web-01-root.qcow2` for `web-01/root`."""
    flat = name.replace("/", "-")
    return flat if flat.endswith(f".{extension}") else f"{flat}.{extension}"


def name_problem(name: str) -> str:
    """Why a name cannot be a file's in a pool; "" if it can."""
    if len(name) > 200 or not _NAME.fullmatch(name):
        return "write letters, digits, '.', '_' and '-', such as data or web-01/data"
    return ""


def rounded(size: int) -> int:
    """A size in bytes as libvirt can make it."""
    return -(-size // GRAIN) * GRAIN


@dataclass(frozen=True, slots=True)
class Volume:
    """One file as libvirt sees it. Sizes in bytes; `backing` is the path of what it stands on, "" for nothing."""

    file: str
    path: str
    format: str
    capacity: int
    allocation: int
    backing: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """A running pool, or one that is not there yet. `path` is "" when nothing brings it; `available` in bytes."""

    name: str
    path: str = ""
    available: int | None = None
    volumes: Mapping[str, Volume] = field(default_factory=dict)


def volume(xml: str) -> Volume:
    """A volume from its XML."""
    tree = element(xml)
    shape = tree.find("target/format")
    return Volume(
        file=tree.findtext("name", ""),
        path=tree.findtext("target/path", ""),
        format="raw" if shape is None else shape.get("type", "raw"),
        capacity=int(tree.findtext("capacity", "0")),
        allocation=int(tree.findtext("allocation", "0")),
        backing=tree.findtext("backingStore/path", ""),
    )


def xml(file: str, extension: str, capacity: int | None, backing: tuple[str, str] | None = None) -> str:
    """A volume to be made, written only as it is used. `backing`: path and format of what it stands on."""
    tree = Element("volume")
    SubElement(tree, "name").text = file
    if capacity is not None:
        SubElement(tree, "capacity", unit="bytes").text = str(capacity)
    SubElement(tree, "allocation").text = "0"
    target = SubElement(tree, "target")
    SubElement(target, "format", type=extension)
    if extension == "qcow2":
        SubElement(target, "compat").text = "1.1"  # libvirt's own default is the format of 2008
    if backing is not None:
        below = SubElement(tree, "backingStore")
        SubElement(below, "path").text = backing[0]
        SubElement(below, "format", type=backing[1])
    return tostring(tree, "unicode")


def pool(name: str, scope: Scope, answers: Answers) -> Pool | Later | Unknown:
    """A pool with its volumes; Later while it does not run and this blueprint starts it."""
    if why := missing(answers, POOLS, scope):
        return why
    known = found(answers, POOLS).get(name)
    sibling = scope.siblings.get(f"pool:{name}")
    wish = sibling.desired if sibling is not None else None
    if known is None:
        return Pool(name, getattr(wish, "path", None) or "")
    if not known.active:
        reason = f"pool {name} does not run"
        return Unknown(f"{reason}; declare it under pools") if wish is None else Later(reason, f"pool:{name}")
    tree = element(known.live)
    return Pool(
        name,
        tree.findtext("target/path", ""),
        int(tree.findtext("available", "0")),
        volumes(answers).get(name, {}),
    )


def volumes(answers: Answers) -> Mapping[str, Mapping[str, Volume]]:
    """Every volume, by pool and by file."""
    return _parsed(answers[POOLS]) if POOLS in answers else {}


@lru_cache(maxsize=256)
def _parsed(raw: Raw) -> Mapping[str, Mapping[str, Volume]]:
    pools = found({POOLS: raw}, POOLS)
    return {name: {file: volume(xml) for file, xml in one.volumes.items()} for name, one in pools.items()}


def nowhere(name: str) -> str:
    """What is said of something in a pool that is not there and that nothing brings."""
    return f"there is no pool {name} on this host; declare it under pools"
