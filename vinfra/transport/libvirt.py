"""libvirt on a host, through the host's one login: a connection that all threads share, and what its errors mean.

The socket of libvirt's daemon is streamed through the login (`forward`). Where the SSH server does not open it, or only
root may use it and the login is not root's, libvirt's own `virt-ssh-helper` runs there, by sudo if need be.
"""

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import libvirt  # type: ignore[import-untyped]

from vinfra.errors import LoginRefused, TransportError, Unreachable
from vinfra.model.step import StepResult, Virt
from vinfra.transport import copies, hotplug, verbs
from vinfra.transport.forward import Duplex, Forward
from vinfra.transport.session import Session

# As libvirt's own client looks for them: the daemon for QEMU alone, which passes calls about networks and storage on to
# theirs, then the one for all (https://libvirt.org/daemons.html). /run is /var/run on what is older.
SOCKETS = tuple(f"{run}/libvirt/{name}-sock" for run in ("/run", "/var/run") for name in ("virtqemud", "libvirt"))
HELPER = "virt-ssh-helper qemu:///system"
_OPENING = 30.0
_GRACE = 15.0
_LEAVING = 2.0
_Result = TypeVar("_Result")

_FULL = "no space left on the host: `df` there says where"
_CLASH = "it is not the one that was to be made: rename one of the two, or plan again"

# What libvirt's errors mean for the user, by their code.
HINTS: dict[int, str] = {
    libvirt.VIR_ERR_NO_DOMAIN: "somebody removed it, or it is on another host: plan again",
    libvirt.VIR_ERR_NO_NETWORK: "declare the network, or make it with `virsh net-define`",
    libvirt.VIR_ERR_NO_STORAGE_POOL: "declare the pool, or make it with `virsh pool-define`",
    libvirt.VIR_ERR_NO_STORAGE_VOL: "if its file is there, `virsh pool-refresh` makes libvirt see it",
    libvirt.VIR_ERR_STORAGE_VOL_EXIST: _CLASH,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: "`virsh domcapabilities` on the host says what it can",
    libvirt.VIR_ERR_NO_SUPPORT: "this libvirt, or its driver, cannot do that",
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: "this libvirt, or its driver, cannot do that",
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: "this libvirt, or its driver, cannot do that",
    libvirt.VIR_ERR_OPERATION_TIMEOUT: "another call holds it: `virsh domjobinfo` says which",
    libvirt.VIR_ERR_RESOURCE_BUSY: "something else uses it at this moment",
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: "qemu-guest-agent does not run in the guest",
    libvirt.VIR_ERR_OPERATION_DENIED: "the connection may not do that: polkit on the host decides",
    libvirt.VIR_ERR_ACCESS_DENIED: "the connection may not do that: polkit on the host decides",
    libvirt.VIR_ERR_HOOK_SCRIPT_FAILED: "look at /etc/libvirt/hooks on the host",
    libvirt.VIR_ERR_CPU_INCOMPATIBLE: "choose another CPU model: `virsh domcapabilities` on the host lists them",
}
_REFUSED = {libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_AUTH_CANCELLED, libvirt.VIR_ERR_AUTH_UNAVAILABLE}


class Libvirt:
    """The libvirt of one host. Connected when first used, and anew when its daemon was restarted meanwhile."""

    def __init__(self, session: Session) -> None:
        libvirt.registerErrorHandler(lambda *_: None, None)  # or each error is printed as well
        self._session = session
        self._open: Opened | None = None
        self._ended = False
        self._lock = threading.Lock()

    def run(self, call: Virt, limit: float) -> StepResult:
        """One call of a step. `limit` in seconds. Raises TransportError when its end is not known."""
        try:
            told = self.use(lambda connection: _do(connection, call), f"{call.verb} {call.name}", limit + call.seconds)
        except libvirt.libvirtError as error:
            return StepResult(1, err="\n".join(filter(None, (message(error), hint(error)))))
        except hotplug.Failed as error:
            return StepResult(1, err=str(error))
        except OSError as error:
            return StepResult(1, err=f"{error.filename or call.source}: {error.strerror}")
        return StepResult(0, told)

    def use(self, work: Callable[[Any], _Result], what: str, limit: float) -> _Result:
        """Let `work` use the connection. Raises libvirtError for what libvirt refuses, TransportError if it is lost."""
        current = self._connected()
        with current.limit(limit + _GRACE) as late:
            try:
                return work(current.connection)
            except libvirt.libvirtError as error:
                if current.alive:
                    raise
                self._drop(current)
                no_answer = f"no answer from libvirt in {limit:g} s"
                raise Unreachable(
                    f"{self._session.host}: {no_answer if late.is_set() else 'the connection to libvirt was lost'}, "
                    f"while {what} ran; it may have run or not",
                    "look at the host before running it again: `systemctl status virtqemud libvirtd`",
                ) from error

    def open(self) -> "Opened":
        """A connection of its own, for who closes it. Raises TransportError."""
        for path in SOCKETS:
            stream = self._session.stream(path)
            if stream is not None:
                return self._through(stream)
        return self._through(self._session.start(HELPER))

    def close(self) -> None:
        """Close the connection for good; calls under way fail."""
        self._ended = True
        if self._lock.acquire(timeout=1):  # else it is being opened, and closed again by whoever does that
            try:
                self._leave()
            finally:
                self._lock.release()

    def _connected(self) -> "Opened":
        with self._lock:
            if self._open is None or not self._open.alive:
                self._leave()
                self._open = None if self._ended else self.open()
            if self._ended:
                self._leave()
            if self._open is None:
                raise Unreachable(f"{self._session.host}: its login was ended meanwhile", "run it again")
            return self._open

    def _drop(self, dead: "Opened") -> None:
        with self._lock:
            if self._open is dead:
                self._leave()

    def _leave(self) -> None:
        current, self._open = self._open, None
        if current:
            current.close()

    def _through(self, stream: Duplex) -> "Opened":
        forward = Forward(stream)
        with forward.limit(_OPENING) as late:
            try:
                return Opened(libvirt.open(f"qemu+unix:///system?socket={forward.path}"), forward)
            except libvirt.libvirtError as error:
                helper = " ".join(forward.errors.split()) if forward.ended(2) else ""
                forward.close()
                raise self._closed(error, helper, late=late.is_set()) from error

    def _closed(self, error: libvirt.libvirtError, helper: str, *, late: bool) -> TransportError:
        host, code, said = self._session.host, error.get_error_code(), helper or message(error)
        if late:
            hint = "it may hang: `systemctl status virtqemud libvirtd`, and its log"
            return Unreachable(f"{host}: libvirt does not answer in {_OPENING:g} s", hint)
        if "not found" in helper:
            hint = "install libvirt, or log in as root and set `AllowStreamLocalForwarding yes` in its sshd_config"
            return TransportError(f"{host}: libvirt's socket does not open, and virt-ssh-helper is not there", hint)
        if code in _REFUSED:
            hint = f"put {self._session.user} into the group `libvirt` there, or let it become root (`sudo`)"
            return LoginRefused(f"{host}: libvirt does not let {self._session.user} in: {said}", hint)
        if "cannot connect" in helper or code == libvirt.VIR_ERR_SYSTEM_ERROR:
            hint = "`systemctl enable --now libvirtd` there, or virtqemud; declare `hypervisor: {kind: kvm}` for it"
            return Unreachable(f"{host}: libvirt's daemon does not run ({said.rpartition(': ')[2]})", hint)
        return Unreachable(f"{host}: libvirt does not answer: {said}", "look at its log")


class Opened:
    """An open connection and what carries it."""

    def __init__(self, connection: Any, forward: Forward) -> None:
        self.connection = connection
        self._forward = forward
        self._users: list[object] = []

    @property
    def alive(self) -> bool:
        """Whether it can still be used. libvirt itself notices only at the next call that the other side has gone."""
        with suppress(libvirt.libvirtError):
            return bool(self.connection.isAlive()) and not self._forward.over
        return False

    @contextmanager
    def limit(self, seconds: float) -> Iterator[threading.Event]:
        """Use it; it is cut when the time is up, as libvirt's calls have no limit of their own."""
        self._users.append(None)
        try:
            with self._forward.limit(seconds) as late:
                yield late
        finally:
            self._users.pop()

    def cut(self) -> None:
        """End it under the feet of whoever uses it."""
        self._forward.close()

    def close(self) -> None:
        """Take leave, as libvirt's daemon logs an error otherwise, and end it."""
        if self._users:
            self.cut()
        with self._forward.limit(_LEAVING), suppress(libvirt.libvirtError):
            self.connection.close()
        self.cut()


def _do(connection: Any, call: Virt) -> str:
    if call.verb in copies.VERBS:
        return copies.do(connection, call)
    verbs.do(connection, call)
    return ""


def hint(error: libvirt.libvirtError) -> str:
    """What the user can do about an error of libvirt, "" where nothing is known."""
    if error.get_int1() == errno.ENOSPC or "No space left" in message(error):
        return _FULL
    if "already exists with uuid" in message(error):
        return _CLASH
    return HINTS.get(error.get_error_code() or 0, "")


def message(error: libvirt.libvirtError) -> str:
    """What libvirt says about an error."""
    return str(error.get_error_message() or error).strip()
