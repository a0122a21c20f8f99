"""Commands that need no host, on the real engine."""

import json
from pathlib import Path
from typing import Any

import pytest

from vinfra.kinds.registry import KINDS

BLUEPRINT = """
blueprint: tryout
hosts:
  localhost:
    directories:
      /srv/tryout:
    files:
      /srv/tryout/motd: {content: hello, mode: "0640"}
"""


@pytest.fixture
def blueprint(tmp_path: Path) -> str:
    file = tmp_path / "x.yaml"
    file.write_text(BLUEPRINT)
    return str(file)


def test_validate(vinfra: Any, blueprint: str) -> None:
    assert vinfra("validate", blueprint) == (0, "tryout · 1 host, 2 resources: valid.\n", "")
    document = json.loads(vinfra("validate", blueprint, "--json")[1])
    assert [row["wanted"] for row in document["resources"]] == ["present", "present"]


def test_what_is_wrong_is_told_with_its_place(vinfra: Any, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(BLUEPRINT.replace("mode:", "mood:"))
    code, out, err = vinfra("validate", str(file))
    assert (code, out) == (1, "")
    assert f"{file}:8:" in err
    document = json.loads(vinfra("validate", str(file), "--json")[1])
    assert document["problems"][0]["line"] == 8
    assert document["exit_code"] == 1


@pytest.mark.parametrize("form", ["dot", "mermaid", "svg"])
def test_graph(vinfra: Any, blueprint: str, form: str) -> None:
    code, out, _ = vinfra("graph", blueprint, "--format", form)
    assert code == 0
    assert "/srv/tryout/motd" in out
    edges = json.loads(vinfra("graph", blueprint, "--json")[1])["edges"]
    assert [edge["first"] for edge in edges] == ["host.directory:localhost/srv/tryout"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_and_field_is_explained(vinfra: Any, kind: str) -> None:
    code, out, _ = vinfra("explain", kind)
    assert code == 0
    for field in KINDS[kind].Spec.model_fields:
        assert field in out
        code, told, _ = vinfra("explain", f"{kind}.{field}")
        assert code == 0
        assert "impact" in told


def test_explain_lists_and_vars(vinfra: Any) -> None:
    assert all(kind in vinfra("explain")[1] for kind in KINDS)
    assert "-e NAME=VALUE" in vinfra("explain", "vars")[1]
    assert "did you mean" in vinfra("explain", "file.mod")[2]


def test_the_reference_and_the_schemas_are_written(vinfra: Any, tmp_path: Path) -> None:
    assert vinfra("explain", "--write", str(tmp_path / "ref"))[0] == 0
    names = {"impact.md", "site.md", "kinds.md", "commands.md", "blueprint.md", "inventory.md", "reading.md"}
    names.add("facts.md")
    assert {file.name for file in (tmp_path / "ref").iterdir()} == names
    assert vinfra("schema", "--write", str(tmp_path / "sch"))[0] == 0
    assert (tmp_path / "sch" / "blueprint.schema.json").exists()
    assert json.loads(vinfra("schema", "inventory")[1])["title"] == "inventory"
    assert vinfra("schema", "nosuch")[0] == 1


def test_who_migrates_machines_names_their_blueprint_and_takes_one_host_after_the_other(
    vinfra: Any, blueprint: str
) -> None:
    code, _, err = vinfra("maintain", "localhost", "--yes", "--evacuate", "migrate")
    assert code == 1
    assert "--evacuate migrate and --blueprint belong together" in err
    several = ("--evacuate", "migrate", "--blueprint", blueprint, "--batch", "2")
    code, _, err = vinfra("maintain", "localhost", "--yes", *several)
    assert code == 1
    assert "one host after the other" in err


def test_an_evacuation_names_a_host(vinfra: Any, blueprint: str) -> None:
    code, _, err = vinfra("evacuate", "hv9", blueprint, "--yes")
    assert code == 1
    assert "unknown host or group 'hv9'" in err
    code, _, err = vinfra("evacuate", "localhost", blueprint)
    assert code == 1
    assert "asks before it acts" in err
