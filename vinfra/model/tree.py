"""The answer to ReadTree: files, links and names by their paths."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from vinfra.model.question import Raw, ReadTree

_ARROW = " -> "


@dataclass(frozen=True, slots=True)
class Tree:
    """What was found: a file's text without its last line feed, a link's target, the names that there are."""

    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    def text(self, path: str) -> str:
        """A file's text without white space around it; "" for one that was not read."""
        return self.files.get(path, "").strip()

    def below(self, folder: str, *leaves: str) -> dict[str, dict[str, str]]:
        """By name, what files each folder in `folder` has: `below("/sys/class/net", "mtu")` is {"eth0": {"mtu": …}}.

        A leaf may lie deeper (`device/uevent`).
        """
        found: dict[str, dict[str, str]] = {}
        start = f"{folder}/"
        for path, text in self.files.items():
            if path.startswith(start):
                name, _, leaf = path[len(start) :].partition("/")
                if leaf in leaves:
                    found.setdefault(name, {})[leaf] = text.strip()
        return found

    def under(self, pattern: str) -> list[str]:
        """The names that match, in order."""
        return sorted(name for name in self.names if fnmatchcase(name, pattern))


def parse(question: ReadTree, raw: Raw | None) -> Tree:
    """What a host said to the question; an empty tree if nothing."""
    if raw is None:
        return Tree()
    names, _, rest = raw.text.partition("=links\n")
    links, _, files = rest.partition("=files\n")
    wild = "*["
    there = frozenset(name for name in names.split("\n") if name and not any(char in name for char in wild))
    return Tree(_files(question, files), dict(_links(links.split("\n"))), there)


def answer(files: Mapping[str, str] | None = None, links: Mapping[str, str] | None = None, *names: str) -> bytes:
    """What a host that has all this says to ReadTree, for those who play one."""
    lines = [
        *names,
        "=links",
        *(f"lrwxrwxrwx 1 root root 0 Jan 1 00:00 {path} -> {to}" for path, to in (links or {}).items()),
    ]
    lines += ["=files", *(f"{path}:{line}" for path, text in (files or {}).items() for line in text.split("\n"))]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _links(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        left, arrow, target = line.partition(_ARROW)
        if arrow and line.startswith("l"):
            yield left[left.index("/") :] if "/" in left else left, target


def _files(question: ReadTree, text: str) -> dict[str, str]:
    """Lines by path, which ends at the first colon behind a last part that was asked for: PCI addresses have colons."""
    leaves = {path.rpartition("/")[2] for path in question.files}
    found: dict[str, list[str]] = {}
    before = ""
    for line in text.split("\n"):
        path, colon, rest = line.partition(":")
        while colon and path.rpartition("/")[2] not in leaves:
            more, colon, rest = rest.partition(":")
            path = f"{path}:{more}"
        if colon and path != before:  # two patterns may have found it: the last one counts
            found[path] = [rest]
            before = path
        elif colon:
            found[path].append(rest)
    return {path: "\n".join(lines) for path, lines in found.items()}
