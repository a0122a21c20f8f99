"""A saved plan on disk: what it was made from, what it would do, and a fingerprint of every object it touches.

The file is JSON, 0600, and holds no secret: values of secret fields and the contents of steps are there as salted
hashes, enough to see that they are still the same.
"""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from vinfra import __version__
from vinfra.errors import RefusedError, UsageError
from vinfra.model.inventory import source
from vinfra.model.mark import unique
from vinfra.model.plan import Plan
from vinfra.model.request import Request, Wish
from vinfra.model.rollout import batches
from vinfra.model.spec import Spec
from vinfra.report import bounded, fingerprint, origin
from vinfra.report.fingerprint import Neighbour, Row
from vinfra.report.origin import Origin

FORMAT = 2
LARGEST = 256 << 20
AGAIN = "plan again"
MANY = 20


def _path(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("not an absolute path")
    return text


def _named(text: str) -> str:
    _path(str(source(Path(text)).file))
    return text


_Path = Annotated[str, AfterValidator(_path)]
_Source = Annotated[str, AfterValidator(_named)]


class _Inputs(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    blueprint: _Path
    inventory: _Source | None
    var_files: list[_Path]
    limit: str
    prune: bool
    supersede: bool
    everywhere: bool
    site: _Path | None


class _Document(BaseModel):
    """The file. `only` are the hosts that are read again, None for all; `there` is how many objects of each kind the
    whole plan was about, of which policies take a percentage; `unknown` are the hosts that it says nothing of, for they
    could not be read; `sum` is over all else.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    vinfra: str
    format: Literal[2]
    kind: Literal["plan"]
    blueprint: str
    inputs: _Inputs
    salt: str
    origin: Origin
    only: list[str] | None
    there: dict[str, int]
    unknown: list[str]
    rows: list[Row]
    neighbours: list[Neighbour]
    sum: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A plan file as read, its rows and neighbours by address."""

    file: Path
    document: _Document
    rows: Mapping[str, Row]
    neighbours: Mapping[str, Neighbour]

    def request(self, extra: tuple[str, ...], site: Path | None = None, forks: int = 50) -> Request:
        """What the plan was asked for, but only for what it touches. `extra` are the -e items, given anew.

        `site` is another site file than the plan's own.
        """
        inputs, only = self.document.inputs, self.document.only
        own = Path(inputs.site) if inputs.site else None
        return Request(
            blueprint=Path(inputs.blueprint),
            inventory=Path(inputs.inventory) if inputs.inventory else None,
            var_files=tuple(map(Path, inputs.var_files)),
            extra=extra,
            limit=inputs.limit,
            forks=forks,
            targets=(*self.rows, *self.neighbours),
            prune=inputs.prune,
            supersede=inputs.supersede,
            everywhere=inputs.everywhere,
            site=site or own,
            exact=True,
            only=None if only is None else frozenset(only),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said again when it is applied."""
        hosts = self.document.unknown
        told = f"the plan holds nothing of {', '.join(hosts)}, which could not be read when it was made"
        return (told,) if hosts else ()

    def refuse_unless_same(self, extra: Sequence[str], specs: Mapping[str, type[Spec]]) -> None:
        """Raises RefusedError when a file, a schema or a value of -e is not what it was. Connects to nothing."""
        self._refuse(
            "was made from something else", origin.stale(self.document.origin, self.document.salt, extra, specs)
        )

    def refuse_unless_meant(self, wish: Wish) -> None:
        """Raises RefusedError when the inventory describes the hosts of the plan otherwise."""
        found = [*origin.moved(self.document.origin, self.document.salt, wish.inventory)]
        self._refuse("was made from something else", found)

    def refuse_unless_true(self, fresh: Plan) -> None:
        """Raises RefusedError when reality is not what it was."""
        document = self.document
        found = fingerprint.differences(self.rows, self.neighbours, document.blueprint, document.salt, fresh)
        self._refuse("is stale", found)

    def _refuse(self, why: str, reasons: Iterable[str]) -> None:
        if told := list(reasons):
            version = self.document.vinfra
            by = f" (by vinfra {version}; this is {__version__})" if version != __version__ else ""
            more = [f"and {len(told) - MANY} more"] if len(told) > MANY else []
            raise RefusedError("\n  ".join([f"{self.file} {why}{by}:", *told[:MANY], *more]), AGAIN)


def write(file: Path, plan: Plan, request: Request, wish: Wish, specs: Mapping[str, type[Spec]]) -> None:
    """Save a plan, atomically. `wish` is what it was made for.

    Raises UsageError when the file cannot be written, or holds something else.
    """
    _must_be_free(file)
    if wish.blueprint.digest != plan.digest:
        raise RefusedError(f"{file}: not saved, for the blueprint's files changed while the plan was made", AGAIN)
    salt = secrets.token_hex(8)
    rows, neighbours = fingerprint.rows_of(plan, salt), fingerprint.neighbours_of(plan, salt)
    guests = frozenset(name for name, host in wish.inventory.hosts.items() if host.connection == "guest")
    units = frozenset(unit for roll in plan.rollouts if batches(roll, plan.changes) for unit in roll.units)
    only = fingerprint.hosts_of(rows, neighbours, guests, units)
    found = [*rows, *neighbours]
    hosts = {name for item in found for name in (item.where, getattr(item, "came_from", "")) if name}
    kinds = {item.address.partition(":")[0] for item in found}
    document = {
        "vinfra": __version__,
        "format": FORMAT,
        "kind": "plan",
        "blueprint": plan.blueprint,
        "inputs": _inputs(request),
        "salt": salt,
        "origin": origin.origin(
            wish,
            request.extra,
            [item.address for item in rows],
            sorted(hosts),
            {kind: spec for kind, spec in specs.items() if kind in kinds},
            salt,
        ).model_dump(),
        "only": None if only is None else sorted(only),
        "there": plan.there,
        "unknown": sorted(plan.unknown),
        "rows": [row.model_dump() for row in rows],
        "neighbours": [neighbour.model_dump() for neighbour in neighbours],
    }
    _replace(file, json.dumps({**document, "sum": _sum(document)}, indent=1) + "\n")


def _inputs(request: Request) -> dict[str, Any]:
    """The request as it can be found again from anywhere, without the values of -e."""
    return {
        "blueprint": str(request.blueprint.absolute()),
        "inventory": source(request.inventory).absolute if request.inventory else None,
        "var_files": [str(file.absolute()) for file in request.var_files],
        "limit": request.limit,
        "prune": request.prune,
        "supersede": request.supersede,
        "everywhere": request.everywhere,
        "site": str(request.site.absolute()) if request.site else None,
    }


def _must_be_free(file: Path) -> None:
    """A file that is there is overwritten only when it is empty or a saved plan, however broken."""
    try:
        status = file.stat()
        regular = stat.S_ISREG(status.st_mode)
        ours = regular and (not status.st_size or is_plan(file, b'"kind": "plan"'))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {getattr(error, 'strerror', None) or error}") from error
    if not ours:
        raise UsageError(f"{file} is there and is no saved plan", "choose another name, or remove it first")


def is_plan(file: Path, word: bytes = b'"vinfra"') -> bool:
    """Whether a file is a saved plan, whole or broken: JSON that says so among its first keys."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            start = stream.read(512)
    except (OSError, ValueError):
        return False
    return start.lstrip().startswith(b"{") and word in start


def _replace(file: Path, text: str) -> None:
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        temporary.replace(file)
    except OSError as error:
        with suppress(OSError):  # also of a name that is too long for any file
            temporary.unlink()
        raise UsageError(f"{file}: cannot write the plan: {error.strerror}") from error


def read(file: Path) -> Saved:
    """Read a plan file. Raises RefusedError for one that is truncated, foreign, edited or of another format."""
    try:
        document = _parsed(bounded.read(file, LARGEST).decode("utf-8"))
        if document.get("kind") != "plan":
            raise ValueError("it does not say that it is a plan")
        if type(document.get("format")) is int and document["format"] != FORMAT:
            made = f"made by vinfra {str(document.get('vinfra'))[:40]} in format {document['format']}"
            raise RefusedError(f"{file}: {made}; this is vinfra {__version__}, which reads format {FORMAT}", AGAIN)
        if document.get("sum") != _sum(document):
            raise RefusedError(f"{file}: was changed after it was saved", AGAIN)
        whole = _Document.model_validate(document)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise RefusedError(f"{file}: not a plan file of this vinfra ({told})", AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{file}: not a whole plan file ({error or type(error).__name__})", AGAIN) from error
    rows = {row.address: row for row in whole.rows}
    return Saved(file, whole, rows, {item.address: item for item in whole.neighbours if item.address not in rows})


def _parsed(text: str) -> dict[str, Any]:
    def constant(name: str) -> Any:
        raise ValueError(f"{name} is no value")

    document = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    if not isinstance(document, dict):
        raise ValueError("it holds no object")  # noqa: TRY004  as for all that is no plan
    return document


def _sum(document: Mapping[str, Any]) -> str:
    """A checksum against careless edits; who wants to deceive can compute it too."""
    whole = {name: value for name, value in document.items() if name != "sum"}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
