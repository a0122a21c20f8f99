"""Facts: the kernel's command line and modules, and whether another kernel waits for a reboot."""

import re
from typing import Any

from vinfra.kinds.host.facts.system import UNAME
from vinfra.kinds.host.facts.told import MOST, Told
from vinfra.model.fact import FLAG, TEXT, TEXTS, Fact

COMMAND_LINE, MODULES = "/proc/cmdline", "/proc/modules"
REQUIRED, PACKAGES = "/run/reboot-required", "/run/reboot-required.pkgs"
IMAGES = ("/boot/vmlinuz-*", "/lib/modules/*/vmlinuz")
FILES = (COMMAND_LINE, MODULES, PACKAGES)
NAMES = (REQUIRED, *IMAGES)

FACTS = (
    Fact("command_line", TEXT, "What the boot loader told the kernel.", "root=/dev/vda1 ro intel_iommu=on quiet"),
    Fact(
        "kernel_arguments.ARGUMENT",
        TEXT,
        "The same by name: the last value of each, empty for a bare word.",
        "on",
    ),
    Fact("kernel_modules", TEXTS, f"The modules that are loaded, at most {MOST}; what is built in is not.", ["bridge"]),
    Fact("kernels", TEXTS, "The kernels that are installed, newest first.", ["6.1.0-21-amd64", "6.1.0-18-amd64"]),
    Fact(
        "reboot.required",
        FLAG,
        "Whether a reboot is due: a package asked for it, or a newer kernel is installed beside the one that runs. "
        "True or False, never unknown; in a container only packages count.",
        True,
    ),
    Fact("reboot.kernel", TEXT, "The newer kernel that waits.", "6.1.0-21-amd64"),
    Fact("reboot.packages", TEXTS, "The packages that asked for it.", ["linux-image-6.1.0-21-amd64"]),
)


def read(told: Told) -> dict[str, Any]:
    """What runs, and what would after a reboot."""
    tree, words = told.tree, told.said(UNAME).split()
    running = words[1] if len(words) == 3 else ""
    images = [path for pattern in IMAGES for path in tree.under(pattern)]
    found = {path.split("/")[3] if path.startswith("/lib/") else path.partition("vmlinuz-")[2] for path in images}
    kernels = sorted(filter(_is_release, found), key=version, reverse=True)[:MOST]
    newer = kernels[0] if running in kernels and kernels[0] != running else None
    packages = sorted(set(tree.text(PACKAGES).split()))
    modules = sorted(line.split()[0] for line in tree.text(MODULES).splitlines() if line.split())
    return {
        "command_line": tree.text(COMMAND_LINE) or None,
        "kernel_arguments": told.kernel_arguments or None,
        "kernel_modules": modules if MODULES in tree.files else None,
        "kernels": kernels or None,
        "reboot": {
            "required": REQUIRED in tree.names or newer is not None,
            "kernel": newer,
            "packages": packages or None,
        },
    }


def _is_release(name: str) -> bool:
    """Not a rescue image, nor what a package manager put aside."""
    return name[:1].isdigit() and "rescue" not in name and not name.endswith((".old", ".bak", ".dpkg-new", ".dpkg-tmp"))


def version(release: str) -> list[tuple[int, int, str]]:
    """What orders releases: numbers by size, words by the alphabet and before numbers (6.1-rc1 before 6.1-1)."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"[0-9]+|[a-z]+", release)]
