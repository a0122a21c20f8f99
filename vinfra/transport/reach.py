"""Every host of an inventory within reach: logins are made when first needed, shared, and remembered when they fail."""

import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from vinfra.errors import SudoRefused, TransportError
from vinfra.model.inventory import Host, Inventory
from vinfra.model.question import Question, Raw
from vinfra.model.step import Step, StepResult
from vinfra.model.transport import Reader, Writer
from vinfra.transport.local import LocalWay, local_user
from vinfra.transport.secrets import password_of
from vinfra.transport.session import DEFAULT_LIMITS, Limits, Root, Session, Way

if TYPE_CHECKING:
    from vinfra.transport.network import Network

_Result = TypeVar("_Result")


class Asking:
    """A host that can only be asked: whoever holds this has no way to change it."""

    __slots__ = ("ask",)

    def __init__(self, ask: Callable[[Sequence[Question]], Mapping[Question, Raw]]) -> None:
        self.ask = ask


class Connections:
    """The hosts of one run. Use it as a context manager; safe to use from many threads."""

    def __init__(self, inventory: Inventory, limits: Limits = DEFAULT_LIMITS) -> None:
        self._inventory = inventory
        self._limits = limits
        self._hosts: dict[str, _Remembering] = {}
        self._network: Network | None = None
        self._lock = threading.Lock()

    def reader(self, host: str) -> Reader:
        """How to ask a host. Nothing is connected yet."""
        return Asking(self._host(host).ask)

    def writer(self, host: str) -> Writer:
        """How to ask and change a host. Nothing is connected yet."""
        return self._host(host)

    def forget(self, host: str) -> None:
        """Drop a host's login and its remembered failure: it was rebooted, or its groups have changed."""
        with self._lock:
            known = self._hosts.pop(host, None)
        if known:
            known.reset()

    def close(self) -> None:
        """End every login."""
        with self._lock:
            self._hosts.clear()
            network, self._network = self._network, None
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
            if name not in self._hosts:
                self._hosts[name] = _Remembering(lambda: self._session(self._inventory.hosts[name]))
            return self._hosts[name]

    def _session(self, host: Host) -> tuple[Session, Way]:
        if host.connection == "local":
            local = LocalWay()
            return Session(host.name, local, _root(host, local_user()), self._limits), local
        way = self._reach().connector(host)
        return Session(host.name, way, _root(host, way.user), self._limits), way

    def _reach(self) -> "Network":
        with self._lock:
            if self._network is None:
                # The SSH libraries take a third of a second to import: only runs that need them pay for it.
                module: Any = importlib.import_module("vinfra.transport.network")
                self._network = module.Network(self._inventory)
            return self._network


class _Remembering:
    """A host's session, made when first used. What sudo refused once is not tried again, lest the account be locked."""

    def __init__(self, make: Callable[[], tuple[Session, Way]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[Session, Way] | None = None
        self._failure: TransportError | None = None

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        return self._remember(lambda session: session.ask(questions))

    def run(self, step: Step) -> StepResult:
        return self._remember(lambda session: session.run(step))

    def reset(self) -> None:
        if self._made:
            self._made[1].reset()

    def _remember(self, use: Callable[[Session], _Result]) -> _Result:
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
            return use(session)
        except SudoRefused as error:
            self._failure = error
            raise


def _root(host: Host, user: str) -> Root:
    sudo = host.sudo if host.sudo is not None else user != "root"
    password = password_of(host.sudo_password, f"{host.name}: sudo_password", SudoRefused) if sudo else ""
    return Root(user, sudo, password)
