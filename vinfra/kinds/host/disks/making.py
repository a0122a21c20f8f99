"""What each file system needs: its programs and packages, how it is made, labelled and measured."""

import re
from collections.abc import Iterator, Sequence

from vinfra.kinds.host.disks.devices import Look
from vinfra.model.kind import Answers
from vinfra.model.question import Exec

PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs", "vfat": "dosfstools"}
LABELS = {"ext4": 16, "xfs": 12, "btrfs": 255, "vfat": 11}
GROWING = ("ext4", "xfs")
# A last group of blocks that is too small to hold its own tables is left alone: ext4's take up to 8 MiB of 128.
TOLERANCE = 16 << 20

_QUIET = {"ext4": ("-q", "-L"), "xfs": ("-q", "-L"), "btrfs": ("-q", "-L"), "vfat": ("-n",)}
_FORCING = frozenset({"-F", "-f", "--force", "-I"})


def forces(option: str) -> bool:
    """Whether an option makes a mkfs write over what is there."""
    return option in _FORCING or bool(re.fullmatch(r"-[a-zA-Z]*F[a-zA-Z]*", option))


def _programs(sort: str) -> Exec:
    return Exec(("ls", "-d", "--", f"/usr/sbin/mkfs.{sort}", f"/sbin/mkfs.{sort}"))


def _measure(sort: str, name: str) -> Exec | None:
    if sort == "ext4":
        return Exec(("dumpe2fs", "-h", "--", name))
    return Exec(("xfs_db", "-r", "-c", "info", "--", name)) if sort == "xfs" else None


def ask(sort: str, name: str) -> Iterator[Exec]:
    """Whether its programs are there, and how large the one on a device is."""
    yield _programs(sort)
    if question := _measure(sort, name):
        yield question


def has_tools(sort: str, answers: Answers) -> bool:
    """Whether the host can make one."""
    raw = answers.get(_programs(sort))
    return bool(raw and raw.text.strip())


def size(sort: str, look: Look, answers: Answers) -> int | None:
    """Its bytes; None when nobody tells.

    What is on the disk of a mounted xfs can be older than what the kernel knows. The kernel's own count leaves the log
    out, which never changes.
    """
    question = _measure(sort, look.name)
    raw = answers.get(question) if question else None
    if raw is None or not raw.ok or look.type != sort:
        return None
    if sort == "ext4":
        count, block = (
            re.search(rf"^{word}:\s*(\d+)$", raw.text, re.MULTILINE) for word in ("Block count", "Block size")
        )
        return int(count[1]) * int(block[1]) if count and block else None
    found = [re.search(rf"^{word}\s*=.*bsize=(\d+)\s+blocks=(\d+)", raw.text, re.MULTILINE) for word in ("data", "log")]
    data, log = (int(one[1]) * int(one[2]) if one else None for one in found)
    if look.device is not None and look.device.mounted:
        internal = "=internal" in raw.text or "internal log" in raw.text
        return look.device.room + (log or 0) * internal if look.device.room is not None else None
    return data


def command(sort: str, label: str, options: Sequence[str]) -> tuple[str, ...]:
    """The mkfs, but for the device."""
    *quiet, flag = _QUIET[sort]
    return (f"mkfs.{sort}", *quiet, *((flag, label) if label else ()), *options)


def labelling(sort: str, name: str, at: str, label: str) -> tuple[str, ...]:
    """What gives it a label, mounted (`at`) or not."""
    if sort == "ext4":
        return ("e2label", name, label)
    if sort == "xfs":
        return ("xfs_io", "-c", f"label -s {label}", at) if at else ("xfs_admin", "-L", label, name)
    return ("btrfs", "filesystem", "label", at or name, label) if sort == "btrfs" else ("fatlabel", name, label)
