"""`moved:`: what has another name now, and is the same thing all the same.

Two things have a name that is not what they are: a blueprint, which stands in marks, and a fleet, whose machines have
names of their own. Everything else is on its host what it is called, and a machine's name is also on its disks, in its
lease and within its own system.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.model.kind import Kinds, Trait, has
from vinfra.model.source import Pointer
from vinfra.text.complaint import Complaints, near, sort_of
from vinfra.text.document import Document
from vinfra.text.names import known_keys

KEYS = ("from", "to")
BLUEPRINT = "blueprint"
OWNER = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(slots=True)
class Renames:
    """Names that the blueprint had, and the fleets that have another one now: the new name by the old one."""

    formerly: set[str] = field(default_factory=set)
    fleets: dict[str, str] = field(default_factory=dict)


def moved(
    value: Any, document: Document, owner: str, kinds: Kinds, fleets: Mapping[str, bool], complaints: Complaints
) -> Renames:
    """What `moved:` says. `fleets` tells of each fleet that is declared whether it names its members itself."""
    renames = Renames()
    if value is None:
        return renames
    if not isinstance(value, list):
        complaints.add(document, ("moved",), f"write a list of {{from: …, to: …}}, not {sort_of(value)}")
        return renames
    for index, entry in enumerate(value):
        pointer: Pointer = ("moved", index)
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in KEYS):
            complaints.add(document, pointer, "write {from: fleet:web, to: fleet:front}")
            continue
        known_keys(entry, KEYS, document, pointer, complaints)
        if noun := _noun(entry, document, pointer, kinds, complaints):
            old, new = (entry[key].partition(":")[2] for key in KEYS)
            key, objection = _blueprint(old, new, owner) if noun == BLUEPRINT else _fleet(noun, old, new, kinds, fleets)
            if objection:
                complaints.add(document, (*pointer, *key), objection)
            elif noun == BLUEPRINT:
                renames.formerly.add(old)
            else:
                renames.fleets[old] = new
    return renames


def _noun(entry: Mapping[str, str], document: Document, pointer: Pointer, kinds: Kinds, complaints: Complaints) -> str:
    nouns = [BLUEPRINT, *(kind.NAME.rpartition(".")[2] for kind in kinds.values())]
    first, second = (entry[key].partition(":")[0] for key in KEYS)
    for key, noun in zip(KEYS, (first, second), strict=True):
        if noun not in nouns or not entry[key].partition(":")[2]:
            message = f"write NOUN:NAME, with one of {', '.join(nouns)}{near(noun, nouns)}"
            complaints.add(document, (*pointer, key), message)
            return ""
    if first != second:
        complaints.add(document, (*pointer, "to"), f"a {first} cannot become a {second}")
        return ""
    return first


def _blueprint(old: str, new: str, owner: str) -> tuple[Pointer, str]:
    if new != owner:
        return ("to",), f"this blueprint is called {owner}: write `to: {BLUEPRINT}:{owner}`"
    if old == owner or not OWNER.fullmatch(old):
        return ("from",), "write the name that this blueprint had before"
    return (), ""


def _fleet(noun: str, old: str, new: str, kinds: Kinds, fleets: Mapping[str, bool]) -> tuple[Pointer, str]:
    kind = next(kind for kind in kinds.values() if kind.NAME.rpartition(".")[2] == noun)
    if not has(kind, Trait.FLEET):
        advice = "drop the old block, vinfra removes what it created; or keep the name"
        return (), f"a {noun}'s name is what it is on its host, so it cannot be renamed; {advice}"
    if old in fleets:
        return ("from",), f"there still is a fleet {old}; rename it where it is declared"
    if new not in fleets:
        return ("to",), f"there is no fleet {new}{near(new, fleets)}"
    if not fleets[new]:
        name = f"name: \"{old}-{{{{ '%02d' % member.number }}}}\""
        return ("to",), (
            f"the machines of fleet {old} keep their names, which are on their disks and within their own systems: "
            f"say in fleet {new} what they are called, such as `{name}`"
        )
    return (), ""
