"""The controller is killed on a plain host: at every boundary, between any two calls of a script, while it sends."""

from collections.abc import Callable, Sequence

import pytest

from . import scenarios
from .conftest import Note
from .trial import Bench, Done, Point, Trial, kill, pauses, said, ticks


def trial(bench: Bench, verb: str) -> Trial:
    name = bench.hosts[0].name
    old = scenarios.write(bench.folder, "old", scenarios.host(name))
    new = scenarios.write(bench.folder, "new", scenarios.host(name, beat="2", shell="/bin/bash"))

    def ready() -> None:
        bench.reset()
        if verb != "create":
            bench.run("apply", old, "--yes")

    command = ("destroy", old, "--yes", "--max-impact", "data-loss") if verb == "destroy" else ("apply", new, "--yes")
    return Trial(bench, ready, command)


def halves(done: Done) -> list[Point]:
    """With half of a large file sent."""
    return [{"half": number} for number, (label, _) in enumerate(done.ticks) if "/srv/data/large" in label]


SCENARIOS = {
    "create": "host: user, directory, files, sysctl, service",
    "update": "host: user, files, sysctl and a restart updated",
    "destroy": "host: all of it destroyed",
}


@pytest.mark.parametrize("verb", SCENARIOS)
@pytest.mark.parametrize("where", [ticks, pauses, halves], ids=["boundary", "between-calls", "half-sent"])
def test_sigkill(plain: Bench, note: Note, verb: str, where: Callable[[Done], Sequence[Point]]) -> None:
    one = trial(plain, verb)
    done, want = one.reference()
    try:
        one.try_all(where(done), kill, want)
    finally:
        note(one, SCENARIOS[verb], f"SIGKILL of the controller, {said(where)}")


def test_packages(plain: Bench, note: Note) -> None:
    name = plain.hosts[0].name
    file = scenarios.write(plain.folder, "packages", {"hosts": {name: {"packages": ["rsync"]}}})
    one = Trial(plain, plain.reset, ("apply", file, "--yes"))
    done, want = one.reference()
    try:
        one.try_all([*ticks(done), *pauses(done)], kill, want)
    finally:
        note(one, "host: a package installed", "SIGKILL of the controller, at and between all calls")


def test_access(plain: Bench, note: Note) -> None:
    """The host takes back what nobody confirmed; the next run waits for that, and does it again."""
    name = plain.hosts[0].name
    content = {"/etc/ssh/sshd_config.d/trial.conf": {"content": "PrintMotd no\n"}}
    service = {"ssh": {"reload_on": ["file:/etc/ssh/sshd_config.d/trial.conf"]}}
    tree = {"hosts": {name: {"files": content, "services": service}}}
    one = Trial(plain, plain.reset, ("apply", scenarios.write(plain.folder, "access", tree), "--yes"))
    done, want = one.reference()
    try:
        one.try_all([*ticks(done)[1:5], *pauses(done)[:2]], kill, want)
    finally:
        note(one, "host: sshd's settings, guarded by a timer there", "SIGKILL of the controller, at and between calls")
