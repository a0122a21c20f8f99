"""The root filesystem all hosts share as their lowest layer: a small Debian, built once by mmdebstrap and kept."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vinfra.errors import VinfraError
from vinfra.lab import folders, mmdebstrap, sources

PACKAGES = (
    *("systemd-sysv", "dbus", "udev", "kmod", "procps", "openssh-server", "sudo", "python3-minimal"),
    *("iproute2", "iptables", "netbase", "curl", "ca-certificates", "less"),
)
#: Package lists inside it go stale; after this many seconds it is built anew, if the archive can be reached.
MAX_AGE = 7 * 86400
#: Where hosts find packages: a name of /etc/hosts, so that the lists inside stay valid whatever the lab's addresses.
MIRROR = "http://mirror"

_CUSTOMISE = Path(__file__).with_name("customise.sh")
_EXCLUDED = ("doc", "man", "locale", "info")


@dataclass(frozen=True, slots=True)
class Rootfs:
    """A finished root filesystem. `archives` are the addresses that /0, /1 … of the mirror stand for."""

    folder: Path
    archives: tuple[str, ...]

    @property
    def tree(self) -> Path:
        """The folder that becomes /."""
        return self.folder / "tree"


def ensure(suite: str, progress: Callable[[str], None]) -> Rootfs:
    """The root filesystem of a Debian suite, from the cache or built now."""
    found = sources.debian(suite)
    recipe = repr((PACKAGES, found, _CUSTOMISE.read_text()))
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    folder = folders.cache() / "rootfs" / f"{suite}-{digest}"
    with folders.locked(folder.with_suffix(".lock")):
        existing = _read(folder)
        if existing and time.time() - (folder / "rootfs.json").stat().st_mtime < MAX_AGE:
            return existing
        progress(f"building a Debian {suite} root filesystem (once; about a minute)")
        try:
            return _build(folder, suite, found, progress)
        except VinfraError as error:
            if existing is None:
                raise
            progress(f"kept the older root filesystem: {error.message}")
            return existing


def _read(folder: Path) -> Rootfs | None:
    try:
        record = json.loads((folder / "rootfs.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Rootfs(folder, tuple(record["archives"]))


def _build(folder: Path, suite: str, found: tuple[sources.Source, ...], progress: Callable[[str], None]) -> Rootfs:
    archives = tuple(sorted({source.uri for source in found}))
    options = ["--variant=minbase", "--skip=cleanup/apt/lists,cleanup/reproducible", "--dpkgopt=force-unsafe-io"]
    options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _EXCLUDED]
    with mmdebstrap.workplace() as work:
        tree = work / "tree"
        mmdebstrap.run(suite, tree, found, PACKAGES, progress, *options, f'--customize-hook=sh {_CUSTOMISE} "$1"')
        point_to_mirror(tree, found, archives)
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        progress("storing it in the cache")
        subprocess.run(["/bin/cp", "-a", "--", str(tree), str(draft / "tree")], check=True)
    (draft / "rootfs.json").write_text(json.dumps({"suite": suite, "archives": archives}) + "\n")
    if folder.exists():
        # A running lab may stand on the old one: it is moved aside, and removed when no mount names it.
        _retire(folder)
    draft.rename(folder)
    return Rootfs(folder, archives)


def _retire(folder: Path) -> None:
    in_use = any(str(folder) in mounts for mounts in _mount_tables())
    folder.rename(folder.with_name(f".{folder.name}.old-{os.getpid()}"))
    if not in_use:
        for aside in folder.parent.glob(f".{folder.name}.old-*"):
            shutil.rmtree(aside, ignore_errors=True)


def _mount_tables() -> list[str]:
    tables = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            tables.append(path.read_text())
        except OSError:
            continue
    return tables


def point_to_mirror(tree: Path, found: tuple[sources.Source, ...], archives: tuple[str, ...]) -> None:
    """Give the tree the lab's mirror as its only source, and its downloaded lists the names that go with it."""
    lines = [f"deb {MIRROR}/{archives.index(source.uri)} {source.suite} main" for source in found]
    etc = tree / "etc/apt"
    (etc / "sources.list").write_text("\n".join(lines) + "\n")
    for leftover in (etc / "sources.list.d").glob("*"):
        leftover.unlink()
    lists = tree / "var/lib/apt/lists"
    for source in found:
        old = _list_prefix(source.uri)
        for path in lists.glob(f"{old}_dists_{source.suite}_*"):
            new = _list_prefix(f"{MIRROR}/{archives.index(source.uri)}")
            path.rename(lists / path.name.replace(old, new, 1))


def _list_prefix(uri: str) -> str:
    """How apt names the lists of an archive."""
    return uri.split("://", 1)[-1].replace("_", "%5f").replace("/", "_")
