from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.report import samples
from vinfra.errors import UsageError
from vinfra.kinds.registry import KINDS as REAL
from vinfra.model.kind import Kinds
from vinfra.report import pages, reference

FILE: Any = SimpleNamespace(NAME="host.file", SECTION="files", SHORTHAND="content", Spec=samples.File)
DOMAIN: Any = SimpleNamespace(NAME="kvm.domain", SECTION="domains", SHORTHAND="", Spec=samples.Domain)
KINDS = cast(Kinds, {"host.file": FILE, "kvm.domain": DOMAIN})


def test_all_kinds_are_listed() -> None:
    text = reference.explain(KINDS)
    assert "host.file" in text
    assert "domains:" in text


@pytest.mark.parametrize("name", ["kvm.domain", "domain", "domains"])
def test_a_kind_by_any_of_its_names(name: str) -> None:
    text = reference.explain(KINDS, name)
    assert "kvm.domain: A made-up virtual machine." in text
    assert "memory" in text
    assert "size" in text


def test_a_field() -> None:
    text = reference.explain(KINDS, "domain.memory")
    assert text.splitlines()[0] == "kvm.domain.memory: Memory."
    assert "type      size" in text
    assert "impact    live" in text
    assert 'example   memory: "4GiB"' in text
    told = reference.explain(REAL, "domain.cpu")
    assert "impact    restart: only at boot" in told
    assert "depends   live up to the cpu_max that it booted with" in told
    assert "never shown" in reference.explain(KINDS, "kvm.domain.password")
    assert "duration" in reference.explain(KINDS, "domain.timeout")


def test_did_you_mean() -> None:
    with pytest.raises(UsageError, match=r"did you mean domain\.memory"):
        reference.explain(KINDS, "domain.memroy")


def test_type_words() -> None:
    words = [
        ({"type": "string"}, "text"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "whole number"),
        ({"enum": ["a", "b"]}, "a | b"),
        ({"type": "array", "items": {"type": "boolean"}}, "list of flag"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "mapping to text"),
        ({"$ref": "#/$defs/X"}, "whole number"),
        ({"type": ["string", "number", "boolean"]}, "text"),
    ]
    for schema, word in words:
        assert reference.type_words(schema, {"X": {"type": "integer"}}) == word


def test_pages() -> None:
    command = pages.Command("vinfra plan", "vinfra plan BLUEPRINT", "Show.", (pages.Option("--a|b", "Doc"),))
    schemas = {"blueprint.schema.json": {"properties": {"vars": {"type": "object", "description": "Variables."}}}}
    made = pages.pages(KINDS, [command], schemas, {"stat": ("-c",), "test": ("",)}, ("vars", "-e"))
    assert sorted(made) == ["blueprint.md", "commands.md", "impact.md", "kinds.md", "reading.md"]
    for name in ("memory", "password", "mode"):
        assert f"| `{name}` |" in made["kinds.md"]
    assert "`--a\\|b`" in made["commands.md"]
    assert "2. -e" in made["blueprint.md"]
    assert "| `stat` | `-c` |" in made["reading.md"]
