"""A certificate and its key on a host: where they are, how they differ from others, and how both change at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from posixpath import dirname
from typing import Any, Protocol

from vinfra.kinds.host.certificates import pems
from vinfra.kinds.host.files import contents, ownership, paths
from vinfra.model.change import FieldChange
from vinfra.model.spec import Spec
from vinfra.model.step import Call, Exec, Write

# Folders that are made when they are missing; every other one is a directory of the blueprint.
DEFAULTS = {pems.FOLDER: "0755", "/etc/ssl/private": "0710"}
# Both are there and checked; now they take their places, the key first, with nothing between.
SWAP = 'mv -fT -- "$1" "$2" && mv -fT -- "$3" "$4"'


class Fields(Protocol):
    """What of a pair can be told apart."""

    @property
    def mode(self) -> str: ...
    @property
    def key_mode(self) -> str: ...
    @property
    def owner(self) -> str | None: ...
    @property
    def group(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Permissions:
    """Those of one of both files."""

    mode: str | None
    owner: str | None
    group: str | None


def places(name: str, told: Spec | Mapping[str, str] | None) -> tuple[str, str]:
    """The paths of a certificate and its key, by what its spec or its mark says of them."""
    said = dict(told or {})
    return said.get("path") or f"{pems.FOLDER}/{name}.pem", said.get(
        "key_path"
    ) or f"/etc/ssl/private/vinfra-{name}.key"


def fresh(where: Iterable[str]) -> tuple[str, ...]:
    """Where new ones stand before they take their places."""
    return tuple(f"{path}.vinfra-new" for path in where)


def permissions(desired: Fields, found: Iterable[Any]) -> Iterable[FieldChange]:
    """The modes and owners of the files that are there and differ."""
    there = tuple(found)
    for key, one in zip(("mode", "key_mode"), there, strict=True):
        if isinstance(one, paths.Found) and one.mode != getattr(desired, key):
            yield FieldChange(key, one.mode, getattr(desired, key))
    for key, number in (("owner", "uid"), ("group", "gid")):
        wish, known = getattr(desired, key), [one for one in there if isinstance(one, paths.Found)]
        wrong = [one for one in known if ownership.differs(getattr(one, key), getattr(one, number), wish)]
        if wrong:
            yield FieldChange(key, getattr(wrong[0], key), wish)


def wished(desired: Fields, found: Iterable[Any]) -> tuple[Permissions, ...]:
    """Mode and owner of both files as they are to be; whoever is not named stays who it is."""
    return tuple(
        Permissions(mode, desired.owner or getattr(one, "uid", None), desired.group or getattr(one, "gid", None))
        for mode, one in zip((desired.mode, desired.key_mode), found, strict=True)
    )


def put(where: tuple[str, str], texts: tuple[str, str], whose: tuple[Permissions, ...]) -> list[Call]:
    """Both beside the real ones, the key first and never open to more than it is to be, then two renames."""
    made = [folder for folder in DEFAULTS if folder in map(dirname, where)]
    calls: list[Call] = [Exec(("sh", "-c", MAKE, "sh", DEFAULTS[folder], folder)) for folder in made]
    new = fresh(where)
    for number in (1, 0):
        one = whose[number]
        calls.append(Write(new[number], contents.encoded(texts[number]), one.mode, one.owner, one.group))
    return [*calls, Exec(("sh", "-c", SWAP, "sh", new[1], where[1], new[0], where[0]))]


MAKE = '[ -d "$2" ] || install -d -m "$1" -- "$2"'


def permit(where: tuple[str, str], whose: tuple[Permissions, ...]) -> list[Call]:
    """Mode and owner alone."""
    return [call for path, one in zip(where, whose, strict=True) for call in _permit(path, one)]


def _permit(path: str, one: Permissions) -> list[Exec]:
    return ownership.calls(path, one, {"mode", *(("owner",) if one.owner or one.group else ())})


def former(where: tuple[str, str], texts: tuple[str | None, str | None], found: Iterable[Any]) -> list[Call]:
    """What was at both paths, byte for byte; nothing where nothing was."""
    calls: list[Call] = []
    for path, text, one in zip(where, texts, found, strict=True):
        if isinstance(one, paths.Found) and text is not None:
            calls.append(Write(path, contents.encoded(text), one.mode, one.uid, one.gid))
        else:
            calls.append(Exec(("rm", "-f", "--", path)))
    return calls
