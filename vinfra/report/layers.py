"""A layered layout: each node right of all it waits for, and rows ordered so that few edges cross.

Levels are the longest way from a start; the order in a level is the barycentre of its neighbours, swept to and fro.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

SWEEPS = 6
HEIGHT, GAP_ACROSS, GAP_DOWN, MARGIN = 40, 60, 12, 16
PER_CHARACTER = 7.2
LONGEST = 40

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Box:
    """Where a node is drawn."""

    x: float
    y: float
    width: float
    height: float = HEIGHT


@dataclass(frozen=True, slots=True)
class Layout:
    """All boxes, and how large the drawing is; labels are cut at `longest` characters."""

    boxes: Mapping[str, Box]
    width: int
    height: int
    longest: int = LONGEST


def arranged(keys: Sequence[str], edges: Sequence[Edge], labels: Mapping[str, str]) -> Layout:
    """Give each key a box."""
    before: dict[str, list[str]] = {key: [] for key in keys}
    after: dict[str, list[str]] = {key: [] for key in keys}
    for first, then in edges:
        before[then].append(first)
        after[first].append(then)
    columns = _columns(keys, before)
    _untangle(columns, before, after)
    return _placed(columns, labels)


def _columns(keys: Sequence[str], before: Mapping[str, Sequence[str]]) -> list[list[str]]:
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError:  # a drawing may show what a plan must not hold
        order = list(keys)
    level: dict[str, int] = {}
    for key in order:
        level[key] = max((level.get(first, -1) + 1 for first in before[key]), default=0)
    columns: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for key in keys:
        columns[level[key]].append(key)
    return [column for column in columns if column]


def _untangle(
    columns: list[list[str]], before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]
) -> None:
    place = {key: float(number) for column in columns for number, key in enumerate(column)}
    for sweep in range(SWEEPS):
        near = before if sweep % 2 == 0 else after
        for column in columns if sweep % 2 == 0 else reversed(columns):
            # Neighbours' mean place; a node without neighbours stays where it is.
            wish = {key: _mean([place[other] for other in near[key]], place[key]) for key in column}
            column.sort(key=lambda key: wish[key])
            place.update((key, float(number)) for number, key in enumerate(column))


def _mean(places: Sequence[float], otherwise: float) -> float:
    return sum(places) / len(places) if places else otherwise


def _placed(columns: Sequence[Sequence[str]], labels: Mapping[str, str]) -> Layout:
    boxes: dict[str, Box] = {}
    tallest = max((len(column) for column in columns), default=0)
    full = tallest * (HEIGHT + GAP_DOWN) - GAP_DOWN if tallest else 0
    x = float(MARGIN)
    for column in columns:
        width = 20 + PER_CHARACTER * max(min(LONGEST, len(labels[key])) for key in column)
        y = MARGIN + (full - (len(column) * (HEIGHT + GAP_DOWN) - GAP_DOWN)) / 2
        for key in column:
            boxes[key] = Box(round(x, 1), round(y, 1), round(width, 1))
            y += HEIGHT + GAP_DOWN
        x += width + GAP_ACROSS
    right = x - GAP_ACROSS + MARGIN if columns else 2.0 * MARGIN
    return Layout(boxes, round(right), round(full + 2 * MARGIN))
