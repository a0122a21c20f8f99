"""YAML as vinfra means it: the C composer reads, we build, and nothing is converted.

Unquoted scalars become `Plain`, quoted ones `str`, `!raw` ones `Literal`, and only `null`, `~` and nothing become None.
`0644`, `1.10`, `no` and `22:22` keep their source text. Every way to go wrong is one problem with a position.
"""

from typing import Any

from yaml import MappingNode, Node, ScalarNode, SequenceNode, YAMLError
from yaml.composer import Composer
from yaml.error import Mark, MarkedYAMLError
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from vinfra.model.source import Position, Problem
from vinfra.model.values import Literal, Plain
from vinfra.text.collector import paused
from vinfra.text.document import MERGE, PLAIN, QUOTED, RAW, Document, is_merge, merged

try:
    from yaml._yaml import CParser
except ImportError:  # PyYAML built without libyaml
    CParser = Parser  # type: ignore[assignment,misc]

NULLS = frozenset(("", "~", "null"))
MAX_DEPTH = 100
# A file without aliases has fewer nodes than characters. What aliases may add to that is generous for people and
# nothing for a bomb.
ALIAS_ALLOWANCE = 100_000

_COLLECTION = ""
_STANDARD = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset((PLAIN, QUOTED, _STANDARD + "str", "!"))
_COLLECTION_TAGS: dict[type[Node], tuple[str, str]] = {
    MappingNode: (_COLLECTION, _STANDARD + "map"),
    SequenceNode: (_COLLECTION, _STANDARD + "seq"),
}


class _Refused(Exception):
    """The whole file is refused, for what stands at a mark."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


class _Tags:
    """In place of PyYAML's resolvers: say only whether a scalar was quoted, and stop before the C stack does."""

    _depth = 0

    def resolve(self, kind: type[Node], _value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return PLAIN if implicit[0] else QUOTED
        return _COLLECTION

    def descend_resolver(self, parent: Node | None, _index: Any) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH and parent is not None:
            raise _Refused(parent.start_mark, f"nested deeper than {MAX_DEPTH} levels")

    def ascend_resolver(self) -> None:
        self._depth -= 1


class _PureComposer(_Tags, Reader, Scanner, Parser, Composer):
    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)


class _FastComposer(_Tags, CParser):
    pass


_FAST = _PureComposer if issubclass(CParser, Parser) else _FastComposer


class Tagged(str):
    """Text under a tag of another tool's, such as Ansible's `!vault`."""

    __slots__ = ("tag",)
    tag: str


def parse(data: bytes, file: str, *, fast: bool = True, tags: frozenset[str] = frozenset()) -> Document:
    """Read one file's bytes. Never raises for what stands in them. `fast` uses libyaml where there is one.

    `tags` are those of another tool's that its text may have.
    """
    with paused():
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return _refused(file, _at(data[: error.start].decode("utf-8"), file), "not UTF-8 text")
        composer = _FAST if fast else _PureComposer
        try:
            root = composer(text).get_single_node()
        except _Refused as error:
            return _refused(file, _mark(error.mark, file), error.message)
        except ReaderError as error:
            before = text.encode()[: error.position].decode("utf-8", "ignore")
            return _refused(file, _at(before, file), f"a control character ({_code(error.character)}) stands here")
        except MarkedYAMLError as error:
            return _refused(file, *_syntax(error, text, file))
        except YAMLError as error:
            return _refused(file, Position(file, 1, 1), f"not valid YAML: {error}")
        return _built(root, len(text), file, tags)


def _built(root: Node | None, length: int, file: str, tags: frozenset[str]) -> Document:
    if root is None or (isinstance(root, ScalarNode) and root.tag == PLAIN and root.value in NULLS):
        return _refused(file, Position(file, 1, 1), "the file is empty")
    if not isinstance(root, MappingNode):
        found = "a list" if isinstance(root, SequenceNode) else "text"
        return _refused(file, _mark(root.start_mark, file), f"{found} at the top of the file; write a mapping")
    builder = _Builder(file, length + ALIAS_ALLOWANCE, tags)
    try:
        tree = builder.build(root)
    except _Refused as error:
        return _refused(file, _mark(error.mark, file), error.message)
    return Document(file, tree, root, builder.problems, builder.spoilt)


def _refused(file: str, position: Position, message: str) -> Document:
    return Document(file, None, None, [Problem(position, "", message)])


def _mark(mark: Mark, file: str) -> Position:
    return Position(file, mark.line + 1, mark.column + 1)


def _at(before: str, file: str) -> Position:
    return Position(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _code(character: Any) -> str:
    return f"U+{character if isinstance(character, int) else ord(character[:1]):04X}"


def _syntax(error: MarkedYAMLError, text: str, file: str) -> tuple[Position, str]:
    """A composer's complaint in our words."""
    problem = str(error.problem or error.context or error)
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Position(file, 1, 1), f"not valid YAML: {problem}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "another document" in problem:
        message = "a second document begins here; a file holds one"
    elif "cannot start any token" in problem and "\t" in line[: mark.column + 1]:
        message = "a tab; indent with spaces"
    elif "cannot start any token" in problem:
        message = f"{line[mark.column : mark.column + 1]!r} cannot begin a value; quote it"
    elif "mapping values are not allowed" in problem:
        message = "a colon where none can be; quote the text, or check the indentation"
    else:
        message = f"not valid YAML: {problem}"
    return _mark(mark, file), message


class _Builder:
    """Makes the tree from the nodes. Problems that concern one node are collected; the rest is built nevertheless."""

    def __init__(self, file: str, limit: int, tags: frozenset[str]) -> None:
        self.problems: list[Problem] = []
        self.spoilt: list[Position] = []
        self._file = file
        self._left = limit
        self._tags = tags
        self._open: set[int] = set()
        self._told: set[int] = set()

    def build(self, node: Node) -> Any:
        if type(node) is ScalarNode:
            return self._scalar(node)
        if id(node) in self._open:
            raise _Refused(node.start_mark, "an anchor that contains its own alias")
        self._left -= len(node.value) + 1
        if self._left < 0:
            raise _Refused(node.start_mark, "aliases unfold to more than vinfra reads from one file")
        if node.tag not in _COLLECTION_TAGS[type(node)]:
            self._tag(node)
        self._open.add(id(node))
        result = self._mapping(node) if type(node) is MappingNode else [self.build(item) for item in node.value]
        self._open.discard(id(node))
        return result

    def _scalar(self, node: ScalarNode) -> Any:
        if node.tag == PLAIN:
            return None if node.value in NULLS else Plain(node.value)
        if node.tag == RAW:
            return Literal(node.value)
        if node.tag in self._tags:
            tagged = Tagged(node.value)
            tagged.tag = node.tag
            return tagged
        if node.tag not in _TEXT_TAGS:
            self._tag(node)
        return node.value

    def _mapping(self, node: MappingNode) -> dict[str, Any]:
        result: dict[str, Any] = {}
        inherited: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if type(key_node) is not ScalarNode or (key == "" and key_node.tag == PLAIN):
                self._key(key_node)
                continue
            if key == MERGE and is_merge(key_node):
                inherited.update(self._merged(value_node))
                continue
            if key_node.tag not in _TEXT_TAGS:
                self._tag(key_node)
            if key in result:
                self._duplicate(node, key_node)
                continue
            if type(value_node) is ScalarNode and value_node.tag == PLAIN:
                text = value_node.value
                result[key] = None if text in NULLS else Plain(text)
            else:
                result[key] = self.build(value_node)
        return {**inherited, **result} if inherited else result

    def _merged(self, value: Node) -> dict[str, Any]:
        sources = merged(value)
        if len(sources) != (len(value.value) if isinstance(value, SequenceNode) else 1):
            self._tell(value, "<< takes a mapping or a list of mappings")
        result: dict[str, Any] = {}
        for source in sources:
            result.update(self.build(source))
        return result

    def _duplicate(self, parent: MappingNode, again: ScalarNode) -> None:
        first = next(key for key, _ in parent.value if key.value == again.value and not is_merge(key))
        line, column = first.start_mark.line + 1, first.start_mark.column + 1
        self._tell(again, f"duplicate key {again.value!r}, first at {line}:{column}", spoils=False)

    def _key(self, node: Node) -> None:
        if isinstance(node, MappingNode) and node.flow_style:
            self._tell(node, "a mapping as a key; quote a value that begins with {{")
        else:
            self._tell(node, "a key must be text")

    def _tag(self, node: Node) -> None:
        tag = node.tag.replace(_STANDARD, "!!")
        if tag == RAW:
            self._tell(node, "!raw stands before text, not before a mapping or a list")
        else:
            self._tell(node, f"unknown tag {tag}; allowed: !raw, which keeps text as it is")

    def _tell(self, node: Node, message: str, *, spoils: bool = True) -> None:
        if id(node) in self._told:  # an alias shows the same node again
            return
        self._told.add(id(node))
        position = _mark(node.start_mark, self._file)
        self.problems.append(Problem(position, "", message))
        if spoils:
            self.spoilt.append(position)
