"""What is on hosts and who owns it, for people and as JSON."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from vinfra.model.address import Address
from vinfra.model.estate import Estate, Item
from vinfra.model.mark import Birth, Mark, State
from vinfra.report.as_json import mark_body, plain
from vinfra.report.terminal import STYLES, padded
from vinfra.report.visible import several, visible

HOW = {Birth.CREATED: "made", Birth.ADOPTED: "adopted", Birth.FOUND: "found there"}


def unmanaged_lines(estates: Iterable[Estate]) -> Iterator[Text]:
    """A block a host, a line an object, and the sum."""
    estates = list(estates)
    rows = {estate.host: [_unmanaged(item) for item in estate.items if not item.owners] for estate in estates}
    yield from _blocks(estates, rows)
    total = sum(map(len, rows.values()))
    known = sum(not estate.error for estate in estates)
    found = f"{several(total, 'object')} that no blueprint owns" if total else "Nothing that no blueprint owns"
    yield Text(f"{found}, on {several(known, 'host')}{_dark(estates)}.", style="bold")


def _dark(estates: Iterable[Estate]) -> str:
    dark = sum(bool(estate.error) for estate in estates)
    return f"; {several(dark, 'host')} unknown" if dark else ""


def _unmanaged(item: Item) -> tuple[str, ...]:
    note = f"cannot be declared: {item.note}" if item.fields is None else ""
    return tuple(map(visible, (item.address.noun, item.address.name, note)))


def unmanaged_body(estates: Iterable[Estate]) -> dict[str, Any]:
    """The same for JSON."""
    return {"hosts": [_host(estate) | {"unmanaged": _items(estate)} for estate in estates]}


def _items(estate: Estate) -> list[dict[str, Any]]:
    found = sorted((item for item in estate.items if not item.owners), key=lambda item: item.address)
    return [
        {
            "address": str(item.address),
            "kind": item.address.kind,
            "name": item.address.name,
            "fields": None if item.fields is None else plain(item.fields),
            "note": item.note,
        }
        for item in found
    ]


def _host(estate: Estate) -> dict[str, Any]:
    return {"name": estate.host, "unknown": estate.error or None, "unread": dict(sorted(estate.unread.items()))}


def owners_lines(estates: Iterable[Estate], blueprint: str = "") -> Iterator[Text]:
    """A block a host, a line a mark: what, whose, how it came to it, when, by whom, in which run."""
    estates = list(estates)
    rows = {estate.host: [_owner(mark, estate.host) for mark in _marks(estate, blueprint)] for estate in estates}
    yield from _blocks(estates, rows)
    total = sum(map(len, rows.values()))
    owners = {mark.blueprint for estate in estates for mark in _marks(estate, blueprint)}
    yield Text(f"{several(total, 'mark')} of {several(len(owners), 'blueprint')}{_dark(estates)}.", style="bold")


def _marks(estate: Estate, blueprint: str) -> list[Mark]:
    return sorted(
        (mark for mark in estate.marks if blueprint in ("", mark.blueprint)),
        key=lambda mark: (mark.blueprint, mark.kind, mark.name),
    )


def _owner(mark: Mark, host: str) -> tuple[str, ...]:
    how = "begun and not ended" if mark.state is State.CLAIMED else HOW[mark.birth]
    how += ", protected" if mark.protect else ""
    noun = Address(mark.kind, host, mark.name).noun
    return tuple(map(visible, (noun, mark.name, mark.blueprint, how, mark.time or "-", mark.who or "-", mark.run)))


def owners_body(estates: Iterable[Estate], blueprint: str = "") -> dict[str, Any]:
    """The same for JSON."""
    return {
        "hosts": [
            _host(estate)
            | {"complaints": list(estate.complaints), "marks": [mark_body(mark) for mark in _marks(estate, blueprint)]}
            for estate in estates
        ]
    }


def _blocks(estates: Sequence[Estate], rows: dict[str, list[tuple[str, ...]]]) -> Iterator[Text]:
    cells = [row for found in rows.values() for row in found]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for estate in estates:
        lines = [f"  {'  '.join(padded(*cell) for cell in zip(row, widths, strict=True))}" for row in rows[estate.host]]
        dark = [estate.error] if estate.error else [f"{noun}: {why}" for noun, why in sorted(estate.unread.items())]
        if not lines and not dark and not estate.complaints:
            continue
        yield Text(visible(estate.host), style="bold")
        yield from (Text.assemble("  ", ("? ", STYLES["?"]), visible(reason)) for reason in dark)
        yield from (Text.assemble("  ", ("! ", STYLES["!"]), visible(line)) for line in estate.complaints)
        yield from (Text(line.rstrip()) for line in lines)
        yield Text()
