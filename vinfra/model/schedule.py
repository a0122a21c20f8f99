"""Which change may run next: one at a time on each host, in plan order, and only after what it needs.

Changes that are rolled out stand in stages; those of a stage that is not open yet do not run.
"""

from collections.abc import Callable, Iterable, Sequence

from vinfra.model.address import Address
from vinfra.model.change import Change

_Queue = tuple[str, str]


def _queue(row: Change) -> _Queue:
    """A host's changes run one after the other; one that only waits for something has a queue of its own."""
    return row.place, str(row.address) if row.waits else ""


class Schedule:
    """The runnable rows of a plan while they run. Used by one thread; it starts nothing itself."""

    def __init__(self, rows: Iterable[Change], rolls: Sequence[Sequence[frozenset[Address]]] = ()) -> None:
        self._closed = [list(stages) for stages in rolls]
        self._opened: list[list[Address]] = [[] for _ in rolls]
        held = {address for stages in rolls for stage in stages for address in stage}
        self._held: dict[Address, Change] = {}
        pending = {row.address: row for row in rows if row.pending}
        self._waiting: dict[_Queue, list[Change]] = {}
        self._open = {address for address, row in pending.items() if row.runnable}
        self._never = pending.keys() - self._open
        self._users: dict[Address, list[Change]] = {}
        self._busy: set[_Queue] = set()
        for row in pending.values():
            if row.runnable:
                if row.address in held:
                    self._held[row.address] = row
                else:
                    self._waiting.setdefault(_queue(row), []).append(row)
                for need in row.after & pending.keys():
                    self._users.setdefault(need, []).append(row)

    def doomed(self) -> list[tuple[Change, Address]]:
        """Rows that need one which was refused or could not be read, each with that one; they are out."""
        return [pair for address in sorted(self._never) for pair in self._drop_users(address)]

    def take(self) -> list[Change]:
        """What may start now; each host in it is busy until `ended` is called, unless the change only waits."""
        taken: list[Change] = []
        for name, queue in self._waiting.items():
            if name in self._busy:
                continue
            ready = next((row for row in queue if not row.after & self._open), None)
            if ready:
                queue.remove(ready)
                self._busy.add(name)
                taken.append(ready)
        self._waiting = {name: queue for name, queue in self._waiting.items() if queue}
        return taken

    def ended(self, row: Change, good: bool) -> list[tuple[Change, Address]]:
        """A taken row ended. When it went wrong: the rows that can no longer run, each with what it needed."""
        self._busy.discard(_queue(row))
        self._open.discard(row.address)
        return [] if good else self._drop_users(row.address)

    def abandon(self, host: str) -> list[tuple[Change, Address | None]]:
        """The host is lost: what was still to run on it, now out, and what needs that elsewhere, each with the need."""
        return self._drop(lambda row: row.place == host)

    def _drop(self, out: Callable[[Change], bool]) -> list[tuple[Change, Address | None]]:
        gone = [row for row in self.rest() if out(row)]
        self._held = {address: row for address, row in self._held.items() if not out(row)}
        self._waiting = {name: [row for row in queue if not out(row)] for name, queue in self._waiting.items()}
        self._open -= {row.address for row in gone}
        users = [pair for row in gone for pair in self._drop_users(row.address)]
        return [*((row, None) for row in gone), *users]

    def open(self, roll: int) -> bool:
        """Open a roll's next stage; False when there is none."""
        if not self._closed[roll]:
            return False
        stage = self._closed[roll].pop(0)
        for row in [row for address, row in self._held.items() if address in stage]:
            self._waiting.setdefault(_queue(row), []).append(self._held.pop(row.address))
        self._opened[roll] += stage
        return True

    def passed(self, roll: int) -> bool:
        """Whether all rows of a roll's open stages have ended."""
        opened = self._opened[roll]
        while opened and opened[-1] not in self._open:
            opened.pop()
        return not opened

    def shut(self, roll: int) -> list[tuple[Change, Address | None]]:
        """A roll goes no further: the rows of its closed stages, now out, and what needs one, with that need."""
        closed = frozenset().union(*self._closed[roll])
        self._closed[roll] = []
        return self._drop(lambda row: row.address in closed)

    def add(self, rows: Iterable[Change]) -> None:
        """More rows, of addresses that have ended; nothing waits for them but one another."""
        for row in rows:
            self._open.add(row.address)
            self._waiting.setdefault(_queue(row), []).append(row)

    def rest(self) -> list[Change]:
        """What has not been taken."""
        return [*(row for queue in self._waiting.values() for row in queue), *self._held.values()]

    def _drop_users(self, address: Address) -> list[tuple[Change, Address]]:
        dropped: list[tuple[Change, Address]] = []
        for user in self._users.get(address, ()):
            queue = self._waiting.get(_queue(user), [])
            if user in queue or user.address in self._held:
                queue.remove(user) if user in queue else self._held.pop(user.address)
                self._open.discard(user.address)
                dropped += [(user, address), *self._drop_users(user.address)]
        return dropped
