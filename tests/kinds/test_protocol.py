"""The registry, what every kind has in common, and that kinds are pure."""

import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vinfra.errors import UsageError
from vinfra.kinds import registry
from vinfra.kinds.registry import KINDS
from vinfra.model.action import Impact
from vinfra.model.spec import declared

PACKAGE = Path(registry.__file__).parent
PURE = {
    *(
        "ast",
        "collections",
        "dataclasses",
        "datetime",
        "fnmatch",
        "hashlib",
        "itertools",
        "json",
        "posixpath",
        "re",
        "shlex",
    ),
    *("contextlib", "copy", "functools", "ipaddress", "xml", "stat", "types", "typing", "pydantic", "vinfra"),
}
# Each says why in its first lines: entry points, pyinfra behind one door, an image made in memory, certificates parsed,
# text that is read as cloud-init will read it.
EXCEPTIONS = {
    "cloud_config.py": {"difflib", "yaml"},
    "data.py": {"pydantic_core"},
    "pems.py": {"cryptography"},
    "nocloud.py": {"io", "pycdlib", "yaml"},
    "registry.py": {"importlib"},
    "pyinfra_operation.py": {"importlib", "inspect", "logging", "threading"},
}


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.name)
def test_kinds_are_pure(file: Path) -> None:
    assert imported(file) <= PURE | EXCEPTIONS.get(file.name, set())
    calls = [
        node.func.id
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert not {"open", "exec", "eval", "input", "print"} & set(calls)


def test_pyinfra_is_imported_only_when_an_operation_needs_it() -> None:
    code = "import sys, vinfra.kinds.registry as r; r.kinds(); sys.exit('pyinfra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_what_it_is_called(name: str) -> None:
    kind = KINDS[name]
    assert name == kind.NAME
    assert kind.SHORTHAND in {"", *kind.Spec.model_fields}
    assert kind.Spec.__doc__
    for field in kind.Spec.model_fields:
        info = kind.Spec.model_fields[field]
        assert info.description
        assert info.description.endswith("."), f"{name}.{field}: a field's documentation is a sentence"
        assert isinstance(declared(kind.Spec, field, "impact"), Impact)


def test_sections_and_nouns_are_unique() -> None:
    assert len({kind.SECTION for kind in KINDS.values()}) == len(KINDS)
    assert len({name.rpartition(".")[2] for name in KINDS}) == len(KINDS)


def plugin(**changes: Any) -> Any:
    own = {"NAME": "acme.gadget", "SECTION": "gadgets", "SHORTHAND": "", "ORDER": 90, "SHARED": False, "Spec": object}
    functions = dict.fromkeys(("check", "identity", "references", "ask", "read", "diff", "steps"), print)
    return SimpleNamespace(**(own | functions | changes))


def test_a_plugin_joins() -> None:
    gadget = plugin()
    assert registry.merged(KINDS, [("acme", lambda: {"acme.gadget": gadget})])["acme.gadget"] is gadget


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("host.file", {"NAME": "host.file"}, "has the name 'host.file' of host.file"),
        ("acme.gadget", {"SECTION": "files"}, "has the section 'files' of host.file"),
        ("acme.file", {"NAME": "acme.file"}, "has the noun 'file' of host.file"),
        ("acme.other", {}, "calls itself acme.gadget"),
    ],
)
def test_a_plugin_that_clashes_is_named(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match="plugin acme") as error:
        registry.merged(KINDS, [("acme", lambda: {name: plugin(**changes)})])
    assert said in str(error.value)


def test_a_plugin_that_is_no_kind_is_named() -> None:
    with pytest.raises(UsageError, match=r"has no .*NAME"):
        registry.merged(KINDS, [("acme", lambda: {"acme.x": SimpleNamespace()})])
