"""The leases of a run, on hosts that only note what they are told."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vinfra.errors import RefusedError
from vinfra.model.lease import NOBODY, Grip, Holder, Lease
from vinfra.model.step import HELD, Hold, Step, StepResult
from vinfra.transport import leases
from vinfra.transport.leases import Leases
from vinfra.transport.reach import Connections


class Hosts:
    """What each was told, in order; who holds one is refused to all others."""

    def __init__(self, **held: str) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.held = held
        self.slow = 0.02

    def writer(self, name: str) -> Any:
        return SimpleNamespace(run=lambda step: self._run(name, step))

    def _run(self, name: str, step: Step) -> StepResult:
        (call,) = step.calls
        assert isinstance(call, Hold)
        self.told.append((name, call.grip, "begins"))
        time.sleep(self.slow)
        self.told.append((name, call.grip, "ends"))
        return StepResult(HELD, f"9 {self.held[name]} {NOBODY.line()}") if name in self.held else StepResult(0)


def run(hosts: Hosts) -> Leases:
    return Leases(cast(Connections, hosts), Holder("run"))


def test_of_two_runs_that_begin_together_one_gets_all() -> None:
    hosts = Hosts()
    with run(hosts) as mine:
        mine.take({name: Lease() for name in ("b", "c", "a")})
        assert hosts.told[:2] == [("a", Grip.TAKE, "begins"), ("a", Grip.TAKE, "ends")]
        assert {name for name, _, _ in hosts.told[2:]} == {"b", "c"}
    late = Hosts(a="other")
    with pytest.raises(RefusedError, match="a: somebody"), run(late) as mine:
        mine.take({name: Lease() for name in ("b", "a")})
    assert {name for name, _, _ in late.told} == {"a"}, "what the other one is about to take is left to it"


def test_no_renewal_comes_after_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_EVERY", 0.01)
    hosts = Hosts()
    with run(hosts) as mine:
        mine.take({"a": Lease()})
        while ("a", Grip.RENEW, "begins") not in hosts.told:
            time.sleep(0.001)
        hosts.slow = 0.1
    time.sleep(0.2)
    assert hosts.told[-2:] == [("a", Grip.RELEASE, "begins"), ("a", Grip.RELEASE, "ends")]
