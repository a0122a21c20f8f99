"""What vinfra leaves on a Linux host so that it knows its own: one file of JSON lines per blueprint.

`/var/lib/vinfra/marks/<blueprint>.jsonl`, 0600, only ever appended to; for each object the last line counts. A claim is
written before the act and a confirmation after it, in the same round trip, so that a kill between the two leaves
something to recover from.
"""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

DIRECTORY = "/var/lib/vinfra/marks"
# The XML namespace of what a domain or a network carries in its own libvirt metadata, so that it travels with it.
NAMESPACE = "https://vinfra.dev/libvirt/1"
# Of a domain's address and host key. Not the owner's: libvirt keeps one element of each namespace.
GUEST_NAMESPACE = f"{NAMESPACE}/guest"
# Of what stands for secrets that a domain was given and nobody can read back.
SECRETS_NAMESPACE = f"{NAMESPACE}/secrets"
VERSION = 1
MANY = 10  # complaints about lines
LARGEST = 64 << 20  # bytes of a file that are read
SHARED = "shared"  # in a mark's identity: what it marks lies where another host sees it too
WORN = 2000  # lines of a file that are worth rewriting


class Birth(StrEnum):
    """Whether the object is vinfra's own: `created` by it, or `adopted` because somebody said so. What it merely
    `found` there is never deleted.
    """

    CREATED = "created"
    FOUND = "found"
    ADOPTED = "adopted"


class State(StrEnum):
    """How far the last act on the object came."""

    CLAIMED = "claimed"
    OWNED = "owned"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Mark:
    """One object's mark: which blueprint owns it, whether it made it, which fields it set; when, who, which run.

    `host` is the host's name in the inventory, `fleet` the fleet that it belongs to. `digest` and, where there is git,
    `commit` tell the version of the blueprint. `identity` holds the values without which the object could not be found
    again once its block is gone (a package's role).
    """

    blueprint: str
    kind: str
    name: str
    state: State
    birth: Birth
    host: str = ""
    fields: tuple[str, ...] = ()
    identity: dict[str, str] = field(default_factory=dict)
    protect: bool = False
    digest: str = ""
    commit: str = ""
    run: str = ""
    time: str = ""
    fleet: str = ""
    who: str = ""
    version: int = VERSION

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells an object's marks from those of others: blueprint, kind, name."""
        return self.blueprint, self.kind, self.name

    @property
    def ours(self) -> bool:
        """Whether the object goes when its blueprint no longer names it."""
        return self.birth is not Birth.FOUND

    def line(self) -> str:
        """The mark as one line of its file."""
        return json.dumps(asdict(self), ensure_ascii=True, separators=(",", ":"))


def path_of(blueprint: str) -> str:
    """The file that holds a blueprint's marks on a host."""
    return f"{DIRECTORY}/{blueprint}.jsonl"


def parse(text: str) -> tuple[dict[tuple[str, str, str], Mark], list[str]]:
    """The living marks by (blueprint, kind, name), and a complaint for each line that is not one of ours.

    A last line cut short by a full disk or a lost host is a complaint, not an error; so is a mark of a newer version.
    """
    marks: dict[tuple[str, str, str], Mark] = {}
    complaints: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        try:
            mark = _mark(json.loads(line, object_pairs_hook=unique))
        except (ValueError, TypeError, KeyError, RecursionError):
            complaints.append(f"unreadable mark: {line[:80]}")
            continue
        if mark.version > VERSION:
            complaints.append(f"mark of a newer vinfra (version {mark.version}): {mark.kind} {mark.name}")
        marks.pop(mark.key, None)
        if mark.state is not State.RELEASED:
            marks[mark.key] = mark
    more = len(complaints) - MANY
    return marks, [*complaints[:MANY], *([f"{more} more lines that are no marks"] if more > 0 else [])]


def worn(text: str, blueprint: str) -> bool:
    """Whether a blueprint's marks take many more lines than there are marks."""
    lines = text.count(f'{{"blueprint":"{blueprint}",')
    return lines > WORN and lines > 2 * sum(mark.blueprint == blueprint for mark in parse(text)[0].values())


def compact(text: str, blueprint: str) -> bytes | None:
    """A blueprint's mark file with one line for each mark; None while a line of it cannot be read."""
    marks, complaints = parse(text)
    lines = [mark.line() for mark in marks.values() if mark.blueprint == blueprint]
    return None if complaints else "".join(f"{line}\n" for line in lines).encode()


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For json.loads: an object whose keys are there once. Raises ValueError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _mark(data: Any) -> Mark:
    """Strict, for what is wrong here could take away what is not ours. A key that is missing has its default."""
    if type(data) is not dict:
        raise TypeError("not a mark of ours")
    texts = {name: _text(data[name]) for name in ("blueprint", "kind", "name")}
    texts |= {
        name: _text(data[name]) for name in ("host", "digest", "commit", "run", "time", "fleet", "who") if name in data
    }
    version, protect = data.get("version", VERSION), data.get("protect", False)
    fields, identity = data.get("fields", []), data.get("identity", {})
    if [type(version), type(protect), type(fields), type(identity)] != [int, bool, list, dict] or version < 1:
        raise TypeError("not a mark of ours")
    return Mark(
        **texts,
        state=State(data["state"]),
        birth=Birth(data["birth"]),
        fields=tuple(map(_text, fields)),
        identity={_text(name): _text(value) for name, value in identity.items()},
        protect=protect,
        version=version,
    )


def _text(value: Any) -> str:
    """A text that can be written as UTF-8, for JSON can hold halves of characters."""
    if type(value) is not str or any("\ud800" <= char <= "\udfff" for char in value):
        raise TypeError("not a text")
    return value
