"""What of a difference is made good while the domain runs, and in which order; or, aspect by aspect, why it is not."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from vinfra.kinds.kvm.domains import board
from vinfra.kinds.kvm.domains.domain_xml import ASPECTS
from vinfra.kinds.kvm.domains.hotplug import Move, Told
from vinfra.kinds.kvm.reading.virsh import element
from vinfra.model.step import Step


def told(xml: str, wish: Mapping[str, Any]) -> dict[str, Told]:
    """Of each aspect of what runs that is not as it is wished for: the moves that make it so, or why only a boot does.

    Each is decided on what those before it leave: two of them may want the last free port.
    """
    tree, found = deepcopy(element(xml)), dict[str, Told]()
    for name, value in wish.items():
        aspect = ASPECTS[name]
        if aspect.runs(value, aspect.read(tree)):
            continue
        found[name] = aspect.live(tree, value) if aspect.live else str(board.BOOT["why"])
        if not isinstance(found[name], str):
            aspect.write(tree, value)
    return found


def moves(xml: str, wish: Mapping[str, Any]) -> list[Move]:
    """Everything that can be made good while it runs, in order."""
    return [move for said in told(xml, wish).values() if not isinstance(said, str) for move in said]


def steps(xml: str, wish: Mapping[str, Any]) -> Iterator[Step]:
    """What does it."""
    return (Step(move.summary, (move.call,), secret=move.secret) for move in moves(xml, wish))


def back(xml: str, wish: Mapping[str, Any]) -> Iterator[Step]:
    """What takes it back, last made first; what did not happen needs no undoing."""
    for move in reversed(moves(xml, wish)):
        if move.back is not None:
            yield Step(f"take back: {move.summary}", (move.back,))
