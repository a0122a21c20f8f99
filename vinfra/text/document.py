"""A YAML file as read: its tree of dict, list, None and text, and the nodes that know where each value stands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yaml import MappingNode, Node, ScalarNode, SequenceNode

from vinfra.model.source import Position, Problem

MERGE = "<<"
PLAIN = "plain"
QUOTED = "quoted"
RAW = "!raw"


def is_merge(key: Node) -> bool:
    """Whether a mapping's key is the unquoted `<<`."""
    return isinstance(key, ScalarNode) and key.value == MERGE and key.tag == PLAIN


def merged(value: Node) -> list[MappingNode]:
    """The mappings that a `<<` brings in, those that win last."""
    sources = reversed(value.value) if isinstance(value, SequenceNode) else [value]
    return [node for node in sources if isinstance(node, MappingNode)]


class Document:
    """One file. `tree` is None when it could not be read; `problems` says why.

    Positions are looked up in the node tree when they are asked for, through merges and aliases.
    """

    def __init__(
        self,
        file: str,
        tree: dict[str, Any] | None,
        root: Node | None,
        problems: list[Problem],
        spoilt: Sequence[Position] = (),
    ) -> None:
        self.file = file
        self.tree = tree
        self.problems = problems
        self._root = root
        self._spoilt = spoilt
        self._entries: dict[int, dict[str, tuple[Node, Node]]] = {}

    @property
    def directory(self) -> Path:
        """Where the file stands: what its relative paths start from."""
        return Path(self.file).parent

    def position(self, pointer: Sequence[str | int], *, key: bool = False) -> Position:
        """Where a value begins, or with `key` where its key does; the nearest thing above it when it is not there."""
        name, node = self._find(pointer)
        found = name if key else node
        if found is None:
            return Position(self.file, 1, 1)
        return Position(self.file, found.start_mark.line + 1, found.start_mark.column + 1)

    def spoilt(self, pointer: Sequence[str | int]) -> bool:
        """Whether a value holds something that could not be read, and was told already."""
        node = self._find(pointer)[1] if self._spoilt else None
        if node is None:
            return False
        first = (node.start_mark.line + 1, node.start_mark.column + 1)
        last = (node.end_mark.line + 1, node.end_mark.column + 1)
        return any(first <= position[1:] <= last for position in self._spoilt)

    def _find(self, pointer: Sequence[str | int]) -> tuple[Node | None, Node | None]:
        node, name = self._root, self._root
        for part in pointer:
            if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = name = node.value[part]
            elif isinstance(node, MappingNode) and (entry := self._children(node).get(str(part))):
                name, node = entry
            else:
                break
        return name, node

    def _children(self, node: MappingNode) -> dict[str, tuple[Node, Node]]:
        found = self._entries.get(id(node))
        if found is None:
            found = {}
            for key, value in node.value:
                if is_merge(key):
                    for source in merged(value):
                        found.update(self._children(source))
            for key, value in node.value:
                if isinstance(key, ScalarNode) and not is_merge(key):
                    found[key.value] = (key, value)
            self._entries[id(node)] = found
        return found
