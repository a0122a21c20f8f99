import io
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tests.report import samples
from tests.report.golden import check
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.change import Delta, FieldChange
from vinfra.model.plan import Plan
from vinfra.report.ending import ending_lines
from vinfra.report.failures import Failures
from vinfra.report.rows import title
from vinfra.report.terminal import drift_lines, emit, plan_lines

Lines = Callable[[Plan, int | None, bool], list[Text]]


def text(lines: list[Text]) -> str:
    return "".join(f"{line.plain}\n" for line in lines)


@pytest.mark.parametrize("width", [80, 130, None])
@pytest.mark.parametrize("view", [plan_lines, drift_lines])
@pytest.mark.parametrize("sample", [samples.rack, samples.fleet, samples.demo_empty, samples.hostile])
def test_golden(sample: Callable[[], Plan], view: Lines, width: int | None) -> None:
    name = f"{view.__name__.removesuffix('_lines')}-{sample.__name__}-{width or 'pipe'}.txt"
    check(name, text(view(sample(), width, False)))


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("sample", [samples.rack, samples.fleet, samples.hostile])
def test_rows_fit_the_screen(sample: Callable[[], Plan], width: int) -> None:
    plan = sample()
    for line in [*plan_lines(plan, width), *drift_lines(plan, width)]:
        if line.plain.startswith("  "):
            assert cell_len(line.plain) <= width, line.plain


def test_nothing_to_do_is_one_line() -> None:
    assert text(plan_lines(samples.demo_empty())) == "demo · 2 hosts, 14 resources, read in 0.4 s: nothing to do.\n"
    assert text(drift_lines(samples.demo_empty())).count("\n") == 1


def test_three_hundred_equal_hosts_are_few_lines() -> None:
    assert len(plan_lines(samples.fleet(300), 120)) < 25
    assert len(plan_lines(samples.fleet(300), 120, full=True)) > 1400


def test_no_control_character_leaves() -> None:
    for lines in (plan_lines(samples.hostile(), 100), drift_lines(samples.hostile()), plan_lines(samples.hostile())):
        for line in lines:
            assert line.plain.isprintable(), line.plain


def test_markup_in_names_is_text() -> None:
    out = io.StringIO()
    emit(Console(file=out, force_terminal=True, width=300, color_system=None), plan_lines(samples.hostile(), 300))
    assert "[bold]b[/bold]" in out.getvalue()
    assert "\x1b]0;title" not in out.getvalue()


def test_a_pipe_gets_no_colour() -> None:
    out = io.StringIO()
    emit(Console(file=out), plan_lines(samples.rack()))
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_colour() -> None:
    out = io.StringIO()
    emit(Console(file=out, force_terminal=True, color_system="standard", width=120), plan_lines(samples.rack(), 120))
    assert "\x1b[" in out.getvalue()


def test_secrets_are_not_shown() -> None:
    for full in (False, True):
        shown = text(plan_lines(samples.rack(), None, full)) + text(drift_lines(samples.rack(), None, full))
        assert "hunter" not in shown
        assert "(secret)" in shown


def test_long_text_is_cut_unless_full() -> None:
    fields = (FieldChange("content", "", "".join(f"{n}\n" for n in range(50))),)
    row = samples.change(("host.file", "a", "/x"), Delta(Action.UPDATE, fields, Impact.LIVE))
    plan = Plan("b", ("a",), (row,))
    assert "more lines; --full shows them" in text(plan_lines(plan))
    assert "+49" not in text(plan_lines(plan))
    assert "+49" in text(plan_lines(plan, None, full=True))


def test_huge_text_is_told_by_its_size() -> None:
    fields = (FieldChange("content", "a\n" * 9000, "b\n" * 9000),)
    row = samples.change(("host.file", "a", "/x"), Delta(Action.UPDATE, fields, Impact.LIVE))
    assert "content 9000 lines → 9000 lines" in text(plan_lines(Plan("b", ("a",), (row,))))


def test_binary_text_and_missing_newline() -> None:
    fields = (FieldChange("content", b"\xff\x00\n", b"\xff\x01"), FieldChange("motd", "a\nb", "a\nb\n"))
    row = samples.change(("host.file", "a", "/x"), Delta(Action.UPDATE, fields, Impact.LIVE))
    shown = text(plan_lines(Plan("b", ("a",), (row,))))
    assert "\\ no newline at the end" in shown
    assert "\0" not in shown


def test_later_is_told_with_its_bound() -> None:
    fields = (FieldChange("mode", None, "0644"),)
    delta = Delta(Action.CREATE, fields, Impact.NONE, Verdict.LATER, "nginx brings it")
    shown = text(plan_lines(Plan("b", ("a",), (samples.change(("host.file", "a", "/x"), delta),))))
    assert "… file  /x  none  nginx brings it; at most create: mode 0644" in shown


def test_titles() -> None:
    order = [f"h{number}" for number in range(1, 30)]
    assert title(["h2"], order) == "h2"
    assert title(["h1", "h2", "h3"], order) == "h1 … h3 (3 hosts)"
    assert title(order[::2], order) == "h1, h3, h5, h7, … (15 hosts)"


def test_ending() -> None:
    outcome, change, result = samples.failed()
    failures = Failures()
    failures.step_ended(change, samples.STEP, result)
    check("ending-failed.txt", text(ending_lines(outcome, failures, "vinfra apply rack.yaml", 3.21)))


def test_a_failing_secret_step_keeps_its_words() -> None:
    outcome, change, result = samples.failed()
    failures = Failures()
    step = samples.Step("set password", (), secret=True)
    failures.step_ended(change, step, result)
    assert "space left" not in text(ending_lines(outcome, failures, "vinfra apply x"))
