"""What may be asked of a host while reading: a closed set of typed questions, none of which can write.

A kind returns questions as data; a transport renders all of a host's questions into one script, so that a round of
discovery costs one round trip. There is no question that holds shell text.
"""

from dataclasses import dataclass
from typing import NamedTuple

from vinfra.errors import VinfraError

# Programs that only read when called with one of these leading arguments; () allows any argument. A program that can
# write is listed only with the arguments that make it read. To add one, show from its manual that it cannot write.
READ_ONLY: dict[str, tuple[tuple[str, ...], ...]] = {
    "apt-get": (
        ("-s", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="),
    ),  # apt-get(8): -s changes nothing; no cache files
    "date": (("+%s.%N",),),
    "dpkg-query": (("-W",),),
    "getent": ((),),
    "ip": (("-j", "addr", "show"), ("-j", "route", "show"), ("-j", "link", "show")),
    "ls": (("-A", "-1"),),  # ls(1): no option of it writes
    "lsblk": (("-J",),),
    "nproc": ((),),
    "rpm": (("-q",),),
    "sha256sum": (("--",),),
    "stat": (("-c",), ("-L", "-c")),
    "systemctl": (("show",), ("is-system-running",)),
    "systemd-detect-virt": ((),),
    "test": ((),),
    "uname": ((),),
}


# Facts of pyinfra's library that do more than read: one runs any command, the others fetch keys or write to a keyring.
REFUSED_FACTS = frozenset({"server.Command", "gpg.GpgKey", "gpg.GpgKeys", "gpg.GpgSecretKeys"})


class QuestionRefused(VinfraError):
    """A kind tried to ask something that is not known to be read-only: a bug in the kind."""


@dataclass(frozen=True, slots=True)
class Exec:
    """Run a program that only reads; `argv` is never seen by a shell unquoted. Raw.out is its standard output."""

    argv: tuple[str, ...]

    def __post_init__(self) -> None:
        allowed = READ_ONLY.get(self.argv[0], ())
        if not any(self.argv[1 : 1 + len(lead)] == lead for lead in allowed):
            raise QuestionRefused(f"not a read-only question: {' '.join(self.argv)}", "see model/question.py")


@dataclass(frozen=True, slots=True)
class ReadFile:
    """The first `limit` bytes of a file, links followed. Raw.returncode 2 when the path does not exist."""

    path: str
    limit: int = 65536


@dataclass(frozen=True, slots=True)
class ReadMarks:
    """Every blueprint's mark file on this host (model.mark), one after the other, in JSON lines."""


@dataclass(frozen=True, slots=True)
class PyinfraFact:
    """A fact of pyinfra's own library, such as `server.Which`, with its arguments; rendered by pyinfra itself."""

    name: str
    arguments: tuple[tuple[str, object], ...] = ()


Question = Exec | ReadFile | ReadMarks | PyinfraFact


class Raw(NamedTuple):
    """What a host said to one question: exit status (127: no such program), standard output, standard error."""

    returncode: int
    out: bytes
    err: str = ""

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are kept by surrogateescape."""
        return self.out.decode("utf-8", "surrogateescape")

    @property
    def ok(self) -> bool:
        """Whether the program ended with status 0."""
        return self.returncode == 0
