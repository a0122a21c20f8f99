"""The schemas accept what vinfra accepts, as an editor reads it, and refuse what it can see is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vinfra.kinds.registry import KINDS
from vinfra.model.values import Plain
from vinfra.report.schema import schemas, write
from vinfra.text.expression import typed
from vinfra.text.yaml import parse

ROOT = Path(__file__).parents[2]
SCHEMAS = schemas(KINDS)
BLUEPRINTS = [path for path in sorted(ROOT.glob("blueprints/*.yaml")) if not path.name.endswith(".vars.yaml")]


def as_editors_read(value: Any) -> Any:
    """YAML 1.2's own types: `0644` is the number 644."""
    if isinstance(value, dict):
        return {key: as_editors_read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_editors_read(item) for item in value]
    if type(value) is not Plain:
        return value
    if value.isdecimal():
        return int(value)
    found = typed(value)
    return float(found) if isinstance(found, float) else found


def errors(name: str, text: str) -> list[str]:
    document = parse(text.encode(), "f.yaml")
    assert not document.problems
    validator = Draft202012Validator(SCHEMAS[f"{name}.schema.json"])
    return [error.message for error in validator.iter_errors(as_editors_read(document.tree))]


@pytest.mark.parametrize("name", SCHEMAS)
def test_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.name)
def test_accepts_the_examples(path: Path) -> None:
    assert errors("blueprint", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("blueprint", "blueprint: b\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {files: {/a: {content: x, mode: 0644}, /b: absent, /c: text}}}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {packages: [a, b], sysctl: {a.b: 1, c.d: '{{ x }}'}}}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {packages: {a: , b: 1.10, c: {recommends: '{{ x }}'}}}}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {files: {/a: {content: {secret: env:X}, needs: [package:a]}}}}\n"),
        ("blueprint", "blueprint: b\ninclude: [a.yaml, {file: b.yaml, with: {x: [1]}, hosts: web}]\nhosts: {all: }\n"),
        ("included", "vars: {servers: , port: 1}\nhosts: {included: {packages: [a]}}\n"),
        ("inventory", "hosts: {a: , b: {port: 22, jump: [a], sudo: true, sudo_password: {secret: env:X}}}\n"),
        ("inventory", "hosts: {'hv[01:40]': {address: '10.0.0.[1:40]', connect_timeout: 10s, vars: {a: 1}}}\n"),
        (
            "inventory",
            "groups: {web: {hosts: [a], groups: [b], vars: {x: }, ssh: {user: u}}}\nssh: {jump: a}\nvars: {}\n",
        ),
        (
            "blueprint",
            "blueprint: b\nhosts: {web: {rollout: {batch: [1, 25%, '{{ n }}'], max_fail: 10%, monitor: 10s, health: "
            "[ssh, {tcp: 80}, {http: {url: 'http://127.0.0.1/', status: 204}}, {command: [a, 1]}], retries: 3}}}\n",
        ),
        ("blueprint", "blueprint: b\nhosts: {web: {rollout: {batch: 2, on_failure: rollback, health: []}}}\n"),
        ("blueprint", "blueprint: b\nfleets: {web: {on: all, count: 2, memory: 1GiB, rollout: {batch: 50%}}}\n"),
        ("vars", "a: [1]\n"),
        ("blueprint", "blueprint: b\nlabels: {owner: me, ticket: '{{ t }}', number: 7}\n"),
        ("site", "policies:\n"),
        (
            "site",
            "policies: {a: {max_deletes: 10%, kind: kvm.volume}, b: {max_deletes: 0}, c: {require_labels: [o]}}\n",
        ),
        ("site", "policies: {a: {forbid: all, days: [mon-wed, sun], hours: '22:00-06:00', zone: UTC, hosts: db}}\n"),
    ],
)
def test_accepts(name: str, text: str) -> None:
    assert errors(name, text) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("blueprint", "hosts: {}\n"),
        ("blueprint", "blueprint: My Web\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {rollout: {batches: 2}}}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {rollout: {batch: some}}}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {rollout: {health: [ping]}}}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {rollout: {health: [{http: {status: 200}}]}}}\n"),
        ("blueprint", "blueprint: b\nhost: {}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {fils: {}}}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {files: {/a: {mod: 0644}}}}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {files: {/a: {content: [x]}}}}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {packages: {a: {recommends: maybe}}}}\n"),
        ("blueprint", "blueprint: b\nhosts: {web: {files: {/a: {content: x, allow: much}}}}\n"),
        ("included", "blueprint: b\n"),
        ("inventory", "hosts: {a: {prt: 22}}\n"),
        ("inventory", "hosts: {a: {port: http}}\n"),
        ("inventory", "hosts: {a: {sudo_password: hunter2}}\n"),
        ("inventory", "groups: {web: {host: [a]}}\n"),
        ("blueprint", "blueprint: b\nlabels: {owner: [me]}\n"),
        ("site", "policy: {}\n"),
        ("site", "policies: {a: {}}\n"),
        ("site", "policies: {a: {max_deletes: 1, forbid: all}}\n"),
        ("site", "policies: {a: {max_deletes: some}}\n"),
        ("site", "policies: {a: {max_deletes: -1}}\n"),
        ("site", "policies: {a: {forbid: none}}\n"),
        ("site", "policies: {a: {forbid: all, days: [weekend]}}\n"),
        ("site", "policies: {a: {require_labels: owner}}\n"),
    ],
)
def test_refuses(name: str, text: str) -> None:
    assert errors(name, text)


def test_every_field_is_described() -> None:
    definitions = SCHEMAS["blueprint.schema.json"]["$defs"]
    for kind in KINDS.values():
        if kind.NAME in definitions:
            forms = definitions[kind.NAME]["anyOf"][0]["additionalProperties"]["anyOf"]
        else:  # it stands at the top of a blueprint, or a host has one
            alone = definitions.get(f"{kind.NAME}.item", definitions.get(f"{kind.NAME}.placed"))
            forms = alone.get("anyOf", [alone])
        fields = next(form for form in forms if "properties" in form)["properties"]
        assert set(kind.Spec.model_fields) <= set(fields)
        assert all(field.get("description") for field in fields.values()), kind.NAME


def test_is_written_the_same_each_time(tmp_path: Path) -> None:
    first = {path.name: path.read_text() for path in write(KINDS, tmp_path / "one")}
    second = {path.name: path.read_text() for path in write(KINDS, tmp_path / "two")}
    assert first == second
    assert {name: json.loads(text) for name, text in first.items()} == SCHEMAS
