"""A blueprint of what is on a host, whose plan is empty: what would make a row is told of and left out."""

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from vinfra.errors import VinfraError
from vinfra.model.address import Address
from vinfra.model.change import Change
from vinfra.model.estate import Estate, Item
from vinfra.model.kind import Kinds
from vinfra.model.machine import DOMAIN
from vinfra.model.plan import Plan
from vinfra.model.values import TYPED
from vinfra.report.blueprint_file import text
from vinfra.report.wording import what
from vinfra.text.expression import has_template

# What is left out may have been what something else leaned on; more rounds than this mean that it does not settle.
ROUNDS = 5


def blueprint(estate: Estate, kinds: Kinds, plan: Callable[[Path], Plan]) -> str:
    """The text of a blueprint of a host. `plan` makes the plan of a file, which is asked for as long as it has rows."""
    name = _name(estate)
    items = [_declarable(item, kinds) for item in estate.items if not item.owners]
    with tempfile.TemporaryDirectory(prefix="vinfra-import-") as folder:
        file = Path(folder) / "blueprint.yaml"
        for _ in range(ROUNDS):
            items = _leaning(items)
            made = text(name, estate, items, kinds)
            file.write_text(made, "utf-8", errors="surrogateescape")
            rows = plan(file).pending
            if not rows:
                return made
            items = _without(items, rows)
    raise VinfraError(
        f"{estate.host}: no blueprint was found whose plan is empty", "something on it changes while it is read"
    )


def _name(estate: Estate) -> str:
    """A name that no blueprint has on that host: with one that has, all that this one does not name would be pruned."""
    name = re.sub(r"[^a-z0-9._-]", "-", estate.host.lower()).lstrip("._-") or "imported"
    taken = {mark.blueprint for mark in estate.marks} | {owner for item in estate.items for owner in item.owners}
    names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
    return next(other for other in names if other not in taken)


def _declarable(item: Item, kinds: Kinds) -> Item:
    """The item, or, when its kind would not take it, only a word about it."""
    kind = kinds[item.address.kind]
    if item.fields is None:
        return item
    if has_template(item.address.name):
        return _told(item, "no name in a blueprint can hold a template")
    try:
        desired = kind.Spec.model_validate(dict(item.fields), context=TYPED)
    except ValidationError as error:
        first = error.errors()[0]
        return _told(item, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    complaint = kind.check(item.address.name, desired)
    return _told(item, complaint) if complaint else item


def _told(item: Item, why: str) -> Item:
    return replace(item, fields=None, note=why)


def _without(items: Iterable[Item], rows: Iterable[Change]) -> list[Item]:
    reasons: Mapping[Address, str] = {row.address: what(row) for row in rows}
    return [
        _told(item, f"left out, or it would be a change: {reasons[item.address]}") if item.address in reasons else item
        for item in items
    ]


def _leaning(items: Iterable[Item]) -> list[Item]:
    """A domain says nothing of its disks when one of them is no volume that is declared."""
    items = list(items)
    volumes = {item.address.name for item in items if item.address.kind == "kvm.volume" and item.fields is not None}
    found = []
    for item in items:
        disks = (item.fields or {}).get("disks") or {}
        whole = item.address.kind != DOMAIN or {disk["volume"] for disk in disks.values()} <= volumes
        kept = {key: value for key, value in (item.fields or {}).items() if key != "disks"}
        note = "its disks are left out: not all are volumes that are declared"
        found.append(item if whole else replace(item, fields=kept, note=note))
    return found
