"""What a row that is known only later may do at most."""

from vinfra.kinds.host import sysctl
from vinfra.kinds.registry import KINDS
from vinfra.model.action import Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Absent, Later
from vinfra.model.blueprint import Resource
from vinfra.model.bound import beyond
from vinfra.model.change import Delta, FieldChange
from vinfra.model.discovery import HostState
from vinfra.model.kind import Scope
from vinfra.stages.diff import diff

GUEST = Address("kvm.guest", "", "web-01")
WISH = Resource(
    Address("host.sysctl", "web-01", "vm.swappiness"),
    sysctl.Spec.model_validate({"value": "10"}),
    needs=frozenset({GUEST}),
)


def later() -> Delta:
    answers = {WISH.address: Later("web-01 is not up", "guest:web-01")}
    state = HostState("web-01", "demo", resources=(WISH,), answers=answers)
    return diff(state, KINDS, "demo", {GUEST})[0].delta


def test_what_follows_from_a_field_is_agreed_to_with_it() -> None:
    planned = later()
    assert planned.verdict is Verdict.LATER
    now = sysctl.diff(WISH, Absent({"running": "60"}), Scope("web-01", (WISH,)))
    assert {item.path for item in now.fields} == {"value", "persisted"}
    assert beyond(planned, now) == ""


def test_another_value_and_another_field_are_more() -> None:
    planned = later()
    other = WISH.address, sysctl.Spec.model_validate({"value": "20"})
    now = sysctl.diff(Resource(*other), Absent({"running": "60"}), Scope("web-01", (WISH,)))
    assert "would create value" in beyond(planned, now)
    assert "mode" in beyond(planned, Delta(now.action, (FieldChange("mode", None, "1"),), Impact.LIVE))
