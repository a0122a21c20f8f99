"""Modelled hosts, and what stands between them and a run: connections, leases, guards, and what goes wrong.

It stands where the product's connections do (`engine.Connections`). Everything above is the product itself.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from tests.laws.disk import Entry, Failed
from tests.laws.linux import Linux
from tests.laws.node import Node
from vinfra.errors import Unreachable
from vinfra.model import mark
from vinfra.model.inventory import Host as Machine
from vinfra.model.lease import LEASE, LONGEST, Grip
from vinfra.model.question import Question, Raw, ReadLibvirt, ReadMarks
from vinfra.model.step import CHANGED, HELD, AwaitGuest, Call, Exec, Guard, Hold, Step, StepResult, Verb, Virt, Watch
from vinfra.transport import secrets

State = dict[str, Any]
BORN = "born"  # in a state: how often the host was made anew


class Killed(BaseException):
    """The controller was killed: nothing of it goes on, and nobody tidies up."""


@dataclass
class Timer:
    """A step that the host takes back when nobody has confirmed it by then."""

    due: float
    before: tuple[dict[str, Entry | None], Any, dict[str, int]]


@dataclass
class Host:
    """One host. `dead`: it does not answer. `timers` are the steps that it would take back.

    `guests` are its machines that are hosts, with new disks when they are made anew: `born` counts that.
    """

    name: str
    guests: dict[str, "Host"] = field(default_factory=dict)
    born: int = 0
    linux: Linux = field(default_factory=Linux)
    node: Node | None = None
    dead: bool = False
    timers: dict[str, Timer] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def told(self, question: Question) -> Raw:
        match question:
            case ReadLibvirt(sort) if self.node:
                return self.node.virsh(sort)
            case ReadMarks():
                files = sorted(path for path in self.linux.disk.entries if self.is_mark(path))
                return Raw(0, b"\n".join(self.linux.disk.entries[path].content for path in files))
        return self.linux.told(question)

    @staticmethod
    def is_mark(path: str) -> bool:
        return path.startswith(f"{mark.DIRECTORY}/") and path.endswith(".jsonl")

    @property
    def marks(self) -> Mapping[tuple[str, str, str], mark.Mark]:
        """The living marks of all blueprints."""
        return mark.parse(self.told(ReadMarks()).text)[0]

    def do(self, call: Call) -> StepResult:
        """One call of a step."""
        try:
            match call:
                case Hold():
                    return self._hold(call)
                case Guard():
                    return self._guard(call)
                case Virt() if self.node:
                    self.node.virt(call)
                    self._disks(call)
                case AwaitGuest() if self.node:
                    self.node.wait(call)
                case Exec() if self.node and self.node.script(call):
                    pass
                case _:
                    self.linux.do(call)
        except Failed as failed:
            allowed = isinstance(call, Exec) and 1 in call.ok
            return StepResult(0 if allowed else 1, err=str(failed))
        return StepResult(0)

    def _disks(self, call: Virt) -> None:
        """A machine whose first disk is new has a system of its own again."""
        guest = self.guests.get(call.name.removesuffix("-root.qcow2"))
        if guest and call.verb in (Verb.VOLUME_CREATE, Verb.VOLUME_DELETE):
            guest.linux, guest.timers, guest.born = Linux(), {}, guest.born + 1

    # Leases, as transport/steps.py words them for the shell.

    def lease(self) -> tuple[int, str, str]:
        """Until when, under which token, whose."""
        entry = self.linux.disk.at(LEASE)
        end, token, holder = entry.content.decode().rstrip("\n").split(" ", 2) if entry else ("0", "", "")
        up = int(self.linux.uptime)
        return (int(end) if up < int(end) <= up + LONGEST else 0), token, holder

    def fenced(self, token: str) -> bool:
        end, now, _ = self.lease()
        return bool(end) and now == token

    def _hold(self, call: Hold) -> StepResult:
        end, token, holder = self.lease()
        status = 0
        if call.grip is Grip.TAKE:
            if end and token not in (call.token, call.dead):
                status = HELD
            elif call.seen not in (None, token):
                status = CHANGED
        elif token != call.token:
            status = HELD
        if status:
            return StepResult(status, f"{max(0, end - int(self.linux.uptime))} {token} {holder}")
        until = 0 if call.grip is Grip.RELEASE else int(self.linux.uptime) + call.seconds
        self.linux.disk.put(LEASE, Entry(content=f"{until} {call.token} {call.holder}\n".encode(), mode=0o600))
        return StepResult(0)

    # Guards, as transport/access.py words them.

    def _guard(self, call: Guard) -> StepResult:
        if call.watch is Watch.ARM:
            disk = self.linux.disk
            paths = {path: disk.entries.get(path) for path in call.paths}
            accounts = deepcopy(self.linux.users) if "/etc/passwd" in call.paths else None
            self.timers[call.name] = Timer(disk.clock + call.seconds, (paths, accounts, dict(disk.names)))
        elif call.watch is Watch.REVERT and call.name in self.timers:
            self._back(call.name)
        elif self.timers.pop(call.name, None) is None:
            return StepResult(1, err="too late: the host took it back already")
        return StepResult(0)

    def _back(self, name: str) -> None:
        paths, accounts, names = self.timers.pop(name).before
        disk = self.linux.disk
        for path, entry in paths.items():
            disk.entries.pop(path, None)
            if entry is not None:
                disk.put(path, entry)
        if accounts is not None:
            self.linux.users, disk.names = accounts, names

    def pass_time(self, seconds: float) -> None:
        """Leases lapse, and timers go off."""
        self.linux.disk.clock += seconds
        for name in [name for name, timer in self.timers.items() if timer.due <= self.linux.disk.clock]:
            self._back(name)

    def state(self) -> State:
        """Everything that is there; a lease and a moment of the clock are nothing that a plan may leave alone."""
        return self.linux.state() | (self.node.state() if self.node else {}) | {BORN: self.born}


class World:
    """The hosts. `after` calls of steps `fault` strikes: it may raise, or give the result of that call."""

    def __init__(self, hypervisors: Sequence[str], plain: Sequence[str], guests: Sequence[str]) -> None:
        known = {name: Host(name) for name in guests}
        self.guests = frozenset(guests)
        self.hosts = {name: Host(name, known, node=Node()) for name in hypervisors}
        self.hosts |= {name: Host(name) for name in plain} | known
        self.after, self.fault = -1, None  # type: ignore[assignment]
        self.fault: Callable[[Host, Call], StepResult] | None
        self.ran: list[tuple[str, Step]] = []

    def state(self) -> dict[str, State]:
        return {name: host.state() for name, host in self.hosts.items()}

    def runs(self, name: str) -> bool:
        """Whether a host can answer at all: a machine must run somewhere."""
        nodes = [host.node for host in self.hosts.values() if host.node]
        return name not in self.guests or any(node.runs(name) for node in nodes)

    def close(self) -> None:
        for host in self.hosts.values():
            if host.node:
                host.node.close()

    @contextmanager
    def controller(self, *_: object) -> Iterator["Controller"]:
        """What a run is given instead of its connections. Nothing of it works once it ended."""
        controller = Controller(self)
        try:
            yield controller
        finally:
            controller.over = True
            for host in self.hosts.values():  # what is under way ends; nothing begins any more
                with host.lock:
                    pass


class Controller:
    """The connections of one run."""

    def __init__(self, world: World) -> None:
        self.world, self.over = world, False
        self.secrets = getattr(secrets, "Secrets", object)()  # what a run has fetched of them, where that is kept

    def reader(self, name: str) -> "Login":
        if name not in self.world.hosts:
            raise Unreachable(f"{name}: no such host")
        return Login(self, self.world.hosts[name])

    writer = reader

    @contextmanager
    def anew(self, name: str) -> Iterator["Login"]:
        yield self.reader(name)

    def join(self, machine: Machine) -> None:
        assert machine.name in self.world.guests

    def forget(self, _: str) -> None:
        """Logins are not kept here."""


@dataclass
class Login:
    """A host as a controller reaches it."""

    controller: Controller
    host: Host

    def _alive(self) -> None:
        if self.controller.over:
            raise Killed
        if self.host.dead or not self.controller.world.runs(self.host.name):
            raise Unreachable(f"{self.host.name} does not answer")

    def ask(self, questions: Sequence[Question]) -> dict[Question, Raw]:
        with self.host.lock:
            self._alive()
            return {question: self.host.told(question) for question in questions}

    def run(self, step: Step) -> StepResult:
        world, host = self.controller.world, self.host
        noted = not any(isinstance(call, Hold | Guard) for call in step.calls[:1]) or len(step.calls) > 1
        for number, call in enumerate(step.calls):
            with host.lock:
                self._alive()
                if noted and not number:
                    world.ran.append((host.name, step))
                if not number and step.fence and not host.fenced(step.fence):
                    return StepResult(HELD, call=len(step.calls))
                result = self._struck(call) or host.do(call)
            if result.returncode:
                return replace(result, call=number)
        return StepResult(0)

    def _struck(self, call: Call) -> StepResult | None:
        world = self.controller.world
        if world.fault is None or isinstance(call, Hold):
            return None
        world.after -= 1
        if world.after >= 0:
            return None
        fault, world.fault = world.fault, None
        try:
            return fault(self.host, call)
        except Killed:
            self.controller.over = True
            raise


def dead_holder(host: Host) -> None:
    """The process that holds the lease is seen to have died: its number belongs to another one by now."""
    end, token, holder = host.lease()
    if holder:
        known = json.loads(holder) | {"birth": "0"}
        host.linux.disk.put(LEASE, Entry(content=f"{end} {token} {json.dumps(known)}\n".encode(), mode=0o600))
