"""Marks survive what hosts do to files: lines cut short, foreign lines, newer versions."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vinfra.model import mark as model
from vinfra.model.mark import Birth, Mark, State, compact, parse, worn

MARK = Mark("demo", "host.file", "/etc/motd", State.OWNED, Birth.CREATED, fields=("content",), run="r1", time="t")


def test_the_last_line_of_an_object_counts() -> None:
    text = "\n".join([replace(MARK, state=State.CLAIMED).line(), MARK.line()])
    marks, complaints = parse(text)
    assert marks == {("demo", "host.file", "/etc/motd"): MARK}
    assert complaints == []


def test_a_released_object_is_nobodys() -> None:
    marks, _ = parse("\n".join([MARK.line(), replace(MARK, state=State.RELEASED).line()]))
    assert marks == {}


def test_a_line_cut_short_is_said_and_the_others_count() -> None:
    marks, complaints = parse(MARK.line() + "\n" + MARK.line()[:40])
    assert list(marks.values()) == [MARK]
    assert len(complaints) == 1
    assert "unreadable mark" in complaints[0]


def test_foreign_lines_are_said() -> None:
    for line in ("[]", "3", '"x"', "{}", '{"blueprint": "demo"}', "not json"):
        assert parse(line)[0] == {}
        assert len(parse(line)[1]) == 1, line


def test_a_newer_version_is_said() -> None:
    _, complaints = parse(replace(MARK, version=99).line())
    assert "newer vinfra" in complaints[0]


def test_names_with_newlines_and_quotes_stay_one_line() -> None:
    odd = replace(MARK, name='/tmp/a"b\nc\u2028d')
    assert "\n" not in odd.line()
    assert list(parse(odd.line())[0].values()) == [odd]


WRONG: dict[str, list[Any]] = {
    **{
        key: [None, 1, [], {}, True] for key in ("blueprint", "kind", "name", "host", "digest", "commit", "run", "time")
    },
    "state": [None, 1, "", "OWNED", []],
    "birth": [None, "found ", {}],
    "fields": [None, "content", {}, 1, [1], [["a"]]],
    "identity": [None, [], "a", {"role": 1}, {"role": None}],
    "protect": [None, 0, 1, "no", []],
    "version": [None, "1", 1.0, True, 0, -1],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_value_of_another_type_makes_no_mark(key: str, value: Any) -> None:
    marks, complaints = parse(json.dumps({**json.loads(MARK.line()), key: value}))
    assert (marks, len(complaints)) == ({}, 1)


def test_half_characters_and_keys_that_are_there_twice_make_no_mark() -> None:
    line = MARK.line()
    for bad in (line.replace("/etc/motd", "\\udc80"), line.replace("{", '{"state":"released",', 1), "[" * 100_000):
        marks, complaints = parse(bad)
        assert (marks, len(complaints)) == ({}, 1)
        json.dumps(complaints).encode()


def test_very_many_bad_lines_are_a_few_complaints() -> None:
    marks, complaints = parse("no mark\n" * 100_000)
    assert marks == {}
    assert complaints[-1] == f"{100_000 - model.MANY} more lines that are no marks"
    assert len(complaints) == model.MANY + 1


def test_a_file_with_one_line_for_each_mark_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "WORN", 10)
    others = replace(MARK, blueprint="demo2")
    lines = [replace(MARK, name=name, state=state) for name in "abc" for state in (State.CLAIMED, State.OWNED)] * 3
    lines += [replace(MARK, name="a", state=State.RELEASED), replace(MARK, name="d", state=State.CLAIMED), others]
    text = "\n".join(mark.line() for mark in lines)
    assert worn(text, "demo")
    assert not worn(text, "demo2")
    short = compact(text, "demo")
    assert short
    assert len(short.splitlines()) == 3
    assert parse(short.decode())[0] == {key: mark for key, mark in parse(text)[0].items() if key[0] == "demo"}
    assert not worn(short.decode(), "demo")
    assert compact(text + "\nno mark", "demo") is None


@given(at=st.integers(0, 400), cut=st.integers(0, 5), put=st.binary(max_size=5))
def test_a_mutated_line_is_a_mark_or_a_complaint(at: int, cut: int, put: bytes) -> None:
    line = MARK.line().encode()
    text = (line[:at] + put + line[at + cut :]).decode("utf-8", "surrogateescape")
    marks, complaints = parse(text)
    assert complaints or len(marks) <= 1
    for mark in marks.values():
        assert parse(mark.line())[0] == marks


def test_what_is_adopted_is_ours_and_what_was_merely_found_is_not() -> None:
    assert [replace(MARK, birth=birth).ours for birth in (Birth.CREATED, Birth.ADOPTED, Birth.FOUND)] == [
        True,
        True,
        False,
    ]


def test_a_mark_tells_who_and_one_of_before_that_is_read_all_the_same() -> None:
    assert '"who":"eve@desk"' in replace(MARK, who="eve@desk").line()
    old = MARK.line().replace('"who":"",', "")
    assert list(parse(old)[0].values()) == [MARK]
    assert list(parse(old.replace("{", '{"more":[1],', 1))[0].values()) == [MARK]
