"""The kernel's command line: what it was booted with, and what a boot loader will give it."""

import re
from collections.abc import Iterable

from vinfra.model.question import ReadFile

RUNNING = ReadFile("/proc/cmdline")
MENU = ReadFile("/boot/grub/grub.cfg", limit=1 << 20)


def word(name: str, value: str) -> str:
    """An argument as it stands on the command line; a bare flag has no value."""
    return f"{name}={value}" if value else name


def given(line: str, name: str, value: str) -> bool:
    """Whether a command line has this argument with this value, for example /proc/cmdline: then no boot is due."""
    return word(name, value) in line.split()


LINUX = re.compile(r"^### BEGIN /etc/grub\.d/10_linux\w* ###$(.*?)^### END ", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^\s*linux(?:16|efi)?\s+\S+(.*)$", re.MULTILINE)


def menu(text: str) -> list[str]:
    """The command lines of the entries of GRUB's menu for this system's kernels.

    Others are there too, such as those of memtest86+ or of another system: they get no argument of ours.
    """
    found = ENTRY.findall("".join(LINUX.findall(text))) or ENTRY.findall(text)
    return [line.strip() for line in found]


def in_all(lines: Iterable[str], name: str, value: str) -> bool:
    """Whether each of some command lines has it; False of none."""
    found = list(lines)
    return bool(found) and all(given(line, name, value) for line in found)
