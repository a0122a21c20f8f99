"""A host's files, in memory: paths with what stands at them, and the few programs that look at or change them."""

from dataclasses import dataclass, field, replace
from hashlib import sha256
from posixpath import dirname as above
from stat import S_IFDIR, S_IFLNK, S_IFREG

from vinfra.model.question import Raw, ReadFile

TYPES = {"file": S_IFREG, "directory": S_IFDIR, "link": S_IFLNK}
MISSING = "No such file or directory"


class Failed(Exception):
    """A program ends with an error, which is its words."""


@dataclass(frozen=True)
class Entry:
    """What stands at a path. `content` is a file's bytes or a link's target; times are seconds since 1970."""

    sort: str = "file"
    content: bytes = b""
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    time: float = 0.0


@dataclass
class Disk:
    """`names` are the numbers of the users and groups that there are."""

    entries: dict[str, Entry] = field(default_factory=lambda: {"/": Entry("directory", mode=0o755)})
    names: dict[str, int] = field(default_factory=lambda: {"root": 0})
    clock: float = 1.8e9

    def tick(self) -> float:
        self.clock += 0.01
        return self.clock

    def at(self, path: str, follow: bool = True) -> Entry | None:
        """What stands there; with `follow`, what a link there leads to."""
        return self.entries.get(self.real(path) if follow else path)

    def real(self, path: str) -> str:
        entry = self.entries.get(path)
        return entry.content.decode() if entry and entry.sort == "link" else path

    def put(self, path: str, entry: Entry) -> None:
        """Somebody makes this, and the directories above it."""
        parent = above(path)
        if parent not in self.entries:
            self.put(parent, Entry("directory", mode=0o755))
        self.entries[path] = replace(entry, time=self.tick())

    def below(self, path: str) -> list[str]:
        return [other for other in self.entries if other != "/" and above(other) == path]

    # What programs answer.

    def read(self, question: ReadFile) -> Raw:
        entry = self.at(question.path)
        if entry is None:
            return Raw(2, b"", f"{question.path}: {MISSING}")
        if entry.sort != "file":
            return Raw(1, b"", f"{question.path}: not a regular file")
        return Raw(0, entry.content[-question.limit :] if question.last else entry.content[: question.limit])

    def stat(self, words: tuple[str, ...]) -> Raw:
        """`stat [-L] -c FORMAT -- PATH…`"""
        shape = words[words.index("-c") + 1]
        out, err = [], []
        for path in words[words.index("--") + 1 :]:
            entry = self.at(path, follow="-L" in words)
            if entry is None:
                err.append(f"stat: cannot statx '{path}': {MISSING}")
            else:
                out.append(self._shaped(shape, path, entry))
        return Raw(1 if err else 0, "\n".join(out).encode(), "\n".join(err))

    def _shaped(self, shape: str, path: str, entry: Entry) -> str:
        told = {
            "%f": f"{TYPES[entry.sort] | entry.mode:x}",
            "%U": entry.owner if entry.owner in self.names else "UNKNOWN",
            "%G": entry.group if entry.group in self.names else "UNKNOWN",
            "%u": str(self.names.get(entry.owner, 4711)),
            "%g": str(self.names.get(entry.group, 4711)),
            "%s": str(len(entry.content)),
            "%.9Y": f"{entry.time:.9f}",
            "%Y": f"{int(entry.time)}",
            "%d": "1",
            "%i": str(abs(hash(self.real(path))) % 10**9),
            "%n": path,
        }
        for directive, text in told.items():
            shape = shape.replace(directive, text)
        return shape

    def listing(self, path: str) -> Raw:
        if path not in self.entries:
            return Raw(2, b"", f"ls: cannot access '{path}': {MISSING}")
        return Raw(0, "\n".join(sorted(name.rpartition("/")[2] for name in self.below(path))).encode())

    def sums(self, paths: tuple[str, ...]) -> Raw:
        found = {path: entry for path in paths if (entry := self.at(path))}
        lines = (f"{sha256(entry.content).hexdigest()}  {path}" for path, entry in found.items())
        return Raw(0 if len(found) == len(paths) else 1, "\n".join(lines).encode())

    # What programs do.

    def write(self, path: str, content: bytes, mode: str | None, owner: str | None, group: str | None) -> None:
        """As vinfra's own `replace`: atomic, through a link, keeping what is not said."""
        path = self.real(path)
        before = self.entries.get(path, Entry())
        parent = self.entries.get(above(path))
        if parent is None or parent.sort != "directory":
            raise Failed(f"{path}: no such directory")
        if before.sort != "file":
            raise Failed(f"{path}: not a regular file")
        for name in filter(None, (owner, group)):
            self._known(name)
        given = {"mode": int(mode, 8) if mode else before.mode, "owner": owner or before.owner}
        self.entries[path] = Entry("file", content, **given, group=group or before.group, time=self.tick())

    def _known(self, name: str) -> None:
        if name not in self.names:
            raise Failed(f"invalid user or group: '{name}'")

    def make(self, path: str, mode: str) -> None:
        if path in self.entries:
            raise Failed(f"mkdir: cannot create directory '{path}': File exists")
        if above(path) not in self.entries:
            raise Failed(f"mkdir: cannot create directory '{path}': {MISSING}")
        self.entries[path] = Entry("directory", mode=int(mode, 8), time=self.tick())

    def remove(self, path: str) -> None:
        entry = self.entries.get(path)
        if entry and entry.sort == "directory":
            raise Failed(f"rm: cannot remove '{path}': Is a directory")
        self.entries.pop(path, None)

    def remove_directory(self, path: str) -> None:
        if path not in self.entries or self.below(path):
            raise Failed(f"rmdir: failed to remove '{path}': missing, or not empty")
        del self.entries[path]

    def change(self, path: str, **fields: object) -> None:
        """chmod and chown."""
        path = self.real(path)
        if path not in self.entries:
            raise Failed(f"cannot access '{path}': {MISSING}")
        for key in ("owner", "group"):
            if key in fields:
                self._known(str(fields[key]))
        self.entries[path] = replace(self.entries[path], **fields)  # type: ignore[arg-type]
