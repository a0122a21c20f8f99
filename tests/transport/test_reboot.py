"""From one boot to the next, against hosts that answer in every way."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from vinfra.errors import HostKeyRefused, LeaseLost, TransportError, Unreachable
from vinfra.model import boot
from vinfra.model.question import Question, Raw
from vinfra.model.step import Exec, Reboot, Step, StepResult
from vinfra.transport import reboot

STEP = Step("restart", (Exec(("true",)), Reboot("id/1", 3.0)))


def seen(number: int, state: str = "running", failed: str = "") -> dict[Question, Raw]:
    """A host in its boot of that number."""
    return {
        boot.BOOT_ID: Raw(0, b"id\n"),
        boot.FIRST_PROCESS: Raw(0, f"1 (systemd) {' '.join(['x'] * 19)} {number} 0\n".encode()),
        boot.STATE: Raw(0 if state == "running" else 1, state.encode()),
        boot.FAILED: Raw(0, failed.encode()),
    }


@dataclass
class Host:
    """`looks` are what new logins find, one after the other; the last one stays. It is its own lessee."""

    looks: list[Any]
    triggered: StepResult | Exception = field(default_factory=lambda: StepResult(0, "ok"))
    here: bool = False
    told: list[str] = field(default_factory=list)

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        return {question: seen(1, failed="old.service loaded failed")[question] for question in questions}

    def run(self, step: Step) -> StepResult:
        self.told.append("run")
        if isinstance(self.triggered, Exception):
            raise self.triggered
        return self.triggered

    def leave(self, host: str) -> None:
        self.told.append("leave")

    def come_back(self, host: str) -> None:
        self.told.append("come back")

    def lose(self, host: str, why: str) -> None:
        self.told.append(f"lose: {why}")

    def is_here(self, host: str) -> bool:
        return self.here

    @contextmanager
    def anew(self, host: str) -> Iterator[Any]:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        yield Login(look)


@dataclass
class Login:
    look: dict[Question, Raw]

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        return {question: self.look[question] for question in questions}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reboot, "_POLL", 0.01)


def restart(host: Host) -> StepResult:
    return reboot.rebooted(
        STEP,
        "web1",
        host,
        host,
    )


def test_it_is_back_in_another_boot_that_is_up() -> None:
    host = Host([seen(1), Unreachable("web1: gone"), seen(2, "starting"), seen(2, "degraded", "old.service x")])
    assert restart(host).returncode == 0
    assert host.told == ["leave", "run", "come back"]
    assert len(host.looks) == 1


def test_a_connection_lost_on_the_way_down_is_no_failure() -> None:
    host = Host([seen(2)], triggered=Unreachable("web1: the connection was lost"))
    assert restart(host).returncode == 0
    assert host.told == ["leave", "run", "come back"]


def test_what_failed_anew_is_named() -> None:
    result = restart(Host([seen(2, "degraded", "old.service x\nweb.service x\n")]))
    assert (result.returncode, result.call) == (1, 1)
    assert "it is back, but web.service failed, which had not before" in result.err


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (seen(1), "did not come back within 3 s (it has not gone down)"),
        (Unreachable("web1: no route"), "did not come back within 3 s (no route)"),
        (seen(2, "maintenance"), "did not come back within 3 s (its systemd says maintenance)"),
        (HostKeyRefused("web1: another key"), "it came back as another one: web1: another key"),
    ],
)
def test_one_that_does_not_come_back_is_lost_to_the_run(look: Any, said: str) -> None:
    host = Host([look])
    assert restart(host).err == said
    assert host.told == ["leave", "run", f"lose: {said}"]


def test_a_step_that_fails_before_leaves_the_host_up() -> None:
    host = Host([seen(1)], triggered=StepResult(1, err="machines run"))
    assert restart(host).err == "machines run"
    assert host.told == ["leave", "run", "come back"]


def test_who_lost_the_lease_restarts_nothing() -> None:
    host = Host([seen(1)], triggered=LeaseLost("web1: the lease is not ours"))
    with pytest.raises(LeaseLost):
        restart(host)
    assert host.told == ["leave", "run", "lose: web1: the lease is not ours"]


def test_this_machine_is_not_restarted_by_itself() -> None:
    host = Host([seen(1)], here=True)
    assert "this is the machine that vinfra runs on" in restart(host).err
    assert host.told == []


def test_a_trouble_that_nobody_foresaw_is_told() -> None:
    host = Host([TransportError("web1: what?"), seen(2)])
    assert restart(host).returncode == 0
