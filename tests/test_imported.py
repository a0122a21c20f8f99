"""Import leaves out what would be a row in its own plan, and what leaned on that; it takes nobody's name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vinfra.errors import VinfraError
from vinfra.estate.imported import blueprint
from vinfra.kinds.registry import KINDS
from vinfra.model.action import Action
from vinfra.model.address import Address
from vinfra.model.change import Change, Delta
from vinfra.model.estate import Estate, Item
from vinfra.model.mark import Birth, Mark, State
from vinfra.model.plan import Plan


def item(kind: str, name: str, fields: dict[str, Any] | None, *owners: str) -> Item:
    return Item(Address(kind, "Rack A", name), fields, "", owners)


VOLUME = item("kvm.volume", "root", {"size": "1GiB"})
MACHINE = item("kvm.domain", "one", {"memory": "1GiB", "disks": {"root": {"volume": "root"}}})
EVE = item("host.user", "eve", {"uid": 1000})


def planning(*rounds: tuple[Item, ...]) -> tuple[Callable[[Path], Plan], list[str]]:
    """Plans whose rows are about these items, one after the other; and the texts that were planned."""
    seen: list[str] = []

    def plan(file: Path) -> Plan:
        seen.append(file.read_text("utf-8"))
        rows = rounds[len(seen) - 1] if len(seen) <= len(rounds) else rounds[-1]
        delta = Delta(Action.UPDATE, reason="it does not run")
        return Plan("x", ("Rack A",), tuple(Change(row.address, delta, None, None) for row in rows))

    return plan, seen


def test_what_would_be_a_row_is_left_out_and_what_leaned_on_it_says_less() -> None:
    plan, seen = planning((VOLUME,), ())
    made = blueprint(Estate("Rack A", items=(VOLUME, MACHINE, EVE)), KINDS, plan)
    assert "volume: root" in seen[0]
    assert made == seen[1]
    assert "# volume:root: left out, or it would be a change: it does not run" in made
    assert "# its disks are left out" in made
    assert "disks:" not in made
    assert "eve:" in made


def test_what_its_kind_would_not_take_is_told_of_alone() -> None:
    odd = (item("host.user", "Odd User", {"uid": 1}), item("host.file", "/etc/{{ x }}", {"content": "x"}))
    plan, _ = planning(())
    made = blueprint(Estate("Rack A", items=(*odd, item("kvm.pool", "p", {"path": 3}))), KINDS, plan)
    for said in (
        "# user:Odd User: write a user name",
        "# file:/etc/{{ x }}: no name",
        "# pool:p: write the absolute path",
    ):
        assert said in made
    assert "users:" not in made


def test_it_takes_no_name_that_owns_something_there() -> None:
    mark = Mark("rack-a", "host.user", "ops", State.OWNED, Birth.CREATED)
    owned = item("kvm.network", "dev", {"mode": "nat"}, "rack-a-2")
    plan, _ = planning(())
    made = blueprint(Estate("Rack A", items=(EVE, owned), marks=(mark,)), KINDS, plan)
    assert "\nblueprint: rack-a-3\n" in made
    assert "network:dev (rack-a-2)" in made
    assert "networks:" not in made


def test_a_host_that_never_stays_the_same_is_an_error() -> None:
    plan, _ = planning((EVE,))
    with pytest.raises(VinfraError, match="no blueprint was found whose plan is empty"):
        blueprint(Estate("Rack A", items=(EVE,)), KINDS, plan)
