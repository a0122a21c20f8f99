"""A step that the host took back while it still ran says so, and not only what the step itself ended with."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vinfra.model.step import Exec, Step, StepResult
from vinfra.model.transport import Writer
from vinfra.transport import access

STEP = Step("set up br0", (Exec(("ip", "link")),), guards=("/etc/network/interfaces",))


class Told:
    """A writer that answers with what it was given, one by one."""

    def __init__(self, *results: StepResult) -> None:
        self.results = list(results)

    def run(self, _step: Step) -> StepResult:
        return self.results.pop(0)


@contextmanager
def nobody(_host: str) -> Iterator[Writer]:
    raise AssertionError("no new login is needed")
    yield


def reverted(folder: Path, done: bool) -> subprocess.CompletedProcess[str]:
    (folder / "vinfra-undo-x").write_text(f"touch {folder}/undone\n")
    if done:
        (folder / "vinfra-undo-x.done").touch()
    script = f"systemctl() {{ :; }}\n{access.FUNCTIONS}\nrevert vinfra-undo-x {folder}\n"
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)


@pytest.mark.parametrize("done", [True, False])
def test_a_step_that_was_taken_back_while_it_ran_says_so(tmp_path: Path, done: bool) -> None:
    back = reverted(tmp_path, done)
    assert (tmp_path / "undone").exists() is not done
    writer = Told(StepResult(1, err='Cannot find device "br0"', call=2), StepResult(0, err=back.stderr))
    result = access.guarded(STEP, "web1", "token", writer, nobody)  # type: ignore[arg-type]
    assert result.returncode == 1
    assert result.err.endswith('Cannot find device "br0"')
    assert ("after 25 s the host has taken it back by itself" in result.err) is done
