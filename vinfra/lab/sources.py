"""Which Debian archives this machine uses, as apt itself understands its source lists."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from vinfra.errors import VinfraError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FORMAT = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(SIGNED_BY)"


@dataclass(frozen=True, slots=True)
class Source:
    """One suite of one archive, component main."""

    uri: str
    suite: str
    signed_by: str = ""

    def line(self) -> str:
        """As a line of sources.list."""
        signed = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {signed}{self.uri} {self.suite} main"


def debian(suite: str) -> tuple[Source, ...]:
    """The sources for `suite`, its updates and its security fixes; on another release, the same archives' ones."""
    found = _machine()
    release = _release(found)
    if release is None:
        hint = "vinfra reads /etc/apt/sources.list and sources.list.d; a plain Debian line with component main will do"
        raise VinfraError("no Debian archive among this machine's apt sources", hint)
    wanted = {release: suite, f"{release}-updates": f"{suite}-updates", f"{release}-security": f"{suite}-security"}
    if suite in {"sid", "unstable"}:
        wanted = {release: suite}
    picked: dict[str, Source] = {}
    for source in found:
        if source.suite in wanted:
            target = wanted[source.suite]
            picked.setdefault(target, Source(source.uri, target, source.signed_by))
    return tuple(sorted(picked.values(), key=lambda source: source.suite))


def _machine() -> list[Source]:
    arguments = ["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False)
    found = []
    for line in run.stdout.splitlines():
        uri, suite, component, signed_by = line.split("\t")
        if component == "main":
            # apt prints the variable's own name where a source has no such option
            keys = signed_by if signed_by.startswith("/") else str(KEYRING) if KEYRING.exists() else ""
            found.append(Source(uri.rstrip("/"), suite, keys))
    return found


def _release(found: list[Source]) -> str | None:
    """The Debian release this machine runs: what has security fixes beside it."""
    suites = {source.suite for source in found}
    for suite in sorted(suites):
        if suite.endswith("-security") and suite.removesuffix("-security") in suites:
            return suite.removesuffix("-security")
    return next((source.suite for source in found if source.uri.endswith("/debian")), None)
