"""What apply and destroy have in common: consent, journal, progress, and the words at the end."""

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vinfra.cli.options import Cost
from vinfra.cli.output import Output
from vinfra.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from vinfra.model.outcome import Observer, Outcome
    from vinfra.model.plan import Plan
    from vinfra.model.request import Consent

    Act = Callable[[Consent, Observer, str], Outcome]


DID = {"destroy": "Destroyed", "adopt": "Adopted"}


def must_be_agreed(command: str, yes: bool, json: bool) -> None:
    """Refuse at once where nobody could answer the question to come."""
    if not yes and (json or not (sys.stdin.isatty() and sys.stdout.isatty())):
        raise UsageError(
            f"{command} asks before it acts, and here is nobody to answer",
            "say --yes, or look first: vinfra plan",
        )


def without_values(command: str, arguments: Sequence[str]) -> list[str]:
    """The command line as it may be printed and kept: without the values of -e, which may be secrets."""
    words = [command]
    for word in arguments:
        value = words[-1] in ("-e", "--extra") or word.startswith(("-e", "--extra="))
        start = word.removeprefix("--extra=").removeprefix("-e")
        lead = word[: len(word) - len(start)]
        hides = value and "=" in start and not start.startswith("@")
        words.append(f"{lead}{start.partition('=')[0]}=…" if hides else word)
    return words


def carry_out(act: "Act", command: str, file: Path, output: Output, yes: bool, cost: Cost, skip_refused: bool) -> int:
    """Run `act` under watch and tell how it ended; returns the exit code."""
    from vinfra.model.action import Impact
    from vinfra.model.outcome import Observers
    from vinfra.model.request import Consent
    from vinfra.report.as_json import outcome_document
    from vinfra.report.ending import ending_lines
    from vinfra.report.failures import Failures
    from vinfra.report.interrupted import notes
    from vinfra.report.journal import Journal, state_directory
    from vinfra.report.progress import Progress
    from vinfra.report.terminal import plan_lines

    failures = Failures()
    began = time.monotonic()
    line, told = without_values(command, sys.argv[2:]), list[str]()
    with Journal(state_directory(), line, file) as journal:
        with Progress(output.progress_console) as progress:

            def show(plan: "Plan") -> None:
                progress.expect(plan)
                told.extend(notes(plan, state_directory()))
                output.lines(plan_lines(_noted(plan, told), output.width))
                journal.planned(plan)

            consent = Consent(
                max_impact=Impact[cost.name],
                skip_refused=skip_refused,
                show=show,
                confirm=lambda plan: yes or _agreed(command, plan),
            )
            outcome = act(consent, Observers(failures, journal, progress), journal.id)
        journal.exit_code = outcome.exit_code
        seconds = time.monotonic() - began
        if outcome.changes or outcome.exit_code:
            again = f"vinfra {' '.join(word if '…' in word else shlex.quote(word) for word in line)}"
            did = DID.get(command, "Applied")
            output.lines(ending_lines(outcome, failures, again, seconds, did))
        outcome = replace(outcome, plan=_noted(outcome.plan, told))
        output.document(outcome_document(outcome, command, failures, seconds))
    if journal.trouble:
        output.warn(journal.trouble)
    return int(outcome.exit_code)


def show_plan(look: "Callable[[Observer, datetime], Plan]", command: str, output: Output, full: bool) -> int:
    """What a command would do; returns the exit code."""
    from datetime import UTC, datetime

    from vinfra.report.as_json import plan_document
    from vinfra.report.progress import Progress
    from vinfra.report.terminal import plan_lines

    with Progress(output.progress_console) as progress:
        found = look(progress, datetime.now(UTC))
    output.lines(plan_lines(found, output.width, full))
    output.document(plan_document(found, command))
    return int(found.exit_code)


def _noted(plan: "Plan", lines: Sequence[str]) -> "Plan":
    return replace(plan, warnings=(*lines, *plan.warnings))


def _agreed(command: str, plan: "Plan") -> bool:
    from vinfra.report.visible import several

    return agreed(f"{command.capitalize()}: {several(len(plan.runnable), 'change')}")


def agreed(what: str) -> bool:
    """Ask whoever sits at the terminal."""
    sys.stdout.write(f"\n{what}. Go on? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
