"""Facts: what is mounted, and how full it is."""

import re
from typing import Any

from vinfra.kinds.host.facts.told import MOST, Told, bounded, kilobytes
from vinfra.model.fact import TEXT, TEXTS, WHOLE, Fact
from vinfra.model.question import Exec

MOUNTS = "/proc/self/mountinfo"
FILES = (MOUNTS,)
# Only what is local: a server that is gone would let `df` wait for it.
USED = Exec(("df", "-P", "-k", "-T", "-l"))
PROGRAMS = (USED,)
# What keeps nothing: the kernel's own views, and the places where programs hand things over.
NO_STORE = frozenset(
    {
        *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs"),
        *(
            "fuse.lxcfs",
            "fusectl",
            "hugetlbfs",
            "mqueue",
            "nsfs",
            "proc",
            "pstore",
            "ramfs",
            "rpc_pipefs",
            "securityfs",
        ),
        *("selinuxfs", "sysfs", "tracefs", "nfsd", "fuse.gvfsd-fuse", "fuse.portal"),
    }
)
ROW = re.compile(r"(.*?)\s+(\S+)\s+([0-9]+)\s+([0-9]+)\s+(-?[0-9]+)\s+([0-9]+%|-)\s+(/.*)")

FACTS = (
    Fact("filesystems.MOUNTPOINT.device", TEXT, "What is mounted there.", "/dev/sda2"),
    Fact("filesystems.MOUNTPOINT.type", TEXT, "ext4, xfs, tmpfs, nfs4 …; the kernel's own views are left out.", "ext4"),
    Fact("filesystems.MOUNTPOINT.options", TEXTS, "How it is mounted.", ["rw", "relatime"]),
    Fact(
        "filesystems.MOUNTPOINT.size",
        WHOLE,
        "Its size; None for network filesystems, nobody waits for those.",
        52_710_469_632,
        "bytes",
    ),
    Fact("filesystems.MOUNTPOINT.used", WHOLE, "What is in use.", 20_971_520_000, "bytes"),
    Fact("filesystems.MOUNTPOINT.available", WHOLE, "What programs may still write.", 29_044_858_880, "bytes"),
)


def read(told: Told) -> dict[str, Any]:
    """By mount point; of several in one place the last, which is the one that is seen."""
    found: dict[str, Any] = {}
    for line in told.tree.text(MOUNTS).splitlines():
        left, between, right = line.partition(" - ")
        own, words = left.split(" "), right.split(" ")
        if not between or len(own) < 6 or len(words) < 2 or words[0] in NO_STORE:
            continue
        path = _plain(own[4])
        if path.startswith("/") and (len(found) < MOST or path in found):
            sizes = dict.fromkeys(("size", "used", "available"))
            found[path] = {"device": _plain(words[1]), "type": words[0], "options": own[5].split(","), **sizes}
    for row in map(ROW.fullmatch, told.said(USED).splitlines()):
        if row is not None and row[7] in found:
            known = zip(("size", "used", "available"), map(kilobytes, row.group(3, 4, 5)), strict=True)
            found[row[7]] |= dict(known)
    return {"filesystems": bounded(dict(sorted(found.items()))) or None}


def _plain(text: str) -> str:
    r"""The kernel writes a space as \040, and so on."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
