"""What of swap areas is in use, what a swap file is, and how one is taken into use and out of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vinfra.kinds.compare import changed
from vinfra.kinds.host.disks import fstab, scripts
from vinfra.kinds.host.files import paths
from vinfra.model import spec as shape
from vinfra.model.answer import Unknown
from vinfra.model.change import FieldChange
from vinfra.model.kind import Answers
from vinfra.model.question import Exec as Ask
from vinfra.model.question import ReadFile
from vinfra.model.step import Exec, Step

AREAS, MEMORY = ReadFile("/proc/swaps"), ReadFile("/proc/meminfo")
QUESTIONS = (AREAS, MEMORY, fstab.QUESTION)
PAGE = 4096
SMALLEST = 1 << 20
HIGHEST = 32767  # SWAP_FLAG_PRIO_MASK of swapon(2)
TIMEOUT = 1800.0  # what is in it is read back


class Wish(Protocol):
    """What is wished for of a swap area."""

    @property
    def size(self) -> int | None: ...
    @property
    def priority(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Area:
    """A swap area in use: its priority, and how many bytes are in it."""

    priority: int
    used: int


@dataclass(frozen=True, slots=True)
class Used:
    """All that are in use, by the kernel's name, and how much memory is free for what is in them."""

    areas: Mapping[str, Area]
    available: int


@dataclass(frozen=True, slots=True)
class File:
    """Something at a path; `type` is `swap` for a swap area."""

    size: int
    type: str


def read(answers: Answers) -> Used | Unknown:
    """What /proc says."""
    areas, memory = answers.get(AREAS), answers.get(MEMORY)
    if areas is None or memory is None or not memory.ok or areas.returncode not in (0, fstab.NO_SUCH_FILE):
        return Unknown("cannot read /proc/swaps and /proc/meminfo")
    found = {}
    for line in areas.text.splitlines()[1:]:
        name, _, _, used, priority = line.rsplit(None, 4)
        found[name.replace("\\040", " ")] = Area(int(priority), int(used) << 10)
    free = next((line.split()[1] for line in memory.text.splitlines() if line.startswith("MemAvailable:")), "0")
    return Used(found, int(free) << 10)


def _signature(name: str) -> Ask:
    return Ask(("blkid", "-p", "-o", "export", "--", name))


def ask_files(names: Iterable[str]) -> Iterator[Ask]:
    """What stands at each path that is no device's."""
    known = sorted(name for name in names if not name.startswith("/dev/"))
    yield from paths.ask(known)
    yield from map(_signature, known)


def files(names: Iterable[str], answers: Answers) -> dict[str, File | Unknown | None]:
    """What is known of each path; None where nothing is."""
    known = [name for name in names if not name.startswith("/dev/")]
    found: dict[str, File | Unknown | None] = {}
    for name, there in paths.read(known, answers).items():
        if isinstance(there, paths.Found):
            raw = answers.get(_signature(name))
            is_swap = raw is not None and "TYPE=swap" in raw.text.splitlines() and there.sort == "file"
            found[name] = File(there.size, "swap" if is_swap else there.sort)
        else:
            found[name] = there if isinstance(there, Unknown) else None
    return found


def whole(size: int) -> int:
    """A size in whole pages."""
    return -(-size // PAGE) * PAGE


def entry(name: str, priority: int | None) -> fstab.Entry:
    """Its line; a host boots without it."""
    options = ("sw", "nofail", *((f"pri={priority}",) if priority is not None else ()))
    return fstab.Entry("", name, "none", "swap", options, 0, 0)


def options(one: fstab.Entry) -> frozenset[str]:
    """What counts of a line's options."""
    return frozenset(one.options) - {"sw", "defaults", "nofail"}


def differences(
    spec: type[shape.Spec], name: str, wish: Wish, actual: Wish | None, notes: Mapping[str, Any]
) -> list[FieldChange]:
    """The fields that differ, and whether it is in use now and at boot."""
    found: dict[str, tuple[Any, Any]] = {}
    area: Area | None = notes["area"]
    line: fstab.Entry | None = notes["entry"]
    if wish.size is not None and (actual is None or actual.size != whole(wish.size)):
        found["size"] = (actual.size if actual else None, wish.size)
    at_boot = line is not None and options(line) == options(entry(name, wish.priority))
    now = area.priority if area else None
    if wish.priority is not None and (actual is None or (area is not None and now != wish.priority)):
        found["priority"] = (now, wish.priority)
    changes = [changed(spec, key, *pair) for key, pair in found.items()]
    changes += [FieldChange("active", False, True)] if area is None else []
    return [*changes, *([FieldChange("boot", line is not None, True)] if not at_boot else [])]


def use(name: str, priority: int | None) -> Step:
    """Take it into use."""
    how = ("-p", str(priority)) if priority is not None else ()
    return Step(f"swap to {name}", (Exec(("swapon", *how, "--", name)),))


def stop(name: str) -> Step:
    """Take it out of use, if it is in use."""
    return Step(f"stop swapping to {name}", (scripts.run(scripts.SWAP_OFF, name),), timeout=TIMEOUT)


def removal(name: str, notes: Mapping[str, Any], *, there: bool) -> list[Step]:
    """Out of use, out of the table, and the file itself."""
    found = [stop(name)] if notes["area"] else []
    found += [fstab.edit(f"swap {name}", notes["entry"], None)] if notes["entry"] is not None else []
    if there and not name.startswith("/dev/"):
        found.append(Step(f"remove {name}", (scripts.run(scripts.SWAP_GONE, name),)))
    return found
