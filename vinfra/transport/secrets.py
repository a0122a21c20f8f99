"""Secrets by reference, revealed at the last moment and never in a message."""

import os
import stat
from pathlib import Path

from vinfra.errors import LoginRefused, TransportError, UsageError, VinfraError
from vinfra.model.secret import Secret


def reveal(secret: Secret) -> str:
    """The value of `env:NAME` or `file:PATH` (one line break at its end is dropped). Raises UsageError.

    A file that others than its owner can read is refused: its content is no secret any more, and a warning among a
    hundred lines of output would never be acted on.
    """
    way, _, name = secret.reference.partition(":")
    if way == "env" and name:
        return _from_environment(name)
    if way == "file" and name:
        return _from_file(Path(name).expanduser())
    raise UsageError(f"{secret} names no secret", "write env:NAME or file:PATH")


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        state = "is empty" if value == "" else "is not set"
        raise UsageError(f"the environment variable {name}, which should hold a secret, {state}", f"export {name}=…")
    return value


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise UsageError(f"the secret in {path} can be read by others", f"run: chmod 600 {path}")
            value = file.read(1 << 20).decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the secret in {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"the secret in {path} is not UTF-8 text") from None
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise UsageError(f"the secret in {path} is empty")
    return value


def password_of(secret: Secret | None, what: str, refused: type[TransportError] = LoginRefused) -> str:
    """A host's password ("" for none); one that cannot be had is this host's failure and nobody else's."""
    if secret is None:
        return ""
    try:
        value = reveal(secret)
    except VinfraError as error:
        raise refused(f"{what}: {error.message}", error.hint) from None
    if "\n" in value:
        raise refused(f"{what}: {secret} has more than one line")
    return value
