"""The name of a managed object: stable, and free of the host where the object can move."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """`kind` as registered (`host.file`), the `host` that holds it ("" when it can move), and its `name` there.

    Written `host.file:web1/etc/motd`, `host.package:web1/nginx`, `fleet:web/03`.
    """

    kind: str
    host: str
    name: str

    @property
    def noun(self) -> str:
        """The word in a plan's row and the prefix of a reference: `file` for `host.file`."""
        return self.kind.rpartition(".")[2]

    @property
    def reference(self) -> str:
        """How a resource on the same host refers to this one: `file:/etc/motd`."""
        return f"{self.noun}:{self.name}"

    def __str__(self) -> str:
        if not self.host:
            return f"{self.kind}:{self.name}"
        slash = "" if self.name.startswith("/") else "/"
        return f"{self.kind}:{self.host}{slash}{self.name}"
