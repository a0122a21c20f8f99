"""Rolling a change out: a batch of units at a time, and the next one only once the last one proved to be well.

A unit is what fails or works as a whole: a host, or a machine of a fleet with all that it is made of. Everything here
is data and pure functions; nothing knows what a unit is, or how its health is asked.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from vinfra.model.action import Action
from vinfra.model.address import Address
from vinfra.model.change import Change
from vinfra.model.source import NOWHERE, Position
from vinfra.model.values import Seconds, Text, Whole

_ENOUGH = 100
SORTS = ("ssh", "tcp", "http", "command")


@dataclass(frozen=True, slots=True)
class Share:
    """So many of all units, or so many percent of them."""

    number: float
    percent: bool = False

    def of(self, total: int) -> int:
        """How many of so many that are, rounded down."""
        return int(total * self.number / 100) if self.percent else int(self.number)

    def __str__(self) -> str:
        return f"{self.number:g}{'%' * self.percent}"


def _share(least: int, sample: str) -> BeforeValidator:
    def convert(value: Any) -> Any:
        if isinstance(value, Share):
            return value
        found = re.fullmatch(r"([0-9]+)(%?)", str(value)) if isinstance(value, str | int) else None
        if not found or isinstance(value, bool):
            raise ValueError(f"write a count or a percentage, such as {sample}")
        made = Share(int(found[1]), bool(found[2]))
        if made.number < least:
            raise ValueError(f"{value} would never come to an end; write at least {least}{found[2]}")
        if made.percent and made.number > 100:
            raise ValueError(f"{value} is more than all of them; write at most 100%")
        return made

    return BeforeValidator(convert)


_SHAPE: dict[str, Any] = {"type": ["string", "integer"], "pattern": "^[0-9]+%?$"}
_SHARE = WithJsonSchema(_SHAPE)
_SHARES = WithJsonSchema({"anyOf": [_SHAPE, {"type": "array", "items": _SHAPE, "minItems": 1}]})
Size = Annotated[Share, _share(1, "1 or 25%"), _SHARE]
Most = Annotated[Share, _share(0, "0, 2 or 10%"), _SHARE]


def _many(value: Any) -> Any:
    if isinstance(value, list) and not value:
        raise ValueError("write at least one size, such as 1 or [1, 25%]")
    return value if isinstance(value, list | tuple) else [value]


def _port(value: int) -> int:
    if 0 < value < 65536:
        return value
    raise ValueError("a port is 1 to 65535")


def _some(value: float) -> float:
    if value > 0:
        return value
    raise ValueError("write more than nothing, such as 2s")


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("write a URL as the host itself would call it, such as http://127.0.0.1/health")
    if parts.username is not None:
        raise ValueError("a URL with a password in it would be printed; use command")
    return value


def _status(value: int) -> int:
    if 100 <= value < 600:
        return value
    raise ValueError("an HTTP status is 100 to 599")


def _program(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("write the program and its arguments as a list, such as [systemctl, is-active, nginx]")
    return value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Http(_Model):
    """A GET request and the answer that counts as health."""

    url: Annotated[Text, AfterValidator(_url)] = Field(
        description="What is called, as the host itself sees it. Of https the certificate must be good, "
        "but for the host's own on a loopback address."
    )
    status: Annotated[Whole, AfterValidator(_status)] = Field(200, description="The status of a good answer.")


class Check(_Model):
    """One question about a unit's health: `ssh`, or a mapping with one of tcp, http and command."""

    tcp: Annotated[Whole, AfterValidator(_port)] | None = Field(
        None, description="A port on which the host takes connections from itself."
    )
    http: Http | None = Field(None, description="A URL that the host answers to itself.")
    command: Annotated[tuple[Text, ...], BeforeValidator(_program)] | None = Field(
        None, description="A program and its arguments that ends with status 0."
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if value == SORTS[0]:
            return {}
        allowed = "write ssh, {tcp: 80}, {http: {url: …}} or {command: […]}"
        if isinstance(value, str):
            raise ValueError(f"{str(value)!r} is no health check; {allowed}")  # noqa: TRY004  what pydantic takes
        if isinstance(value, dict):
            odd = next((key for key in value if key not in SORTS[1:]), None)
            if odd is not None:
                raise ValueError(f"{str(odd)!r} is no health check; {allowed}")
            if len(value) != 1:
                raise ValueError(f"one check each; {allowed}")
        return value

    def __str__(self) -> str:
        if self.tcp is not None:
            return f"tcp {self.tcp}"
        if self.http is not None:
            return self.http.url
        return f"command {' '.join(self.command)}" if self.command is not None else "ssh"


@dataclass(frozen=True, slots=True)
class _OrSsh:
    """In a schema: a check, or the bare word."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"const": SORTS[0]}, handler(schema)]}


def _told(default: str) -> Any:
    """The default as it would be written."""
    return {"default": default}


class OnFailure(StrEnum):
    """What becomes of a rollout in which more failed than may."""

    STOP = "stop"
    ROLLBACK = "rollback"


class Rollout(_Model):
    """How a change is rolled out: in which batches, and what must hold before the next one."""

    batch: Annotated[tuple[Size, ...], BeforeValidator(_many), _SHARES] = Field(
        (Share(1),),
        json_schema_extra=_told("1"),
        description="How many units change together: a count, a part of all such as 25% (at least one), "
        "or a list of them, of which the last repeats.",
    )
    max_fail: Most = Field(
        Share(0),
        json_schema_extra=_told("0"),
        description="How many units, or which part of all, may fail without stopping it.",
    )
    monitor: Seconds = Field(
        0.0, json_schema_extra=_told("0s"), description="How long a batch must stay healthy once it is, such as 10s."
    )
    delay: Seconds = Field(
        0.0,
        json_schema_extra=_told("0s"),
        description="How long to wait after a batch that passed before the next begins.",
    )
    on_failure: OnFailure = Field(
        OnFailure.STOP, description="stop, or rollback: what this run changed in its units goes back to what was found."
    )
    health: tuple[Annotated[Check, _OrSsh()], ...] | None = Field(
        None, description="What must hold of a unit; a new login (ssh) unless said, where there can be one."
    )
    interval: Annotated[Seconds, AfterValidator(_some)] = Field(
        2.0, description="How long between two looks at a unit's health."
    )
    retries: Whole = Field(5, ge=0, le=1000, description="How many more looks a unit gets to become healthy.")
    timeout: Annotated[Seconds, AfterValidator(_some)] = Field(
        10.0, json_schema_extra=_told("10s"), description="How long one check may take."
    )


SSH = Check.model_validate("ssh")


@dataclass(frozen=True, slots=True)
class Roll:
    """A rollout as declared: its units in their order, and what each must pass.

    `noun` is what its units are. `silent` are units that nobody can log in to, so that they are not asked.
    """

    name: str
    units: tuple[str, ...]
    terms: Rollout = field(default_factory=lambda: Rollout.model_validate({}))
    noun: str = "host"
    position: Position = NOWHERE
    silent: frozenset[str] = frozenset()

    @property
    def health(self) -> tuple[Check, ...]:
        """The checks; a new login where nothing is said."""
        return (SSH,) if self.terms.health is None else self.terms.health

    @property
    def bearable(self) -> int:
        """How many of its units may fail."""
        return self.terms.max_fail.of(len(self.units))


@dataclass(frozen=True, slots=True)
class Rolling:
    """A rollout in a plan. `rows` says of which unit each row of it is.

    `units` are those within the request, in the order of the roll; `new` those that come to be by this very plan;
    `dark` those that could not be read, each with the reason; `silent` cannot be asked how they are.
    """

    roll: Roll
    units: tuple[str, ...]
    rows: Mapping[Address, str]
    new: frozenset[str] = frozenset()
    dark: Mapping[str, str] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()

    @property
    def stuck(self) -> bool:
        """Whether so many could not be read that it stops before its first batch."""
        return len(self.dark.keys() & set(self.units)) > self.roll.bearable

    @property
    def reverts(self) -> bool:
        """Whether what it changes may have to be taken back."""
        return self.roll.terms.on_failure is OnFailure.ROLLBACK


@dataclass(frozen=True, slots=True)
class Batch:
    """Units that change together, and all their rows. `number` counts from 1; `new` ones come first, all together."""

    number: int
    of: int
    units: tuple[str, ...]
    rows: frozenset[Address]
    new: bool = False


def cut(units: Sequence[str], sizes: Sequence[Share], total: int) -> list[tuple[str, ...]]:
    """Units in batches, in their order: the last size repeats, the last batch may be shorter. `total` is 100%."""
    batches: list[tuple[str, ...]] = []
    start = 0
    while start < len(units):
        size = max(1, sizes[min(len(batches), len(sizes) - 1)].of(total))
        batches.append(tuple(units[start : start + size]))
        start += size
    return batches


def batches(rolling: Rolling, changes: Iterable[Change]) -> tuple[Batch, ...]:
    """The batches of a plan's rollout: first what is new, which nobody uses yet, then what is changed.

    A unit of which marks alone change is in none: nothing is done to it.
    """
    rows: dict[str, set[Address]] = {}
    touched: set[str] = set()
    for change in changes:
        unit = rolling.rows.get(change.address)
        if unit is None or not change.runnable or _afterwards(rolling, change):
            continue
        rows.setdefault(unit, set()).add(change.address)
        if change.delta.action not in (Action.ADOPT, Action.MOVE):
            touched.add(unit)
    there = [unit for unit in rolling.units if unit in touched]
    new = tuple(unit for unit in there if unit in rolling.new)
    old = cut([unit for unit in there if unit not in rolling.new], rolling.roll.terms.batch, len(rolling.roll.units))
    parts = [*([new] if new else []), *old]
    return tuple(
        Batch(number, len(parts), part, frozenset().union(*(rows[unit] for unit in part)), part is new)
        for number, part in enumerate(parts, 1)
    )


def afterwards(rolling: Rolling, changes: Iterable[Change]) -> frozenset[Address]:
    """Deletions have no way back: where others may have to go back, they come once the last batch has passed."""
    return frozenset(change.address for change in changes if change.runnable and _afterwards(rolling, change))


def _afterwards(rolling: Rolling, change: Change) -> bool:
    return rolling.reverts and change.delta.action is Action.DELETE and change.address in rolling.rows


@dataclass(frozen=True, slots=True)
class Gate:
    """What stands between a batch and the next one. `number` 0 stands before the first.

    There what earlier runs have done already must be well: a rollout that was stopped would else go on at the next run.
    `ask` are the units whose health is asked, `failed` those that failed before that, each with the reason; `bearable`
    is how many more may.
    """

    roll: Roll
    number: int
    of: int
    units: tuple[str, ...]
    ask: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    bearable: int = 0


class Passage(StrEnum):
    """How a gate ended."""

    PASSED = "passed"
    STOPPED = "stopped"
    ROLLED_BACK = "rolled_back"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class GateEnd:
    """A gate, the units that failed at it, each with the reason, and what follows."""

    gate: Gate
    passage: Passage
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def who(self) -> str:
        """Who failed, in a few words."""
        names = list(self.failed)
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    @property
    def reason(self) -> str:
        """Who failed and why, in a line."""
        told = [f"{unit}: {_short(reason)}" for unit, reason in self.failed.items()]
        return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")

    @property
    def kept(self) -> "GateEnd":
        """The same without what a command printed, which may be anything."""
        checks = [str(check) for check in self.gate.roll.health if check.command is not None]
        return replace(self, failed={unit: _unsaid(reason, checks) for unit, reason in self.failed.items()})


def _unsaid(reason: str, commands: Sequence[str]) -> str:
    said = next((command for command in commands if reason.startswith(f"{command}: ")), None)
    return reason if said is None else said + reason.removeprefix(said).partition(" (")[0]


def _short(text: str) -> str:
    return text if len(text) <= _ENOUGH else text[: _ENOUGH - 1].rstrip() + "…"
