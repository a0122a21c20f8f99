"""What is in files: of those up to a limit the bytes, of larger ones a checksum."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from vinfra.kinds.host.files import paths
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec, Question, ReadFile

LIMIT = ReadFile("/").limit


def ask(scope: Scope, answers: Answers) -> Iterable[Question]:
    """The beginning of each file that is wanted; when they are known, checksums of the large ones."""
    for resource in scope.wanted:
        if resource.desired is not None:
            yield ReadFile(resource.address.name)
    if large := _large(scope, answers):
        yield Exec(("sha256sum", "--", *large))


def sums(scope: Scope, answers: Answers) -> dict[str, str]:
    """The checksums of the large ones, by path."""
    large = _large(scope, answers)
    raw = answers.get(Exec(("sha256sum", "--", *large))) if large else None
    lines = raw.text.splitlines() if raw else []
    return {line[66:]: line[:64] for line in lines if len(line) > 66 and not line.startswith("\\")}


def _large(scope: Scope, answers: Answers) -> list[str]:
    found = paths.read(paths.watched(scope), answers)
    names = sorted(item.address.name for item in scope.wanted if item.desired is not None)
    return [
        name
        for name in names
        if isinstance(there := found[name], paths.Found) and there.sort == "file" and there.size > LIMIT
    ]


def same(wish: str, actual: str | None, notes: Mapping[str, Any]) -> bool:
    """Whether a file holds what is wished for; `notes` have the checksum of a large one."""
    if "sha256" in notes:
        return bool(sha256(encoded(wish)).hexdigest() == notes["sha256"])
    return wish == actual


def encoded(text: str) -> bytes:
    """A text's bytes; those that were not UTF-8 come back as they were."""
    return text.encode("utf-8", "surrogateescape")
