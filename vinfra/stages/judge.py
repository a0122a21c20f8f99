"""Hold a plan against the policies of the site: what they forbid is refused, and why, before anything runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from vinfra.model.action import Action
from vinfra.model.change import Change
from vinfra.model.plan import Plan
from vinfra.model.policy import Freeze, Labelled, Policy, Quota, Violation


def judge(plan: Plan, policies: Sequence[Policy], now: datetime, there: Mapping[str, int] | None = None) -> Plan:
    """The plan with its violations; rows that a policy forbids are refused. What runs nothing violates nothing.

    A percentage is of so many objects of each kind as are `there`; of those in the plan if nothing is said.
    """
    if not plan.runnable:
        return plan
    there = plan.there if there is None else there
    found = [violation for policy in policies for violation in _violations(plan, policy, now, there)]
    against = {address: violation for violation in reversed(found) for address in violation.rows}
    rows = (_refused(row, against[row.address]) if row.address in against else row for row in plan.changes)
    return replace(plan, changes=tuple(rows), violations=tuple(found))


def _refused(row: Change, violation: Violation) -> Change:
    return replace(row.refused(str(violation)), held=row.delta.verdict)


def _violations(plan: Plan, policy: Policy, now: datetime, there: Mapping[str, int]) -> Iterator[Violation]:
    match policy:
        case Quota():
            yield from _too_many(plan, policy, there)
        case Freeze():
            if policy.window is None or policy.window.covers(now):
                yield from _frozen(plan.runnable, policy)
        case Labelled():
            if missing := [name for name in policy.labels if name not in plan.labels]:
                more = f"the blueprint says no {' and no '.join(missing)} under `labels:`"
                yield Violation(policy.name, policy.position, more)


def _too_many(plan: Plan, quota: Quota, there: Mapping[str, int]) -> Iterator[Violation]:
    """An object that is replaced is deleted too. What could not be read counts as not there."""
    mine = [row for row in plan.runnable if quota.kind in ("", row.address.kind)]
    going = sum(row.delta.action in (Action.DELETE, Action.REPLACE) for row in mine)
    total = there.get(quota.kind, 0) if quota.kind else sum(there.values())
    if not quota.allows(going, total):
        what = f"{quota.kind or 'object'}{'s' if going > 1 else ''} would be deleted"
        most = f"{quota.most}% of the {total} there are" if quota.percent else str(quota.most)
        yield Violation(quota.name, quota.position, f"{going} {what}; at most {most} may be")


def _frozen(rows: Iterable[Change], freeze: Freeze) -> Iterator[Violation]:
    frozen = tuple(row.address for row in rows if row.delta.impact >= freeze.impact and _covers(freeze, row))
    if frozen:
        what = f"{freeze.impact} or more is forbidden" if freeze.impact else "every change is forbidden"
        when = f" {freeze.window.said}" if freeze.window else ""
        yield Violation(freeze.name, freeze.position, what + when, frozen)


def _covers(freeze: Freeze, row: Change) -> bool:
    """On which host it is; what a machine is made of is on the machine as well as on its hypervisor."""
    machine = "" if row.address.host else row.address.name.partition("/")[0]
    return freeze.hosts is None or bool(freeze.hosts & {row.place, machine})
