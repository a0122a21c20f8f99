"""A Debian image with cloud-init for the lab's hypervisors: what a distribution's own cloud image does, at first boot.

It boots by GRUB, from a BIOS, takes a NoCloud seed from any disk, and has QEMU's guest agent. Where QEMU must emulate
it takes about a minute until it answers; the tiny guest (`guest`) takes six seconds, and has no cloud-init.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from vinfra.errors import VinfraError
from vinfra.lab import emulator, folders, mmdebstrap, prerequisites, sources
from vinfra.lab.guest import Image

PACKAGES = (
    *("linux-image-cloud-amd64", "initramfs-tools", "zstd", "grub-pc", "systemd-sysv", "dbus", "udev", "kmod"),
    *("cloud-init", "cloud-guest-utils", "openssh-server", "sudo", "qemu-guest-agent", "python3-minimal"),
    *("iproute2", "ifupdown", "isc-dhcp-client", "netbase", "e2fsprogs", "ca-certificates"),
)
_FILES = Path(__file__).with_name("cloud")
_DISK = Path(__file__).with_name("whole") / "disk.sh"
_EXCLUDED = ("doc", "man", "locale", "info")
#: Before the first package is set up: a small initrd, and no question which disk GRUB is to go on.
_FIRST = (
    'mkdir -p "$1/etc/initramfs-tools/conf.d"',
    'printf "MODULES=list\\nCOMPRESS=zstd\\n" >"$1/etc/initramfs-tools/conf.d/lab"',
    'printf "virtio_pci\\nvirtio_blk\\nvirtio_scsi\\nsd_mod\\next4\\nisofs\\n" >"$1/etc/initramfs-tools/modules"',
    'echo "grub-pc grub-pc/install_devices_empty boolean true" | chroot "$1" debconf-set-selections',
)
Progress = Callable[[str], None]


def image(suite: str = "bookworm", progress: Progress = lambda line: None) -> Image:
    """The image of a Debian suite, from the cache or built now (about a minute)."""
    tools = emulator.tools(progress)
    found = sources.debian(suite)
    files = [file.read_text() for file in (*sorted(_FILES.iterdir()), _DISK)]
    recipe = hashlib.sha256(repr((PACKAGES, found, files, _FIRST)).encode()).hexdigest()[:12]
    path = folders.cache() / "guest" / f"cloud-{suite}-{recipe}.qcow2"
    with folders.locked(path.with_suffix(".lock")):
        if not path.exists():
            prerequisites.check()
            progress(f"building an image of Debian {suite} with cloud-init (once; about a minute)")
            _build(path, suite, found, tools, progress)
    with path.open("rb") as content:
        return Image(path, hashlib.file_digest(content, "sha256").hexdigest())


def _build(
    path: Path, suite: str, found: tuple[sources.Source, ...], tools: emulator.Tools, progress: Progress
) -> None:
    options = ["--variant=minbase", "--skip=cleanup/reproducible", "--dpkgopt=force-unsafe-io"]
    options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _EXCLUDED]
    options += [f"--essential-hook={'; '.join(_FIRST)}", f'--customize-hook=sh {_FILES / "customise.sh"} "$1"']
    with mmdebstrap.workplace() as work:
        tree, raw, packed = work / "tree", work / "disk.qcow2", work / "packed.qcow2"
        mmdebstrap.run(suite, tree, found, PACKAGES, progress, *options)
        progress("making the disk")
        arguments = ["bash", str(_DISK), str(tools.folder), str(tree), str(raw)]
        run = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if run.returncode:
            raise VinfraError("the image's disk could not be made", "\n  ".join(run.stderr.splitlines()[-8:]))
        tools.run("usr/bin/qemu-img", "convert", "-c", "-O", "qcow2", str(raw), str(packed))
        draft = path.with_name(f".{path.name}")
        shutil.copyfile(packed, draft)
        draft.replace(path)
