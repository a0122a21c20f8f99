"""Facts: disks with their partitions, and what LVM makes of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from vinfra.kinds.host.facts.told import MOST, Told, bounded, items, objects, whole, word
from vinfra.model.fact import FLAG, TEXT, TEXTS, WHOLE, Fact
from vinfra.model.question import Exec
from vinfra.model.tree import Tree

BLOCK = "/sys/class/block"
PARTITION = "partition"
LEAVES = (
    *(PARTITION, "size", "removable", "ro", "queue/rotational"),
    *("device/model", "device/vendor", "serial", "device/serial"),
)
FILES = tuple(f"{BLOCK}/*/{leaf}" for leaf in LEAVES)
LINKS = (f"{BLOCK}/*",)
_COLUMNS = (
    "NAME,SIZE,TYPE,MODEL,SERIAL,ROTA,MOUNTPOINT,VENDOR,TRAN,WWN,RO,RM,LOG-SEC,PHY-SEC,FSTYPE,LABEL,UUID,PARTUUID"
)
DISKS = Exec(("lsblk", "-J", "-b", "-o", _COLUMNS))
GROUPS = Exec(
    (
        *("vgs", "--readonly", "--nohints", "--reportformat", "json", "--units", "b", "--nosuffix"),
        *("-o", "vg_name,vg_size,vg_free"),
    )
)
PROGRAMS = (DISKS, GROUPS)
SECTOR = 512  # /sys/class/block/*/size counts these, whatever the disk's own are

FACTS = (
    Fact("disks.DISK.size", WHOLE, "Its size.", 960_197_124_096, "bytes"),
    Fact("disks.DISK.type", TEXT, "disk, loop, rom …", "disk"),
    Fact("disks.DISK.model", TEXT, "Its model.", "SAMSUNG MZ7LH960"),
    Fact("disks.DISK.vendor", TEXT, "Its maker, where it says one.", "ATA"),
    Fact("disks.DISK.serial", TEXT, "Its serial number.", "S45NNE0M123456"),
    Fact("disks.DISK.wwn", TEXT, "Its world wide name.", "0x5002538e40a1b2c3"),
    Fact("disks.DISK.transport", TEXT, "sata, sas, nvme, usb, virtio …", "sata"),
    Fact("disks.DISK.rotational", FLAG, "Whether it turns; False for flash.", False),
    Fact("disks.DISK.removable", FLAG, "Whether it can be taken out.", False),
    Fact("disks.DISK.read_only", FLAG, "Whether it cannot be written.", False),
    Fact("disks.DISK.sector.logical", WHOLE, "What it reads at least.", 512, "bytes"),
    Fact("disks.DISK.sector.physical", WHOLE, "What it writes at once.", 4096, "bytes"),
    Fact("disks.DISK.mountpoints", TEXTS, "Where it or a part of it is mounted.", ["/", "/boot/efi"]),
    Fact("disks.DISK.filesystem", TEXT, "What lies on the disk itself: ext4, LVM2_member …", "LVM2_member"),
    Fact("disks.DISK.label", TEXT, "The filesystem's label.", "data"),
    Fact("disks.DISK.uuid", TEXT, "The filesystem's UUID.", "0b6b2f0e-8f9b-4c5e-9d6e-2f7f6a1b3c4d"),
    Fact("disks.DISK.partitions.PARTITION.size", WHOLE, "A partition's size.", 536_870_912, "bytes"),
    Fact("disks.DISK.partitions.PARTITION.filesystem", TEXT, "What lies on it.", "vfat"),
    Fact("disks.DISK.partitions.PARTITION.label", TEXT, "The filesystem's label.", "EFI"),
    Fact("disks.DISK.partitions.PARTITION.uuid", TEXT, "The filesystem's UUID.", "5F3A-0C21"),
    Fact("disks.DISK.partitions.PARTITION.partuuid", TEXT, "The partition's own UUID.", "a1b2c3d4-01"),
    Fact("disks.DISK.partitions.PARTITION.mountpoints", TEXTS, "Where it, or what is made of it, is.", ["/boot/efi"]),
    Fact(
        "volume_groups.GROUP.size",
        WHOLE,
        "The size of an LVM volume group; only root may ask.",
        959_119_884_288,
        "bytes",
    ),
    Fact("volume_groups.GROUP.free", WHOLE, "What of it no logical volume has.", 107_374_182_400, "bytes"),
    Fact("volume_groups.GROUP.volumes.VOLUME", WHOLE, "The size of an active logical volume.", 53_687_091_200, "bytes"),
)


def read(told: Told) -> dict[str, Any]:
    """What `lsblk` tells, or else /sys; and the groups of LVM."""
    listed = items(told.said(DISKS), "blockdevices")
    disks = {name: _disk(item, told.tree) for item in listed if (name := word(item.get("name")))}
    disks = disks or _bare(told.tree)
    groups = _groups(told, listed)
    return {"disks": bounded(disks) or None, "volume_groups": bounded(groups) or None}


def _disk(item: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    name = str(item.get("name"))
    parts = {str(part.get("name")): part for part in _children(item) if part.get("type") == "part"}
    return {
        "size": whole(item.get("size")),
        "type": word(item.get("type")),
        "model": word(item.get("model")),
        "vendor": word(item.get("vendor")),
        "serial": word(item.get("serial")) or tree.text(f"{BLOCK}/{name}/serial") or None,
        "wwn": word(item.get("wwn")),
        "transport": word(item.get("tran")) or _transport(name, tree),
        "rotational": _yes(item.get("rota")),
        "removable": _yes(item.get("rm")),
        "read_only": _yes(item.get("ro")),
        "sector": {"logical": whole(item.get("log-sec")), "physical": whole(item.get("phy-sec"))},
        "mountpoints": _mounts(item),
        "filesystem": word(item.get("fstype")),
        "label": word(item.get("label")),
        "uuid": word(item.get("uuid")),
        "partitions": bounded({key: _partition(part) for key, part in parts.items()}),
    }


def _partition(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "size": whole(item.get("size")),
        "filesystem": word(item.get("fstype")),
        "label": word(item.get("label")),
        "uuid": word(item.get("uuid")),
        "partuuid": word(item.get("partuuid")),
        "mountpoints": _mounts(item),
    }


def _children(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    return objects(item.get("children"))


def _yes(value: object) -> bool:
    """Newer ones write true and false, older ones "1" and "0"."""
    return value in (True, "1")


def _mounts(item: Mapping[str, Any]) -> list[str]:
    below = [mount for child in _children(item) for mount in _mounts(child)]
    return list(dict.fromkeys([*([own] if (own := word(item.get("mountpoint"))) else []), *below]))


def _transport(name: str, tree: Tree) -> str | None:
    """How it is connected, where lsblk does not know: from its place among the devices."""
    place = tree.links.get(f"{BLOCK}/{name}", "").split("/")
    ways = {"virtio": "virtio", "nvme": "nvme", "ata": "sata", "usb": "usb", "mmc": "mmc"}
    found = (ways.get(part.rstrip("0123456789")) for part in place[:-1])
    return next(filter(None, found), None)


def _bare(tree: Tree) -> dict[str, Any]:
    """Without an lsblk that speaks JSON: what the kernel tells, which is neither filesystems nor where they are."""
    found = tree.below(BLOCK, *LEAVES)
    result: dict[str, Any] = {}
    for name, files in sorted(found.items()):
        if PARTITION not in files and (size := _size(files)):
            parts = (part for part in sorted(found) if PARTITION in found[part] and _whole(part, tree) == name)
            item = {
                **{"name": name, "size": size, "type": "loop" if name.startswith("loop") else "disk"},
                **{"model": files.get("device/model"), "vendor": files.get("device/vendor")},
                **{"serial": files.get("device/serial"), "rota": files.get("queue/rotational")},
                **{"rm": files.get("removable"), "ro": files.get("ro")},
                "children": [{"name": part, "type": "part", "size": _size(found[part])} for part in parts],
            }
            result[name] = _disk(item, tree)
            result[name]["mountpoints"] = None
    return result


def _size(files: Mapping[str, str]) -> int | None:
    count = whole(files.get("size", ""))
    return None if count is None else count * SECTOR


def _whole(part: str, tree: Tree) -> str:
    """The disk that a partition is of: its folder lies in the disk's."""
    return tree.links.get(f"{BLOCK}/{part}", "").rpartition("/")[0].rpartition("/")[2]


def _groups(told: Told, listed: list[dict[str, Any]]) -> dict[str, Any]:
    reports = items(told.said(GROUPS), "report")
    rows = [row for report in reports for row in objects(report.get("vg")) if word(row.get("vg_name"))]
    found: dict[str, Any] = {
        row["vg_name"]: {"size": whole(row.get("vg_size")), "free": whole(row.get("vg_free")), "volumes": {}}
        for row in rows[:MOST]
    }
    for name, size in _volumes(listed):
        group, _, volume = name.replace("--", "\0").partition("-")
        empty: dict[str, Any] = {"size": None, "free": None, "volumes": {}}
        if volume:
            found.setdefault(group.replace("\0", "-"), empty)["volumes"][volume.replace("\0", "-")] = size
    return found


def _volumes(listed: list[dict[str, Any]]) -> Iterator[tuple[str, int | None]]:
    """Logical volumes as the device mapper names them: GROUP-VOLUME, a hyphen of theirs doubled."""
    for item in listed:
        if item.get("type") == "lvm" and word(item.get("name")):
            yield str(item["name"]), whole(item.get("size"))
        yield from _volumes(_children(item))
