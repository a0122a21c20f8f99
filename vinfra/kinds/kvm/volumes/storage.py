"""What lies in libvirt's pools: how it is called there, and what it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from xml.etree.ElementTree import Element, SubElement, tostring

from vinfra.kinds.kvm.domains.parts import spelled
from vinfra.kinds.kvm.reading.virsh import POOLS, element, found, missing
from vinfra.kinds.kvm.volumes import pools
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


def bare(home: str) -> bool:
    """Whether what lies there has no extension: in a volume group or a Ceph pool, not in a folder."""
    return home.startswith("/dev/") or (bool(home) and not home.startswith("/"))


def file_name(name: str, extension: str, home: str = "") -> str:
    """What a volume is called in its pool: `web-01-root.qcow2` for `web-01/root`; `web-01-root` where files are not."""
    flat = name.replace("/", "-")
    return flat if flat.endswith(f".{extension}") or bare(home) else f"{flat}.{extension}"


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
    encrypted: bool = False

    @property
    def written(self) -> str:
        """How much of it would be lost, in words."""
        if self.path.startswith("/dev/") or self.allocation >= self.capacity:
            return f"{spelled(self.capacity)}, all of it in use as far as the host can tell"
        return f"{spelled(self.allocation)} written of {spelled(self.capacity)}"


@dataclass(frozen=True, slots=True)
class Pool:
    """A running pool, or one that is not there yet. `available` is in bytes.

    `path` is the folder of its volumes' paths; of a Ceph pool its name. It is "" when nothing brings the pool.
    """

    name: str
    path: str = ""
    available: int | None = None
    type: str = "dir"
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
        encrypted=tree.find("target/encryption") is not None,
    )


def xml(
    file: str,
    extension: str,
    capacity: int | None,
    backing: tuple[str, str] | None = None,
    secret: str = "",
    home: str = "",
) -> str:
    """A volume to be made, written only as it is used. `backing`: path and format of what it stands on.

    `secret`: the uuid of what opens it, if it is to be encrypted. `home`: the path of its pool. In a volume group all
    of it is allocated: less would make it a snapshot of nothing, which is lost when more is written than that.
    """
    tree = Element("volume")
    SubElement(tree, "name").text = file
    if capacity is not None:
        SubElement(tree, "capacity", unit="bytes").text = str(capacity)
    if not home.startswith("/dev/"):
        SubElement(tree, "allocation").text = "0"
    target = SubElement(tree, "target")
    SubElement(target, "format", type=extension)
    if extension == "qcow2":
        SubElement(target, "compat").text = "1.1"  # libvirt's own default is the format of 2008
    if secret:
        lock = SubElement(target, "encryption", format="luks")
        SubElement(lock, "secret", type="passphrase", uuid=secret)
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
        return Pool(name, pools.home(wish), type=getattr(wish, "type", None) or "dir")
    if not known.active:
        reason = f"pool {name} does not run"
        return Unknown(f"{reason}; declare it under pools") if wish is None else Later(reason, f"pool:{name}")
    tree = element(known.live)
    free, sort = int(tree.findtext("available", "0")), tree.get("type", "dir")
    return Pool(name, pools.found_home(known.live), free, sort, volumes(answers).get(name, {}))


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
