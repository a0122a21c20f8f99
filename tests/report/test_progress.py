import io
import time

from rich.console import Console

from tests.report import samples
from vinfra.model.outcome import ChangeOutcome, Status
from vinfra.model.plan import Plan
from vinfra.report.progress import Progress


def terminal() -> Console:
    environment = {"TERM": "xterm-256color"}
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=40, _environ=environment)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_quick_look_is_silent() -> None:
    console = terminal()
    with Progress(console) as progress:
        progress.host_started("hv1", 1)
        progress.host_read("hv1", 0.1, "")
    assert shown(console) == ""


def test_a_slow_look_draws() -> None:
    console = terminal()
    with Progress(console, patience=0.01) as progress:
        progress.host_started("hv1", 1)
        time.sleep(0.4)
    assert "reading hosts" in shown(console)
    assert "hv1" in shown(console)


def run(progress: Progress, plan: Plan) -> None:
    progress.expect(plan)
    for change in plan.runnable:
        progress.change_started(change)
        progress.step_started(change, samples.STEP)
        failed = change.address.name == "web-01"
        status = Status.FAILED if failed else Status.DONE
        progress.change_ended(change, ChangeOutcome(change.address, status, "[red]no\x1b" if failed else "", 0.3))


def test_a_pipe_gets_a_line_a_change() -> None:
    console = Console(file=io.StringIO())
    plan = samples.rack()
    with Progress(console) as progress:
        run(progress, plan)
    lines = shown(console).splitlines()
    assert len(lines) == len(plan.runnable)
    assert lines[1] == "[2/7] failed  kvm.domain:hv1/web-01  0.3 s  [red]no\\x1b"


def test_quiet_is_quiet() -> None:
    console = Console(file=io.StringIO())
    with Progress(console, quiet=True) as progress:
        run(progress, samples.rack())
    assert shown(console) == ""


def test_a_terminal_shows_failures_and_few_rows() -> None:
    console = terminal()
    with Progress(console) as progress:
        plan = samples.fleet(100)
        progress.expect(plan)
        for change in plan.runnable[:80]:
            progress.change_started(change)
        picture = Console(file=io.StringIO(), width=100, height=40)
        picture.print(progress._picture())
    lines = shown(picture).splitlines()
    assert "80 at work" in lines[0]
    assert len(lines) <= 31


def test_a_reader_that_left_does_not_stop_the_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with Progress(Console(file=Gone())) as progress:
        run(progress, samples.rack())
