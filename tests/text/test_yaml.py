"""The tree that is built from a file, and where its values stand."""

from typing import Any

import pytest

from vinfra.model.values import Literal, Plain
from vinfra.text.document import Document
from vinfra.text.yaml import parse


def tree(text: str, *, fast: bool = True) -> Any:
    document = parse(text.encode(), "f.yaml", fast=fast)
    assert not document.problems
    return document.tree


@pytest.mark.parametrize("fast", [True, False], ids=["libyaml", "pure"])
@pytest.mark.parametrize(
    ("text", "value", "sort"),
    [
        ("0644", "0644", Plain),
        ("1.10", "1.10", Plain),
        ("no", "no", Plain),
        ("22:22", "22:22", Plain),
        ("2024-01-01", "2024-01-01", Plain),
        ("Null", "Null", Plain),
        ("'0644'", "0644", str),
        ('"a\\tb"', "a\tb", str),
        ("!!str 12", "12", str),
        ("!raw '{{ x }}'", "{{ x }}", Literal),
        ("!raw {{ x }}", None, None),
        ("~", None, type(None)),
        ("null", None, type(None)),
        ("", None, type(None)),
        ("'~'", "~", str),
        ("|\n  a\n  b\n", "a\nb\n", str),
        ("[1, ~]", ["1", None], list),
        ("{secret: env:X}", {"secret": "env:X"}, dict),
    ],
)
def test_nothing_is_converted(text: str, value: Any, sort: Any, fast: bool) -> None:
    document = parse(f"k: {text}".encode(), "f.yaml", fast=fast)
    if sort is None:
        assert document.problems
        return
    assert document.tree is not None
    assert document.tree["k"] == value
    assert type(document.tree["k"]) is sort


def test_merges_are_merged_and_own_keys_win() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {<<: [*x, *y], c: 5}\nq: {'<<': 6}\n"
    assert tree(text)["z"] == {"a": "1", "b": "2", "c": "5"}
    assert tree(text)["q"] == {"<<": "6"}
    assert tree(text, fast=False) == tree(text)


@pytest.mark.parametrize(
    ("pointer", "key", "place"),
    [
        (("a",), True, (1, 1)),
        (("a",), False, (1, 4)),
        (("a", "b", 1), False, (1, 15)),
        (("m", "b", 1), False, (1, 15)),
        (("m", "b"), True, (1, 8)),
        (("m", "own"), True, (2, 13)),
        (("l", 0, "b", 0), False, (1, 12)),
        (("m", "missing"), False, (2, 4)),
        (("missing",), False, (1, 1)),
        ((), False, (1, 1)),
    ],
)
def test_positions_are_found_through_merges_and_aliases(
    pointer: tuple[str | int, ...], key: bool, place: tuple[int, int]
) -> None:
    document = parse(b"a: &a {b: [1, 2]}\nm: {<<: *a, own: 1}\nl: [*a]\n", "f.yaml")
    assert document.position(pointer, key=key)[1:] == place


def test_a_bom_and_windows_line_ends() -> None:
    document = parse(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "f.yaml")
    assert document.tree == {"a": "1", "b": "2"}
    assert document.position(("b",), key=True)[1:] == (2, 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: 1\nb: \xff\n", "f.yaml:2:4: not UTF-8 text"),
        (b"a: \x07\n", "f.yaml:1:4: a control character (U+0007) stands here"),
        ("é: \x07\n".encode(), "f.yaml:1:4: a control character (U+0007) stands here"),
        (b"\xff\xfea\x00", "f.yaml:1:1: not UTF-8 text"),
        (b"", "f.yaml:1:1: the file is empty"),
        (b"~", "f.yaml:1:1: the file is empty"),
    ],
)
def test_bytes_that_are_no_text(data: bytes, said: str) -> None:
    assert [str(problem) for problem in parse(data, "f.yaml").problems] == [said]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "? " * 100_000], ids=["flow", "block", "keys"])
def test_depth_never_reaches_the_c_stack(text: str) -> None:
    said = str(parse(text.encode(), "f.yaml").problems[0])
    # libyaml itself stops at 1000 since PyYAML 6.0.4's copy.
    assert "nested deeper than 100 levels" in said or "maximum nesting depth" in said


def test_many_aliases_are_fine_when_people_write_them() -> None:
    text = "base: &base {a: 1, b: 2}\n" + "".join(f"k{number}: *base\n" for number in range(5000))
    document: Document = parse(text.encode(), "f.yaml")
    assert not document.problems
