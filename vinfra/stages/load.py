"""Read every file that a request names: the blueprint, what it includes, variables, the inventory."""

import errno
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vinfra.errors import UsageError
from vinfra.model.source import Problem
from vinfra.model.values import Plain
from vinfra.text.collector import paused
from vinfra.text.complaint import Complaints
from vinfra.text.document import Document
from vinfra.text.loaded import Loaded
from vinfra.text.paths import beside
from vinfra.text.template import RESERVED, Nested
from vinfra.text.yaml import parse

DEEPEST = 30
LARGEST = 64 << 20  # bytes of a file
SITE = "vinfra-site.yaml"


def load(
    blueprint: Path,
    inventory: Path | None = None,
    var_files: Sequence[Path] = (),
    extra: Sequence[str] = (),
    text: str = "",
) -> Loaded:
    """Read the files, but for a blueprint whose `text` is given.

    Raises UsageError when one named on the command line is missing; the rest is in `problems`.
    """
    with paused():
        reading = _Reading({str(blueprint): text.encode()} if text else {})
        return reading.all(blueprint, inventory, var_files, extra)


def load_site(site: Path | None, inventory: Path | None) -> Document | None:
    """The site file: the one that is named, else the one beside the inventory, else none. Raises UsageError."""
    file = site or (inventory.parent / SITE if inventory else None)
    if file is None:
        return None
    try:
        if site is None and not file.exists() and not file.is_symlink():  # a link to nothing must not pass for no file
            return None
        return parse(contents(file), str(file))
    except OSError as error:
        raise UsageError(f"cannot read the site file {file}: {error.strerror or error}") from None


def contents(file: Path) -> bytes:
    """What is in a file. Raises OSError, also for what is no regular file or too large."""
    if file.exists() and not file.is_file() and not file.is_dir():
        raise OSError(errno.EINVAL, "not a regular file")
    if file.stat().st_size > LARGEST:
        raise OSError(errno.EFBIG, f"larger than {LARGEST >> 20}MiB")
    return file.read_bytes()


class _Reading:
    """One request's files as they are read, each once; `given` are those that need not be read."""

    def __init__(self, given: Mapping[str, bytes]) -> None:
        self._given = given
        self.documents: dict[str, Document] = {}
        self.included: dict[tuple[str, int], str] = {}
        self.complaints = Complaints()
        self._followed: set[str] = set()
        self._digest = hashlib.sha256()
        self._digests: dict[str, str] = {}

    def all(self, blueprint: Path, inventory: Path | None, var_files: Sequence[Path], extra: Sequence[str]) -> Loaded:
        root = self._named(blueprint, "blueprint")
        self._follow(root, (root.file,))
        machines = self._named(inventory, "inventory") if inventory else None
        overlays = tuple(self._named(file, "var file") for file in var_files)
        layers = tuple(self._extra(item) for item in extra)
        return Loaded(
            blueprint=root,
            inventory=machines,
            documents=self.documents,
            included=self.included,
            var_files=overlays,
            extra=layers,
            digest=self._digest.hexdigest(),
            digests=self._digests,
            problems=tuple(self.complaints.sorted()),
        )

    def _named(self, file: Path, noun: str) -> Document:
        try:
            return self._read(str(file))
        except OSError as error:
            raise UsageError(f"cannot read the {noun} {file}: {error.strerror or error}") from None

    def _read(self, file: str) -> Document:
        found = self.documents.get(file)
        if found is None:
            data = self._given[file] if file in self._given else contents(Path(file))
            self._digests[file] = hashlib.sha256(data).hexdigest()
            self._digest.update(b"%d\n" % len(data) + data)
            found = self.documents[file] = parse(data, file)
            self.complaints.take(*found.problems)
        return found

    def _follow(self, document: Document, above: tuple[str, ...]) -> None:
        """Read what a file includes, and what that includes. The shape of an include is checked by `validate`."""
        if document.file in self._followed:
            return
        entries = (document.tree or {}).get("include")
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            name = entry.get("file") if isinstance(entry, dict) else entry
            if not isinstance(name, str) or not name:
                continue
            pointer = ("include", index, "file") if isinstance(entry, dict) else ("include", index)
            file = beside(document.directory, name)
            if len(above) > DEEPEST:
                self.complaints.add(document, pointer, f"files include each other more than {DEEPEST} deep")
                continue
            if file in above:
                circle = " → ".join((*above[above.index(file) :], file))
                self.complaints.add(document, pointer, f"files include each other in a circle: {circle}")
                continue
            try:
                found = self._read(file)
            except OSError as error:
                self.complaints.add(document, pointer, f"cannot read {file}: {error.strerror or error}")
                continue
            except ValueError:
                self.complaints.add(document, pointer, "no file can have this name")
                continue
            self.included[document.file, index] = file
            self._follow(found, (*above, file))
        self._followed.add(document.file)

    def _extra(self, item: str) -> tuple[Document, dict[str, Any]]:
        if item.startswith("@"):
            document = self._named(Path(beside(Path(), item[1:])), "var file")
            return document, document.tree or {}
        name, equals, value = item.partition("=")
        names = name.split(".")
        if not equals or not all(part.isidentifier() for part in names):
            raise UsageError(f"-e {item}: write NAME=VALUE, a.b=VALUE or @FILE")
        if names[0] in RESERVED:
            raise UsageError(f"-e {item}: the name {names[0]!r} is vinfra's own", "choose another name")
        self._digest.update(f"-e {item}\n".encode())
        tree: Any = Plain(value)
        for part in reversed(names[1:]):
            tree = Nested({part: tree})
        return Document(f"-e {name}", {names[0]: tree}, None, list[Problem]()), {names[0]: tree}
