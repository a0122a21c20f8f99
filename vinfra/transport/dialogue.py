"""One script's way through one process: send it, collect what comes back, keep to the deadline.

SSH channels and local processes look the same from here, so both become root, time out and end in the same way.
"""

import time
from dataclasses import dataclass
from typing import Protocol

from vinfra.transport.sudo import Gate


class TimeIsUp(Exception):
    """The deadline passed before the process said what was waited for."""


class Process(Protocol):
    """A running shell. Deadlines are times of `time.monotonic`; reading or writing past one raises TimeIsUp."""

    def send(self, data: bytes, deadline: float) -> None:
        """Write to its standard input. A process that no longer reads is no error."""
        ...

    def finish(self) -> None:
        """Close its standard input."""
        ...

    def hear(self, deadline: float) -> tuple[bytes, bytes] | None:
        """What came on standard output and standard error since the last call, or None at the end of both."""
        ...

    def status(self) -> int | None:
        """Its exit status, or None if it never said one (the connection was lost)."""
        ...

    def stop(self) -> None:
        """End it and free what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Script:
    """What is sent; what its output holds once it is done; how long it may take; how much of each stream to keep.

    With `both` its errors hold the same end: the two streams arrive on their own, either of them first.
    """

    body: bytes
    end: bytes
    limit: float
    keep: int | None = None
    both: bool = False


@dataclass(slots=True)
class Heard:
    """What a process said. `status` None: the connection was lost.

    `rooted` False: it never got past sudo's gate, perhaps because the password was wrong or its time was up (`late`).
    """

    out: bytes = b""
    err: bytes = b""
    status: int | None = None
    ended: bool = False
    rooted: bool = True
    wrong_password: bool = False
    late: bool = False


class Dialogue:
    """The conversation with one process."""

    def __init__(self, process: Process, script: Script, gate_limit: float) -> None:
        self._process = process
        self._script = script
        self._out = bytearray()
        self._err = bytearray()
        self._gate_limit = gate_limit

    def hold(self, gate: Gate | None = None) -> Heard:
        """Send the script, through the gate if there is one, and hear the process to its end. Raises TimeIsUp."""
        try:
            if gate and (refused := self.enter(gate)):
                return refused
            deadline = time.monotonic() + self._script.limit
            self._process.send(self._script.body, deadline)
            self._process.finish()
            ended = self._hear_until(self._script.end, deadline)
            while ended and self._script.both and self._script.end not in self._err:
                if self._hear(deadline) is None:
                    break
            return Heard(bytes(self._out), bytes(self._err), self._process.status(), ended)
        finally:
            self._process.stop()

    def enter(self, gate: Gate) -> Heard | None:
        """Pass the gate, so that the script or whatever else runs behind it; what was heard instead if that failed."""
        deadline = time.monotonic() + self._gate_limit
        late = False
        try:
            if self._answer(gate, deadline):
                self._process.send(gate.start, deadline)
                return None
            self._process.finish()  # sudo meets the end of its input and gives up, after one attempt at the most
            while self._hear(deadline) is not None:
                pass
        except TimeIsUp:
            late = True
        wrong = self._err.count(gate.prompt) > 1
        errors = bytes(self._err).replace(gate.prompt, b"\n")
        status = None if late else self._process.status()
        return Heard(bytes(self._out), errors, status, rooted=False, wrong_password=wrong, late=late)

    def _answer(self, gate: Gate, deadline: float) -> bool:
        """Give the password when it is asked for, once. Whether the root shell is ready."""
        sent = False
        while gate.ready not in self._out:
            if self._hear(deadline) is None:
                return False
            prompts = self._err.count(gate.prompt)
            if prompts > 1:
                return False
            if prompts and not sent:
                self._process.send(gate.password.encode() + b"\n", deadline)
                sent = True
        return True

    def _hear_until(self, end: bytes, deadline: float) -> bool:
        """Hear until the line that begins with `end` is complete; False when the process stopped before it."""
        fresh = len(self._out)
        while True:
            # A few bytes more than the end itself: it may have come without the rest of its line.
            found = self._out.find(end, max(0, len(self._out) - fresh - len(end) - 32))
            if found >= 0 and self._out.find(b"\n", found + len(end) - 1) >= 0:
                return True
            heard = self._hear(deadline)
            if heard is None:
                return False
            fresh = heard

    def _hear(self, deadline: float) -> int | None:
        """How many bytes came on standard output; None at the end of both streams."""
        news = self._process.hear(deadline)
        if news is None:
            return None
        for stream, data in zip((self._out, self._err), news, strict=True):
            stream.extend(data)
            if self._script.keep and len(stream) > 2 * self._script.keep:
                del stream[: -self._script.keep]
        return len(news[0])
