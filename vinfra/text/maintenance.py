"""Maintenance as a blueprint: it runs through the same pipe as any other; there is no second way to change hosts."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.errors import UsageError

NAME = "maintenance"
FILE = "maintain"  # what problems and rows call it, for it is in no file


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What is to be done to which hosts. `upgrade` None leaves packages alone; `rollout` are its terms."""

    pattern: str
    upgrade: Mapping[str, Any] | None = None
    reboot: Mapping[str, Any] = field(default_factory=dict)
    rollout: Mapping[str, Any] = field(default_factory=dict)

    def blueprint(self) -> str:
        """Its text, a line for each thing: JSON is YAML."""
        sections = {"rollout": self.rollout, "reboot": self.reboot}
        sections |= {"upgrade": self.upgrade} if self.upgrade is not None else {}
        lines = [f"    {name}: {_yaml(terms)}" for name, terms in sections.items()]
        return "\n".join((f"blueprint: {NAME}", "hosts:", f"  {_yaml(self.pattern)}:", *lines, ""))


def _yaml(value: Any) -> str:
    """JSON, with what it escapes in two halves escaped whole."""
    pairs = re.compile(r"\\u(d[89ab]..)\\u(d[c-f]..)")
    return pairs.sub(lambda found: f"\\U{_joined(*found.groups()):08x}", json.dumps(value))


def _joined(high: str, low: str) -> int:
    return 0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00)


def health(words: Iterable[str]) -> list[Any]:
    """Checks as an option names them: `ssh`, `tcp:22`, a URL, `command:PROGRAM ARGUMENT`. Raises UsageError."""
    return [_check(word) for word in words]


def _check(word: str) -> Any:
    sort, _, rest = word.partition(":")
    if word == "ssh":
        return word
    if sort in ("http", "https"):
        return {"http": {"url": word}}
    if sort == "tcp" and rest.isdecimal():
        return {"tcp": rest}
    try:
        words = shlex.split(rest) if sort == "command" else []
    except ValueError as error:
        raise UsageError(f"--health {word!r}: {error}") from None
    if words:
        return {"command": words}
    raise UsageError(
        f"--health {word!r} is no health check",
        "write ssh, tcp:80, http://127.0.0.1/health or 'command:program argument'",
    )
