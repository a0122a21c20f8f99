"""What a backup of a machine says of itself: `manifest.json` in its folder."""

import json
import re
from dataclasses import asdict, dataclass, fields
from hashlib import sha256

MANIFEST = "manifest.json"
DEFINITION = "domain.xml"
NVRAM = "nvram"
VERSION = 1


@dataclass(frozen=True, slots=True)
class SavedDisk:
    """A disk: where it was (`pool`, `volume`, `path`, `format`), and the `file` that holds all of it now.

    `stored` is how that file is written, `size` and `sha256` are its own; `capacity` is how many bytes the machine
    sees, `backing` what it stood on; the file stands on nothing.
    """

    target: str
    file: str
    stored: str
    sha256: str
    size: int
    pool: str
    volume: str
    path: str
    format: str
    capacity: int
    backing: str = ""


@dataclass(frozen=True, slots=True)
class Backup:
    """One machine at one moment. `how`: running, frozen (running, its file systems at rest) or stopped.

    `definition` and `nvram` are the SHA-256 of the files of that name; `marks` are the lines that say whose it is.
    `notes` is what is not in it.
    """

    machine: str
    host: str
    time: str
    vinfra: str
    how: str
    autostart: bool
    disks: tuple[SavedDisk, ...]
    definition: str
    nvram: str = ""
    blueprint: str = ""
    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    version: int = VERSION

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each file, by its name."""
        named = {DEFINITION: self.definition, **({NVRAM: self.nvram} if self.nvram else {})}
        return {**named, **{disk.file: disk.sha256 for disk in self.disks}}

    def text(self) -> str:
        """As it is written: with a sum of its own, as it says what the other sums are."""
        body = asdict(self)
        return json.dumps({"sha256": _sum(body), "backup": body}, indent=2) + "\n"


def _sum(body: object) -> str:
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def parse(text: str) -> Backup:
    """A manifest read back. Raises ValueError for what is none, or one of a newer vinfra."""
    whole = json.loads(text)
    data = whole.get("backup") if type(whole) is dict else None
    if type(data) is not dict or type(data.get("version")) is not int:
        raise ValueError("it is not one of vinfra's")
    if whole.get("sha256") != _sum(data):
        raise ValueError("it is not as it was written")
    if data["version"] > VERSION:
        raise ValueError(f"it was written by a newer vinfra ({data.get('vinfra')})")
    try:
        disks = tuple(SavedDisk(**disk) for disk in data.pop("disks"))
        marks, notes = (tuple(map(str, data.pop(name))) for name in ("marks", "notes"))
        found = Backup(disks=disks, marks=marks, notes=notes, **data)
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from error
    parts: tuple[Backup | SavedDisk, ...] = (found, *disks)
    for one in parts:
        for field in fields(one):
            value = getattr(one, field.name)
            if field.type in (str, int, bool) and type(value) is not field.type:
                raise ValueError(f"{field.name} is {value!r}")
    names = [*found.files]
    if len(names) < len(disks) + 1 or not all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names):
        raise ValueError("a file in it has no name of its own")
    return found
