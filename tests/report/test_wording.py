import pytest

from tests.report.samples import Domain
from vinfra.model.secret import Secret
from vinfra.report.visible import lines_of, shortened, visible
from vinfra.report.wording import spell, unit_of


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (None, "", "absent"),
        (True, "", "true"),
        (4 << 30, "bytes", "4GiB"),
        (13314398617, "bytes", "12.4GiB"),
        (0, "bytes", "0B"),
        (90, "seconds", "1.5m"),
        (0.01, "seconds", "10ms"),
        (0, "seconds", "0s"),
        ("", "", '""'),
        ("0644", "", "0644"),
        (b"\xff", "", "\\xff"),
        ({"b", "a"}, "", "[a, b]"),
        ({"k": [1, "x"]}, "", "{k: [1, x]}"),
        (Secret("env:X"), "", "(secret)"),
        (["a", Secret("env:X")], "", "[a, (secret)]"),
    ],
)
def test_spell(value: object, unit: str, words: str) -> None:
    assert spell(value, unit) == words


def test_units_come_from_the_spec() -> None:
    domain = Domain(memory="4GiB")
    assert [unit_of(domain, path) for path in ("memory", "timeout", "cpu", "memory.max")] == [
        "bytes",
        "seconds",
        "",
        "bytes",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold]", "plain [bold]"),
        ("ü→日本", "ü→日本"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\u202eabc\u200b", "\\u202eabc\\u200b"),
        ("\x9b", "\\x9b"),
        ("\udcff", "\\xff"),
        ("\U000e0041", "\\ue0041"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_of() -> None:
    assert lines_of("a\nb") == ["a\n", "b"]
    assert lines_of("a\r\u2028b\n") == ["a\r\u2028b\n"]
    assert lines_of("") == lines_of(None) == []
    assert lines_of(b"\xff\n") == ["\udcff\n"]


def test_shortened() -> None:
    assert shortened("x" * 100).endswith("…")
    assert len(shortened("x" * 100)) == 60
