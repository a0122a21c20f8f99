"""What a saved plan was made from: files, hosts of the inventory, values of -e and schemas, each with a salted hash.

Of the inventory only the entries of hosts that the plan touches count, and of those they are reached through: another
host that joins it meanwhile makes no plan stale.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from vinfra.model.inventory import Host, Inventory
from vinfra.model.request import Wish
from vinfra.model.spec import Spec, declared
from vinfra.report.fingerprint import hashed, plain

# A file beside the blueprint that is larger (an image) is told apart by its size and time.
READ_WHOLE = 16 << 20
_NO_SETTING = ("name", "position", "variables")


class Extra(BaseModel):
    """One item of -e: its name, or `@FILE`, and a hash of its value, which may be a secret."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    name: str
    value: str


class Origin(BaseModel):
    """The hashes. `files` are by path, with the objects whose source they are; `hosts` by host and setting."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    files: dict[str, str]
    sources: dict[str, list[str]]
    hosts: dict[str, dict[str, str]]
    extra: list[Extra]
    schemas: dict[str, str]


def origin(
    wish: Wish,
    extra: Sequence[str],
    addresses: Iterable[str],
    hosts: Iterable[str],
    specs: Mapping[str, type[Spec]],
    salt: str,
) -> Origin:
    """What a plan of these addresses on these hosts is made from. `specs` are those of their kinds."""
    touched = frozenset(addresses)
    sources: dict[str, list[str]] = {}
    for resource in wish.resources:
        if str(resource.address) in touched and resource.desired is not None:
            for file in _sources(resource.desired):
                sources.setdefault(file, []).append(str(resource.address))
    inventory = str(Path(wish.inventory.file).absolute()) if wish.inventory.file else ""
    read = {str(Path(file).absolute()): digest for file, digest in wish.blueprint.digests.items()}
    files = {file: hashed(digest, salt) for file, digest in read.items() if file != inventory}
    return Origin(
        files=files | {file: hashed(_stamp(Path(file)), salt) for file in sources},
        sources=sources,
        hosts=_entries(wish.inventory, hosts, salt),
        extra=[_extra(item, salt) for item in extra],
        schemas={kind: schema_digest(spec) for kind, spec in specs.items()},
    )


def stale(then: Origin, salt: str, extra: Sequence[str], specs: Mapping[str, type[Spec]]) -> Iterator[str]:
    """What is not the same any more and can be seen without reading the blueprint: schemas, files, values of -e."""
    for kind, digest in then.schemas.items():
        if kind not in specs:
            yield f"kind {kind} is not known here"
        elif schema_digest(specs[kind]) != digest:
            yield f"kind {kind} has other fields in this vinfra"
    for file, digest in then.files.items():
        if (now := _stamp(Path(file), whole=file not in then.sources)) is None or hashed(now, salt) != digest:
            users = then.sources.get(file, [])
            whose = f", the source of {', '.join(users[:3])}," if users else ""
            yield f"{file}{whose} {'cannot be read any more' if now is None else 'was changed'}"
    yield from _extra_moved({item.name: item.value for item in then.extra}, [_extra(item, salt) for item in extra])


def _extra_moved(before: Mapping[str, str], given: Sequence[Extra]) -> Iterator[str]:
    after = {item.name: item.value for item in given}
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"-e {name} was given when planned; its value is not in the file, so give it again"
        elif name not in before:
            yield f"-e {name} was not given when planned"
        elif before[name] != after[name]:
            yield f"-e {name} has another value than when planned"


def moved(then: Origin, salt: str, inventory: Inventory) -> Iterator[str]:
    """The hosts that the inventory describes otherwise now: what is wrong may be reached by the same name."""
    now = _entries(inventory, then.hosts, salt)
    for host, before in then.hosts.items():
        after = now.get(host)
        if after is None:
            yield f"inventory: {host} is not in it any more"
            continue
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                yield f"inventory: {name} of {host} is not what it was when planned"


def _sources(desired: Spec) -> Iterator[str]:
    for name, value in desired:
        if isinstance(value, str | Path) and declared(type(desired), name, "path"):
            yield str(Path(value).absolute())


def _stamp(file: Path, *, whole: bool = False) -> str | None:
    """A file's digest, or what else tells it from another one; None when it cannot be read."""
    try:
        status = file.stat()
        if not file.is_file():
            return None
        if status.st_size > READ_WHOLE and not whole:
            return f"{status.st_size} {status.st_mtime_ns}"
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return None


def _extra(item: str, salt: str) -> Extra:
    if item.startswith("@"):  # its content is among the files
        return Extra(name=item, value="")
    name, _, value = item.partition("=")
    return Extra(name=name, value=hashed(value, salt))


def _entries(inventory: Inventory, hosts: Iterable[str], salt: str) -> dict[str, dict[str, str]]:
    """Each host's entry, and those of the hosts on the way to it."""
    found: dict[str, dict[str, str]] = {}
    open_ends = list(hosts)
    while open_ends:
        name = open_ends.pop()
        host = inventory.hosts.get(name)
        if host is not None and name not in found:
            found[name] = dict(_entry(host, salt))
            open_ends += host.jump
    return found


def _entry(host: Host, salt: str) -> Iterator[tuple[str, str]]:
    for field in fields(host):
        if field.name not in _NO_SETTING:
            yield field.name, hashed(getattr(host, field.name), salt)
    for name, value in host.variables.items():
        yield f"variable {name}", hashed(json.dumps(plain(value), sort_keys=True), salt)


def schema_digest(spec: type[Spec]) -> str:
    """A kind's fields as they can be written, whatever is said about them."""
    schema = json.dumps(_without_words(spec.model_json_schema()), sort_keys=True, default=str)
    return hashlib.sha256(schema.encode()).hexdigest()[:24]


def _without_words(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_words(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    words = {"description": str, "title": str, "examples": list}
    return {
        key: _without_words(value)
        for key, value in schema.items()
        if not (key in words and isinstance(value, words[key]))
    }
