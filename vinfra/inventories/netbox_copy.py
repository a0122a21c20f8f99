"""What NetBox said last, on this machine's disk: 0600, without the token, for as long as it may be used again."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FORMAT = 1
_LARGEST = 256 << 20


@dataclass(frozen=True, slots=True)
class Old:
    """A copy, and its age as people say it."""

    objects: list[Any]
    seconds: float

    @property
    def age(self) -> str:
        for size, word in ((86_400, "d"), (3600, "h"), (60, "m")):
            if self.seconds >= size:
                return f"{self.seconds / size:.0f}{word}"
        return f"{self.seconds:.0f}s"


class Copy:
    """The copy of one question to one NetBox. One that is broken, or not ours, is as none."""

    def __init__(self, folder: Path, url: str, asked: Mapping[str, Any]) -> None:
        question = json.dumps([_FORMAT, url, asked], sort_keys=True)
        self.file = folder / f"{hashlib.sha256(question.encode()).hexdigest()[:32]}.json"

    def old(self) -> Old | None:
        """What is kept, however old."""
        try:
            status = self.file.lstat()
            if status.st_uid != os.geteuid() or status.st_mode & 0o077 or status.st_size > _LARGEST:
                return None
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            objects, since = kept["objects"], float(kept["time"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Old(objects, max(0.0, time.time() - since)) if isinstance(objects, list) else None

    def young(self, seconds: float) -> list[Any] | None:
        """What is kept, if it is younger than that."""
        old = self.old()
        return old.objects if old is not None and old.seconds < seconds else None

    def keep(self, objects: list[Any]) -> str:
        """Keep an answer; returns why it could not be, "" when it was. Not to be able to is no failure."""
        temporary = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump({"time": time.time(), "objects": objects}, stream)
            temporary.replace(self.file)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            return f"NetBox's answer cannot be kept in {self.file.parent}: {error.strerror}"
        return ""
