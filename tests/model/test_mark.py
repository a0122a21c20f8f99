"""Marks survive what hosts do to files: lines cut short, foreign lines, newer versions."""

from dataclasses import replace

from vinfra.model.mark import Birth, Mark, State, parse

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
