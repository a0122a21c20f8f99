"""The way to a host is cut while it works, by its own end or without a word."""

import pytest

from . import trouble
from .conftest import Note
from .test_kill import SCENARIOS, trial
from .trial import Bench, Point, pauses, some, ticks


def test_hang_up(plain: Bench, note: Note) -> None:
    one = trial(plain, "create")
    done, want = one.reference()
    points = [*some(ticks(done)[1:], 5), *some(pauses(done), 5)]
    try:
        one.try_all(points, trouble.hang_up, want, codes=(0, 4), words=plain.hosts[0].name)
    finally:
        note(one, SCENARIOS["create"], "SSH session killed on the host, at and between some calls")


def test_black_hole(plain: Bench, note: Note) -> None:
    """The run ends by itself, soon after it lost the lease."""
    one = trial(plain, "create")
    done, want = one.reference()
    points = [*some(pauses(done), 2), *some(ticks(done)[2:], 1)]
    mend = trouble.plugged_in(plain)
    try:
        one.try_all(points, trouble.black_hole, want, mend=mend, codes=(4,), words=plain.hosts[0].name)
    finally:
        note(
            one, SCENARIOS["create"], "host's network cut without a word until the run ends, at and between some calls"
        )


def test_power_cut(plain: Bench, note: Note) -> None:
    one = trial(plain, "update")
    done, want = one.reference()
    points: list[Point] = [*some(ticks(done)[1:], 4), *some(pauses(done), 4)]
    try:
        one.try_all(points, trouble.power_cut, want, codes=(0, 4), words=plain.hosts[0].name)
    finally:
        note(one, SCENARIOS["update"], "host rebooted without a word, at and between some calls")


def test_run_emptied(plain: Bench, note: Note) -> None:
    """Leases are in /run: whoever lost its own stops before its next step."""
    one = trial(plain, "create")
    done, want = one.reference()
    points = [*some(ticks(done)[1:], 3), *some(pauses(done), 2)]
    try:
        one.try_all(points, trouble.empty_run, want, codes=(0, 4), words=plain.hosts[0].name)
    finally:
        note(one, SCENARIOS["create"], "/run/vinfra removed on the host, at and between some calls")


@pytest.mark.parametrize("path", ["/srv", "/var/lib/vinfra"])
def test_no_room(plain: Bench, note: Note, path: str) -> None:
    one = trial(plain, "create")
    one.ready = trouble.small(plain, path, "8m")
    done, want = one.reference()
    mend = trouble.freed(plain, path)
    try:
        one.try_all(ticks(done)[1:8], trouble.fill(path), want, mend=mend, codes=(0, 1), words="o space left")
    finally:
        note(one, SCENARIOS["create"], f"disk under {path} full, at some boundaries")
