"""Rendering what waits for facts, reading the files a spec names, and revealing secrets: in memory only."""

from pathlib import Path
from typing import Any

import pytest

from vinfra.errors import Unresolved
from vinfra.kinds.host import file as file_kind
from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.model.secret import Secret
from vinfra.model.spec import Deferred
from vinfra.stages.render import Sources, render

ADDRESS = Address("host.file", "a", "/x")
FACTS = {"os": {"id": "debian"}}


def reveal(secret: Secret) -> str:
    if secret.reference != "env:PW":
        raise Unresolved(f"{secret} is not set", "export it")
    return "hunter2"


def placed(files: dict[str, str] | None = None, **fields: Any) -> Any:
    resource = Resource(ADDRESS, file_kind.Spec.model_validate(fields), variables={"name": "web"})

    def read(path: Path) -> str:
        try:
            return (files or {})[str(path)]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", str(path)) from None

    found, refused = render((resource,), FACTS, Sources(read, reveal))
    return refused[ADDRESS].reason if refused else found[0].desired


def test_a_value_over_facts_is_rendered_and_validated() -> None:
    assert placed(content=Deferred("{{ name }} on {{ facts.os.id }}")).content == "web on debian"
    assert "0644" in placed(content="x", mode=Deferred("{{ facts.os.id }}"))


def test_a_fact_that_is_not_there_is_refused_by_name() -> None:
    assert "color" in placed(content=Deferred("{{ facts.color }}"))


@pytest.mark.parametrize(("field", "expected"), [("source", "{{ name }}"), ("template", "web")])
def test_files_fill_the_content_and_only_templates_are_rendered(field: str, expected: str) -> None:
    desired = placed({"/b/f": "{{ name }}"}, **{field: "/b/f"})
    assert desired.content == expected
    assert getattr(desired, field) is None


def test_a_file_that_vanished_is_named() -> None:
    assert placed(source="/b/gone") == "/b/gone: No such file or directory"


def test_a_secret_is_revealed_and_flagged() -> None:
    desired = placed(content=Secret("env:PW"))
    assert desired.content == "hunter2"
    assert desired.secret
    assert "is not set (export it)" in placed(content=Secret("env:OTHER"))
