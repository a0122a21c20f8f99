"""The leases of one run: taken on each host before its first step, renewed while it works, given back at its end.

Whoever holds a host's lease may change it. A controller that dies renews no more, so its lease ends by itself; there is
no command to break one. Each step carries the lease's token, which the host checks in the same round trip
(`Step.fence`), so that a controller that lost its lease stops before its next step.
"""

import os
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from vinfra import process
from vinfra.errors import LeaseLost, RefusedError, TransportError
from vinfra.model.lease import LEASE, SECONDS, STEPS, Grip, Holder, Lease, parse
from vinfra.model.question import Exec, Question, Raw, ReadFile
from vinfra.model.step import CHANGED, HELD, Hold, Step, StepResult
from vinfra.model.transport import Writer
from vinfra.transport.access import guarded
from vinfra.transport.reach import Connections
from vinfra.transport.reboot import rebooted, restarts

_EVERY = SECONDS / 3  # two renewals may be lost on the way
_PATIENCE = SECONDS + 5.0
_LOOKS = 1.0
_UPTIME = ReadFile("/proc/uptime")
_STEPS = Exec(("ls", "-A", "-1", "--", STEPS))


def holder(run: str) -> Holder:
    """This process, for a run of that id."""
    return Holder(run, process.who(), process.machine(), os.getpid(), process.birth(os.getpid()))


def died(holder: Holder) -> bool:
    """Whether a holder was a process of this very machine that is no more. Of other machines nobody knows."""
    return bool(holder.birth) and holder.machine == process.machine() and process.birth(holder.pid) != holder.birth


def outlast(connections: Connections, held: Mapping[str, Lease]) -> None:
    """Wait until nobody holds these hosts, as long as a dead holder's lease lasts. Raises RefusedError.

    The last step of one that died may still run there, and is waited for as long.
    """
    until = time.monotonic() + _PATIENCE
    left, pause = dict(held), 0.1
    while True:
        left = {host: lease for host in left if (lease := _look(connections, host)).held}
        living = {host: lease for host, lease in left.items() if not died(lease.holder)}
        if not living and not any(_works(connections, host) for host in left):
            return
        if time.monotonic() > until:
            if living:
                raise _refused(living)
            return
        time.sleep(pause)
        pause = min(_LOOKS, 2 * pause)


def _look(connections: Connections, host: str) -> Lease:
    """A host's lease now; one that cannot be read any more is nobody's concern here, for the next look tells."""
    asked = (_UPTIME, ReadFile(LEASE))
    try:
        answers = connections.reader(host).ask(asked)
    except TransportError:
        return Lease()
    uptime = answers[_UPTIME].text.split()
    return parse(answers[ReadFile(LEASE)].text, float(uptime[0]) if uptime else None)


def _works(connections: Connections, host: str) -> bool:
    """Whether a script of a step runs there."""
    try:
        names = connections.reader(host).ask([_STEPS])[_STEPS].text.split()
        pairs = [tuple(name.split("-")) for name in names if re.fullmatch(r"[0-9]+-[0-9]+", name)]
        asked = {ReadFile(f"/proc/{pid}/stat"): birth for pid, birth in pairs}
        answers = connections.reader(host).ask(tuple(asked))
    except TransportError:
        return False
    return any(answers[stat].text.rpartition(") ")[2].split(" ")[19:20] == [birth] for stat, birth in asked.items())


def _refused(held: Mapping[str, Lease]) -> RefusedError:
    lines = (f"{host}: {lease.holder} is at work there" for host, lease in sorted(held.items()))
    return RefusedError(
        "nothing was touched, somebody else is applying:\n  " + "\n  ".join(lines),
        f"wait for its end; should it be dead, its lease ends by itself within {SECONDS} s",
    )


@dataclass(slots=True)
class _Held:
    """One host's lease: until when it surely holds, by this machine's clock, and why it does not any more.

    `speaking` is held by who tells the host of it: a renewal that came after the release would take it once more.
    `away`: the host restarts, so there is nothing to renew.
    """

    until: float
    holder: Holder
    lost: str = ""
    away: bool = False
    speaking: threading.Lock = field(default_factory=threading.Lock)


class Leases:
    """Use it as a context manager; the hosts' writers hold good within. Safe to use from many threads."""

    def __init__(self, connections: Connections, holder: Holder, forks: int = 50) -> None:
        self._connections = connections
        self._holder = holder
        self._token = secrets.token_hex(8)
        self._forks = forks
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._taking: dict[str, threading.Lock] = {}
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="leases", daemon=True)

    def take(self, seen: Mapping[str, Lease]) -> None:
        """Take the lease of each host, as it was when the host was read: all of them or none. Raises RefusedError.

        The first by name comes before the others, so that of two runs that begin together one gets all of them.
        """
        if not seen:
            return

        def one(host: str) -> Lease | None:
            dead = seen[host].token if died(seen[host].holder) else ""
            try:
                return self._take(host, seen[host].token, dead)
            except TransportError as error:
                self._held[host] = _Held(0.0, self._holder, lost=error.message)
                return None

        first, *others = sorted(seen)
        results = {first: one(first)}
        if not results[first]:
            with ThreadPoolExecutor(max(1, min(self._forks, len(others)))) as pool:
                results |= zip(others, pool.map(one, others), strict=True)
        held = {host: lease for host, lease in results.items() if lease and lease.held}
        moved = {host: lease for host, lease in results.items() if lease and not lease.held}
        if held:
            raise _refused(held)
        if moved:
            lines = "\n  ".join(f"{host}: {lease.holder} applied there" for host, lease in sorted(moved.items()))
            raise RefusedError(f"nothing was touched, it is not what the plan was made from:\n  {lines}", "plan again")

    def claim(self, host: str) -> Writer:
        """The writer of a host that is ours alone from here on; what a process of this machine that died had is free.

        Raises RefusedError while somebody else is at work there, TransportError.
        """
        self.take({host: _look(self._connections, host)})
        self.fence(host)
        return self.writer(host)

    def writer(self, host: str) -> Writer:
        """The writer of a host whose steps run under its lease, which is taken at the first one unless it was."""
        return _Fenced(host, self._connections.writer(host), self)

    def fence(self, host: str) -> str:
        """The token that a step must carry. Raises LeaseLost, and RefusedError's reason as LeaseLost mid-run."""
        with self._lock:
            taking = self._taking.setdefault(host, threading.Lock())
        with taking:
            if host not in self._held and (other := self._take(host, None, "")):
                raise LeaseLost(f"{host}: {other.holder} is at work there", "run it again after that")
        held = self._held[host]
        if held.lost or time.monotonic() > held.until:
            raise LeaseLost(f"{host}: the lease on it ended: {held.lost or 'it could not be renewed in time'}")
        return self._token

    def anew(self, host: str) -> AbstractContextManager[Writer]:
        """A login of its own, made now."""
        return self._connections.anew(host)

    @contextmanager
    def unseen(self, host: str) -> Iterator[None]:
        """Meanwhile nobody passes over the lease because its holder died: the host itself may still be at work."""
        self._held[host].holder = replace(self._holder, birth="")
        self._renew(host)
        try:
            yield
        finally:
            self._held[host].holder = self._holder
            self._renew(host)

    def leave(self, host: str) -> None:
        """The host restarts, and its lease ends with that."""
        held = self._held[host]
        with held.speaking:
            held.away = True

    def come_back(self, host: str) -> None:
        """The host is back: its lease is taken anew if nobody else had one there meanwhile. Raises LeaseLost."""
        self._connections.forget(host)
        held = self._held[host]
        began = time.monotonic()
        kept = self._hold(host, Hold(Grip.RENEW, self._token, held.holder.line()))
        other = self._take(host, "", "") if kept.returncode else None
        if other:
            self.lose(host, f"{other.holder} applied there after its restart")
            raise LeaseLost(f"{host}: {held.lost}", "look at what was done there, and plan again")
        if not kept.returncode:
            held.until, held.away = began + SECONDS, False

    def lose(self, host: str, why: str) -> None:
        """Nothing more is to be done on a host in this run."""
        self._held[host].lost = why
        self._connections.forget(host)

    def is_here(self, host: str) -> bool:
        """Whether a host is the machine that vinfra runs on."""
        return self._connections.is_here(host)

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if kind is not None and issubclass(kind, KeyboardInterrupt):  # nobody waits for hosts now; leases end anyway
            return
        hosts = [host for host, held in self._held.items() if not held.lost and not held.away]
        with ThreadPoolExecutor(max(1, min(self._forks, len(hosts)))) as pool:
            list(pool.map(self._release, hosts))

    def _take(self, host: str, seen: str | None, dead: str) -> Lease | None:
        """None when it is ours now, else whose it is, or was since the host was read. Raises TransportError."""
        began = time.monotonic()
        call = Hold(Grip.TAKE, self._token, self._holder.line(), seen, dead)
        result = self._hold(host, call)
        if result.returncode in (HELD, CHANGED):
            lease = parse(result.out, 0.0)
            return replace(lease, left=max(1, lease.left)) if result.returncode == HELD else replace(lease, left=0)
        if result.returncode:
            raise TransportError(
                f"{host}: its lease cannot be taken: {result.err.strip()}", "it needs a /run that can be written"
            )
        self._held[host] = _Held(began + SECONDS, self._holder)
        return None

    def _hold(self, host: str, call: Hold) -> StepResult:
        return self._connections.writer(host).run(Step(f"{call.grip} the lease", (call,), timeout=25.0))

    def _release(self, host: str) -> None:
        with self._held[host].speaking, suppress(TransportError):  # it lapses
            self._hold(host, Hold(Grip.RELEASE, self._token, self._holder.line()))

    def _keep(self) -> None:
        """Renew all leases every few seconds until the run is over. A host that is silent keeps no other waiting."""
        busy: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(self._forks, thread_name_prefix="lease") as pool:
            while not self._over.wait(_EVERY):
                due = [host for host, held in list(self._held.items()) if not held.lost]
                busy |= {host: pool.submit(self._renew, host) for host in due if host not in busy or busy[host].done()}

    def _renew(self, host: str) -> None:
        held = self._held[host]
        with held.speaking:
            if not self._over.is_set() and not held.away:
                self._renewed(host, held)

    def _renewed(self, host: str, held: _Held) -> None:
        began = time.monotonic()
        try:
            result = self._hold(host, Hold(Grip.RENEW, self._token, held.holder.line()))
        except TransportError as error:  # the next one may come through; if none does, the lease ends
            if time.monotonic() > held.until:
                held.lost = error.message
                self._connections.forget(host)  # or what runs there would be waited for until its time is up
            return
        if result.returncode == HELD:
            held.lost = f"{parse(result.out, 0.0).holder} has it"
        elif not result.returncode:
            held.until = began + SECONDS


class _Fenced:
    """A host's writer whose steps all carry the lease's token."""

    def __init__(self, host: str, writer: Writer, leases: Leases) -> None:
        self._host = host
        self._writer = writer
        self._leases = leases

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        return self._writer.ask(questions)

    def run(self, step: Step) -> StepResult:
        """Under the lease; what may cut us off, under guard as well."""
        token = self._leases.fence(self._host)
        if restarts(step):
            return rebooted(replace(step, fence=token), self._host, self._writer, self._leases)
        if not step.risks_access:
            return self._writer.run(replace(step, fence=token))
        with self._leases.unseen(self._host):
            return guarded(step, self._host, token, self._writer, self._leases.anew)
