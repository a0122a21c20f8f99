"""Values that are never printed, stored or put on a command line, and how references to them are written."""

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A reference such as `env:DB_PASSWORD` or `sops:secrets.yaml#db.password`; `transport.secrets` has its value.

    Written `{secret: env:DB_PASSWORD}` in a blueprint or an inventory. Printing it prints the reference.
    """

    reference: str

    def __str__(self) -> str:
        return f"(secret {self.reference})"

    __repr__ = __str__


@dataclass(frozen=True, slots=True, repr=False)
class Known(Secret):
    """A secret whose value came along with its reference, as a password in another tool's inventory does."""

    value: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"(secret {self.reference})"

    __repr__ = __str__


class Scheme(NamedTuple):
    """One way to a secret. `path`: it begins with a file's path; `key`: `#KEY` may follow, and `needs_key`: must."""

    form: str
    path: bool = False
    key: bool = False
    needs_key: bool = False


SCHEMES = {
    "env": Scheme("env:NAME"),
    "file": Scheme("file:PATH", path=True),
    "age": Scheme("age:PATH", path=True),
    "sops": Scheme("sops:PATH#KEY", path=True, key=True, needs_key=True),
    "vault": Scheme("vault:MOUNT/PATH#KEY", key=True, needs_key=True),
    "ansible-vault": Scheme("ansible-vault:PATH#KEY", path=True, key=True),
}


class Reference(NamedTuple):
    """A reference taken apart. `place` is a path, a name or a path within a mount; `key` is "" where none is given."""

    scheme: str
    place: str
    key: str


def parts(reference: str) -> Reference:
    """A reference's parts; a scheme that does not exist takes no key."""
    scheme, _, rest = reference.partition(":")
    if (known := SCHEMES.get(scheme)) and known.key and "#" in rest:
        place, _, key = rest.rpartition("#")
        return Reference(scheme, place, key)
    return Reference(scheme, rest, "")
