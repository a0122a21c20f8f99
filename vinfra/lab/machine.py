"""A host over time: boots, reboots, power-offs and resets, followed by one thread that waits for its first process."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vinfra.errors import VinfraError
from vinfra.lab.container import Bundle
from vinfra.lab.network import Network, address_of

_READY_WITHIN = 60.0


class Machine:
    """One host of a running lab. Public methods may be called from any thread."""

    def __init__(self, bundle: Bundle, number: int, seed: Path, network: Network) -> None:
        self.bundle = bundle
        self.address = address_of(number)
        self.pid = 0
        self.failed_units = ""
        self._number = number
        self._seed = seed
        self._network = network
        self._changed = threading.Condition()
        self._ready = False
        self._fresh = False
        self._powered = True
        self._failure: VinfraError | None = None

    def run(self, on_change: Callable[[], None]) -> None:
        """Live until the process ends: boot, wait, boot again. `on_change` is told when `pid` is another one."""
        try:
            self.bundle.prepare(self._seed)
            while True:
                self._boot()
                on_change()
                _, status = os.waitpid(self.pid, 0)
                self.pid = 0
                with self._changed:
                    self._ready = False
                    # The kernel ends a container that powers off by SIGINT and one that reboots by SIGHUP.
                    self._powered = self._fresh or not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGINT
                    if not self._powered:
                        on_change()
                    self._changed.wait_for(lambda: self._powered)
                    fresh, self._fresh = self._fresh, False
                self.bundle.delete()
                if fresh:
                    self.bundle.wipe()
                    self.bundle.prepare(self._seed)
        except (VinfraError, OSError) as error:
            sys.stderr.write(f"{self.bundle.name}: {error}\n")
            with self._changed:
                self._failure = error if isinstance(error, VinfraError) else VinfraError(str(error))
                self._changed.notify_all()

    def wait(self) -> None:
        """Return when the host answers SSH and its boot is over; raise what kept it from that."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ready or self._failure, _READY_WITHIN):
                raise VinfraError(f"lab host {self.bundle.name} did not finish its boot in {_READY_WITHIN:.0f} s")
            if self._failure:
                raise self._failure

    def power_on(self) -> None:
        """Boot the host if it is off."""
        with self._changed:
            self._powered = True
            self._changed.notify_all()

    def reset(self) -> None:
        """Make it what it was when the lab came up: everything written is dropped, then it boots."""
        with self._changed:
            self._fresh = self._powered = True
            self._ready = False
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
            self._changed.notify_all()

    def _boot(self) -> None:
        self.pid = self.bundle.create()
        self._network.plug(self._number, self.pid)
        self.bundle.start()
        threading.Thread(target=self._watch_boot, args=(self.pid,), daemon=True).start()

    def _watch_boot(self, pid: int) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while not self._answers():
            if self.pid != pid or time.monotonic() > deadline:
                return
            time.sleep(0.02)
        if "running" not in self.bundle.run("systemctl", "is-system-running", "--wait"):
            self.failed_units = self.bundle.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
        with self._changed:
            if self.pid == pid and not self._fresh:
                self._ready = True
                self._changed.notify_all()

    def _answers(self) -> bool:
        with self._network.socket() as probe:
            probe.settimeout(1)
            try:
                probe.connect((self.address, 22))
                return probe.recv(4, socket.MSG_PEEK) == b"SSH-"
            except OSError:
                return False
