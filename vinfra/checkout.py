"""Which version of the blueprint's files this is, to tell an old one from a new one. Only reads git."""

import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from vinfra import mask

_SECONDS = 20


@dataclass(eq=False)
class Checkout:
    """The folder a blueprint was read from."""

    folder: Path
    files: tuple[str, ...] = ()

    @cached_property
    def commit(self) -> str:
        """The commit that is checked out, "" where there is no git, or no commit yet."""
        return self._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}") or ""

    def has(self, commit: str) -> bool:
        """Whether what is checked out came after a commit, or is it."""
        return commit == self.commit or self._git("merge-base", "--is-ancestor", commit, "HEAD") is not None

    @cached_property
    def written(self) -> str:
        """When the last of its files was written, as marks tell the time."""
        return datetime.fromtimestamp(max(_times(self.files), default=0.0), UTC).isoformat(timespec="seconds")

    def _git(self, *arguments: str) -> str | None:
        """What git says, None when it fails."""
        environment = {**mask.environment(), "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        command = ["git", "-C", str(self.folder), *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_SECONDS, env=environment
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None


def _times(files: Iterable[str]) -> Iterable[float]:
    for file in files:
        with suppress(OSError):
            yield Path(file).stat().st_mtime
