"""Block devices as a host has them: the tree of all, and what is on those that a blueprint names.

lsblk tells sizes, mounts and who stands on whom; of what is on a device it repeats what udev noted, which can be old or
nothing at all. So each device that is named is also looked at itself: blkid's low-level probing for signatures, and
whether its first 4 KiB are empty, for not everything that somebody needs has a signature.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vinfra.kinds.host.disks.names import spelled
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec

_COLUMNS = "NAME,KNAME,PATH,MAJ:MIN,TYPE,SIZE,RO,FSTYPE,LABEL,UUID,PARTUUID,PTTYPE,MOUNTPOINTS,FSSIZE,FSUSED,SERIAL"
TREE = Exec(("lsblk", "-J", "-b", "-o", _COLUMNS))
FIRST = "4096"
SAME, DIFFERENT = 0, 1
NOTHING, SEVERAL, NO_PROGRAM = 2, 8, 127
TABLES = {"dos": "a DOS partition table", "gpt": "a GPT partition table"}


@dataclass(frozen=True, slots=True)
class Device:
    """A block device; `node` is the kernel's own name for it. `children` stand on it: partitions, volumes, arrays.

    `room` and `used` are those of its file system while it is mounted.
    """

    path: str
    node: str
    number: str
    sort: str
    size: int
    readonly: bool = False
    type: str = ""
    label: str = ""
    uuid: str = ""
    partuuid: str = ""
    mounted: tuple[str, ...] = ()
    room: int | None = None
    used: int | None = None
    serial: str = ""
    children: tuple["Device", ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a name. `problem` says why it is no device that could be used; "" if it is one.

    `signature` is what blkid found (TYPE, LABEL, UUID, PTTYPE), `blank` whether the first bytes are all zero.
    """

    name: str
    device: Device | None = None
    signature: Mapping[str, str] | None = None
    blank: bool = False
    problem: str = ""

    @property
    def type(self) -> str:
        """The file system, or whatever else has a signature on it; "" for nothing."""
        return (self.signature or {}).get("TYPE", "")


def _number(name: Iterable[str]) -> Exec | None:
    known = sorted(set(name))
    return Exec(("stat", "-L", "-c", "%F:%t:%T:%n", "--", *known)) if known else None


def _signature(name: str) -> Exec:
    return Exec(("blkid", "-p", "-o", "export", "--", name))


def _first(name: str) -> Exec:
    return Exec(("cmp", "-n", FIRST, "--", name, "/dev/zero"))


def ask_numbers(names: Iterable[str]) -> Iterator[Exec]:
    """Which device each name is."""
    if number := _number(names):
        yield number


def ask(names: Iterable[str]) -> Iterator[Exec]:
    """The tree of all, and a look at each of the named ones."""
    known = sorted(set(names))
    yield TREE
    yield from ask_numbers(known)
    for name in known:
        yield from (_signature(name), _first(name))


def tree(answers: Answers) -> tuple[Device, ...] | Unknown:
    """Every device of the host, each with what stands on it."""
    raw = answers.get(TREE)
    if raw is None or not raw.ok:
        return Unknown(f"lsblk: {' '.join(raw.err.split()) if raw else 'not asked yet'}")
    try:
        return tuple(map(_device, json.loads(raw.text or "{}").get("blockdevices", ())))
    except (ValueError, KeyError, TypeError) as error:
        return Unknown(f"lsblk's answer cannot be read: {type(error).__name__}")


def _device(told: Mapping[str, Any]) -> Device:
    texts = {key: str(told.get(key) or "") for key in ("label", "uuid", "partuuid", "serial", "type")}
    return Device(
        path=told["path"],
        node=f"/dev/{told['kname']}",
        number=told["maj:min"].strip(),
        sort=texts["type"],
        size=int(told["size"] or 0),
        readonly=str(told.get("ro")).lower() in ("true", "1"),
        type=str(told.get("fstype") or ""),
        label=texts["label"],
        uuid=texts["uuid"],
        partuuid=texts["partuuid"],
        mounted=tuple(filter(None, told.get("mountpoints") or ())),
        room=int(told["fssize"]) if told.get("fssize") else None,
        used=int(told["fsused"]) if told.get("fsused") else None,
        serial=texts["serial"],
        children=tuple(map(_device, told.get("children", ()))),
    )


def flat(devices: Iterable[Device]) -> Iterator[Device]:
    """All of them, those below as well."""
    for device in devices:
        yield device
        yield from flat(device.children)


def look(names: Iterable[str], answers: Answers) -> dict[str, Look | Unknown]:
    """What is known of each name."""
    known = sorted(set(names))
    found = tree(answers)
    if isinstance(found, Unknown):
        return dict.fromkeys(known, found)
    by_number = {device.number: device for device in flat(found)}
    told = numbers(known, answers)
    return {name: _look(name, told[name], by_number, answers) for name in known}


def numbers(names: Iterable[str], answers: Answers) -> dict[str, str | Unknown]:
    """Major and minor of each; "" where there is nothing, "-" for what is no block device."""
    known = sorted(set(names))
    question = _number(known)
    raw = answers.get(question) if question else None
    if raw is None:
        return dict.fromkeys(known, Unknown("not asked yet"))
    found: dict[str, str | Unknown] = {}
    for line in raw.text.splitlines():
        sort, major, minor, name = (*line.split(":", 3), "", "", "")[:4]
        block = sort == "block special file"
        found[name] = f"{int(major, 16)}:{int(minor, 16)}" if block else "-"
    gone = {name for name in known for line in raw.err.splitlines() if f"'{name}': No such file" in line}
    return {name: found.get(name, "" if name in gone else Unknown(f"stat: {raw.err.strip()}")) for name in known}


def _look(name: str, number: str | Unknown, devices: Mapping[str, Device], answers: Answers) -> Look | Unknown:
    if isinstance(number, Unknown):
        return number
    if number in ("", "-") or number not in devices:
        said = {"": "there is no such device", "-": "it is no block device"}.get(number, "lsblk does not know it")
        return Look(name, problem=f"{name}: {said}")
    signature, first = answers.get(_signature(name)), answers.get(_first(name))
    if signature is None or first is None:
        return Unknown("not asked yet")
    if first.returncode not in (SAME, DIFFERENT):
        return Unknown(f"{name} cannot be read: {first.err.strip() or f'cmp ended with {first.returncode}'}")
    if signature.returncode not in (0, NOTHING, SEVERAL):
        return Unknown(f"{name} cannot be looked at: blkid ended with {signature.returncode}: {signature.err.strip()}")
    return Look(name, devices[number], _parsed(signature.returncode, signature.text), first.returncode == SAME)


def _parsed(status: int, text: str) -> dict[str, str]:
    if status == SEVERAL:
        return {"TYPE": "signatures of several things"}
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key: _unescaped(value) for key, value in pairs}


def _unescaped(value: str) -> str:
    """blkid's export puts a backslash before what a shell would read."""
    return value.replace("\\", "")


def content(look: Look) -> str:
    """What is on a device, in words that finish "it …"; "" when it is empty and nobody uses it."""
    device, signature = look.device, look.signature or {}
    if device is None:
        return ""
    used = f", {spelled(device.used)} used" if device.used is not None else ""
    mounted = f", mounted on {', '.join(device.mounted)}" if device.mounted else ""
    if look.type:
        label = f" labelled {signature['LABEL']}" if signature.get("LABEL") else ""
        return f"holds {look.type}{label}{used}{mounted}"
    below = ", ".join(child.path for child in device.children)
    if table := signature.get("PTTYPE"):
        return f"holds {TABLES.get(table, f'a partition table ({table})')}" + (f" with {below}" if below else "")
    if below:
        return f"is used by {below}"
    if mounted:
        return f"is{mounted.removeprefix(',')}"
    if device.readonly:
        return "is read-only"
    if not look.blank:
        return "holds something: its first 4KiB are not empty, though no signature is known"
    return ""


def objection(look: Look) -> str:
    """Why a device cannot be made into something: what is on it, and what to do; "" when it can."""
    if look.problem:
        return look.problem
    if not (what := content(look)):
        return ""
    name, device = look.name, look.device
    wipe = f"if all of that may go, wipefs -a {name} and then dd if=/dev/zero of={name} bs=4096 count=1"
    busy = what == "is read-only" or (device is not None and (device.mounted or device.children))
    return f"{name} {what}; " + ("take another one" if busy else wipe)
