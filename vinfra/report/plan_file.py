"""A saved plan: what it was made from, what it would do, and a fingerprint of every object it touches.

The file is JSON, 0600, and holds no secret: values of secret fields and the contents of steps are there as salted
hashes, enough to see that they are still the same.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vinfra import __version__
from vinfra.errors import RefusedError, UsageError
from vinfra.model.action import Verdict
from vinfra.model.change import Change
from vinfra.model.plan import Plan
from vinfra.model.spec import Spec, declared

FORMAT = 1
LONGEST = 200  # a longer value is kept as its hash
HASHED = "hash:"


@dataclass(frozen=True, slots=True)
class Saved:
    """A plan file as read. `inputs` are the request's; `rows` are by address.

    `extra` has the `-e` items with their values left out, for they may be secret: who applies gives them again.
    """

    inputs: Mapping[str, Any]
    extra: tuple[str, ...]
    digest: str
    salt: str
    rows: Mapping[str, Mapping[str, Any]]

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the plan touches."""
        return tuple(self.rows)


def write(file: Path, plan: Plan, inputs: Mapping[str, Any]) -> None:
    """Save a plan, atomically. Raises UsageError when the file cannot be written, or holds something else."""
    if file.exists() and not (
        file.is_file() and (not file.stat().st_size or b'"kind": "plan"' in file.read_bytes()[:512])
    ):
        raise UsageError(f"{file} is there and is no saved plan", "choose another name, or remove it first")
    salt = secrets.token_hex(8)
    document = {
        "vinfra": __version__,
        "format": FORMAT,
        "kind": "plan",
        "blueprint": plan.blueprint,
        "inputs": _inputs(inputs),
        "digest": plan.digest,
        "salt": salt,
        "rows": [_row(change, salt) for change in plan.pending if change.delta.verdict is not Verdict.UNKNOWN],
    }
    document["sum"] = _sum(document)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1)
            stream.write("\n")
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"{file}: cannot write the plan: {error.strerror}") from error


def read(file: Path) -> Saved:
    """Read a plan file. Raises RefusedError for one that is truncated, foreign or of another version."""
    try:
        document = json.loads(file.read_text("utf-8"))
        inputs = document["inputs"]
        if document["kind"] != "plan":
            raise KeyError("kind")
        if document["format"] != FORMAT or document["vinfra"] != __version__:
            found = f"vinfra {document['vinfra']}, format {document['format']}"
            raise RefusedError(f"{file}: made by {found}; this is vinfra {__version__}, format {FORMAT}", "plan again")
        if document["sum"] != _sum(document):
            raise RefusedError(f"{file}: was changed after it was saved", "plan again")
        return Saved(
            inputs={
                "blueprint": Path(inputs["blueprint"]),
                "inventory": Path(inputs["inventory"]) if inputs["inventory"] else None,
                "var_files": tuple(map(Path, inputs["var_files"])),
                "limit": str(inputs["limit"]),
                "prune": bool(inputs["prune"]),
                "supersede": bool(inputs.get("supersede")),
                "everywhere": bool(inputs.get("everywhere")),
            },
            extra=tuple(map(str, inputs["extra"])),
            digest=document["digest"],
            salt=document["salt"],
            rows={row["address"]: row for row in document["rows"]},
        )
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"{file}: not a whole plan file ({type(error).__name__}: {error})", "plan again") from error


def _inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The request as it can be found again from anywhere."""
    there = {name: _plain(value) for name, value in inputs.items()}
    there["blueprint"] = str(Path(inputs["blueprint"]).absolute())
    there["inventory"] = str(Path(inputs["inventory"]).absolute()) if inputs["inventory"] else None
    there["var_files"] = [str(Path(file).absolute()) for file in inputs["var_files"]]
    there["extra"] = [item if item.startswith("@") else item.partition("=")[0] for item in inputs["extra"]]
    return there


def _sum(document: Mapping[str, Any]) -> str:
    """A checksum against careless edits; who wants to deceive can compute it too."""
    whole = {name: value for name, value in document.items() if name != "sum"}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def differences(saved: Saved, fresh: Plan) -> list[str]:
    """Why the saved plan is not what would be done now: one line per object, naming field, planned and found value."""
    now = {str(change.address): change for change in fresh.changes}
    lines = [f"{host}: cannot be read: {reason}" for host, reason in fresh.unknown.items()]
    for address, row in saved.rows.items():
        change = now.get(address)
        if change is None:
            if not fresh.unknown:
                lines.append(f"{address}: is not in the plan any more")
        else:
            lines += _moved(address, row, _row(change, saved.salt))
    more = [change for change in fresh.runnable if str(change.address) not in saved.rows]
    return [*lines, *(f"{change.address}: was not to be changed when planned, and now would be" for change in more)]


def _moved(address: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if then["where"] != now["where"]:
        return [f"{address}: was for {then['where'] or 'no host'} when planned, and is for {now['where'] or 'no host'}"]
    before, after = then["actual"], now["actual"]
    if (before is None) != (after is None):
        return [
            f"{address}: {'absent' if before is None else 'there'} when planned, now {'there' if after else 'absent'}"
        ]
    fields = sorted(
        name for name in {*(before or ()), *(after or ())} if (before or {}).get(name) != (after or {}).get(name)
    )
    if fields:
        return [_field(address, name, (before or {}).get(name), (after or {}).get(name)) for name in fields]
    changed = [name for name in ("action", "verdict", "impact", "steps") if then[name] != now[name]]
    return [f"{address}: {name} was {then[name]!r} when planned, is {now[name]!r}" for name in changed]


def _field(address: str, name: str, before: Any, after: Any) -> str:
    if any(isinstance(value, str) and value.startswith(HASHED) for value in (before, after)):
        return f"{address}: {name} is not what it was when planned"
    return f"{address}: {name} was {before!r} when planned, is {after!r}"


def _row(change: Change, salt: str) -> dict[str, Any]:
    return {
        "address": str(change.address),
        "where": change.place,
        "action": change.delta.action.name.lower(),
        "verdict": change.delta.verdict.name.lower(),
        "impact": str(change.delta.impact),
        "reason": change.delta.reason,
        "actual": None if change.actual is None else _fields(change.actual, salt),
        "steps": [{"summary": step.summary, "digest": _hash(step.calls, salt)} for step in change.steps],
    }


def _fields(spec: Spec, salt: str) -> dict[str, Any]:
    """Every known field's value; secret and long ones as a hash."""
    found: dict[str, Any] = {}
    for name, value in spec:
        if value is not None:
            hidden = declared(type(spec), name, "secret") or name == "content" or len(str(value)) > LONGEST
            found[name] = _hash(value, salt) if hidden else _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _hash(value: Any, salt: str) -> str:
    return HASHED + hashlib.sha256(f"{salt}{value!r}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
