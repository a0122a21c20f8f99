"""Asking and changing one host through whatever opens a shell on it: questions and steps become scripts.

What is not for a shell, such as a call to libvirt, is passed on.
"""

import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Protocol

from vinfra.errors import LeaseLost, SudoRefused, TransportError, Unreachable
from vinfra.model.question import Question, Raw
from vinfra.model.step import ELSEWHERE, AwaitGuest, Migrate, Step, StepResult, Virt
from vinfra.transport import probe, shell, steps, sudo
from vinfra.transport.dialogue import Dialogue, Heard, Process, Script, TimeIsUp
from vinfra.transport.forward import Duplex

_GRACE = 15.0
_PARALLEL = 8  # sshd allows 10 sessions in a login unless told otherwise


class Program(Process, Duplex, Protocol):
    """A command line that runs: it can hold a dialogue, or be pumped."""


class Terminal(Protocol):
    """What is behind a terminal: a login's shell, or a machine's console. One thread may read, another one write."""

    def read(self) -> bytes:
        """What came, waiting for it; b"" at the end."""
        ...

    def write(self, data: bytes) -> None:
        """Send what was typed. At the end it goes nowhere."""
        ...

    def read_errors(self) -> bytes:
        """What came beside it, as `read`; b"" at once where all comes the same way."""
        ...

    def finish(self) -> None:
        """There is nothing more to type."""
        ...

    def resize(self, columns: int, rows: int) -> None:
        """Tell the size of the window."""
        ...

    def close(self) -> None:
        """Hang up; a `read` in another thread comes to its end."""
        ...

    def status(self) -> int:
        """How the command ended, after the end: its exit status, 255 if it told none."""
        ...


class Way(Protocol):
    """How a shell is opened on one host."""

    def open(self, command: str) -> Program:
        """Start a command line there, logging in if that was not done yet. Raises TransportError."""
        ...

    def stream(self, path: str) -> Duplex | None:
        """A stream to a Unix socket there, None if it does not open. Raises TransportError."""
        ...

    def dial(self, address: str, port: int, seconds: float) -> Duplex | None:
        """A TCP connection made there, None where it can as well be made here. Raises TransportError."""
        ...

    def listen(self, port: int, taken: Callable[[Duplex], None]) -> Callable[[], None] | None:
        """Hand connections to a port of the host's loopback to `taken`, until what is returned is called.

        None where there is no login that could. Raises TransportError.
        """
        ...

    def terminal(self, command: str, kind: str, size: tuple[int, int]) -> Terminal:
        """A command line, "" for a login shell, on a terminal of that `kind` (TERM), columns and rows; "" for none."""
        ...

    def reset(self) -> None:
        """Drop the login, so that the next `open` makes a new one."""
        ...


@dataclass(frozen=True, slots=True)
class Root:
    """How to become root: not at all, or by sudo with a password ("" for none)."""

    user: str
    sudo: bool
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for one question, for a whole probe, and for sudo to let us in."""

    question: int = 30
    probe: float = 90.0
    sudo: float = 30.0


DEFAULT_LIMITS = Limits()

# Runs one call that is not for a shell; the limit is in seconds. Raises TransportError.
Elsewhere = Callable[["Session", Virt | AwaitGuest | Migrate, float], StepResult]


def nowhere(session: "Session", call: Virt | AwaitGuest | Migrate, limit: float) -> StepResult:
    """Stands for `Elsewhere` where there is none."""
    raise TransportError(f"{session.host}: nothing here can {call}")


class Session:
    """One host. A dropped login is made anew for questions; a step is never sent twice."""

    def __init__(
        self, host: str, way: Way, root: Root, limits: Limits = DEFAULT_LIMITS, elsewhere: Elsewhere = nowhere
    ) -> None:
        self.host = host
        self._way = way
        self._root = root
        self._limits = limits
        self._elsewhere = elsewhere
        self._seats = threading.BoundedSemaphore(_PARALLEL)

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        """Every answer, in one round trip. Raises TransportError."""
        if not questions:
            return {}
        nonce = shell.new_nonce()
        body = probe.probe_script(questions, nonce, self._limits.question)
        script = Script(body, probe.end_of_probe(nonce), self._limits.probe)
        heard = self._question(script)
        if heard.status is None and not heard.ended:
            heard = self._question(script)  # the way logs in anew if its login was lost
        if not heard.ended:
            raise self._cut_off(heard, "while it was asked")
        try:
            return probe.parse_probe(heard.out, questions, nonce)
        except TransportError as error:
            raise TransportError(f"{self.host}: {error.message}", error.hint) from error

    def run(self, step: Step) -> StepResult:
        """Run a step's calls, stopping at the first that fails. Raises TransportError when the end is not known.

        Calls to the shell that stand together are one script, which has the step's whole time, and its own scratch.
        """
        started = time.monotonic()
        first, out, err, result = 0, "", "", StepResult(0)
        for remote, calls in groupby(step.calls, lambda call: isinstance(call, ELSEWHERE)):
            part = replace(step, calls=tuple(calls))
            result = self._pass_on(part) if remote else self._script(part)
            out, err = (out + result.out)[-steps.KEPT :], (err + result.err)[-steps.KEPT :]
            if result.returncode:
                break
            first += len(part.calls)
        number = first + result.call if result.returncode else max(0, first - 1)
        hidden = steps.hide(out, step), steps.hide(err, step)
        return StepResult(result.returncode, *hidden, time.monotonic() - started, number)

    def stream(self, path: str) -> Duplex | None:
        """A Unix socket of the host as in `Way.stream`; None as well if root is reached only by sudo."""
        return None if self._root.sudo else self._way.stream(path)

    def dial(self, address: str, port: int, seconds: float) -> Duplex | None:
        """As in `Way.dial`."""
        return self._way.dial(address, port, seconds)

    def listen(self, port: int, taken: Callable[[Duplex], None]) -> Callable[[], None] | None:
        """As in `Way.listen`."""
        return self._way.listen(port, taken)

    def start(self, command: str) -> Duplex:
        """Start a command as root, with nothing before its own output. Raises TransportError."""
        gate = sudo.Gate(shell.new_nonce(), self._root.password)
        program = self._way.open(sudo.gated(command, gate, root=self._root.sudo))
        heard: Heard | None = Heard(late=True, rooted=False)
        try:
            heard = Dialogue(program, Script(b"", b"", 0.0), self._limits.sudo).enter(gate)
        finally:
            if heard is not None:
                program.stop()
        if heard is None:
            return program
        if self._root.sudo and (heard.late or heard.status is not None):
            raise self._sudo_refused(heard)
        raise self._cut_off(heard, f"when {command!r} was started")

    def terminal(self, command: str, kind: str, size: tuple[int, int]) -> Terminal:
        """As in `Way.terminal`, as the user who logs in."""
        return self._way.terminal(command, kind, size)

    @property
    def user(self) -> str:
        """Who is logged in there; `root` by sudo is somebody else."""
        return self._root.user

    def _pass_on(self, step: Step) -> StepResult:
        out = ""
        for number, call in enumerate(step.calls):
            assert isinstance(call, ELSEWHERE)
            result = self._elsewhere(self, call, step.timeout)
            out += result.out
            if result.returncode:
                return replace(result, out=out, call=number)
        return StepResult(0, out)

    def _script(self, step: Step) -> StepResult:
        nonce = shell.new_nonce()
        script = Script(
            steps.step_script(step, nonce), steps.end_of_step(nonce), step.timeout + _GRACE, steps.KEPT + 256, both=True
        )
        try:
            heard = self._converse(_limited(step.timeout), script)
        except TimeIsUp as error:
            raise Unreachable(
                f"{self.host}: no end of {step.summary!r} after {step.timeout:g} s, and it may still be running",
                "look at the host before running it again",
            ) from error
        result = steps.parse_step(heard.out, heard.err, nonce, step) or self._unfinished(heard, nonce, step)
        if result.call >= len(step.calls):
            raise LeaseLost(
                f"{self.host}: the lease on it is not ours any more, so {step.summary!r} did not run, or not to its end"
            )
        return result

    def _unfinished(self, heard: Heard, nonce: str, step: Step) -> StepResult:
        """A step whose script did not come to its end: stopped by its time limit, killed, or lost."""
        if heard.status is None or (not steps.began(heard.out, nonce) and heard.status not in (124, 137)):
            raise self._cut_off(heard, f"while {step.summary!r} ran; it may have run or not")
        out, err = steps.heard(heard.out, nonce, step), steps.heard(heard.err, nonce, step)
        stopped = f"stopped after {step.timeout:g} s" if heard.status in (124, 137) else "its shell was killed"
        return StepResult(heard.status or 1, out, f"{err}\n{stopped}".strip())

    def _question(self, script: Script) -> Heard:
        try:
            return self._converse("sh -s", script)
        except TimeIsUp as error:
            message = f"{self.host}: the questions were not answered in {self._limits.probe:g} s"
            raise Unreachable(message, "the host may be overloaded, or one of its file systems hangs") from error

    def _converse(self, shell_command: str, script: Script) -> Heard:
        with self._seats:
            if not self._root.sudo:
                return self._hold(sudo.plain(shell_command), script, None)
            if not self._root.password:
                heard = self._hold(sudo.without_password(shell_command), script, None)
                self._check_sudo(heard)
                return heard
            gate = sudo.Gate(shell.new_nonce(), self._root.password)
            heard = self._hold(sudo.with_password(shell_command, gate), script, gate)
            if heard.rooted:
                return heard
            raise (
                self._cut_off(heard, "at sudo")
                if heard.status is None and not heard.late
                else self._sudo_refused(heard)
            )

    def _hold(self, command: str, script: Script, gate: sudo.Gate | None) -> Heard:
        return Dialogue(self._way.open(command), script, self._limits.sudo).hold(gate)

    def _check_sudo(self, heard: Heard) -> None:
        errors = heard.err.decode("utf-8", "replace")
        silent = not heard.ended and b" begin\n" not in heard.out
        if silent and heard.status is not None and any(mark in errors for mark in sudo.MARKS):
            raise self._sudo_refused(heard)

    def _sudo_refused(self, heard: Heard) -> SudoRefused:
        refusal = sudo.refusal(self._root.user, heard.err.decode("utf-8", "replace"), heard.wrong_password)
        if heard.late and not heard.wrong_password:
            refusal = SudoRefused(f"sudo did not answer in {self._limits.sudo:g} s", "try `sudo -v` in a login there")
        return SudoRefused(f"{self.host}: {refusal.message}", refusal.hint)

    def _cut_off(self, heard: Heard, when: str) -> TransportError:
        if heard.status is None:
            return Unreachable(f"{self.host}: the connection was lost {when}", "run it again when the host answers")
        said = " ".join((heard.err or heard.out).decode("utf-8", "replace").split())[-200:]
        return TransportError(
            f"{self.host}: its shell ended with status {heard.status} {when}: {said or 'no message'}",
            "the login needs a shell that runs `sh -s`",
        )


def _limited(seconds: float) -> str:
    """The shell of a step, stopped on the host itself when its time is up, even if we are gone by then."""
    whole = max(1, round(seconds))
    tries = (
        f"if timeout -k 2 9 true; then exec timeout -k 5 {whole} sh -s 2>&3 3>&-",
        f"elif timeout 9 true; then exec timeout {whole} sh -s 2>&3 3>&-",
        f"elif timeout -t 9 true; then exec timeout -t {whole} sh -s 2>&3 3>&-",
        "else exec sh -s 2>&3 3>&-",
    )
    return f"sh -c {shlex.quote('exec 3>&2 2>/dev/null; ' + '; '.join(tries) + '; fi')}"
