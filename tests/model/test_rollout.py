"""Batches, and the laws of rolling: never more at a time than was said, and nothing passes a gate that is shut."""

import random as seeds
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change, Delta, Undo
from vinfra.model.plan import Plan
from vinfra.model.rolling import Rolls, reversal
from vinfra.model.rollout import Gate, Passage, Roll, Rolling, Rollout, Share, afterwards, batches, cut
from vinfra.model.step import Exec, Step

UNITS = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [
        ([Share(1)], 5, ["a", "b", "c", "d", "e"]),
        ([Share(2)], 5, ["ab", "cd", "e"]),
        ([Share(9)], 5, ["abcde"]),
        ([Share(25, percent=True)], 5, ["a", "b", "c", "d", "e"]),
        ([Share(40, percent=True)], 5, ["ab", "cd", "e"]),
        ([Share(1, percent=True)], 5, ["a", "b", "c", "d", "e"]),
        ([Share(25, percent=True)], 8, ["ab", "cd", "e"]),
        ([Share(1), Share(2)], 5, ["a", "bc", "de"]),
        ([Share(1), Share(100, percent=True)], 5, ["a", "bcde"]),
        ([Share(3), Share(1)], 5, ["abc", "d", "e"]),
    ],
)
def test_units_are_cut_in_their_order_and_the_last_size_repeats(
    sizes: Sequence[Share], total: int, expected: list[str]
) -> None:
    assert ["".join(part) for part in cut(UNITS, sizes, total)] == expected


@given(st.integers(0, 40), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_a_cut_loses_nobody_and_asks_nobody_twice(count: int, sizes: list[int]) -> None:
    units = [str(number) for number in range(count)]
    parts = cut(units, [Share(size) for size in sizes], count)
    assert [unit for part in parts for unit in part] == units
    for number, part in enumerate(parts):
        wish = sizes[min(number, len(sizes) - 1)]
        assert len(part) == wish or (len(part) < wish and number == len(parts) - 1)


def change(unit: str, name: str = "x", action: Action = Action.UPDATE, **given: object) -> Change:
    verdict = given.pop("verdict", Verdict.OK)
    assert isinstance(verdict, Verdict)
    after = given.pop("after", frozenset())
    assert isinstance(after, frozenset)
    return Change(Address("toy", unit, name), Delta(action, (), Impact.LIVE, verdict), None, None, after=after)


def rolling(rows: Sequence[Change], units: Sequence[str] = UNITS, new: Sequence[str] = (), **terms: object) -> Rolling:
    roll = Roll("all", tuple(units), Rollout.model_validate(terms))
    return Rolling(roll, tuple(units), {row.address: row.address.host for row in rows}, frozenset(new))


def named(found: Sequence[object]) -> list[str]:
    return ["".join(batch.units) for batch in found]  # type: ignore[attr-defined]


def test_what_is_new_comes_first_and_all_together() -> None:
    rows = [change(unit) for unit in UNITS]
    found = batches(rolling(rows, new=("b", "d", "e")), rows)
    assert named(found) == ["bde", "a", "c"]
    assert [batch.new for batch in found] == [True, False, False]


def test_units_of_which_marks_alone_change_and_those_that_cannot_run_are_in_no_batch() -> None:
    rows = [change("a"), change("b", action=Action.ADOPT), change("c", verdict=Verdict.REFUSED)]
    assert named(batches(rolling(rows), rows)) == ["a"]
    rows.append(change("b", "y"))
    found = batches(rolling(rows), rows)
    assert named(found) == ["a", "b"]
    assert {address.name for address in found[1].rows} == {"x", "y"}


def test_where_others_may_go_back_deletions_come_last() -> None:
    rows = [change("a"), change("b", action=Action.DELETE), change("a", "y", Action.DELETE)]
    stops, reverts = rolling(rows), rolling(rows, on_failure="rollback")
    assert (named(batches(stops, rows)), afterwards(stops, rows)) == (["a", "b"], frozenset())
    assert named(batches(reverts, rows)) == ["a"]
    assert {str(address) for address in afterwards(reverts, rows)} == {"toy:b/x", "toy:a/y"}


def test_a_part_of_all_counts_units_that_have_nothing_to_do() -> None:
    rows = [change("a"), change("b"), change("c")]
    assert named(batches(rolling(rows, batch="40%"), rows)) == ["ab", "c"]


@dataclass
class Walk:
    """A run at random: what started when, and which gates it came to."""

    rows: list[Change]
    rolls: Rolls
    seed: int
    bad: set[Address] = field(default_factory=set)
    ill: set[str] = field(default_factory=set)
    started: list[Address] = field(default_factory=list)
    ended: set[Address] = field(default_factory=set)
    gates: list[tuple[Gate, Passage]] = field(default_factory=list)

    def go(self) -> "Walk":
        dice, schedule = seeds.Random(self.seed), self.rolls.schedule
        busy: list[Change] = []
        judged: list[Gate] = []
        self.ended |= {row.address for row, _ in schedule.doomed()}
        while True:
            judged += self.rolls.due()
            fresh = schedule.take()
            self.started += [row.address for row in fresh]
            busy += fresh
            if judged and (not busy or dice.random() < 0.5):
                gate = judged.pop()
                unwell = {unit: "ill" for unit in gate.ask if unit in self.ill}
                end = self.rolls.judge(gate, unwell, interrupted=False)
                self.gates.append((gate, end.passage))
                if end.passage is not Passage.PASSED:
                    self.ended |= {row.address for row, _ in self.rolls.shut(gate)}
            elif busy:
                row = busy.pop(dice.randrange(len(busy)))
                good = row.address not in self.bad
                if not good:
                    self.rolls.ended(row.address, "broke")
                self.ended.add(row.address)
                dropped = schedule.ended(row, good)
                for other, _ in dropped:
                    self.rolls.ended(other.address, "needs it")
                self.ended |= {other.address for other, _ in dropped}
            else:
                return self


@st.composite
def walks(draw: st.DrawFn) -> Walk:
    rows: list[Change] = []
    for unit in UNITS:
        for number in range(draw(st.integers(0, 3))):
            verdict = draw(st.sampled_from([Verdict.OK, Verdict.OK, Verdict.OK, Verdict.REFUSED, Verdict.LATER]))
            needs = draw(
                st.sets(
                    st.sampled_from(
                        [row.address for row in rows if row.address.host == unit and row.delta.action is Action.UPDATE]
                        or [None]
                    )
                )
            )
            after = frozenset(need for need in needs if need is not None)
            action = draw(st.sampled_from([Action.UPDATE, Action.UPDATE, Action.DELETE]))
            rows.append(
                change(
                    unit, str(number), action, verdict=verdict, after=after if action is Action.UPDATE else frozenset()
                )
            )
    rows += [change("free", str(number)) for number in range(draw(st.integers(0, 2)))]
    new = draw(st.sets(st.sampled_from(UNITS), max_size=2))
    terms = {
        "batch": draw(st.sampled_from([1, 2, 3, [1, 2], "50%"])),
        "max_fail": draw(st.integers(0, 2)),
        "on_failure": draw(st.sampled_from(["stop", "rollback"])),
    }
    rolled = [row for row in rows if row.address.host != "free"]
    plan = Plan("b", UNITS, tuple(rows), rollouts=(rolling(rolled, new=tuple(new), **terms),))
    bad = draw(st.sets(st.sampled_from([row.address for row in rows] or [Address("toy", "", "")]), max_size=2))
    return Walk(rows, Rolls(plan), draw(st.integers(0, 999)), bad, draw(st.sets(st.sampled_from(UNITS), max_size=2)))


@given(walks())
def test_nothing_passes_a_gate_that_is_shut_and_every_row_ends(walk: Walk) -> None:
    plan_batches = walk.rolls._rolls[0].batches if walk.rolls._rolls else ()
    passed = -1
    walk.go()
    order = {address: number for number, address in enumerate(walk.started)}
    for gate, passage in walk.gates:
        assert gate.number == passed + 1
        passed = gate.number if passage is Passage.PASSED else 99
    stopped = bool(walk.gates) and walk.gates[-1][1] is not Passage.PASSED
    reached = len(walk.gates) - 1 if stopped else len(walk.gates)
    for batch in plan_batches:
        ran = [order[address] for address in batch.rows if address in order]
        if batch.number > reached:
            assert not ran
        later = [order[a] for other in plan_batches if other.number > batch.number for a in other.rows if a in order]
        assert not ran or not later or max(ran) < min(later)
    assert walk.ended == {row.address for row in walk.rows if row.runnable}
    assert all(address in order for address in (r.address for r in walk.rows if r.address.host == "free"))


@given(walks())
def test_more_may_not_fail_than_was_said(walk: Walk) -> None:
    walk.go()
    failed = {unit for gate, _ in walk.gates for unit in gate.units if unit in walk.ill and unit in gate.ask}
    failed |= {unit for gate, _ in walk.gates for unit in gate.failed}
    for gate, passage in walk.gates[:-1]:
        assert passage is Passage.PASSED
        assert gate.bearable >= 0
    if walk.gates:
        bearable = walk.gates[0][0].roll.bearable
        assert (walk.gates[-1][1] is Passage.PASSED) == (len(failed) <= bearable)


def test_before_the_first_batch_what_earlier_runs_did_must_be_well() -> None:
    rows = [change("b"), change("c")]
    rolls = Rolls(Plan("b", UNITS, tuple(rows), rollouts=(rolling(rows),)))
    (gate,) = rolls.due()
    assert (gate.number, gate.units, gate.ask) == (0, ("a", "d", "e"), ("a", "d", "e"))
    assert rolls.schedule.take() == []
    assert rolls.judge(gate, {"a": "ill"}, interrupted=False).passage is Passage.STOPPED
    assert [row.address.host for row, _ in rolls.shut(gate)] == ["b", "c"]


def test_a_unit_that_could_not_be_read_counts_as_one_that_failed() -> None:
    rows = [change("b")]
    dark = Rolling(Roll("all", UNITS), UNITS, {rows[0].address: "b"}, dark={"e": "no answer"})
    rolls = Rolls(Plan("b", UNITS, tuple(rows), rollouts=(dark,)))
    (gate,) = rolls.due()
    assert gate.ask == ("a", "c", "d")
    end = rolls.judge(gate, {}, interrupted=False)
    assert (end.passage, end.reason) == (Passage.STOPPED, "e: no answer")


def test_an_interrupted_gate_neither_passes_nor_goes_back() -> None:
    rows = [change("a"), change("b")]
    rolls = Rolls(Plan("b", UNITS, tuple(rows), rollouts=(rolling(rows, UNITS[:2], on_failure="rollback"),)))
    (gate,) = rolls.due()
    rolls.judge(gate, {}, interrupted=False)
    (row,) = rolls.schedule.take()
    rolls.schedule.ended(row, good=True)
    (gate,) = rolls.due()
    assert rolls.judge(gate, {"a": "ill"}, interrupted=True).passage is Passage.INTERRUPTED
    assert list(rolls.due()) == []
    assert rolls.schedule.take() == []


def test_the_way_back_begins_with_what_was_made_last_and_ends_with_what_runs() -> None:
    made = [change("a", name, action) for name, action in (("dir", Action.CREATE), ("file", Action.CREATE))]
    made += [change("a", "conf"), change("a", "service"), change("b", "conf")]
    ways = {
        name: Undo((Step(name, (Exec((name,)),)),), early=name in ("dir", "file"))
        for name in ("dir", "file", "conf", "service")
    }
    first, second = ({row.address for row in made if row.address.host == unit} for unit in "ab")
    back = reversal(
        [second, first],
        {row.address: row.address.host for row in made},
        {row.address: row for row in made},
        lambda row: ways[row.address.name],
    )
    assert [f"{row.address.host}/{row.address.name}" for row in back] == [
        "b/conf",
        "a/file",
        "a/dir",
        "a/conf",
        "a/service",
    ]
    assert back[0].after == frozenset()
    assert back[1].after == second
    assert back[2].delta.action is Action.DELETE
