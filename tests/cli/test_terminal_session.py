"""A person at a terminal: apply shows the plan, asks, draws while it works, and tells the end."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

SESSION = """
import time
from dataclasses import replace
import vinfra.engine
from tests.report import samples
from vinfra.errors import RefusedError
from vinfra.model.outcome import ChangeOutcome, Outcome, Status

def act(request, consent, observer, run):
    plan = samples.rack()
    consent.show(plan)
    if not consent.confirm(plan):
        raise RefusedError("not confirmed, nothing was touched")
    ends = []
    for change in plan.runnable:
        observer.change_started(change)
        observer.step_started(change, samples.STEP)
        time.sleep(0.3 if not ends else 0)
        ends.append(ChangeOutcome(change.address, Status.DONE, seconds=0.1))
        observer.change_ended(change, ends[-1])
    return Outcome(run, replace(plan, unknown={}, changes=plan.runnable), tuple(ends))

vinfra.engine.apply = act
from vinfra.cli.main import main
main()
"""


def session(answer: str, state: Path) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "VINFRA_STATE": str(state), "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(
        [sys.executable, "-c", SESSION, "apply", "x.yaml"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        cwd=Path(__file__).parents[2],
    ) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        said = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how a terminal says that the other end is closed
                break
            if not piece:
                break
            said += piece
        os.close(ours)
    return process.returncode, said.decode()


def test_yes(tmp_path: Path) -> None:
    code, said = session("y\n", tmp_path)
    assert code == 0, said
    assert "Apply: 7 changes. Go on? [y/N]" in said
    assert "at work" in said
    assert "Applied in " in said


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"])
def test_no(tmp_path: Path, answer: str) -> None:
    code, said = session(answer, tmp_path)
    assert code == 3, said
    assert "nothing was touched" in said
    assert "Applied" not in said
