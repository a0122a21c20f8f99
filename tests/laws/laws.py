"""The laws that hold for every plan and every run, whatever was wished for and whatever happened before."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.laws.linux import Linux
from tests.laws.wishes import SECRET
from tests.laws.world import BORN, State, World
from vinfra.errors import ExitCode
from vinfra.kinds.host import sysctl
from vinfra.kinds.host.systemd.units import full
from vinfra.kinds.kvm.volumes.storage import stem
from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change
from vinfra.model.lease import LEASE
from vinfra.model.mark import DIRECTORY, Mark, path_of
from vinfra.model.outcome import Outcome, Status
from vinfra.model.plan import Plan
from vinfra.model.source import NOWHERE
from vinfra.model.step import Append, Call, Guard, Hold, Step, Write
from vinfra.report import as_json

# What only the host's own program finds out: an owner that is no user there.
TOLERATED = ("invalid user or group",)
GOOD = (Status.DONE, Status.ALREADY)
# A thing on a host, and what it is called there: `("hv1", "domain:db")`.
Thing = tuple[str, str]


def told(change: Change) -> str:
    """A row in words."""
    delta = change.delta
    fields = ", ".join(f"{item.path} {item.before!r} → {item.after!r}" for item in delta.fields)
    return f"{delta.action.name} {delta.verdict.name} {change.address} on {change.place}: {fields} {delta.reason}"


def lines(changes: Iterable[Change]) -> str:
    return "\n  ".join(map(told, changes))


# What belongs to what.


def main_thing(address: Address) -> str:
    """What an address is called among the things of its host, "" for what is no thing of its own."""
    name = address.name
    match address.noun:
        case "file" | "directory":
            return f"path:{name}"
        case "sysctl":
            return f"path:{sysctl.persisted(name)}"
        case "user" | "package" | "network" | "pool" | "domain":
            return f"{address.noun}:{name}"
    return ""


def belongs(thing: str, address: Address) -> bool:
    """Whether a change of an address may change this thing."""
    sort, _, name = thing.partition(":")
    match address.noun:
        case "volume" | "seed":
            return sort == "volume" and stem(name.rpartition("/")[2]) == stem(address.name)
        case "guest":
            return thing == f"domain:{address.name}"
        case "pool":
            return thing == f"pool:{address.name}" or sort == "volume"  # they are seen while it runs
        case "user":
            return thing == f"user:{address.name}" or thing.startswith(f"path:/home/{address.name}")
        case "sysctl":
            return thing in (f"path:{sysctl.persisted(address.name)}", f"path:{sysctl.running(address.name)}")
        case "service":
            return thing == f"unit:{full(address.name)}"
        case "package":
            return thing == f"package:{address.name}" or (sort in ("unit", "path") and address.name in name)
    return thing == main_thing(address)


def _housekeeping(thing: str, owner: str) -> bool:
    """What every run of a blueprint may write."""
    places = (LEASE.rpartition("/")[0], LEASE, DIRECTORY, DIRECTORY.rpartition("/")[0], path_of(owner))
    return thing in {f"path:{place}" for place in places}


def changed(before: Mapping[str, State], after: Mapping[str, State]) -> set[Thing]:
    hosts = [host for host in before if before[host].get(BORN) == after[host].get(BORN)]
    return {
        (host, thing)
        for host in hosts
        for thing in before[host].keys() | after[host].keys()
        if before[host].get(thing) != after[host].get(thing)
    }


# A plan.


def check_plan(plan: Plan) -> None:
    """No object twice, what is needed first, exit codes and JSON that say the same, and no secret."""
    addresses = [change.address for change in plan.changes]
    twice = [address for address, number in Counter(addresses).items() if number > 1]
    assert not twice, f"twice in one plan: {twice}"
    numbers = {address: number for number, address in enumerate(addresses)}
    for change in plan.runnable:
        late = [need for need in change.after if numbers.get(need, -1) > numbers[change.address]]
        rows = [plan.changes[numbers[need]] for need in late]
        same = [row.address for row in rows if row.runnable and row.place == change.place]
        assert not same, f"{change.address} stands before what it needs: {same}"
    code = (
        ExitCode.DIFFERENCES if any(row.delta.verdict is not Verdict.UNKNOWN for row in plan.pending) else ExitCode.DONE
    )
    code = ExitCode.INCOMPLETE if plan.unknown or plan.unread else code
    assert plan.exit_code is code
    document = as_json.plan_document(plan)
    text = as_json.dumps(document)
    assert json.loads(text) == document
    assert {row["address"] for row in document["changes"]} == {str(row.address) for row in plan.pending}
    assert SECRET not in text
    _check_order(plan.runnable)


# What comes into being after what, on one host: the first noun of a pair is there before the second.
_BEFORE = [("network", "domain"), ("pool", "volume"), ("volume", "domain"), ("seed", "domain"), ("user", "file")]


def _check_order(rows: Iterable[Change]) -> None:
    """Order, by what one knows of such things and not by what the plan itself says of needs."""
    known = list(rows)
    for number, later in enumerate(known):
        for earlier in known[:number]:
            if earlier.place != later.place:
                continue
            pair = (earlier.address.noun, later.address.noun)
            gone = earlier.delta.action is Action.DELETE and later.delta.action is Action.DELETE
            made = earlier.delta.action is Action.CREATE and later.delta.action is Action.CREATE
            wrong = (gone and pair in _BEFORE) or (made and pair[::-1] in _BEFORE)
            assert not wrong or pair == ("user", "file"), f"{told(earlier)}\n  before {told(later)}"
            nested = {"file", "directory"} >= set(pair)
            inside, around = (earlier.address.name, later.address.name)
            assert not (nested and made and inside.startswith(f"{around}/")), f"{inside} before {around}"
            assert not (nested and gone and around.startswith(f"{inside}/")), f"{inside} goes before {around}"


# A run.


@dataclass
class Record:
    """What was seen of a run: the state before it, and its steps as hosts got them."""

    owner: str
    before: dict[str, State]
    marks: dict[str, Any]
    started: list[tuple[Change, Step]] = field(default_factory=list)

    @classmethod
    def of(cls, owner: str, world: World) -> "Record":
        world.ran.clear()
        return cls(owner, world.state(), {name: host.marks for name, host in world.hosts.items()})

    def step_started(self, change: Change, step: Step) -> None:
        self.started.append((change, step))

    def __getattr__(self, name: str) -> Any:
        """Of the other events nothing is kept."""
        if name.startswith(("host_", "change_", "step_")):
            return lambda *_: None
        raise AttributeError(name)


def check_run(record: Record, world: World, plan: Plan) -> None:
    """Nothing else was touched than what the rows said, whether the run came to its end or not."""
    touched = changed(record.before, world.state())
    rows = list(plan.runnable)
    strange = {
        (host, thing)
        for host, thing in touched
        if not _housekeeping(thing, record.owner)
        and not any(row.place == host and belongs(thing, row.address) for row in rows)
        and not any(row.came_from == host and _housekeeping(thing, record.owner) for row in rows)
    }
    assert not strange, f"touched, and in no row: {sorted(strange)}\n  {lines(rows)}"
    _check_foreign(record, rows)
    _check_disks(touched, world)
    planned = Counter((row.place, step.summary, repr(step.calls)) for row in rows for step in row.steps)
    later = Counter(
        (row.place, step.summary, repr(_own(step.calls)))
        for row, step in record.started
        if any(row.address == known.address and known.delta.verdict is Verdict.LATER for known in rows)
    )
    ran = Counter(_own_steps(world.ran))
    more = ran - planned - later
    assert not more, f"done and not planned: {more}"


def _check_foreign(record: Record, rows: Iterable[Change]) -> None:
    """What another blueprint owns is in no row, but for what is shared."""
    for row in rows:
        for mark in record.marks.get(row.place, {}).values():
            same = (mark.kind, mark.name) == (row.address.kind, row.address.name) and mark.blueprint != record.owner
            assert not same or row.address.noun in ("package", "pool"), f"{mark.blueprint} owns it: {told(row)}"


def _check_disks(touched: Iterable[Thing], world: World) -> None:
    """No file goes that a machine still has in its definition, or runs with; nor does a network that one runs with."""
    for host, thing in touched:
        sort, _, name = thing.partition(":")
        things = world.hosts[host].state()
        if sort not in ("volume", "network") or thing in things:
            continue
        word = f"'{name}'" if sort == "volume" else f"network='{name}'"
        users = [
            other
            for other, value in things.items()
            if other.startswith("domain:") and word in "".join(map(str, value[:2] if sort == "volume" else value[1:2]))
        ]
        assert not users, f"{thing} went from {host}, and {users} still need it"


def _own_steps(ran: Iterable[tuple[str, Step]]) -> Iterator[tuple[str, str, str]]:
    for host, step in ran:
        if calls := _own(step.calls):
            yield host, step.summary, repr(calls)


def _own(calls: Iterable[Call]) -> tuple[Call, ...]:
    """A step's calls without marks, leases and guards."""
    marks = (f"{DIRECTORY}/",)
    return tuple(
        call
        for call in calls
        if not isinstance(call, Hold | Guard)
        and not (isinstance(call, Append | Write) and call.path.startswith(marks))
        and not (getattr(call, "argv", ())[:2] == ("rm", "-f") and call.argv[-1].startswith(marks))  # type: ignore[union-attr]
    )


def check_end(record: Record, world: World, outcome: Outcome) -> None:
    """A run that nothing disturbed: every row came to its end, and by exactly its steps."""
    plan = outcome.plan
    check_run(record, world, plan)
    ends = {end.address: end for end in outcome.changes}
    assert ends.keys() == {row.address for row in plan.runnable}
    bad = [end for end in outcome.changes if end.status in (Status.FAILED, Status.LEFT)]
    failed = [f"{end.address}: {end.reason}" for end in bad if not any(word in end.reason for word in TOLERATED)]
    assert not failed, f"failed: {failed}\n  {lines(plan.pending)}"
    stopped = [end for end in outcome.changes if end.status is Status.BLOCKED]
    causes = (
        plan.refused
        or plan.unread
        or plan.unknown
        or bad
        or [end for end in outcome.changes if end.status is Status.BEYOND]
    )
    assert not stopped or causes, f"blocked by nothing: {stopped}"
    good = (
        all(end.status in GOOD for end in outcome.changes) and not plan.refused and not plan.unread and not plan.unknown
    )
    assert (outcome.exit_code is ExitCode.DONE) == good
    done = [row for row in plan.runnable if ends[row.address].status is Status.DONE and row.delta.verdict is Verdict.OK]
    planned = Counter((row.place, step.summary, repr(step.calls)) for row in done for step in row.steps)
    missing = planned - Counter(_own_steps(world.ran))
    assert not missing, f"planned, and not done: {missing}"


def excused(outcome: Outcome) -> set[tuple[str, str]]:
    """Host and reference of what a run could not do."""
    bad = {end.address for end in outcome.changes if end.status not in GOOD}
    rows = [row for row in outcome.plan.changes if row.address in bad]
    return {(row.place, row.address.reference) for row in rows} | unsettled(outcome.plan)


def unsettled(plan: Plan) -> set[tuple[str, str]]:
    """Host and reference of what a plan refuses or does not know; of a host that could not be read "" for all."""
    rows = [row for row in plan.changes if row.delta.verdict in (Verdict.REFUSED, Verdict.UNKNOWN)]
    return {(row.place, row.address.reference) for row in rows} | {(host, "") for host in plan.unknown}


def check_empty(outcome: Outcome, again: Plan) -> None:
    """After an apply the plan is empty, but for what was refused or could not be read."""
    ends = {end.address for end in outcome.changes if end.status not in GOOD}
    excused = ends | {row.address for row in (*outcome.plan.refused, *outcome.plan.unread)}
    left = [row for row in again.pending if row.address not in excused]
    assert not left, f"the second plan is not empty:\n  {lines(left)}\n after:\n  {lines(outcome.plan.pending)}"


@dataclass
class Ledger:
    """Who made what, by what was seen to happen and not by any mark. What is not in it was there before."""

    made: dict[Thing, str] = field(default_factory=dict)

    def note(self, record: Record, world: World, plan: Plan) -> None:
        """After a run: what came is its blueprint's; nothing went that somebody else made, unless asked for."""
        after = world.state()
        anew = {host for host in after if record.before[host].get(BORN) != after[host].get(BORN)}
        self.made = {thing: owner for thing, owner in self.made.items() if thing[0] not in anew}
        before = {host: Linux().state() if host in anew else state for host, state in record.before.items()}
        born = {(host, thing) for host in anew for thing in after[host].keys() - before[host].keys()}
        for host, thing in changed(record.before, after) | born:
            gone = thing not in after[host]
            if not gone and thing not in before[host]:
                rows = [row for row in plan.runnable if row.place == host and _is(thing, row.address)]
                if any(row.desired is not None for row in rows):
                    self.made.setdefault((host, thing), record.owner)
            elif gone and not _housekeeping(thing, record.owner):
                self._gone(host, thing, record.owner, plan)
        # What the host may yet take back by itself (a deletion of an account) is there again then, and whose it was.
        undecided = {name for name, host in world.hosts.items() if host.timers}
        here = {(host, thing) for host, state in after.items() for thing in state}
        self.made = {at: owner for at, owner in self.made.items() if at in here or at[0] in undecided}

    def _gone(self, host: str, thing: str, owner: str, plan: Plan) -> None:
        rows = [row for row in plan.runnable if row.place == host and belongs(thing, row.address)]
        asked = any(row.desired is None and row.position is not NOWHERE for row in rows)
        attached = not any(_is(thing, row.address) for row in rows)  # a package's unit, a pool's files
        shared = any(row.address.noun in ("package", "pool") for row in rows)
        ours = self.made.get((host, thing)) == owner
        assert ours or asked or attached or (shared and (host, thing) in self.made), (
            f"{thing} on {host} went, and {owner} had not made it:\n  {lines(rows)}"
        )

    def by_hand(self, before: Mapping[str, State], world: World) -> None:
        """Somebody changed reality: what he took away nobody has made any more; what he made is his, unless a living
        mark says that it is what was there before.
        """
        after = world.state()
        for host, thing in changed(before, after):
            if thing not in after[host]:
                self.made.pop((host, thing), None)
            elif thing not in before[host]:
                for known in world.hosts[host].marks.values():
                    if _is(thing, Address(known.kind, host, known.name)):
                        self.made[host, thing] = known.blueprint

    def disown(self, host: str, lost: Iterable[Mark]) -> None:
        """What marks stood for that are lost now is nobody's."""
        for mark in lost:
            for name, thing in list(self.made):
                if name == host and _is(thing, Address(mark.kind, host, mark.name)):
                    del self.made[name, thing]

    def left(self, owner: str, world: World) -> list[Thing]:
        """What a blueprint made and is still there."""
        return [thing for thing, who in self.made.items() if who == owner and thing[1] in world.hosts[thing[0]].state()]


def _is(thing: str, address: Address) -> bool:
    """Whether a thing is what an address names, and not something that comes along with it."""
    return thing == main_thing(address) or (address.noun in ("volume", "seed") and belongs(thing, address))
