"""Values that are never printed, stored or put on a command line."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A reference such as `env:DB_PASSWORD` or `file:/run/keys/db`; `transport.secrets.reveal` turns it into the value.

    Written `{secret: env:DB_PASSWORD}` in a blueprint or an inventory. Printing it prints the reference.
    """

    reference: str

    def __str__(self) -> str:
        return f"(secret {self.reference})"

    __repr__ = __str__
