"""Secrets by reference, revealed at the last moment, each at most once in a run, and never in a message."""

import importlib
import threading
from collections.abc import Mapping
from typing import Any

from vinfra import mask
from vinfra.errors import LoginRefused, TransportError, Unresolved
from vinfra.model.secret import SCHEMES, Known, Secret, parts
from vinfra.transport.providers import source

#: The module that knows each scheme, imported when the first such secret is asked for.
PROVIDERS = {scheme: f"vinfra.transport.providers.{scheme.replace('-', '_')}" for scheme in SCHEMES}


class Secrets:
    """The secrets of one run. Safe to use from many threads; one asks at a time, so that none is asked twice.

    What was fetched stays in memory until the run ends; so does a failure, for a server that is down is down for all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, str | Unresolved] = {}
        self._found: dict[tuple[str, str], Any] = {}  # what a provider gave, or why it did not
        self._shut: dict[str, source.Shut] = {}

    def reveal(self, secret: Secret) -> str:
        """The secret's value. Raises Unresolved, which names the reference and says what to do."""
        if isinstance(secret, Known):
            mask.note(secret.value)
            return secret.value
        with self._lock:
            known = self._values.get(secret.reference)
            if known is None:
                known = self._values[secret.reference] = self._resolved(secret)
        if isinstance(known, Unresolved):
            raise Unresolved(known.message, known.hint)
        return known

    def _resolved(self, secret: Secret) -> str | Unresolved:
        try:
            value = self._asked(secret.reference)
        except Unresolved as error:
            return Unresolved(f"{secret}: {error.message}", error.hint)
        mask.note(value)
        return value

    def _asked(self, reference: str) -> str:
        scheme, place, key = parts(reference)
        if scheme not in PROVIDERS or not place:
            raise Unresolved("this names no secret", "write " + ", ".join(way.form for way in SCHEMES.values()))
        if scheme in self._shut:
            raise self._shut[scheme]
        provider: Any = importlib.import_module(PROVIDERS[scheme])
        if (scheme, place) not in self._found:
            try:
                self._found[scheme, place] = provider.fetch(place)
            except source.Shut as shut:
                self._shut[scheme] = shut
                raise
            except Unresolved as error:
                self._found[scheme, place] = error
        found = self._found[scheme, place]
        if isinstance(found, Unresolved):
            raise found
        return _plain(provider.value(found, key, place) if hasattr(provider, "value") else source.pick(found, key))


def _plain(value: Any) -> str:
    """A value as text."""
    if isinstance(value, Mapping | list | tuple):
        raise Unresolved("there are keys below, and no value", "name one of them after a dot")
    if value is None or value == "":
        raise Unresolved("it is empty")
    return str(value).lower() if isinstance(value, bool) else str(value)


def password_of(
    secrets: Secrets, secret: Secret | None, what: str, refused: type[TransportError] = LoginRefused
) -> str:
    """A host's password ("" for none); one that cannot be had is this host's failure and nobody else's."""
    if secret is None:
        return ""
    try:
        value = secrets.reveal(secret)
    except Unresolved as error:
        raise refused(f"{what}: {error.message}", error.hint) from None
    if "\n" in value:
        raise refused(f"{what}: {secret} has more than one line")
    return value
