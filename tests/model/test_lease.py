"""A lease's line, whole, ended, and written by somebody else."""

import json
from typing import Any

import pytest

from vinfra.model.lease import LONGEST, NOBODY, NOBODYS, SECONDS, Holder, Lease, parse

ALICE = Holder("r1", "alice@desk", "m1", 42, "boot/99")


def line(end: Any, token: str = "ab12", holder: str = ALICE.line()) -> str:
    return f"{end} {token} {holder}\n"


def test_a_lease_is_held_until_its_end() -> None:
    assert parse(line(130), 100.7) == Lease("ab12", ALICE, 30)
    assert parse(line(130), 100.7).held
    assert parse(line(100), 100.7) == Lease("ab12", ALICE, 0)


def test_the_token_stays_when_it_was_given_back() -> None:
    assert parse(line(0), 100.0) == Lease("ab12", ALICE, 0)


def test_without_the_hosts_uptime_it_counts_as_held() -> None:
    assert parse(line(999_999), None).left == SECONDS


def test_nobody_can_hold_it_for_long() -> None:
    assert not parse(line(100 + LONGEST + 1), 100.0).held


@pytest.mark.parametrize("text", ["", "\n", "x", "1", "-5 ab {}", "30 a;b {}", "\x00\x00", "30  {}"])
def test_what_is_none_of_ours_is_nobodys(text: str) -> None:
    assert parse(text, 10.0) == NOBODYS


@pytest.mark.parametrize("holder", ["", "{", "[]", "null", json.dumps({"run": 1}), json.dumps({"pid": "x"})])
def test_an_unreadable_holder_is_nobody_and_the_lease_still_counts(holder: str) -> None:
    assert parse(line(130, holder=holder), 100.0) == Lease("ab12", NOBODY, 30)


def test_a_holder_is_told_in_words() -> None:
    assert str(ALICE) == "alice@desk, run r1, process 42"
    assert str(NOBODY) == "somebody, run unknown, process unknown"
