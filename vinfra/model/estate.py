"""What is on a host, whoever made it: everything that kinds can list, and the marks of every blueprint."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.model.address import Address
from vinfra.model.mark import Mark


@dataclass(frozen=True, slots=True)
class Item:
    """One object as a blueprint would declare it; `fields` is None when it cannot be, and `note` says what cannot.

    `owners` are the blueprints that say they own it, in their marks or on the object itself.
    """

    address: Address
    fields: Mapping[str, Any] | None
    note: str = ""
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Estate:
    """One host. `error` says why it could not be read; `unread` why the objects of a kind could not, by its noun.

    `marks` are those of every blueprint, `complaints` what is wrong with some of them.
    """

    host: str
    error: str = ""
    items: tuple[Item, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    complaints: tuple[str, ...] = ()

    @property
    def dark(self) -> bool:
        """Whether something of it is not known."""
        return bool(self.error or self.unread)
