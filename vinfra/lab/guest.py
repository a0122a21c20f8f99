"""A tiny guest for the lab's hypervisors: one disk image that boots in seconds, even where QEMU must emulate.

Debian's cloud kernel with busybox and dropbear, on a disk that starts from a BIOS, or from EFI firmware that has a
shell. Of a NoCloud seed (a disk or CD-ROM whose file system is called cidata) it takes the host name and root's SSH
keys; it asks for an address by DHCP, shows its SSH host key on the serial console as cloud-init does, keeps what is
written over a reboot, and heeds the power button. It has no AHCI driver, as no Debian cloud kernel has: its disks are
virtio, SCSI or IDE.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vinfra.errors import VinfraError
from vinfra.lab import folders, mmdebstrap, prerequisites, sources

SUITE = "bookworm"
#: What is in the image, and the tools that make it. They are unpacked into a folder; none is installed.
PACKAGES = (
    *(
        "linux-image-cloud-amd64",
        "busybox-static",
        "dropbear-bin",
        "libc-bin",
        "coreutils",
        "cpio",
        "dash",
        "e2fsprogs",
    ),
    *("fdisk", "kmod", "mtools", "qemu-utils", "syslinux", "syslinux-common", "zstd"),
)
_FILES = Path(__file__).with_name("tiny")


@dataclass(frozen=True, slots=True)
class Image:
    """A disk image in qcow2 format. `sha256` is the file's; the same packages give the same file."""

    path: Path
    sha256: str


def image(progress: Callable[[str], None] = lambda line: None) -> Image:
    """The guest's disk image, from the cache or built now. It is built anew only when its recipe is another one."""
    path = folders.cache() / "guest" / f"tiny-{_recipe()}.qcow2"
    with folders.locked(path.with_suffix(".lock")):
        if not path.exists():
            prerequisites.check()
            progress("building the lab's guest image (once; about ten seconds)")
            _build(path, progress)
    with path.open("rb") as content:
        return Image(path, hashlib.file_digest(content, "sha256").hexdigest())


def _recipe() -> str:
    files = [(file.name, file.read_text()) for file in sorted(_FILES.iterdir())]
    return hashlib.sha256(repr((SUITE, PACKAGES, files)).encode()).hexdigest()[:12]


def _build(path: Path, progress: Callable[[str], None]) -> None:
    with mmdebstrap.workplace() as work:
        tree = work / "tree"
        mmdebstrap.run(SUITE, tree, sources.debian(SUITE), PACKAGES, progress, "--variant=extract")
        progress("making the disk")
        arguments = ["unshare", "--mount", "bash", str(_FILES / "build.sh"), str(tree)]
        run = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if run.returncode:
            raise VinfraError("the guest's disk could not be made", "\n  ".join(run.stderr.splitlines()[-8:]))
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.copyfile(tree / "disk.qcow2", draft)
        draft.replace(path)
