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

    After `--` come names. With `free`, any option may follow: no option of that program writes. `alone`: nothing may
    follow, for a further word could be a command.
    """

    lead: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    free: bool = False
    alone: bool = False

    def allows(self, arguments: tuple[str, ...]) -> bool:
        """Whether a call with these arguments can only read."""
        if arguments[: len(self.lead)] != self.lead:
            return False
        rest = arguments[len(self.lead) :]
        if self.alone:
            return not rest
        words = rest[: rest.index("--")] if "--" in rest else rest
        return self.free or all(word in self.options for word in words if word.startswith("-"))

    def __str__(self) -> str:
        return " ".join((*self.lead, *(f"[{option}]" for option in self.options), "…" if self.free else "")).strip()


# To add a program, show from its manual that it cannot write when called so. apt-get(8) changes nothing with -s, but as
# root it still writes its caches and the planner's log (both seen on Debian 12), and a later -o could take -s back.
# rpm(8) runs a shell for --eval. date(1) sets the clock with -s. No option of grep(1) writes. blkid(8) keeps no cache
# with -p. dumpe2fs(8) and xfs_db(8) with -r open a device for reading alone. lvm(8) takes no lock and keeps neither
# backup nor hints when called so, and asks the kernel nothing. nft(8) takes all its words for one text of commands,
# with `;` between. firewall-cmd(1) changes nothing with --info-policy and --list-…. iptables-save(8) writes with -f.
# No option of realpath(1) writes. sshd(8): -T checks the configuration, prints it and exits.
_SIMULATE = ("-s", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "Dir::Log::Planner=/dev/null")
_LVM = ("--readonly", "--nohints", "--reportformat", "json", "--units", "b", "--nosuffix", "-o")
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
    "blkid": (Reads(("-p", "-o", "export")),),
    "cmp": (Reads(("-n",)),),
    "date": (Reads(("+%s.%N",)),),
    "df": (Reads(("-P", "-k", "-T", "-l")),),
    "dpkg-query": (Reads(("-W",), ("-f",)),),
    "dumpe2fs": (Reads(("-h",)),),
    "findmnt": (Reads(("-J", "-l", "-o")),),
    "firewall-cmd": tuple(
        Reads((*scope, what), alone=True)
        for scope in ((), ("--permanent",))
        for what in ("--info-policy=vinfra", "--list-all-zones", "--list-all-policies")
    ),
    "getent": (Reads(),),
    "grep": (Reads(free=True),),
    "ip": (
        *(Reads(("-j", noun, "show")) for noun in ("addr", "route", "link")),
        *(Reads(("-j", *options, "show")) for options in (("-d", "addr"), ("-6", "route"))),
    ),
    "ip6tables-save": (Reads(("-t", "filter"), alone=True),),
    "iptables-save": (Reads(("-t", "filter"), alone=True),),
    "ls": (Reads(free=True),),
    "lsblk": (Reads(free=True),),
    "lvs": (Reads(_LVM),),
    "modinfo": (Reads(("-F", "filename", "--")),),
    "nft": (Reads(("-j", "list", "table", "inet", "vinfra"), alone=True),),
    # nmcli(1): `connection show` takes no property to set, and without --show-secrets tells none.
    "nmcli": (Reads(("-t", "-f", "UUID,DEVICE,FILENAME", "connection", "show", "--active")),),
    "nproc": (Reads(),),
    "pvs": (Reads(_LVM),),
    "realpath": (Reads(("-m", "--")),),
    "rpm": (Reads(("-q",), ("--qf",)),),
    "sha256sum": (Reads(("--",)),),
    "sshd": (Reads(("-T",), alone=True),),
    "stat": (Reads(free=True),),
    "systemctl": (
        Reads(("show",), ("-p", "--timestamp=us+utc")),
        Reads(("is-system-running",)),
        Reads(("list-units", "--failed", "--plain", "--no-legend")),
    ),
    "systemd-analyze": (Reads(("calendar", "--")),),
    "systemd-detect-virt": (Reads(),),
    "test": (Reads(free=True),),
    "timedatectl": (Reads(("show",), ("-p",)),),
    "uname": (Reads(free=True),),
    "vgs": (Reads(_LVM),),
    "xfs_db": (Reads(("-r", "-c", "info")),),
}


# Where files are the kernel's own: small, made while they are read, and reading changes nothing. Left out are those
# that hand out what is then gone (/proc/kmsg, the traces) and devices' own memory (`rom`, `vpd`).
KERNEL = (
    *("/proc/net/", "/proc/pressure/", "/proc/sys/"),
    *(
        "/sys/block/",
        "/sys/bus/pci/devices/",
        "/sys/bus/usb/devices/",
        "/sys/class/",
        "/sys/devices/system/",
        "/sys/hypervisor/",
    ),
    *("/sys/firmware/devicetree/base/", "/sys/firmware/efi/", "/sys/fs/selinux/", "/sys/kernel/iommu_groups/"),
    *("/sys/kernel/mm/", "/sys/kernel/security/", "/sys/module/", "/sys/power/"),
)
UNREAD = frozenset({"config", "dump", "mem", "raw", "rom", "trace", "trace_pipe", "vpd"})
SINGLE_FILES = frozenset(
    {
        *("/etc/hosts", "/etc/os-release", "/etc/timezone", "/usr/lib/os-release"),
        *("/proc/cmdline", "/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/modules"),
        *("/proc/self/mountinfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/version", "/proc/vmstat"),
        *("/run/reboot-required.pkgs", "/run/systemd/container"),
    }
)
_PATTERN = re.compile(r"(/[A-Za-z0-9_.:*+-]+(\[[0-9a-z-]+\][A-Za-z0-9_.*-]*)?)+")


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
class ReadTree:
    """Many small files at once, for the price of one program; paths may hold `*` and `[0-9]`, as a shell's do.

    Of `files` the first `lines` lines are read, of `links` where they point to, of `names` which of them there are.
    What is not there or may not be read is left out; model.tree reads the answer.
    """

    files: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    lines: int = 512

    def __post_init__(self) -> None:
        for path in (*self.files, *self.links, *self.names):
            if not _PATTERN.fullmatch(path) or ".." in path:
                raise QuestionRefused(f"not a path or pattern: {path}")
        for path in self.files:
            folder, _, leaf = path.rpartition("/")
            memory = path.startswith("/sys/") and leaf in UNREAD
            kernels = f"{folder}/".startswith(KERNEL) and not memory and not set("*[") & set(leaf)
            if not kernels and path not in SINGLE_FILES:
                raise QuestionRefused(f"not known to be small and harmless to read: {path}", "see model/question.py")


@dataclass(frozen=True, slots=True)
class ReadMarks:
    """Every blueprint's mark file on this host (model.mark), one after the other, in JSON lines."""


@dataclass(frozen=True, slots=True)
class ReadLibvirt:
    """All objects of one sort that the host's libvirt has, through a connection that libvirt itself holds read-only.

    Raw.out is what `virsh -r` answered to a batch of commands, each answer after a line `virsh > COMMAND`;
    Raw.returncode is 127 where there is no virsh. "domains": state, autostart, persistent and live XML. "networks": the
    same, and leases. "pools": the same, and their volumes' XML. "snapshots": each one's XML, of all domains.
    "capabilities": the host's, and libvirt's version.
    "domcapabilities": what QEMU can do, of each accelerator and board. libvirt answers that to a writing connection
    only, for it can name a program to run, which these fixed words do not (docs/decisions/0026).
    "backends": what types of pools it can have, as XML. "secrets": their uuids and what each is of; never a value,
    which libvirt itself gives nobody over such a connection.
    """

    sort: Literal["domains", "networks", "pools", "snapshots", "capabilities", "domcapabilities", "backends", "secrets"]


@dataclass(frozen=True, slots=True)
class ReadLogin:
    """By which way we are here, as sshd(8) says it in SSH_CONNECTION: client's address and port, our own ones.

    They are as the host sees them, whatever translates addresses on the way. Raw.returncode 2 when it was not by SSH.
    """


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


Question = Exec | ReadFile | ReadTree | ReadMarks | ReadLibvirt | ReadLogin | PyinfraFact


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
