"""When a machine's first boot counts as done, and what is said when it went wrong.

The files are of the form that cloud-init writes (its cmd/main.py): 22.4 as Debian 12 has it, without
recoverable_errors; and since 23.4, with them. tests/lab/test_cloud_init.py reads those of real machines.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from vinfra.errors import Unreachable
from vinfra.model.question import Question, Raw
from vinfra.transport import firstboot

ABSENT = Raw(2, b"", "no such file")
FAILURE = "('scripts-user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands'))"  # 22.4.2, Debian 12
WARNING = "Failed at merging in cloud config part from part-001: empty cloud config"


def status(stage: str | None, final: Mapping[str, Any] | None = None) -> Raw:
    done = {"errors": [], "finished": 1732547546.8, "start": 1732547545.3}
    rest = {"errors": [], "finished": None if stage else 1732547800.8, "start": 1732547550.2, **(final or {})}
    told = {"init-local": done, "init": done, "modules-config": done, "modules-final": rest, "stage": stage}
    return Raw(0, json.dumps({"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vdb]", **told}}).encode())


RESULT = Raw(0, b'{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vdb]", "errors": []}}')


class Machine:
    """Answers one pair of files after the other, the last one for good; an error is raised."""

    def __init__(self, *seen: tuple[Raw, Raw] | Exception, output: Raw = ABSENT) -> None:
        self.seen = list(seen)
        self.output = output

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        if list(questions) == [firstboot.OUTPUT]:
            return {firstboot.OUTPUT: self.output}
        now = self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]
        if isinstance(now, Exception):
            raise now
        return dict(zip((firstboot.STATUS, firstboot.RESULT), now, strict=True))


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firstboot, "_POLL", 0.01)


def settled(machine: Machine, seconds: float = 5) -> str:
    return firstboot.settled(machine, "web-01", time.monotonic() + seconds)


def test_without_cloud_init_there_is_nothing_to_wait_for() -> None:
    assert settled(Machine((ABSENT, ABSENT)), 0) == ""


def test_it_waits_until_the_result_is_there() -> None:
    machine = Machine((status("modules-final"), ABSENT), (status("modules-final"), ABSENT), (status(None), RESULT))
    assert settled(machine) == ""
    assert len(machine.seen) == 1


def test_its_errors_are_told_with_the_end_of_its_output() -> None:
    output = Raw(0, b"first\n" + b"more\n\n" * 9 + b"E: no package called nginks\n")
    machine = Machine((status(None, {"errors": [FAILURE]}), RESULT), output=output)
    with pytest.raises(firstboot.Unfinished) as error:
        settled(machine)
    said = str(error.value)
    assert said.startswith(f"cloud-init of web-01 ended in error: modules-final: {FAILURE}\nthe end of its output:\n")
    assert "\n  E: no package called nginks\n" in said
    assert "first" not in said
    assert "on_change: replace" in said


def test_an_error_is_told_when_all_of_it_is_over() -> None:
    machine = Machine(
        (status("modules-final", {"errors": ["early"]}), ABSENT), (status(None, {"errors": ["early", "late"]}), RESULT)
    )
    with pytest.raises(firstboot.Unfinished, match="modules-final: early; modules-final: late\nlook at /var/log"):
        settled(machine)


def test_what_it_got_over_is_a_warning() -> None:
    final = {"recoverable_errors": {"WARNING": [WARNING, WARNING], "DEPRECATED": ["Deprecated key"]}}
    assert settled(Machine((status(None, final), RESULT))) == (
        f"cloud-init of web-01 warns: {WARNING}\ncloud-init of web-01 warns: Deprecated key\n"
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((status("modules-config"), ABSENT), "is still at modules-config"),
        ((Raw(0, b"{"), ABSENT), "has not begun"),
        ((Raw(0, b"[]"), ABSENT), "has not begun"),
    ],
)
def test_what_does_not_end_in_time_says_what_it_is_at(files: tuple[Raw, Raw], said: str) -> None:
    with pytest.raises(firstboot.Unfinished, match=f"web-01 answers by SSH, but its cloud-init {said}\n.*timeout"):
        settled(Machine(files), 0.05)


def test_a_reboot_at_its_end_is_waited_for() -> None:
    lost = Unreachable("web-01", "connection reset")
    assert settled(Machine((status("modules-final"), ABSENT), lost, lost, (status(None), RESULT))) == ""
    with pytest.raises(Unreachable):
        settled(Machine(lost), 0.05)
