"""A plan, a drift and a validated blueprint for people: aligned rows that fit the screen, or plain lines for a pipe.

Every function returns lines; `emit` writes them. A width of None means no terminal: nothing is wrapped or left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from vinfra.model.plan import Plan
from vinfra.report import wording
from vinfra.report.rollouts import rollout_lines
from vinfra.report.rows import Block, Row, drift_blocks, plan_blocks, title
from vinfra.report.visible import several, visible

STYLES = {"+": "green", "~": "yellow", "±": "magenta", "-": "red", ">": "cyan", "=": "cyan", "*": "blue"}
STYLES |= {"!": "bold red", "?": "bold magenta", "…": "cyan"}
COSTS = {"none": "dim", "live": "green", "restart": "yellow", "replace": "magenta", "data-loss": "bold red"}
COSTS |= {"unknown": "bold magenta"}
# Below this the place in the file would take what the words of a row need.
WIDE = 100
# A text difference stands under the words of its row where that many cells are left, else near the edge.
ROOM_FOR_TEXT = 60
MANY = 20


def emit(console: Console, lines: Iterable[Text]) -> None:
    """Write lines: styled on a terminal, bare text elsewhere."""
    if not console.is_terminal:
        console.file.write("".join(f"{line.plain}\n" for line in lines))
        console.file.flush()
        return
    for line in lines:
        console.print(line, highlight=False, overflow="fold")


def plan_lines(plan: Plan, width: int | None = None, full: bool = False) -> list[Text]:
    """The plan as people read it, its last line the counts."""
    header = _header(plan)
    blocks = plan_blocks(plan, full)
    if not blocks:
        return [*_warnings(plan), _joined(header, ": nothing to do."), *_kept(plan)]
    return [
        header,
        *_body(plan, blocks, width),
        Text(),
        *_warnings(plan),
        *_kept(plan),
        *_rollouts(plan),
        *_barred(plan),
        plan_sentence(plan),
    ]


def _rollouts(plan: Plan) -> list[Text]:
    return [Text(line, style="cyan") for line in rollout_lines(plan)]


def drift_lines(plan: Plan, width: int | None = None, full: bool = False) -> list[Text]:
    """What is not as the blueprint says, its last line the counts."""
    header = _header(plan)
    blocks = drift_blocks(plan, full)
    if not blocks:
        return [*_warnings(plan), _joined(header, ": no drift.")]
    return [header, *_body(plan, blocks, width), Text(), *_warnings(plan), drift_sentence(plan)]


def plan_sentence(plan: Plan) -> Text:
    """`Plan: 1 create, 1 restart; 1 refused; 1 host unknown.`"""
    counts = plan.counts()
    order = ("create", "none", "live", "restart", "replace", "data-loss", "delete", "delete with data-loss")
    words = {"none": "with no impact"}
    done = ", ".join(f"{counts[word]} {words.get(word, word)}" for word in order if word in counts)
    late = sum(change.runnable and change.delta.verdict.name == "LATER" for change in plan.changes)
    parts = [done or "nothing that can be done", f"{late} of these known only later" if late else "", *_rest(plan)]
    return Text(f"Plan: {'; '.join(filter(None, parts))}.", style="bold")


def drift_sentence(plan: Plan) -> Text:
    """`Drift: 2 objects differ on 1 host; 1 host unknown.`"""
    found = [change for change in plan.pending if change.delta.verdict.name != "UNKNOWN"]
    hosts = {change.place for change in found}
    differ = f"{several(len(found), 'object')} {'differs' if len(found) == 1 else 'differ'}"
    told = f"{differ} on {several(len(hosts), 'host')}" if found else "none found on the hosts that answered"
    return Text(f"Drift: {'; '.join([told, *_rest(plan)])}.", style="bold")


def _rest(plan: Plan) -> list[str]:
    unread = [change for change in plan.unread if change.place not in plan.unknown]
    parts = [f"{len(plan.refused)} refused" if plan.refused else ""]
    parts.append(
        f"all of it refused by policy {visible(', '.join(v.policy for v in plan.barred))}" if plan.barred else ""
    )
    parts.append(f"{several(len(unread), 'object')} unknown" if unread else "")
    parts.append(f"{several(len(plan.unknown), 'host')} unknown" if plan.unknown else "")
    return [part for part in parts if part]


def _header(plan: Plan) -> Text:
    told = (
        f" · {several(len(plan.hosts), 'host')}, {several(len(plan.changes), 'resource')}, read in {plan.seconds:.1f} s"
    )
    return _joined(Text(visible(plan.blueprint), style="bold"), told)


def _joined(first: Text, rest: str) -> Text:
    return Text.assemble(first, rest)


def _warnings(plan: Plan) -> Iterator[Text]:
    for warning in plan.warnings[:MANY]:
        yield Text.assemble(("warning: ", "yellow"), visible(warning))
    if len(plan.warnings) > MANY:
        yield Text(f"warning: {len(plan.warnings) - MANY} more like these; --json has them all", style="yellow")


def _barred(plan: Plan) -> Iterator[Text]:
    for violation in plan.barred:
        where = f"  {wording.where(violation.position)}"
        said = f"policy {visible(violation.policy)}: refused, {visible(violation.reason)}"
        yield Text.assemble(("! ", STYLES["!"]), said, (where, "dim"))


def _kept(plan: Plan) -> Iterator[Text]:
    if plan.kept:
        names = [visible(address) for address in plan.kept[:5]]
        more = f" and {len(plan.kept) - 5} more" if len(plan.kept) > 5 else ""
        yield Text(f"Kept, there before vinfra or used by others: {', '.join(names)}{more}.", style="dim")


@dataclass(frozen=True, slots=True)
class Columns:
    """How wide each column is; `text` and `where` are None when nothing limits them, 0 when there is no room."""

    noun: int
    name: int
    cost: int
    text: int | None
    where: int | None

    @property
    def left(self) -> int:
        """Where the words of a row begin."""
        return 4 + self.noun + 2 + (self.name + 2 if self.name else 0) + self.cost + 2


def _columns(rows: Sequence[Row], width: int | None) -> Columns:
    named = [row for row in rows if row.name]
    noun = max((cell_len(row.noun) for row in named), default=10)
    cost = max(cell_len(row.cost) for row in rows)
    most = 48 if width is None else max(12, width // 4)
    name = max((size for row in named if (size := cell_len(row.name)) <= most), default=min(most, 12) if named else 0)
    if width is None:
        words = max((size for row in rows if (size := cell_len(row.text)) <= 60), default=0)
        return Columns(noun, name, cost, None, words)
    left = Columns(noun, name, cost, 0, 0).left
    place = max(cell_len(row.where) for row in rows)
    room = width - left - place - 2
    if width < WIDE or room < 36 or not place:
        return Columns(noun, name, cost, max(16, width - left), 0)
    return Columns(noun, name, cost, min(room, max(cell_len(row.text) for row in rows)), place)


def _body(plan: Plan, blocks: Sequence[Block], width: int | None) -> Iterator[Text]:
    columns = _columns([row for block in blocks for row in block.rows], width)
    for block in blocks:
        yield Text()
        yield Text(title(block.hosts, plan.hosts), style="bold")
        for row in block.rows:
            yield from _row(row, columns)


def _row(row: Row, columns: Columns) -> Iterator[Text]:
    head = Text.assemble("  ", (row.symbol, STYLES.get(row.symbol, "")), " ")
    if row.name:
        head.append(padded(row.noun, columns.noun) + "  " + padded(row.name, columns.name) + "  ")
    else:
        head.append(padded(row.noun, columns.noun + 2 + columns.name) + "  ")
    before = columns.left - columns.cost - 2
    if columns.text is not None and head.cell_len > before:  # a long name has its line to itself
        yield _trimmed(head)
        head = Text(" " * before)
    head.append(padded(row.cost, columns.cost), style=COSTS.get(row.cost, "")).append("  ")
    if columns.text is None:
        tail = f"  {row.where}" if row.where else ""
        yield _trimmed(Text.assemble(head, padded(row.text, columns.where or 0) if tail else row.text, (tail, "dim")))
        yield from _below(row, columns, None)
        return
    first, *more = wrapped(row.text, columns.text) or [""]
    if columns.where and row.where:
        first = padded(first, columns.text) + "  "
        yield Text.assemble(head, first, (row.where, "dim"))
    else:
        yield _trimmed(Text.assemble(head, first))
    for line in more:
        yield Text(" " * columns.left + line)
    yield from _below(row, columns, columns.left + columns.text + (columns.where or -2) + 2)


def _below(row: Row, columns: Columns, width: int | None) -> Iterator[Text]:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    indent = columns.left if width is None or width - columns.left >= ROOM_FOR_TEXT else 6
    for line in row.below:
        kept = line if width is None or cell_len(line) <= width - indent else _cut(line, width - indent)
        yield Text.assemble(" " * indent, (kept, colours.get(line[:1], "dim")))


def padded(text: str, width: int) -> str:
    """Text filled up to a width in terminal cells."""
    return text + " " * max(0, width - cell_len(text))


def _cut(text: str, width: int) -> str:
    return chop_cells(text, max(1, width - 1))[0] + "…"


def _trimmed(text: Text) -> Text:
    text.rstrip()
    return text


def wrapped(text: str, width: int) -> list[str]:
    """Text in lines of at most `width` cells, broken between words where that is possible."""
    lines = [""]
    for word in text.split(" "):
        pieces = chop_cells(word, width) if cell_len(word) > width else [word]
        for number, piece in enumerate(pieces):
            joined = f"{lines[-1]} {piece}" if lines[-1] and not number else piece
            if number or cell_len(joined) > width:
                lines.append(piece)
            else:
                lines[-1] = joined
    return [line for line in lines if line]
