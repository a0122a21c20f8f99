"""What `load` hands to `validate`: every file that was read, as documents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.model.source import Problem
from vinfra.text.document import Document


@dataclass(frozen=True, slots=True)
class Loaded:
    """All files of one request. `included` says which document the include at (file, index) brings.

    `extra` are the layers that -e gives, in order, each with the document it came from; `digest` is over the bytes of
    every file and over -e, `digests` has each file's own.
    """

    blueprint: Document
    inventory: Document | None
    documents: Mapping[str, Document] = field(default_factory=dict)
    included: Mapping[tuple[str, int], str] = field(default_factory=dict)
    var_files: tuple[Document, ...] = ()
    extra: tuple[tuple[Document, Mapping[str, Any]], ...] = ()
    digest: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
