"""The table of impacts: whole, and with a reason for whatever costs more than `live`."""

import pytest

from tests.lab.impact import CASES, SEEN
from vinfra.kinds.registry import KINDS
from vinfra.model.action import Impact
from vinfra.model.kind import Trait, has
from vinfra.model.spec import declared
from vinfra.report.impact import REMOVED, Cost, costs
from vinfra.report.pages import impact_page

COSTS = costs(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_every_compared_field_has_a_row(name: str) -> None:
    kind = KINDS[name]
    rows = {cost.field for cost in COSTS if cost.kind == name}
    compared = {field for field in kind.Spec.model_fields if declared(kind.Spec, field, "compared")}
    if has(kind, Trait.FLEET):
        compared -= set(KINDS["kvm.domain"].Spec.model_fields)
    assert compared | {REMOVED} <= rows


@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: f"{cost.kind}.{cost.field}")
def test_what_costs_more_than_live_says_why(cost: Cost) -> None:
    assert cost.impact <= Impact.LIVE or cost.why
    assert not cost.refused or cost.impact > Impact.LIVE
    assert not cost.why.endswith(".")


def test_the_page_has_them_all() -> None:
    page = impact_page(KINDS)
    assert all(f"## {name}\n" in page for name in KINDS)
    for cost in COSTS:
        field = cost.field if cost.field == REMOVED else f"`{cost.field}`"
        assert f"| {field} | {cost.said} | {cost.why} | {cost.when} |" in page


def test_every_row_that_can_be_seen_on_a_hypervisor_has_a_case_in_the_lab() -> None:
    rows = {(cost.kind, cost.field): cost for cost in COSTS if cost.kind in SEEN}
    assert set(rows) == {case.row for case in CASES}
    for case in CASES:
        cost = rows[case.row]
        assert case.refused or Impact[case.impact.upper().replace("-", "_")] <= cost.impact
        assert case.refused or not cost.refused
    tried = {(case.row, case.impact) for case in CASES}
    assert all(((cost.kind, cost.field), str(cost.impact)) in tried for cost in rows.values())
