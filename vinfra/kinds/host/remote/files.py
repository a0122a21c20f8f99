"""sshd's files: who says what first."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from vinfra.kinds.host.remote import options
from vinfra.kinds.host.remote.options import CUMULATIVE
from vinfra.model.spec import Spec

MAIN, FOLDER = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d"
OWN = f"{FOLDER}/00-vinfra.conf"
PATTERN = f"{FOLDER}/*.conf"


class Said(NamedTuple):
    """One line that says something: where, of which option (in small letters), and what."""

    place: str
    name: str
    value: str


def names(listing: str) -> list[str]:
    """The files in the folder that sshd reads, in its order, ours left out."""
    found = sorted(line for line in listing.splitlines() if fnmatchcase(line, "*.conf"))
    return [f"{FOLDER}/{name}" for name in found if f"{FOLDER}/{name}" != OWN]


def includes(text: str) -> bool:
    """Whether sshd_config reads the folder."""
    return any(line.name == "include" and _reads(line.value) for line in _lines(MAIN, text))


def _reads(value: str) -> bool:
    return any(
        fnmatchcase(OWN, pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}") for pattern in _split(value)
    )


def _split(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()


def _lines(path: str, text: str) -> Iterator[Said]:
    """Its lines up to the first Match, after which they hold only for some."""
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*\S)", line)
        if not found:
            continue
        name, value = found[1].lower(), found[2].partition(" #")[0].strip()
        if name == "match":
            return
        yield Said(f"{path}:{number}", name, value)


def rivals(texts: Mapping[str, str], wanted: Iterable[str]) -> list[Said]:
    """The lines that win over ours, or count as well as ours, of these options (in small letters).

    `texts` are all files but ours, by path.
    """
    names = frozenset(wanted)
    before = True
    found: list[Said] = []
    for line in _lines(MAIN, texts.get(MAIN, "")):
        if line.name == "include" and _reads(line.value):
            before = False
        elif line.name in names and (before or line.name in CUMULATIVE):
            found.append(line)
    for path, text in texts.items():
        if path != MAIN:
            first = path < OWN
            found += [line for line in _lines(path, text) if line.name in names and (first or line.name in CUMULATIVE)]
    return found


def otherwise(desired: Spec, texts: Mapping[str, str]) -> str:
    """The first line that keeps something from coming out as declared, in a sentence; "" for none."""
    fields = {option.lower() for name, option in options.FIELDS.items() if getattr(desired, name) is not None}
    others = {name.lower(): str(value) for name, value in (getattr(desired, "options", None) or {}).items()}
    for line in rivals(texts, fields | (others.keys() - CUMULATIVE)):
        own = options.OF_OPTION.get(line.name)
        wish = options.words(own, getattr(desired, own)) if own else (others[line.name],)
        if line.name in CUMULATIVE:
            same = set(line.value.split()) <= set(wish)
        else:
            same = line.value.strip('"').lower() == wish[0].lower()
        if not same:
            return f"{line.place} says otherwise: {line.name} {line.value}; take it out there"
    return ""
