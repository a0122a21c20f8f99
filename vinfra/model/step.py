"""What apply will do, as data: it can be printed, saved, journalled and replayed.

A step is one line for the reader and a few calls for the transport, which runs all of them in one round trip and stops
at the first that fails.
"""

from dataclasses import dataclass

from vinfra.model.action import Impact

# In a Shell's text or a Write's path: a folder made for this one step, open to nobody else, and gone after it.
SCRATCH = "/tmp/vinfra-scratch"  # noqa: S108  the transport puts an unforeseeable name in its place


@dataclass(frozen=True, slots=True)
class Exec:
    """Run a program. `argv` is quoted by the transport; `stdin` is sent to it; `env` is added to LC_ALL=C.

    `ok` lists the exit statuses that count as success.
    """

    argv: tuple[str, ...]
    stdin: bytes = b""
    env: tuple[tuple[str, str], ...] = ()
    ok: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Write:
    """Replace a file atomically (temporary file beside it, sync, rename); None keeps what is there, or root's 0644.

    Symbolic links are followed, so that the file they name is replaced. `mode` is octal digits ("0644"). With `new` the
    step fails when something is there: it appeared since the plan was made, and is not ours to overwrite.
    """

    path: str
    content: bytes
    mode: str | None = None
    owner: str | None = None
    group: str | None = None
    new: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """Add one line to a file that only vinfra writes (0600, its directory 0700, both made when missing)."""

    path: str
    line: str


@dataclass(frozen=True, slots=True)
class Shell:
    """A command line already quoted by its maker: what pyinfra's operations yield. No kind builds one itself."""

    text: str


Call = Exec | Write | Append | Shell


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do on one host. `summary` is its line in the plan; `timeout` is in seconds.

    `secret` says that a call holds what must not be printed or saved.
    """

    summary: str
    calls: tuple[Call, ...]
    impact: Impact = Impact.LIVE
    timeout: float = 600.0
    secret: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended: exit status of the call that ended it (0: all ran), the last of both outputs, which call."""

    returncode: int
    out: str = ""
    err: str = ""
    seconds: float = 0.0
    call: int = 0
