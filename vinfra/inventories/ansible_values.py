"""Values in Ansible's YAML: as its YAML 1.1 means them, and references for what ansible-vault sealed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from yaml import SafeLoader, ScalarNode, YAMLError

from vinfra.errors import UsageError
from vinfra.inventories.ansible_places import HEADER, all_variable_files, sources
from vinfra.model.secret import Secret
from vinfra.model.source import Pointer
from vinfra.model.values import Literal, Plain
from vinfra.text.document import Document
from vinfra.text.yaml import Tagged, parse

TAGS = frozenset(("!vault", "!unsafe"))
ELSEWHERE = "install ansible-core, whose ansible-inventory is used when it is on the PATH (pip install ansible-core)"
_VAULT = "ansible-vault"

#: Opens what ansible-vault sealed. Raises Unresolved.
Reveal = Callable[[Secret], str]


def opened(path: Path, reveal: Reveal | None) -> dict[str, Any]:
    """The variables of a file that is sealed as a whole, each as a reference. Raises UsageError, or Unresolved."""
    if reveal is None:
        raise UsageError("sealed by ansible-vault as a whole", ELSEWHERE)
    text = reveal(Secret(f"{_VAULT}:{path.absolute()}"))
    document = parse(text.encode(), str(path))
    if document.tree is None:
        raise UsageError(f"what ansible-vault sealed in {path} holds no variables", "write a mapping of names")
    return {name: _referred(item, f"{_VAULT}:{path.absolute()}#{name}") for name, item in document.tree.items()}


def _referred(value: Any, reference: str) -> Any:
    if isinstance(value, dict):
        return {key: _referred(item, f"{reference}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_referred(item, f"{reference}.{index}") for index, item in enumerate(value)]
    return value if value is None else Secret(reference)


def converted(value: Any, document: Document, pointer: Pointer) -> Any:
    """A value as Ansible's YAML means it, in YAML 1.1; what is sealed in it becomes a reference."""
    if isinstance(value, dict):
        return {key: converted(item, document, (*pointer, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [converted(item, document, (*pointer, index)) for index, item in enumerate(value)]
    if isinstance(value, Tagged):
        return Literal(value) if value.tag == "!unsafe" else Secret(_reference(document, pointer))
    return _typed(value) if isinstance(value, Plain) else value


def _reference(document: Document, pointer: Pointer) -> str:
    return f"{_VAULT}:{Path(document.file).absolute()}#{'.'.join(map(str, pointer))}"


def _typed(text: str) -> Any:
    loader = SafeLoader("")
    try:
        tag = loader.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return loader.construct_object(ScalarNode(tag, str(text)))
    except (YAMLError, ValueError):
        return str(text)
    finally:
        loader.dispose()


def vaults(file: Path) -> Iterator[tuple[str, str]]:
    """Each value that is sealed within a file of the inventory, and how it is referred to."""
    for path in [*sources(file), *all_variable_files(file)]:
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if HEADER.encode() in data and not data.startswith(HEADER.encode()):
            document = parse(data, str(path), tags=TAGS)
            yield from _sealed_in(document.tree, document, ())


def _sealed_in(value: Any, document: Document, pointer: Pointer) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _sealed_in(item, document, (*pointer, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _sealed_in(item, document, (*pointer, index))
    elif isinstance(value, Tagged) and value.tag == "!vault":
        yield str(value), _reference(document, pointer)
