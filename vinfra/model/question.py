"""What may be asked of a host while reading: a closed set of typed questions, none of which can write.

A kind returns questions as data; a transport renders all of a host's questions into one script, so that a round of
discovery costs one round trip. There is no question that holds shell text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from vinfra.errors import VinfraError


@dataclass(frozen=True, slots=True)
class Reads:
    """How a program is called so that it only reads: these arguments first, then only these options, then any words.

    After `--` come names. With `free`, any option may follow: no option of that program writes.
    """

    lead: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    free: bool = False

    def allows(self, arguments: tuple[str, ...]) -> bool:
        """Whether a call with these arguments can only read."""
        if arguments[: len(self.lead)] != self.lead:
            return False
        rest = arguments[len(self.lead) :]
        words = rest[: rest.index("--")] if "--" in rest else rest
        return self.free or all(word in self.options for word in words if word.startswith("-"))

    def __str__(self) -> str:
        return " ".join((*self.lead, *(f"[{option}]" for option in self.options), "…" if self.free else "")).strip()


# To add a program, show from its manual that it cannot write when called so. apt-get(8) changes nothing with -s, but as
# root it still writes its caches and the planner's log (both seen on Debian 12), and a later -o could take -s back.
# rpm(8) runs a shell for --eval. date(1) sets the clock with -s.
_SIMULATE = ("-s", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "Dir::Log::Planner=/dev/null")
READ_ONLY: dict[str, tuple[Reads, ...]] = {
    "apt-get": (
        Reads(
            _SIMULATE,
            (
                *("--no-remove", "--allow-downgrades", "--no-install-recommends", "--install-recommends"),
                *("--with-new-pkgs", "--only-upgrade"),
            ),
        ),
    ),
    "date": (Reads(("+%s.%N",)),),
    "dpkg-query": (Reads(("-W",), ("-f",)),),
    "getent": (Reads(),),
    "ip": tuple(Reads(("-j", noun, "show")) for noun in ("addr", "route", "link")),
    "ls": (Reads(free=True),),
    "lsblk": (Reads(free=True),),
    "modinfo": (Reads(("-F", "filename", "--")),),
    "nproc": (Reads(),),
    "rpm": (Reads(("-q",), ("--qf",)),),
    "sha256sum": (Reads(("--",)),),
    "stat": (Reads(free=True),),
    "systemctl": (
        Reads(("show",), ("-p", "--timestamp=us+utc")),
        Reads(("is-system-running",)),
        Reads(("list-units", "--failed", "--plain", "--no-legend")),
    ),
    "systemd-detect-virt": (Reads(),),
    "test": (Reads(free=True),),
    "uname": (Reads(free=True),),
}


# Facts of pyinfra's library that do more than read: one runs any command, the others fetch keys or write to a keyring.
REFUSED_FACTS = frozenset({"server.Command", "gpg.GpgKey", "gpg.GpgKeys", "gpg.GpgSecretKeys"})


# Modules of pyinfra's facts whose commands only read and whose arguments are never programs. Many put an argument into
# their command unquoted, so it may hold no character that means something to a shell, but for those that facts.files
# quotes. A block's marker stands between the slashes of an awk pattern.
QUOTED = frozenset({"path", "pattern", "fname", "iname", "regex", "path_match"})
HARMLESS = {
    "": r"[\w@%+=:,./~^-]*",
    **dict.fromkeys(("files.Block marker", "files.Block begin", "files.Block end"), r"[\w@%+=:,.~ #<>!{}-]*"),
}
FACT_MODULES = frozenset(
    {
        "apk",
        "apt",
        "deb",
        "dnf",
        "files",
        "git",
        "hardware",
        "pacman",
        "rpm",
        "selinux",
        "server",
        "systemd",
        "yum",
        "zypper",
    }
)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(tuple(value.items()))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _texts(item)


class QuestionRefused(VinfraError):
    """A kind tried to ask something that is not known to be read-only: a bug in the kind."""


@dataclass(frozen=True, slots=True)
class Exec:
    """Run a program that only reads; `argv` is never seen by a shell unquoted. Raw.out is its standard output."""

    argv: tuple[str, ...]

    def __post_init__(self) -> None:
        if not any(rule.allows(self.argv[1:]) for rule in READ_ONLY.get(self.argv[0], ())):
            raise QuestionRefused(f"not a read-only question: {' '.join(self.argv)}", "see model/question.py")


@dataclass(frozen=True, slots=True)
class ReadFile:
    """The first `limit` bytes of a file, or the last ones; links followed. Raw.returncode 2 when it does not exist."""

    path: str
    limit: int = 65536
    last: bool = False


@dataclass(frozen=True, slots=True)
class ReadMarks:
    """Every blueprint's mark file on this host (model.mark), one after the other, in JSON lines."""


@dataclass(frozen=True, slots=True)
class ReadLibvirt:
    """All objects of one sort that the host's libvirt has, through a connection that libvirt itself holds read-only.

    Raw.out is what `virsh -r` answered to a batch of commands, each answer after a line `virsh > COMMAND`;
    Raw.returncode is 127 where there is no virsh. "domains": state, autostart, persistent and live XML. "networks": the
    same, and leases. "pools": the same, and their volumes' XML. "capabilities": the host's, and libvirt's version.
    """

    sort: Literal["domains", "networks", "pools", "capabilities"]


@dataclass(frozen=True, slots=True)
class PyinfraFact:
    """A fact of pyinfra's own library, such as `server.Which`, with its arguments; rendered by pyinfra itself."""

    name: str
    arguments: tuple[tuple[str, object], ...] = ()

    def __post_init__(self) -> None:
        module = self.name.partition(".")[0]
        if module not in FACT_MODULES or self.name in REFUSED_FACTS:
            raise QuestionRefused(f"pyinfra's fact {self.name} is not known to only read", "see model/question.py")
        for name, value in self.arguments:
            harmless = HARMLESS.get(f"{self.name} {name}", HARMLESS[""])
            quoted = module == "files" and name in QUOTED and not self._unquoted()
            odd = [] if quoted else [text for text in _texts(value) if not re.fullmatch(harmless, text)]
            if odd:
                raise QuestionRefused(f"pyinfra's fact {self.name} is asked about {odd[0]!r}: a shell could misread it")

    def _unquoted(self) -> bool:
        given = dict(self.arguments)
        return bool(given.get("interpolate_variables")) or not given.get("quote_path", True)


Question = Exec | ReadFile | ReadMarks | ReadLibvirt | PyinfraFact


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
