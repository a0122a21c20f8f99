"""Every host of an inventory within reach: logins are made when first needed, shared, and remembered when they fail."""

import importlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from vinfra import mask
from vinfra.errors import SudoRefused, TransportError, Unreachable
from vinfra.model.inventory import Host, Inventory
from vinfra.model.question import Question, Raw
from vinfra.model.step import AwaitGuest, Migrate, Step, StepResult, Virt
from vinfra.model.transport import Reader, Writer
from vinfra.transport.forward import Forward
from vinfra.transport.local import LocalWay, local_user
from vinfra.transport.secrets import Secrets, password_of
from vinfra.transport.session import DEFAULT_LIMITS, Limits, Root, Session, Terminal, Way

if TYPE_CHECKING:
    from vinfra.transport.libvirt import Libvirt
    from vinfra.transport.network import Network

# A variable of a host: where other hosts reach it for `tcp` and `tls`, if not where we do.
MIGRATION_ADDRESS = "migration_address"
_LEAVES = 50
_Result = TypeVar("_Result")


class Asking:
    """A host that can only be asked: whoever holds this has no way to change it."""

    __slots__ = ("ask",)

    def __init__(self, ask: Callable[[Sequence[Question]], Mapping[Question, Raw]]) -> None:
        self.ask = ask


class Connections:
    """The hosts of one run. Use it as a context manager; safe to use from many threads."""

    def __init__(self, inventory: Inventory, limits: Limits = DEFAULT_LIMITS) -> None:
        self.secrets = Secrets()
        self._machines = dict(inventory.hosts)
        self._limits = limits
        self._hosts: dict[str, _Remembering] = {}
        self._libvirts: dict[str, Libvirt] = {}
        self._network: Network | None = None
        self._lock = threading.Lock()

    def reader(self, host: str) -> Reader:
        """How to ask a host. Nothing is connected yet. Raises Unreachable for a guest that has not joined."""
        return Asking(self._host(host).ask)

    def writer(self, host: str) -> Writer:
        """How to ask and change a host, as with `reader`."""
        return self._host(host)

    def join(self, host: Host) -> None:
        """Make a host known, or known by another address or key: a guest that answers now.

        A jump over the machine that vinfra runs on is none.
        """
        with self._lock:
            here = {name for name in host.jump if name in self._machines and self._machines[name].connection == "local"}
            host = replace(host, jump=tuple(name for name in host.jump if name not in here))
            if self._machines.get(host.name) == host:
                return
            self._machines[host.name] = host
        self.forget(host.name)

    def follow(self, guest: str, old: str, new: str) -> None:
        """A guest is behind another host now: the way to it leads through that one."""
        with self._lock:
            machine = self._machines.get(guest)
        if machine is not None and old in machine.jump:
            self.join(replace(machine, jump=tuple(new if hop == old else hop for hop in machine.jump)))

    def console(self, host: str, domain: str, *, force: bool = False) -> Terminal:
        """The serial console of a domain on a host; `force` takes it from whoever has it. Raises TransportError."""

        def connect(session: Session) -> Terminal:
            virt = self._libvirt(session)
            console: Terminal = _imported("vinfra.transport.console", host).connect(virt, host, domain, force=force)
            return console

        return self._host(host).use(connect)

    def terminal(self, host: str, command: str, kind: str = "xterm", size: tuple[int, int] = (80, 24)) -> Terminal:
        """A command line on a terminal of a host, "" for a login shell; `kind` as in TERM, "" for no terminal at all.

        Raises TransportError.
        """
        return self._host(host).use(lambda session: session.terminal(command, kind, size))

    @contextmanager
    def anew(self, host: str) -> Iterator[Writer]:
        """A login of its own, made at its first use: proof that one can be made. Raises TransportError."""
        machine = self._machines[host]
        way: Way
        if machine.connection == "local":
            way, user = LocalWay(), local_user()
        else:
            way = connector = self._reach().connector(machine, fresh=True)
            user = connector.user
        try:
            yield Session(host, way, _root(machine, user, self.secrets), self._limits)
        finally:
            way.reset()

    @contextmanager
    def dial(self, host: str, address: str, port: int, seconds: float) -> Iterator[socket.socket]:
        """A TCP connection that a host makes, through its login. Raises TransportError, and OSError on this machine."""
        stream = self._host(host).use(lambda session: session.dial(address, port, seconds))
        if stream is None:
            with socket.create_connection((address, port), seconds) as sock:
                yield sock
            return
        forward = Forward(stream)
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(forward.path)
                yield sock
        finally:
            forward.close()

    def is_here(self, host: str) -> bool:
        """Whether a host is the machine that vinfra runs on."""
        return self._machines[host].connection == "local"

    def forget(self, host: str) -> None:
        """Drop a host's login and its remembered failure: it was rebooted, or its groups have changed."""
        with self._lock:
            known, virt = self._hosts.pop(host, None), self._libvirts.pop(host, None)
        if virt:
            virt.close()
        if known:
            known.reset()

    def close(self) -> None:
        """End every login."""
        with self._lock:
            self._hosts.clear()
            virts, network = list(self._libvirts.values()), self._network
            self._libvirts.clear()
            self._network = None
        if virts:
            with ThreadPoolExecutor(_LEAVES) as pool:  # each takes a round trip
                list(pool.map(lambda virt: virt.close(), virts))
        if network:
            network.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _host(self, name: str) -> "_Remembering":
        with self._lock:
            machine = self._machines[name]
            if machine.connection == "guest":
                raise Unreachable(f"{name}: this guest is not up yet", "it joins the hosts once it answers by SSH")
            if name not in self._hosts:
                self._hosts[name] = _Remembering(lambda: self._session(machine))
            return self._hosts[name]

    def _session(self, host: Host) -> tuple[Session, Way]:
        if host.connection == "local":
            local = LocalWay()
            return Session(
                host.name, local, _root(host, local_user(), self.secrets), self._limits, self._elsewhere
            ), local
        way = self._reach().connector(host)
        return Session(host.name, way, _root(host, way.user, self.secrets), self._limits, self._elsewhere), way

    def _elsewhere(self, session: Session, call: Virt | AwaitGuest | Migrate, limit: float) -> StepResult:
        match call:
            case Virt():
                return self._libvirt(session).run(call, limit)
            case AwaitGuest():
                virt = self._libvirt(session)
                guests = _imported("vinfra.transport.guests", session.host)
                result: StepResult = guests.wait(call, session.host, virt, self)
                return result
            case Migrate():
                return self._host(call.to).use(lambda there: self._migrate(session, there, call, limit))

    def _migrate(self, here: Session, there: Session, call: Migrate, limit: float) -> StepResult:
        ends = ((here, self._libvirt(here)), (there, self._libvirt(there)))
        machine = self._machines[call.to]
        address = machine.variables.get(MIGRATION_ADDRESS) or machine.address or machine.name
        migration = _imported("vinfra.transport.migration", here.host)
        result: StepResult = migration.migrate(call, *ends, str(address), limit)
        if not result.returncode:
            self.follow(call.name, here.host, call.to)
        return result

    def _libvirt(self, session: Session) -> "Libvirt":
        with self._lock:
            if session.host not in self._libvirts:
                module = _imported("vinfra.transport.libvirt", session.host)
                self._libvirts[session.host] = module.Libvirt(session)
            return self._libvirts[session.host]

    def _reach(self) -> "Network":
        with self._lock:
            if self._network is None:
                # The SSH libraries take a third of a second to import: only runs that need them pay for it.
                module: Any = importlib.import_module("vinfra.transport.network")
                self._network = module.Network(self._machines.get, self.secrets)
            return self._network


class _Remembering:
    """A host's session, made when first used. What sudo refused once is not tried again, lest the account be locked."""

    def __init__(self, make: Callable[[], tuple[Session, Way]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[Session, Way] | None = None
        self._failure: TransportError | None = None

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        return self.use(lambda session: session.ask(questions))

    def run(self, step: Step) -> StepResult:
        result = self.use(lambda session: session.run(step))
        return replace(result, out=mask.struck(result.out), err=mask.struck(result.err))

    def reset(self) -> None:
        if self._made:
            self._made[1].reset()

    def use(self, work: Callable[[Session], _Result]) -> _Result:
        with self._lock:
            if self._failure:
                raise type(self._failure)(self._failure.message, self._failure.hint)
            try:
                if self._made is None:
                    self._made = self._make()
                session = self._made[0]
            except TransportError as error:
                self._failure = error
                raise
        try:
            return work(session)
        except SudoRefused as error:
            self._failure = error
            raise


def _root(host: Host, user: str, secrets: Secrets) -> Root:
    sudo = host.sudo if host.sudo is not None else user != "root"
    what = f"{host.name}: sudo_password"
    password = password_of(secrets, host.sudo_password, what, SudoRefused) if sudo else ""
    return Root(user, sudo, password)


def _imported(module: str, host: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name != "libvirt":
            raise
        raise TransportError(
            f"{host}: changing libvirt needs the library libvirt-python, which is not installed here",
            "apt-get install gcc libc6-dev libvirt-dev pkg-config python3-dev, then pip install 'vinfra[libvirt]'",
        ) from error
