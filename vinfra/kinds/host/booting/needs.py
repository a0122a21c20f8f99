"""Why a host should restart: it says so itself, or its next boot would take another kernel or other arguments."""

import re
from collections.abc import Iterator, Mapping
from functools import cmp_to_key
from itertools import zip_longest
from typing import Any

from vinfra.kinds.host.kernel import cmdline
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec, Question, ReadFile

# Debian's and Ubuntu's packages leave a word here when what they brought counts only after a restart; /run is empty
# after one.
REQUIRED = ReadFile("/run/reboot-required")
PACKAGES = ReadFile("/run/reboot-required.pkgs")
_LONG = ("ls", "-A", "-l", "--time=ctime", "--time-style=+%s", "--")
KERNELS = Exec((*_LONG, "/boot"))
# What a boot loader reads: where none of it changed since the host came up, another restart would change nothing.
LOADERS = Exec((*_LONG, "/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/loader/entries", "/etc/kernel/cmdline"))

# systemd-detect-virt(1): what runs in one of these has its host's kernel.
CONTAINERS = frozenset(
    {
        *("openvz", "lxc", "lxc-libvirt", "systemd-nspawn", "docker", "podman", "rkt", "wsl", "proot", "pouch"),
        "container-other",
    }
)
# Packages that count only after a restart: a change of one may make it due.
WEIGHTY = re.compile(
    r"package:(linux-image|linux-|kernel|proxmox-kernel|pve-kernel|.*microcode|libc6|glibc|systemd|dbus)"
)
ARGUMENT = "kernel_argument:"
MANY = 4


def ask(scope: Scope) -> Iterator[Question]:
    """All of it; the boot loader's menu only where this blueprint says something of it."""
    yield from (REQUIRED, PACKAGES, KERNELS, LOADERS)
    if any(reference.startswith(ARGUMENT) for reference in scope.siblings):
        yield from (cmdline.RUNNING, cmdline.MENU)


def reasons(scope: Scope, answers: Answers) -> Iterator[str]:
    """Why the host should restart now, in a few words each."""
    required, names = answers.get(REQUIRED), answers.get(PACKAGES)
    if required is not None and required.ok:
        told = list(dict.fromkeys(names.text.split())) if names is not None and names.ok else []
        more = f" and {len(told) - MANY} more" if len(told) > MANY else ""
        yield f"asked for by {', '.join(told[:MANY])}{more}" if told else "/run/reboot-required asks for it"
    if scope.facts.get("virtualization") in CONTAINERS:
        return
    booted = _booted(scope.facts)
    if (told_kernel := _kernel(scope.facts.get("kernel"), _listed(answers, KERNELS), booted)) is not None:
        yield told_kernel
    if max(_listed(answers, LOADERS).values(), default=0) > booted:
        yield from _arguments(scope, answers)


def coming(scope: Scope) -> list[str]:
    """What changes in this very plan, before this, and may make a restart due."""
    return sorted(
        ref for ref in scope.changing if ref.startswith(("kernel_argument:", "upgrade:")) or WEIGHTY.match(ref)
    )


def _booted(facts: Mapping[str, Any]) -> float:
    """When it came up, in seconds since 1970; the end of time when nobody knows, so that nothing came after it."""
    now, uptime = facts.get("now"), facts.get("uptime")
    return float(now) - float(uptime) if now is not None and uptime is not None else float("inf")


def _listed(answers: Answers, question: Exec) -> dict[str, int]:
    """What `ls -l` lists, each with when it came to be what it is; what is not there is on standard error."""
    raw = answers.get(question)
    found = {}
    for line in raw.text.splitlines() if raw is not None else ():
        parts = line.split(maxsplit=6)
        if len(parts) == 7 and parts[5].isdecimal():
            found[parts[6]] = int(parts[5])
    return found


def _kernel(running: str | None, files: Mapping[str, int], booted: float) -> str | None:
    """A kernel that was installed since this boot and that the next one would take.

    One that was there at this boot was left out by its boot loader, and would be once more.
    """
    kernels = {name.removeprefix("vmlinuz-"): time for name, time in files.items() if name.startswith("vmlinuz-")}
    if not running or running not in kernels:  # it came from elsewhere, and so will the next one
        return None
    alike = [name for name in kernels if flavour(name) == flavour(running)]
    newest = max(alike, key=cmp_to_key(compared))
    if kernels[newest] <= booted:
        return None
    if newest == running:
        return f"kernel {running} was replaced since it was booted"
    return f"kernel {newest} is installed, {running} runs"


def flavour(kernel: str) -> str:
    """`cloud-amd64` of `6.1.0-28-cloud-amd64`: a kernel of another sort is not a newer one."""
    parts = kernel.split("-")
    named = next((number for number, part in enumerate(parts) if not part[:1].isdigit()), len(parts))
    return "-".join(parts[named:])


def compared(one: str, other: str) -> int:
    """Which of two versions is newer (-1, 0, 1): digits as numbers, the rest as dpkg orders it (deb-version(7))."""
    parts = (re.findall(r"([^0-9]*)([0-9]*)", text) for text in (one, other))
    for left, right in zip_longest(*parts, fillvalue=("", "")):
        mine, theirs = ((_ordered(text), int(number or 0)) for text, number in (left, right))
        if mine != theirs:
            return -1 if mine < theirs else 1
    return 0


def _ordered(text: str) -> list[int]:
    """`~` before the end, the end before letters, letters before the rest."""
    ranks = [-1 if char == "~" else ord(char) if char.isalpha() else ord(char) + 256 for char in text]
    return [*ranks, 0]


def _arguments(scope: Scope, answers: Answers) -> Iterator[str]:
    """Kernel arguments of this blueprint that the next boot will have and this one has not, or the other way round."""
    running, told = (answers.get(question) for question in (cmdline.RUNNING, cmdline.MENU))
    if running is None or not running.ok or told is None or not told.ok or not (menu := cmdline.menu(told.text)):
        return
    for reference, resource in sorted(scope.siblings.items()):
        if not reference.startswith(ARGUMENT):
            continue
        name, value = reference.removeprefix(ARGUMENT), getattr(resource.desired, "value", None) or ""
        if resource.desired is None:
            if _has(running.text, name) and not any(_has(line, name) for line in menu):
                yield f"the kernel runs with {name}"
        elif cmdline.in_all(menu, name, value) and not cmdline.given(running.text, name, value):
            yield f"the kernel runs without {cmdline.word(name, value)}"


def _has(line: str, name: str) -> bool:
    return any(word.partition("=")[0] == name for word in line.split())
