"""The state machine: operators edit blueprints and apply them, people meddle with the hosts, things go wrong.

After whatever it does, the laws (`laws`) are asked about.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.laws import laws, meddling
from tests.laws.disk import Failed
from tests.laws.wished import check_wish
from tests.laws.wishes import (
    FLEETS,
    HYPERVISORS,
    KEYS,
    MACHINES,
    OWNERS,
    PLAIN,
    SECRET,
    VARIABLE,
    Blueprint,
    Item,
    declarations,
    fleets,
)
from tests.laws.world import Host, Killed, World, dead_holder
from vinfra import engine
from vinfra.checkout import Checkout
from vinfra.errors import ExitCode, InputError, RefusedError, Unreachable, UsageError
from vinfra.model.action import Impact
from vinfra.model.outcome import Outcome
from vinfra.model.plan import Plan
from vinfra.model.request import Consent, Request
from vinfra.model.step import Call, StepResult
from vinfra.transport import leases, verbs

ALL = Consent(Impact.DATA_LOSS, skip_refused=True)
owners = st.sampled_from(OWNERS)
hosts = st.sampled_from([*HYPERVISORS, *PLAIN])
numbers = st.integers(0, 60)


class Operators(RuleBasedStateMachine):
    """Two operators with a blueprint each, and three hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="vinfra-laws-"))
        self.world = World(HYPERVISORS, PLAIN, MACHINES)
        self.ledger = laws.Ledger()
        self.blueprints = {owner: Blueprint(owner, self.folder) for owner in OWNERS}
        self.inventory = self.folder / "inventory.yaml"
        self.inventory.write_text("hosts: {hv1: {}, hv2: {}, web1: {}}\n")
        self.runs = 0
        self.marks_lost = False
        self.patches = ExitStack()
        for target, name, value in (
            (engine, "Connections", self.world.controller),
            (Checkout, "_git", lambda *_: None),
            (verbs, "_POLL", 0.0),
            (leases, "_PATIENCE", 0.0),
        ):
            self.patches.enter_context(patch.object(target, name, value))
        self.patches.enter_context(patch.dict(os.environ, {VARIABLE: SECRET}))

    def teardown(self) -> None:
        self.patches.close()
        self.world.close()
        shutil.rmtree(self.folder)

    @initialize(one=st.lists(declarations(), max_size=12), two=st.lists(declarations(), max_size=6), fleet=fleets())
    def begin(self, one: list[tuple[str, Item]], two: list[tuple[str, Item]], fleet: dict[str, Any]) -> None:
        self.declare_fleet("one", fleet, "svc")
        self.declare("one", one)
        self.declare("two", two)

    # Operators write.

    def _edited(self, owner: str, edit: Callable[[Blueprint], None]) -> None:
        """What validation does not take is taken back, as one does."""
        blueprint = self.blueprints[owner]
        before = {host: {name: dict(items) for name, items in parts.items()} for host, parts in blueprint.hosts.items()}
        members = dict(blueprint.fleets)
        edit(blueprint)
        blueprint.write()
        try:
            engine.validate(self._request(owner))
        except InputError:
            blueprint.hosts, blueprint.fleets = before, members
            blueprint.write()

    @rule(owner=owners, said=st.lists(declarations(), min_size=1, max_size=6))
    def declare(self, owner: str, said: list[tuple[str, Item]]) -> None:
        for one in said:
            self._edited(owner, lambda blueprint, one=one: blueprint.say(*one))

    @rule(owner=owners, said=st.lists(declarations(), min_size=4, max_size=12))
    def declare_much_and_apply(self, owner: str, said: list[tuple[str, Item]]) -> None:
        self.declare(owner, said)
        self.apply(owner)

    @rule(owner=owners, value=fleets(), name=st.sampled_from(FLEETS))
    def declare_fleet(self, owner: str, value: dict[str, Any], name: str) -> None:
        if name == "svc":
            owner, value = "one", {**value, "access": {"public_key": KEYS[0]}}
        self._edited(owner, lambda blueprint: blueprint.fleets.update({name: value}))

    @rule(owner=owners, number=numbers)
    def delete_declaration(self, owner: str, number: int) -> None:
        self._edited(owner, lambda blueprint: blueprint.unsay(number))

    def _request(self, owner: str, **given: Any) -> Request:
        if not self.blueprints[owner].file.exists():
            self.blueprints[owner].write()
        return Request(self.blueprints[owner].file, self.inventory, forks=1, **given)

    # Operators run.

    def _plan(self, owner: str, **given: Any) -> Plan:
        before = self.world.state()
        plan = engine.plan(self._request(owner, **given))
        touched = laws.changed(before, self.world.state())
        assert not touched, f"planning changed {sorted(touched)}"
        laws.check_plan(plan)
        return plan

    def _run(self, owner: str, do: Callable[..., Outcome], consent: Consent = ALL) -> tuple[laws.Record, Outcome]:
        record = laws.Record.of(owner, self.world)
        self.runs += 1
        outcome = do(consent, record, f"run-{self.runs}")
        laws.check_plan(outcome.plan)
        return record, outcome

    def _apply(self, owner: str, consent: Consent = ALL, **given: Any) -> Outcome:
        """One that nothing disturbs, with all its laws."""
        request = self._request(owner, **given)
        record, outcome = self._run(owner, lambda *ways: engine.apply(request, *ways), consent)
        laws.check_end(record, self.world, outcome)
        self.ledger.note(record, self.world, outcome.plan)
        return outcome

    @rule(owner=owners)
    def plan(self, owner: str) -> None:
        self._plan(owner)

    @rule(owner=owners)
    def apply(self, owner: str) -> None:
        outcome = self._apply(owner)
        again = self._plan(owner)
        laws.check_empty(outcome, again)
        check_wish(self.blueprints[owner], self.world, laws.excused(outcome) | laws.unsettled(again))

    @rule(owner=owners)
    def apply_carefully(self, owner: str) -> None:
        """With the defaults: what costs more than a restart, or is refused, stops all of it."""
        before = self.world.state()
        try:
            self._apply(owner, Consent())
        except RefusedError:
            touched = laws.changed(before, self.world.state())
            assert not touched, f"refused, and yet it changed {sorted(touched)}"

    @rule(owner=owners, limit=hosts)
    def apply_within_a_limit(self, owner: str, limit: str) -> None:
        outcome = self._apply(owner, limit=limit)
        assert {row.place for row in outcome.plan.pending} <= {limit, ""}
        laws.check_empty(outcome, self._plan(owner, limit=limit))

    @rule(owner=owners, aim=st.sampled_from(["domain:*", "file:*", "network:*", "fleet:web", "volume:*"]))
    def apply_a_target(self, owner: str, aim: str) -> None:
        with suppress(UsageError):
            laws.check_empty(self._apply(owner, targets=(aim,)), self._plan(owner, targets=(aim,)))

    @rule(owner=owners, host=hosts, edit=st.sampled_from([None, None, *sorted(meddling.EDITS)]), number=numbers)
    def save_a_plan_and_apply_it_later(self, owner: str, host: str, edit: str | None, number: int) -> None:
        plan, file = self._plan(owner), self.folder / "plan.json"
        engine.save(self._request(owner), plan, file)
        assert SECRET not in file.read_text()
        if edit:
            self.meddle(host, edit, number)
        record = laws.Record.of(owner, self.world)
        try:
            outcome = engine.apply_saved(file, ALL, record, "saved")
        except RefusedError:
            touched = laws.changed(record.before, self.world.state())
            assert not touched, f"refused as stale, and yet it changed {sorted(touched)}"
            assert edit or plan.unknown, "stale, and nothing had changed"
            return
        laws.check_end(record, self.world, outcome)
        self.ledger.note(record, self.world, outcome.plan)
        assert {row.address for row in outcome.plan.runnable} <= {row.address for row in plan.runnable}

    @rule(owner=owners)
    def destroy(self, owner: str) -> None:
        """Nothing of ours is left but what was refused or could not be reached; what was there before is there."""
        for host in self.world.hosts.values():
            meddling.mend_marks(host)
        request = self._request(owner)
        record, outcome = self._run(owner, lambda *ways: engine.destroy(request, *ways))
        laws.check_end(record, self.world, outcome)
        self.ledger.note(record, self.world, outcome.plan)
        left = [
            (host, thing)
            for host, thing in self.ledger.left(owner, self.world)
            if not self._excused(host, thing, owner, outcome)
        ]
        assert not left, f"left after destroy: {left}\n  {laws.lines(outcome.plan.changes)}"
        if outcome.exit_code is ExitCode.DONE:
            for name, host in self.world.hosts.items():
                own = [mark for mark in host.marks.values() if mark.blueprint == owner]
                assert not own or name not in outcome.plan.hosts, f"marks left on {name}: {own}"

    def _excused(self, host: str, thing: str, owner: str, outcome: Outcome) -> bool:
        ends = {end.address: end.status for end in outcome.changes}
        stays = [row for row in outcome.plan.changes if ends.get(row.address) not in laws.GOOD]
        shared = [
            mark
            for mark in self.world.hosts[host].marks.values()
            if mark.blueprint != owner and thing == f"{mark.kind.rpartition('.')[2]}:{mark.name}"
        ]
        named = any(laws.belongs(thing, row.address) and row.place == host for row in stays)
        inside = host in self.world.guests  # it goes with its machine, and stays with it
        return bool(host in outcome.plan.unknown or named or shared or inside)

    # Things go wrong.

    def _disturbed(self, owner: str, after: int, fault: Callable[[Host, Call], StepResult]) -> Plan | None:
        """An apply during which a fault strikes; None when it came to its end before that."""
        plan = self._plan(owner)
        self.world.after, self.world.fault = after, fault
        record = laws.Record.of(owner, self.world)
        self.runs += 1
        try:
            outcome = engine.apply(self._request(owner), ALL, record, f"run-{self.runs}")
            laws.check_run(record, self.world, outcome.plan)
            struck = self.world.fault is None
            good = all(end.status in laws.GOOD for end in outcome.changes)
            assert not (struck and good), "a step failed, and the run says that all is well"
        except Killed:
            laws.check_run(record, self.world, plan)
        except RefusedError:
            pass
        finally:
            self.world.fault = None
        self.ledger.note(record, self.world, plan)
        return plan

    def _settled(self, owner: str) -> None:
        """One apply converges, and the second plan is empty."""
        for host in self.world.hosts.values():
            host.dead = False
        self.apply(owner)

    @rule(owner=owners, after=st.integers(0, 25), waits=st.booleans())
    def kill_it_and_apply_again(self, owner: str, after: int, waits: bool) -> None:
        self.kill_it(owner, after, waits)
        self._settled(owner)

    @rule(owner=owners, after=st.integers(0, 25), waits=st.booleans())
    def kill_it(self, owner: str, after: int, waits: bool) -> None:
        def kill(*_: object) -> StepResult:
            raise Killed

        self._disturbed(owner, after, kill)
        for host in self.world.hosts.values():
            if waits:
                host.pass_time(60)
            else:
                dead_holder(host)

    @rule(owner=owners, after=st.integers(0, 25))
    def lose_a_host_meanwhile(self, owner: str, after: int) -> None:
        def lose(host: Host, _: Call) -> StepResult:
            host.dead = True
            raise Unreachable(f"{host.name} does not answer any more")

        self._disturbed(owner, after, lose)
        for host in self.world.hosts.values():
            host.pass_time(60)
        self._settled(owner)

    @rule(owner=owners, after=st.integers(0, 25))
    def a_step_fails(self, owner: str, after: int) -> None:
        self._disturbed(owner, after, lambda *_: StepResult(1, err="no space left on device"))
        self._settled(owner)

    @rule(host=hosts)
    def a_host_is_down_or_up(self, host: str) -> None:
        self.world.hosts[host].dead = not self.world.hosts[host].dead

    # People meddle.

    @rule(host=hosts, edit=st.sampled_from(sorted(meddling.EDITS)), number=numbers)
    def meddle(self, host: str, edit: str, number: int) -> None:
        before, marks = self.world.state(), self.world.hosts[host].marks
        with suppress(Failed):
            meddling.EDITS[edit](self.world.hosts[host], number)
        if edit in meddling.MARKS:
            lost = marks.keys() - self.world.hosts[host].marks.keys()
            self.ledger.disown(host, [marks[key] for key in lost])
        else:
            self.ledger.by_hand(before, self.world)

    # What is always so.

    @invariant()
    def nothing_is_there_twice(self) -> None:
        """A member of a fleet that vinfra made is on one host."""
        made = [(who, thing) for (_, thing), who in self.ledger.made.items() if thing.startswith("domain:web-")]
        assert len(made) == len(set(made)), f"doubled: {made}"

    @invariant()
    def no_secret_is_in_a_mark(self) -> None:
        for host in self.world.hosts.values():
            for path, entry in host.linux.disk.entries.items():
                assert not (host.is_mark(path) and SECRET.encode() in entry.content), f"a secret in {path}"
