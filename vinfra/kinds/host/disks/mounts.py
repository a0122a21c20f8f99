"""What is mounted where, and what a mount point's source means on a host."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from posixpath import join, relpath

from vinfra.kinds.host.disks import devices
from vinfra.kinds.host.disks import names as naming
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec

TABLE = Exec(("findmnt", "-J", "-l", "-o", "TARGET,SOURCE,FSTYPE,OPTIONS,MAJ:MIN,FSROOT"))
TAGS = ("UUID", "LABEL", "PARTUUID", "PARTLABEL")

# Flags that the kernel shows of each mount, with what takes them back. Other options are the file system's own words.
OPPOSITE = {
    **{"ro": "rw", "nosuid": "suid", "nodev": "dev", "noexec": "exec", "noatime": "relatime"},
    **{"nodiratime": "diratime", "sync": "async", "dirsync": "async"},
}


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount. `root` is the folder of the file system that is seen there; `number` is that of its device."""

    target: str
    source: str
    type: str
    options: tuple[str, ...]
    number: str
    root: str


def read(answers: Answers) -> tuple[Mount, ...] | Unknown:
    """Every mount, those below others first."""
    raw = answers.get(TABLE)
    if raw is None or not raw.ok:
        return Unknown(f"findmnt: {' '.join(raw.err.split()) if raw else 'not asked yet'}")
    try:
        return tuple(
            Mount(
                row["target"],
                row["source"] or "",
                row["fstype"] or "",
                tuple((row["options"] or "").split(",")),
                (row["maj:min"] or "").strip(),
                row["fsroot"] or "/",
            )
            for row in json.loads(raw.text)["filesystems"]
        )
    except (ValueError, KeyError, TypeError) as error:
        return Unknown(f"findmnt's answer cannot be read: {type(error).__name__}")


def _resolving(names: Iterable[str]) -> Exec:
    return Exec(("realpath", "-m", "--", *sorted(set(names))))


def ask_resolved(names: Iterable[str]) -> Iterator[Exec]:
    """Where each path leads once no symbolic link is left in it."""
    if known := sorted(set(names)):
        yield _resolving(known)


def resolved(names: Iterable[str], answers: Answers) -> dict[str, str]:
    """The same as the kernel's table has them; a path that nobody resolves stays as it is."""
    known = sorted(set(names))
    raw = answers.get(_resolving(known))
    lines = raw.text.splitlines() if raw is not None and raw.ok else []
    return dict(zip(known, lines if len(lines) == len(known) else known, strict=True))


def at(target: str, mounts: Sequence[Mount]) -> Mount | None:
    """What is seen at a mount point: the last of those that were mounted there."""
    return next((mount for mount in reversed(mounts) if mount.target == target), None)


def above(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that a path is in."""
    inside = [mount for mount in mounts if mount.target == "/" or f"{path}/".startswith(f"{mount.target}/")]
    return max(reversed(inside), key=lambda mount: len(mount.target), default=None)


def tag(source: str) -> tuple[str, str]:
    """`UUID=…` as its two halves; two empty ones for what is none."""
    key, equals, value = source.partition("=")
    return (key, value.strip('"')) if equals and key in TAGS else ("", "")


def same(
    source: str,
    bind: bool,
    mount: Mount,
    mounts: Sequence[Mount],
    looks: Mapping[str, devices.Look],
    tree: Iterable[devices.Device],
) -> bool:
    """Whether what is mounted is what a source means; what cannot be told is taken to be so."""
    if bind:
        outer = above(source, [one for one in mounts if one.target != mount.target])
        if outer is None:
            return True
        inner = source if outer.target == "/" else "/" + relpath(source, outer.target)
        root = join(outer.root, inner.lstrip("/")).removesuffix("/.").rstrip("/") or "/"
        return (outer.number, root) == (mount.number, mount.root.rstrip("/") or "/")
    behind = re.sub(r"\[.*\]$", "", mount.source)
    known = {device.path: device for device in devices.flat(tree)}
    device = known.get(behind) or next((one for one in known.values() if one.number == mount.number), None)
    key, value = tag(source)
    if key:
        own = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "partuuid"}.get(key, "")
        found = getattr(device, own, "") if device and own else ""
        return not found or found == value
    if source in looks:
        look = looks[source]
        return look.device is not None and device is not None and look.device.number == device.number
    return behind.rstrip("/") == source.rstrip("/") or naming.canonical(behind) == naming.canonical(source)


def adjusting(live: Sequence[str], wish: Sequence[str]) -> tuple[str, ...]:
    """Those among the wished options that a mount does not have, as far as the kernel shows it."""
    shown = frozenset(live)
    opposites = {back: flag for flag, back in OPPOSITE.items() if back not in ("relatime", "async")}
    return tuple(
        option
        for option in wish
        if (option in OPPOSITE and option not in shown) or (option in opposites and opposites[option] in shown)
    )


def dropped(live: Sequence[str], wish: Sequence[str]) -> tuple[str, ...]:
    """What takes back the flags that a mount has and nobody wishes for any more."""
    return tuple(OPPOSITE[flag] for flag in live if flag in OPPOSITE and flag not in wish)
