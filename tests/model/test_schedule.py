"""The laws of running: one change at a time per host, needs first, nothing after a failure it depends on."""

from hypothesis import given
from hypothesis import strategies as st

from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change, Delta
from vinfra.model.schedule import Schedule


def row(number: int, host: str, after: set[int], rows: dict[int, Address], verdict: Verdict = Verdict.OK) -> Change:
    delta = Delta(Action.CREATE, verdict=verdict)
    return Change(rows[number], delta, desired=None, actual=None, after=frozenset(rows[need] for need in after))


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Change], set[Address]]:
    size = draw(st.integers(1, 14))
    hosts = [draw(st.sampled_from(["a", "b", "c"])) for _ in range(size)]
    names = {number: Address("host.file", hosts[number], f"/{number:02}") for number in range(size)}
    rows = []
    for number in range(size):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        verdict = draw(
            st.sampled_from([Verdict.OK, Verdict.OK, Verdict.OK, Verdict.LATER, Verdict.REFUSED, Verdict.UNKNOWN])
        )
        rows.append(row(number, hosts[number], needs, names, verdict))
    bad = draw(st.sets(st.sampled_from(sorted(names.values())), max_size=3))
    return rows, bad


@given(plans(), st.randoms(use_true_random=False))
def test_every_row_ends_once_and_in_order(drawn: tuple[list[Change], set[Address]], random: object) -> None:
    rows, bad = drawn
    schedule = Schedule(rows)
    good: set[Address] = set()
    ended: list[Address] = [change.address for change, _ in schedule.doomed()]
    running: list[Change] = []
    while True:
        running += schedule.take()
        assert len({change.address.host for change in running}) == len(running)
        if not running:
            break
        change = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
        assert change.after <= good
        ended.append(change.address)
        if change.address in bad:
            ended += [blocked.address for blocked, _ in schedule.ended(change, good=False)]
        else:
            good.add(change.address)
            assert schedule.ended(change, good=True) == []
    assert schedule.rest() == []
    runnable = [change.address for change in rows if change.runnable]
    assert sorted(ended) == sorted(runnable)


def test_a_lost_host_takes_what_needs_it_elsewhere_along() -> None:
    names = {0: Address("host.file", "a", "/0"), 1: Address("host.file", "a", "/1"), 2: Address("host.file", "b", "/2")}
    rows = [row(0, "a", set(), names), row(1, "a", set(), names), row(2, "b", {1}, names)]
    schedule = Schedule(rows)
    assert [change.address for change in schedule.take()] == [names[0]]
    gone = schedule.abandon("a")
    assert [(change.address, need) for change, need in gone] == [(names[1], None), (names[2], names[1])]
    schedule.ended(rows[0], good=False)
    assert schedule.take() == []


def test_a_lost_host_takes_only_its_own_rows() -> None:
    names = {number: Address("host.file", "ab"[number % 2], f"/{number}") for number in range(4)}
    rows = [row(number, names[number].host, set(), names) for number in range(4)]
    schedule = Schedule(rows)
    first = schedule.take()
    assert [change.address.host for change in first] == ["a", "b"]
    assert [(change.address, need) for change, need in schedule.abandon("a")] == [(names[2], None)]
    assert schedule.ended(first[1], good=True) == []
    assert [change.address for change in schedule.take()] == [names[3]]
