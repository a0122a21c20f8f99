"""The house rules, kept by a test: sizes, names, documentation, generated files, one error tree."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vinfra import errors
from vinfra.cli.commands import SUMMARIES
from vinfra.kinds.registry import KINDS
from vinfra.report import schema

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "vinfra").rglob("*.py"))
BANNED = {"util", "utils", "helper", "helpers", "common", "misc", "base", "core", "manager", "handler", "context"}
#: Commands import what they need when they run, so that help is quick; a plain module has no such excuse.
LAZY = {"cli"}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no docstring"
    limit = 260 if "kinds" in path.parent.parts else 400
    assert len(text.splitlines()) <= limit
    assert path.stem not in BANNED
    long = [node.name for node in functions(tree) if (node.end_lineno or 0) - node.lineno >= 60]
    assert not long, f"functions too long: {long}"
    if path.relative_to(ROOT / "vinfra").parts[0] not in LAZY:
        inner = [node.lineno for function in functions(tree) for node in ast.walk(function) if _ours(node)]
        assert not inner, f"vinfra is imported inside functions, at lines {inner}"


def _ours(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vinfra")


def test_the_error_tree_is_the_one_drawn() -> None:
    drawn = re.findall(r"^[ │├└─]*(?:├──|└──) (\w+)", errors.__doc__ or "", re.M)
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert sorted(["VinfraError", *drawn]) == sorted(value.__name__ for value in classes)


def test_the_schemas_are_the_generated_ones(tmp_path: Path) -> None:
    schema.write(KINDS, tmp_path)
    for made in tmp_path.iterdir():
        assert (ROOT / "schemas" / made.name).read_text() == made.read_text(), "run make schemas"


def test_every_kind_and_every_command_is_documented() -> None:
    kinds = (ROOT / "docs/reference/kinds.md").read_text()
    commands = (ROOT / "docs/reference/commands.md").read_text()
    assert [name for name in KINDS if name not in kinds] == []
    assert [name for name in SUMMARIES if f"vinfra {name}" not in commands] == []


def test_links_in_the_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_changelog_knows_this_version() -> None:
    from vinfra import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
