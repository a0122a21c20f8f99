"""The end of a run for people: how many of what, each failure with what the target said, and what to run next."""

from collections import Counter
from collections.abc import Iterator

from rich.text import Text

from vinfra.model.outcome import ChangeOutcome, Outcome, Status
from vinfra.report.failures import Failures
from vinfra.report.rollouts import gate_line
from vinfra.report.visible import several, visible
from vinfra.report.wording import where

WORDS = {
    Status.DONE: "done",
    Status.ALREADY: "already so",
    Status.FAILED: "failed",
    Status.BLOCKED: "blocked",
    Status.LEFT: "left",
    Status.BEYOND: "beyond the plan",
    Status.ROLLED_BACK: "rolled back",
}
STYLES = {
    Status.FAILED: "bold red",
    Status.ROLLED_BACK: "magenta",
    Status.BLOCKED: "yellow",
    Status.LEFT: "yellow",
    Status.BEYOND: "magenta",
}
MANY = 20


def ending_lines(
    outcome: Outcome, failures: Failures, again: str, seconds: float = 0.0, did: str = "Applied"
) -> list[Text]:
    """The last lines of apply and destroy (what it `did`); `again` is the command line that goes on from here."""
    lines = [line for end in _told(outcome, Status.FAILED) for line in _failure(outcome, end, failures)]
    for status in (Status.BLOCKED, Status.BEYOND, Status.LEFT, Status.ROLLED_BACK):
        lines.extend(_group(outcome, status))
    if unwell := [end for end in outcome.gates if end.failed]:
        lines += [Text(), *(Text(gate_line(end), style="bold") for end in unwell)]
    if lines:
        lines.append(Text())
    lines.append(_sentence(outcome, seconds, did))
    if outcome.interrupted or outcome.exit_code:
        lines.append(Text.assemble(("Next: ", "bold"), visible(_next(outcome, again))))
    return lines


def _next(outcome: Outcome, again: str) -> str:
    statuses = {end.status for end in outcome.changes}
    if outcome.reason:
        return f"mend what is not well; {again} goes on once it is"
    if Status.FAILED in statuses:
        return f"mend what failed, then {again} does the rest"
    if outcome.interrupted or Status.LEFT in statuses:
        return f"{again} does the rest"
    if Status.BEYOND in statuses:
        return f"vinfra plan shows what goes beyond what was agreed; {again} does it"
    if outcome.plan.unread and not outcome.plan.unknown:
        return f"their rows say why objects are unknown; once that is mended, {again} does the rest"
    if outcome.plan.unknown:
        return f"make the unknown hosts reachable, then {again} does the rest"
    return (
        "what was refused needs another --max-impact, an `allow:` of its own, a time at which no policy forbids it, or "
        "another wish in the blueprint"
    )


def _sentence(outcome: Outcome, seconds: float, did: str) -> Text:
    counts = Counter(end.status for end in outcome.changes)
    if not outcome.changes and not outcome.exit_code:
        return Text("Nothing to do.", style="bold")
    told = [f"{counts[status]} {word}" for status, word in WORDS.items() if counts[status]] or ["nothing"]
    told += [f"{len(outcome.plan.refused)} refused"] if outcome.plan.refused else []
    told += [f"{several(len(outcome.plan.unknown), 'host')} unknown"] if outcome.plan.unknown else []
    what = "Interrupted" if outcome.interrupted else did
    took = f" in {seconds:.1f} s" if seconds else ""
    good = not outcome.exit_code
    run = f"  run {outcome.run}" if outcome.run else ""
    return Text.assemble((f"{what}{took}: {', '.join(told)}.", "bold green" if good else "bold"), (run, "dim"))


def _told(outcome: Outcome, status: Status) -> list[ChangeOutcome]:
    return [end for end in outcome.changes if end.status is status]


def _failure(outcome: Outcome, end: ChangeOutcome, failures: Failures) -> Iterator[Text]:
    position = next((change.position for change in outcome.plan.changes if change.address == end.address), None)
    place = f"  {where(position)}" if position else ""
    yield Text()
    yield Text.assemble(("failed  ", STYLES[Status.FAILED]), (visible(end.address), "bold"), (place, "dim"))
    failure = failures.of(end.address)
    if failure is None:
        yield Text(f"        {visible(end.reason)}")
        return
    yield Text(f"        {visible(failure.step)}: exit status {failure.returncode}")
    for line in failure.last_words:
        yield Text(f"          {visible(line)}", style="dim")
    if failure.remedy:
        yield Text(f"        {failure.remedy}")


def _group(outcome: Outcome, status: Status) -> Iterator[Text]:
    found = _told(outcome, status)
    if found:
        yield Text()
    for end in found[:MANY]:
        reason = f"  {visible(end.reason)}" if end.reason else ""
        yield Text.assemble((f"{status.value + ' ':<8}", STYLES[status]), visible(end.address), (reason, "dim"))
    if len(found) > MANY:
        yield Text(f"        and {len(found) - MANY} more {status.value}", style="dim")
