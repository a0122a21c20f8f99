"""References to secrets as they stand in files: whether they are well written, and what their paths are relative to."""

import re
from pathlib import Path

from vinfra import mask
from vinfra.model.secret import SCHEMES, Secret, parts
from vinfra.text.complaint import near
from vinfra.text.paths import beside

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def problem(reference: str) -> str:
    """What is wrong with a reference, "" for nothing. What was written is not repeated: it may be the secret itself."""
    scheme, place, key = parts(reference)
    known = SCHEMES.get(scheme)
    if known is None or ":" not in reference:
        forms = ", ".join(scheme.form for scheme in SCHEMES.values())
        return f"write a reference to the secret: {forms}{near(scheme, SCHEMES)}"
    if not place or (known.needs_key and not key) or (reference.endswith("#") and known.key):
        return f"write {known.form}" + ("; KEY.SUB for one within another" if known.key else "")
    if any(ord(letter) < 32 for letter in reference):
        return "a reference is one line"
    if scheme == "env" and not _VARIABLE.fullmatch(place):
        return "write env:NAME, with the variable's name alone"
    if scheme == "vault" and not re.fullmatch(r"[^/]+(/[^/]+)+", place):
        return f"write {known.form}, such as vault:secret/db#password"
    return ""


def secret(reference: str, directory: Path) -> Secret:
    """The secret that a well-written reference means in a file of that directory."""
    scheme, place, key = parts(reference)
    if scheme == "env":
        mask.note_variable(place)
    if scheme in SCHEMES and SCHEMES[scheme].path and place:
        place = beside(directory.absolute(), place)
        return Secret(f"{scheme}:{place}{f'#{key}' if key else ''}")
    return Secret(reference)
