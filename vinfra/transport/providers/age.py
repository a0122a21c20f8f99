"""`age:PATH`: a file encrypted with age (https://age-encryption.org/v1), opened by pyrage with our identity.

The identity is in $VINFRA_AGE_IDENTITY, else in ~/.config/vinfra/age.txt: a file of AGE-SECRET-KEY lines as age-keygen
writes it, or an SSH key (ed25519 or RSA) without a passphrase.
"""

import os
from pathlib import Path
from typing import Any

from vinfra.errors import Unresolved
from vinfra.transport.providers import source

VARIABLE = "VINFRA_AGE_IDENTITY"


def fetch(path: str) -> str:
    """The decrypted text; one line break at its end is not part of it."""
    pyrage = source.optional("pyrage", "age")
    sealed = source.content(Path(path), private=False)
    file = identity_file()
    identities = _identities(pyrage, file)
    try:
        plain: bytes = pyrage.decrypt(sealed, identities)
    except (pyrage.DecryptError, ValueError) as error:
        said = str(error).strip() or type(error).__name__
        raise Unresolved(f"age does not open {path}: {said}", f"was it encrypted for the identity in {file}?") from None
    return source.text(plain, path).removesuffix("\n").removesuffix("\r")


def identity_file() -> Path:
    """Where our identity is."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "vinfra" / "age.txt"


def _identities(pyrage: Any, file: Path) -> list[Any]:
    if not file.exists():
        hint = f"name its file in {VARIABLE}, or make one: age-keygen -o {file}"
        raise source.Shut(f"there is no age identity at {file}", hint)
    written = source.content(file, private=True)
    try:
        if written.startswith(b"-----BEGIN"):
            return [pyrage.ssh.Identity.from_buffer(written)]
        lines = [line.strip() for line in source.text(written, str(file)).splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (pyrage.IdentityError, ValueError):
        found = []
    if not found:
        hint = "it holds AGE-SECRET-KEY-1… lines, or one SSH key of type ed25519 or RSA without a passphrase"
        raise source.Shut(f"{file} is no age identity that can be used", hint)
    return found
