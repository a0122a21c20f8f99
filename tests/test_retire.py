"""A host is given up only when it holds no machine of ours, and then no mark is left."""

from pathlib import Path
from typing import Any

import pytest

from tests.pretend import World
from tests.test_look import ONE
from vinfra.errors import LeaseLost, RefusedError
from vinfra.estate import owned
from vinfra.estate.retire import Retirement, machines, retire
from vinfra.model.outcome import Observers
from vinfra.transport.leases import Leases


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, "hv1")
    made.apply(ONE)
    return made


def found(world: World) -> Retirement:
    connections: Any = world
    told = owned.survey(connections, ["hv1"], {}, 1, Observers())["hv1"]
    return Retirement(told, machines(connections, told))


def given_up(world: World, *, leave: bool, agreed: bool = True) -> int:
    connections: Any = world
    return retire(connections, found(world), lambda _: agreed, "run", leave=leave)


def test_a_host_with_machines_of_ours_is_kept_unless_they_may_be_left(world: World) -> None:
    with pytest.raises(RefusedError, match=r"hv1 still holds machines: web-01 \(pretend\)"):
        given_up(world, leave=False)
    with pytest.raises(RefusedError, match="not confirmed"):
        given_up(world, leave=True, agreed=False)
    assert len(world.hosts["hv1"].marks) == 2
    assert given_up(world, leave=True) == 2
    assert world.hosts["hv1"].marks == {}
    assert list(world.hosts["hv1"].domains) == ["web-01"]
    assert given_up(world, leave=True) == 0


def test_while_libvirt_does_not_tell_its_machines_count_as_there(world: World) -> None:
    world.hosts["hv1"].hypervisor = False
    assert found(world).machines == (("web-01", "pretend"),)


def test_machines_that_are_gone_hold_nobody_back(world: World) -> None:
    world.hosts["hv1"].domains.clear()
    assert found(world).machines == ()
    assert given_up(world, leave=False) == 2


def test_marks_that_cannot_be_read_are_not_released(world: World) -> None:
    world.hosts["hv1"].lines.append("{broken")
    with pytest.raises(RefusedError, match="unreadable mark"):
        given_up(world, leave=True)


def test_while_somebody_is_at_work_there_it_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> str:
        raise LeaseLost("hv1: somebody is at work there", hint="run it again after that")

    monkeypatch.setattr(Leases, "fence", busy)
    with pytest.raises(RefusedError, match="nothing was touched: hv1: somebody is at work there"):
        given_up(world, leave=True)
    assert len(world.hosts["hv1"].marks) == 2
