"""The exception tree. Nothing in vinfra raises anything else to its caller.

    VinfraError                   exit 1
    ├── UsageError                wrong command line
    ├── InputError                problems in blueprint or inventory files, all at once
    ├── RefusedError              exit 3: nothing was touched (stale plan, guard, impact, lock)
    ├── StepFailed                a step ran on the target and failed
    ├── Unresolved                exit 4: a secret could not be had
    └── TransportError            exit 4: the target could not be asked or reached
        ├── Unreachable           no answer, connection lost, time ran out
        ├── LeaseLost             another run holds the host now, or nobody knows any more
        ├── HostKeyRefused        unknown or changed host key
        ├── LoginRefused          the target does not accept our key or password
        └── SudoRefused           logged in, but not allowed to become root

Every message says what is wrong, with which object, and what to do about it. Foreign exceptions (paramiko, OSError,
yaml, pydantic) stop where they happen: in a transport or in `stages.load`.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What a command's exit status means; scripts and cron rely on it."""

    DONE = 0
    FAILED = 1
    DIFFERENCES = 2
    REFUSED = 3
    INCOMPLETE = 4
    INTERRUPTED = 130

    @classmethod
    def combined(cls, codes: Iterable["ExitCode"]) -> "ExitCode":
        """The one that speaks for all: 130 > 1 > 4 > 3 > 2 > 0."""
        rank = [cls.DONE, cls.DIFFERENCES, cls.REFUSED, cls.INCOMPLETE, cls.FAILED, cls.INTERRUPTED]
        return max(codes, key=rank.index, default=cls.DONE)


class VinfraError(Exception):
    """Root of the tree. `hint` says what the user can do; it is printed on a line of its own."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    @property
    def line(self) -> str:
        """Message and hint in one line: the reason of a row, or why a host is unknown."""
        return f"{self.message} ({' '.join(self.hint.split())})" if self.hint else self.message


class UsageError(VinfraError):
    """The command line asks for something that does not exist or does not fit together."""


class InputError(VinfraError):
    """Files that cannot be used. `problems` holds every one of them, each printable on its own line."""

    def __init__(self, problems: Iterable[object]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RefusedError(VinfraError):
    """vinfra will not do it, and nothing was touched."""

    exit_code = ExitCode.REFUSED


class StepFailed(VinfraError):
    """A step ran and the target said no. `returncode` is the script's, `stderr` its last lines."""

    def __init__(self, message: str, returncode: int = 1, stderr: str = "", hint: str = "") -> None:
        super().__init__(message, hint)
        self.returncode = returncode
        self.stderr = stderr


class Unresolved(VinfraError):
    """A secret cannot be had from where its reference points. What needs it is unknown, and nothing else is."""

    exit_code = ExitCode.INCOMPLETE


class TransportError(VinfraError):
    """The target could not be asked. What was to be read is unknown, never absent."""

    exit_code = ExitCode.INCOMPLETE


class Unreachable(TransportError):
    """No answer, connection lost, or time ran out."""


class LeaseLost(TransportError):
    """The lease on the target ended while we worked: the next step does not run."""


class HostKeyRefused(TransportError):
    """The target's host key is unknown or is not the one we know."""


class LoginRefused(TransportError):
    """The target does not accept our key or password."""


class SudoRefused(TransportError):
    """Logged in, but not allowed to become root."""
