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
VERSION = 1


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

    `host` is the host's name in the inventory. `digest` and, where there is git, `commit` tell the version of the
    blueprint. `identity` holds the values without which the object could not be found again once its block is gone (a
    package's role).
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
            mark = _mark(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError):
            complaints.append(f"unreadable mark: {line[:80]}")
            continue
        if mark.version > VERSION:
            complaints.append(f"mark of a newer vinfra (version {mark.version}): {mark.kind} {mark.name}")
        marks.pop(mark.key, None)
        if mark.state is not State.RELEASED:
            marks[mark.key] = mark
    return marks, complaints


def _mark(data: dict[str, Any]) -> Mark:
    texts = [data[name] for name in ("blueprint", "kind", "name")]
    version = data.get("version", VERSION)
    if not all(isinstance(text, str) for text in texts) or not isinstance(version, int):
        raise TypeError("not a mark of ours")
    known = {name: data[name] for name in Mark.__dataclass_fields__ if name in data}
    return Mark(
        **{
            **known,
            "state": State(data["state"]),
            "birth": Birth(data["birth"]),
            "fields": tuple(data.get("fields", ())),
            "identity": dict(data.get("identity", {})),
        }
    )
