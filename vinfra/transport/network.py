"""All SSH logins of a run: one per host, and one per jump host however many hosts are behind it."""

import threading
from collections.abc import Callable

from vinfra.errors import TransportError
from vinfra.model.inventory import Host
from vinfra.transport.hostkeys import HostKeys
from vinfra.transport.keys import KeyRing
from vinfra.transport.logins import hop, resolve
from vinfra.transport.secrets import Secrets, password_of
from vinfra.transport.ssh import Connector, quiet


class Network:
    """Gives each host its connector; nothing is connected before it is used. `find` gives a jump host by its name."""

    def __init__(self, find: Callable[[str], Host | None], secrets: Secrets) -> None:
        quiet()
        self._find = find
        self._secrets = secrets
        self._ring = KeyRing()
        self._host_keys = HostKeys()
        self._connectors: dict[tuple[object, ...], Connector] = {}
        self._lock = threading.Lock()

    def connector(
        self, host: Host, through: Connector | None = None, behind: tuple[str, ...] = (), fresh: bool = False
    ) -> Connector:
        """A host's connector: by way of `through`, else by its own jump hosts. `behind` names who led here.

        A `fresh` one is nobody else's, and its caller's to end.
        """
        if host.name in behind:
            raise TransportError(f"{behind[0]}: its jump hosts lead in a circle: {' → '.join((*behind, host.name))}")
        login = resolve(host)
        if through is None:
            for spec in login.via:
                through = self.connector(hop(spec, host, self._find), through, (*behind, host.name))
        with self._lock:
            key = (login, id(through))
            if fresh or key not in self._connectors:
                password = password_of(self._secrets, host.password, f"{host.name}: password")
                made = Connector(login, password, self._ring, self._host_keys, through)
                if fresh:
                    return made
                self._connectors[key] = made
            return self._connectors[key]

    def close(self) -> None:
        """Log out everywhere, from the far ends to the near ones."""
        with self._lock:
            connectors = list(self._connectors.values())
            self._connectors.clear()
        for connector in sorted(connectors, key=lambda one: one.depth, reverse=True):
            connector.disconnect()
