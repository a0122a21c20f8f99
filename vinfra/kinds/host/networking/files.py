"""The files of a host that say something of its interfaces, line by line, whoever manages networks there."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from vinfra.kinds.host.networking.running import Link
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec, Question

FOLDERS = (
    "/etc/network/interfaces",
    "/etc/network/interfaces.d",
    "/etc/netplan",
    "/etc/systemd/network",
    "/etc/NetworkManager/system-connections",
)
# Keys and passwords of wireless networks and tunnels stay where they are.
SECRETS = "psk|pass|secret|key|[^a-z]pin[^a-z]"
LINES = Exec(("grep", "-RnHivE", "-e", SECRETS, "--", *FOLDERS))
OURS = re.compile(r".*/(80-vinfra-|90-vinfra-|vinfra-)[^/]+(\.d/[^/]+)?")
KEPT = "/var/lib/vinfra/former"


class Line(NamedTuple):
    """One line of a file, counted from 1."""

    path: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number}"


Lines = Mapping[str, tuple[Line, ...]]


def ask() -> Iterable[Question]:
    """All of them at once; grep writes nothing, and leaves out what is secret."""
    return (LINES,)


def read(answers: Answers) -> Lines | Unknown:
    """Each file's lines. A folder that is not there is none."""
    raw = answers.get(LINES)
    if raw is None or raw.returncode not in (0, 1, 2):
        return Unknown(f"cannot read {FOLDERS[0]} and the like: {raw.err.strip() if raw else 'no answer'}")
    denied = [line for line in raw.err.splitlines() if "ermission denied" in line]
    if denied:
        return Unknown(denied[0])
    found: dict[str, list[Line]] = {}
    for line in raw.text.splitlines():
        if told := re.fullmatch(r"(/.+?):([0-9]+):(.*)", line):
            found.setdefault(told[1], []).append(Line(told[1], int(told[2]), told[3]))
    return {path: tuple(lines) for path, lines in found.items()}


def others(lines: Lines, folder: str, ending: str = "") -> Iterator[tuple[str, tuple[Line, ...]]]:
    """The files of a folder that are not ours, as they are read."""
    for path in sorted(lines):
        if path.startswith(folder) and path.endswith(ending) and not OURS.fullmatch(path):
            yield path, lines[path]


def named(pattern: str, name: str, link: Link | None, mac: str = "") -> bool:
    """Whether a file's words for an interface (white space between, `*` for anything, `!` for all others) fit one."""
    words = pattern.split()
    if mac:
        return link is not None and link.mac in (word.lower() for word in words)
    inverted = bool(words) and words[0].startswith("!")
    fits = any(_glob(word.lstrip("!"), name) for word in words)
    return fits is not inverted if words else False


def _glob(word: str, name: str) -> bool:
    parts = (re.escape(part) for part in re.split(r"(\*|\?)", word))
    pattern = "".join({"\\*": ".*", "\\?": "."}.get(part, part) for part in parts)
    return re.fullmatch(pattern, name) is not None


def kept(path: str) -> str:
    """Where the copy of a file goes that was not ours."""
    return f"{KEPT}/{path.strip('/').replace('/', '-')}"


def commented(text: str, numbers: Iterable[int]) -> str:
    """A text with these of its lines made comments."""
    gone = set(numbers)
    lines = text.splitlines()
    return "".join(f"{'#vinfra# ' if number in gone else ''}{line}\n" for number, line in enumerate(lines, 1))
