"""What apt and dnf have as repositories: every line of their lists, read in one question, and what each entry means."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec

PLACES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/preferences.d", "/etc/yum.repos.d")
# Every line of every file: what is ours, what others configured, and all of it in one question.
LINES = Exec(("grep", "-rsaH", "", "--", *PLACES))
NO_PROGRAM = 127
YES = ("yes", "true", "with", "on", "enable", "1")  # apt's StringToBool and dnf's booleans
ONE_LINE = re.compile(r"(deb(?:-src)?)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One repository as some file has it: its fields by their names in lower case, as that format writes them."""

    path: str
    told: Mapping[str, str]
    section: str = ""
    places: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def words(self, name: str) -> tuple[str, ...] | None:
        """A field that is a list, None where it is not said."""
        value = self.told.get(name)
        return tuple(re.split(r"[\s,]+", value.strip())) if value and value.strip() else None

    def flag(self, name: str) -> bool | None:
        """A field that is yes or no."""
        value = self.told.get(name)
        return None if value is None else value.strip().lower() in YES


def files(answers: Answers) -> dict[str, str] | Unknown:
    """Every file among the lists, by its path. grep gives 2 where a folder is not there."""
    raw = answers.get(LINES)
    if raw is None or raw.returncode == NO_PROGRAM or (raw.returncode > 1 and raw.err.strip()):
        said = raw.err.strip().splitlines() if raw else []
        return Unknown(f"cannot read {PLACES[1]}: {said[-1] if said else 'not asked yet'}")
    found: dict[str, list[str]] = {}
    for line in raw.text.splitlines():
        path, colon, rest = line.partition(":")
        if colon:
            found.setdefault(path, []).append(rest)
    return {path: "".join(f"{line}\n" for line in lines) for path, lines in found.items()}


def entries(known: Mapping[str, str]) -> list[Entry]:
    """The repositories of all files that apt or dnf would read; those that are off as well."""
    found: list[Entry] = []
    for path, text in sorted(known.items()):
        if path.endswith(".sources"):
            found += deb822(path, text)
        elif path.endswith(".repo"):
            found += sections(path, text)
        elif path.endswith(".list"):
            found += _lines(path, text)
    return found


def deb822(path: str, text: str) -> Iterator[Entry]:
    """Stanzas of `Name: value`; a line that begins with white space goes on with the one before (sources.list(5))."""
    kept = "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", kept):
        told: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line[:1].isspace() and last:
                told[last] += f"\n{line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                last = name.strip().lower()
                told[last] = value.strip()
        if told:
            entry = Entry(path, told)
            places = ((_uri(uri), suite) for uri in entry.words("uris") or () for suite in entry.words("suites") or ())
            yield Entry(path, told, "", frozenset(places))


def _lines(path: str, text: str) -> Iterator[Entry]:
    for line in text.splitlines():
        if match := ONE_LINE.match(line.strip()):
            told = dict(
                zip(("types", "options", "uris", "suites", "components"), match.groups(default=""), strict=True)
            )
            yield Entry(path, told, "", frozenset({(_uri(match[3]), match[4])}))


def sections(path: str, text: str) -> Iterator[Entry]:
    """dnf's: `[id]`, then `name=value`; a line that begins with white space goes on with the one before."""
    section, told, last = "", dict[str, str](), ""
    for line in (*text.splitlines(), "[]"):
        head = re.match(r"\[(.*)\]", line)
        if head:
            if section:
                yield _section(path, section, told)
            section, told, last = head[1], {}, ""
        elif line[:1].isspace() and last:
            told[last] += f" {line.strip()}"
        elif "=" in line and line[:1] not in "#;":
            name, _, value = line.partition("=")
            last = name.strip().lower()
            told[last] = value.strip()


def _section(path: str, section: str, told: dict[str, str]) -> Entry:
    entry = Entry(path, told, section)
    uris = [uri for key in ("baseurl", "metalink", "mirrorlist") for uri in entry.words(key) or ()]
    return Entry(path, told, section, frozenset((_uri(uri), "") for uri in uris))


def fields(entry: Entry, pin: str) -> dict[str, Any]:
    """What an entry says, by the names of host.repository; `pin` is the text of its preferences."""
    found = next(deb822("", pin), None)
    priority = (found.told.get("pin-priority") if found else None) or entry.told.get("priority")
    return {
        **{key: entry.words(key) for key in ("suites", "components", "architectures", "types")},
        "uris": entry.words("uris") or entry.words("baseurl"),
        "metalink": entry.told.get("metalink"),
        "signed_by": entry.told.get("signed-by") or entry.told.get("gpgkey", "").removeprefix("file://") or None,
        "trusted": bool(entry.flag("trusted")) or entry.flag("gpgcheck") is False,
        "check_metadata": bool(entry.flag("repo_gpgcheck")),
        "enabled": entry.flag("enabled") is not False,
        "priority": int(priority) if priority and re.fullmatch(r"-?\d+", priority) else None,
        "pin": found.told.get("pin") if found else None,
    }


def _uri(uri: str) -> str:
    """`file:/srv`, `file:///srv` and `file:///srv/` are one place."""
    return re.sub(r"^(file|copy):/+", r"\1:/", uri).rstrip("/")


def elsewhere(places: Iterable[tuple[str, str]], own: str, known: Mapping[str, str]) -> str:
    """Another file that has one of these places switched on already, and which; "" for none."""
    wanted = {(_uri(uri), suite): uri for uri, suite in places}
    for entry in entries(known):
        both = wanted.keys() & entry.places
        if both and entry.path != own and entry.flag("enabled") is not False:
            uri, suite = min(both)
            return f"{entry.path} has {' '.join(filter(None, (wanted[uri, suite], suite)))} already"
    return ""
