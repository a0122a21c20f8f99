"""A plan as rows in blocks, one block a host, equal blocks folded into one. Nothing here knows how wide a screen is."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vinfra.model.action import Action, Verdict
from vinfra.model.change import Change, FieldChange
from vinfra.model.plan import Plan
from vinfra.report import wording
from vinfra.report.content import amount, difference, hidden, is_text
from vinfra.report.visible import shortened, visible

# Two equal hosts are still read one by one; from three on they are said once.
FOLD = 3
MOST_RANGES = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a plan, and the lines of a text difference `below` it."""

    symbol: str
    noun: str
    name: str
    cost: str
    text: str
    where: str = ""
    below: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """The rows that all of `hosts` have."""

    hosts: tuple[str, ...]
    rows: tuple[Row, ...]


def plan_blocks(plan: Plan, full: bool = False) -> list[Block]:
    """What would be done, host by host in the plan's order; `full` folds and shortens nothing."""
    return _blocks(plan, lambda change: [_plan_row(change, full)], full)


def drift_blocks(plan: Plan, full: bool = False) -> list[Block]:
    """What differs from the blueprint, a row a field, in the words desired and actual."""
    return _blocks(plan, lambda change: _drift_rows(change, full), full)


def title(hosts: Sequence[str], order: Sequence[str]) -> str:
    """`hv1`, or the runs of the inventory's order that a block speaks for: `hv01 … hv40 (40 hosts)`."""
    if len(hosts) == 1:
        return visible(hosts[0]) or "anywhere"
    place = {host: number for number, host in enumerate(order)}
    runs: list[list[str]] = []
    for host in hosts:
        if runs and place.get(host, -1) == place.get(runs[-1][-1], -3) + 1:
            runs[-1].append(host)
        else:
            runs.append([host])
    words = [visible(run[0]) if len(run) == 1 else f"{visible(run[0])} … {visible(run[-1])}" for run in runs]
    if len(words) > MOST_RANGES:
        words = [*words[:MOST_RANGES], "…"]
    return f"{', '.join(words)} ({len(hosts)} hosts)"


def _blocks(plan: Plan, rows_of: Callable[[Change], list[Row]], full: bool) -> list[Block]:
    rows: dict[str, list[Row]] = {host: [] for host in plan.hosts}
    for change in plan.pending:
        if change.place not in plan.unknown:
            rows.setdefault(change.place, []).extend(rows_of(change))
    for host, reason in plan.unknown.items():
        rows[host] = [Row("?", "everything", "", "unknown", visible(reason))]
    blocks = [Block((host,), tuple(found)) for host, found in rows.items() if found]
    return blocks if full else _folded(blocks)


def _folded(blocks: list[Block]) -> list[Block]:
    alike: dict[tuple[Row, ...], list[Block]] = {}
    for block in blocks:
        alike.setdefault(tuple(_common(row, block.hosts[0]) for row in block.rows), []).append(block)
    folded: list[Block] = []
    for rows, members in alike.items():
        if len(members) < FOLD:
            folded.extend(members)
        else:
            folded.append(Block(tuple(member.hosts[0] for member in members), rows))
    order = {block.hosts[0]: number for number, block in enumerate(blocks)}
    return sorted(folded, key=lambda block: order[block.hosts[0]])


def _common(row: Row, host: str) -> Row:
    """An unknown host's row without what is only its own: its name and its address."""
    if row.noun != "everything" or not host:
        return row
    text = re.sub(rf"(?<![\w.-]){re.escape(visible(host))}(?![\w-])", "…", row.text)
    return replace(row, text=re.sub(r"\b\d{1,3}(\.\d{1,3}){3}\b", "…", text))


def _row(change: Change, text: str, below: Sequence[str] = ()) -> Row:
    address = change.address
    return Row(
        wording.symbol(change),
        visible(address.noun),
        visible(address.name),
        wording.cost(change),
        text,
        wording.where(change.position),
        tuple(below),
    )


def _plan_row(change: Change, full: bool) -> Row:
    shown = change.delta.fields if change.delta.action is not Action.DELETE else ()
    if change.delta.action is Action.CREATE and not full:
        shown = ()
    below = [line for field in shown if is_text(field) for line in difference(field, full)]
    return _row(change, wording.what(change), below)


def _drift_rows(change: Change, full: bool) -> list[Row]:
    delta = change.delta
    if delta.verdict in (Verdict.UNKNOWN, Verdict.LATER):
        return [_row(change, wording.what(change))]
    reason = f": {visible(delta.reason)}" if delta.reason else ""
    if delta.action is Action.CREATE:
        return [_row(change, f"desired present, actual absent{reason}")]
    if delta.action is Action.DELETE:
        return [_row(change, f"desired absent, actual present{reason}")]
    if not delta.fields:
        return [_row(change, visible(delta.reason) or delta.action.name.lower())]
    rows = [_drift_row(change, field, full) for field in delta.fields]
    return [replace(rows[0], text=rows[0].text + reason), *rows[1:]]


def _drift_row(change: Change, field: FieldChange, full: bool) -> Row:
    name = visible(field.path)
    if hidden(field):
        return _row(change, f"{name}: differs {wording.HIDDEN}")
    if is_text(field):
        return _row(change, f"{name}: differs, {_mirrored(field)}", difference(field, full, reverse=True))
    unit = wording.unit_of(wording.spec_of(change), field.path)
    desired, actual = (shortened(wording.spell(side, unit)) for side in (field.after, field.before))
    return _row(change, f"{name}: desired {desired}, actual {actual}")


def _mirrored(field: FieldChange) -> str:
    return amount(replace(field, before=field.after, after=field.before))
