"""What must never be printed: the secrets revealed in this process, and the variables that hold some.

Reports show no secret, for specs and steps say what is one. This is the net below them: what a host, a library or a bug
says may quote a value that it was given. So every value is noted when it is revealed, and struck out of foreign words.
"""

import base64
import html
import json
import os
import re
import shlex
from collections.abc import Iterator
from urllib.parse import quote

STRUCK = "•••"
_SHORTEST = 4  # a shorter value occurs in words that mean nothing
_SHORTEST_LINE = 8  # of a longer text, such as a key
_UNQUOTED = re.compile(r"[A-Za-z0-9]{12,}")  # the same in whatever way the whole is quoted

_forms: set[str] = set()
_variables: set[str] = set()


def note(value: str) -> None:
    """Remember a secret that was just revealed, as it is and as it may be quoted."""
    lines = [line for line in value.splitlines() if len(line.strip()) >= _SHORTEST_LINE]
    for text in (value, *lines):
        if len(text) >= _SHORTEST:
            _forms.update((text, text.strip(), *_quoted(text), *_UNQUOTED.findall(text)))


def _quoted(text: str) -> Iterator[str]:
    """A text as JSON, Python, XML, URLs, YAML, the shell and base64 write it."""
    plain = text.encode("utf-8", "surrogateescape")
    yield from (json.dumps(text)[1:-1], repr(text)[1:-1], repr(plain)[2:-1])
    less = html.escape(text, quote=False)
    yield from (less, less.replace('"', "&quot;"), html.escape(text))
    yield from (quote(plain), quote(plain, safe=""))
    yield from (text.replace("'", "''"), shlex.quote(text)[1:-1])
    yield base64.b64encode(plain).decode()


def struck(text: str) -> str:
    """The text without the secrets in it."""
    for form in sorted(_forms, key=len, reverse=True):
        text = text.replace(form, STRUCK)
    return text


def note_variable(name: str) -> None:
    """Remember that an environment variable holds a secret."""
    _variables.add(name)


def environment() -> dict[str, str]:
    """What programs that vinfra starts on this machine may inherit: all but those variables."""
    return {name: value for name, value in os.environ.items() if name not in _variables}
