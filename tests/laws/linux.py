"""A Debian host, in memory: what it answers to the host kinds' questions, and what the programs of their steps do.

A program that is not known here is a mistake of the model, and said loudly: no step may pass because nobody looked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, ClassVar

from tests.laws.disk import Disk, Entry, Failed
from vinfra.kinds.host.packages import apt
from vinfra.kinds.host.systemd.units import full
from vinfra.model import tree
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question, Raw, ReadFile, ReadTree
from vinfra.model.step import Append, Call, Exec, Write

FOLDERS = (
    "/etc/nginx",
    "/etc/ssh",
    "/usr/bin",
    "/etc/sysctl.d",
    "/etc/systemd/system",
    "/home",
    "/root",
    "/srv",
    "/var/lib/dpkg/updates",
    "/run",
    "/tmp",
)
OS = b"ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\nPRETTY_NAME='Debian 12'\n"
FILES = {
    "/etc/os-release": OS,
    "/etc/motd": b"was there before\n",
    "/proc/sys/net/ipv4/ip_forward": b"0\n",
    "/proc/sys/vm/swappiness": b"60\n",
}
# What can be installed: each with its version, the unit and the files that come with it.
PACKAGES = {"nginx": ("1.22.1-9", "nginx", "/etc/nginx/nginx.conf"), "tree": ("2.1.0-1", "", "/usr/bin/tree")}
UNITS = "/etc/systemd/system"


@dataclass
class User:
    """An account; its groups are those beside its own."""

    uid: int
    home: str
    shell: str = "/bin/sh"
    comment: str = ""
    groups: tuple[str, ...] = ()


@dataclass
class Unit:
    """A unit; `started` is when it came up, or went down."""

    active: bool = False
    enabled: bool = False
    masked: bool = False
    started: float = 0.0


@dataclass
class Linux:
    """One host. `down` is what a boot took away: nothing here survives one but the disk, which is not modelled yet."""

    disk: Disk = field(default_factory=Disk)
    users: dict[str, User] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=lambda: {"cron.service": Unit(True, True)})
    packages: dict[str, str] = field(default_factory=lambda: {"bash": "5.2"})
    read_units: float = 0.0

    def __post_init__(self) -> None:
        for folder in FOLDERS:
            self.disk.put(folder, Entry("directory", mode=0o755))
        for path, content in FILES.items():
            self.disk.put(path, Entry(content=content))
        self.disk.put(f"{apt.LISTS}/partial", Entry("directory", mode=0o755))
        self.disk.put(f"{apt.LISTS}/mirror_Packages", Entry())
        self.disk.names |= {"adm": 4, "www-data": 33}
        self.started = self.disk.clock - 1000

    # What it answers.

    def told(self, question: Question) -> Raw:
        match question:
            case ReadTree():
                known = {"/proc/uptime": f"{self.uptime:.2f} 0.00", "/proc/meminfo": "MemTotal: 67108864 kB"}
                return Raw(
                    0, tree.answer({**known, "/etc/os-release": self.disk.read(ReadFile("/etc/os-release")).text})
                )
            case ReadFile():
                return self.disk.read(question)
            case Ask((program, *words)):
                answer = self._ANSWERS.get(program)
                return answer(self, tuple(words)) if answer else Raw(127, b"", "not found")
        return Raw(127, b"", "not found")

    @property
    def uptime(self) -> float:
        return self.disk.clock - self.started

    def _getent(self, words: tuple[str, ...]) -> Raw:
        base, *names = words
        if base == "group":
            groups = [name for name in self.disk.names if name not in self.users]
            lines = [f"{name}:x:{self.disk.names[name]}:{','.join(self._members(name))}" for name in groups]
            lines += [f"{name}:x:{user.uid}:" for name, user in self.users.items()]
            return Raw(0, "\n".join(lines).encode())
        there = {name: self.users[name] for name in names if name in self.users}
        found = [
            f"{name}:x:{user.uid}:{user.uid}:{user.comment}:{user.home}:{user.shell}" for name, user in there.items()
        ]
        return Raw(0 if len(there) == len(names) else 2, "\n".join(found).encode())

    def _members(self, group: str) -> list[str]:
        return [name for name, user in self.users.items() if group in user.groups]

    def _dpkg(self, words: tuple[str, ...]) -> Raw:
        names = words[words.index("--") + 1 :]
        there = [name for name in names if name in self.packages]
        lines = [f"{name}\t{self.packages[name]}\tinstall ok installed\t1700000000" for name in there]
        missing = [f"dpkg-query: no packages found matching {name}" for name in names if name not in there]
        return Raw(1 if missing else 0, "\n".join(lines).encode(), "\n".join(missing))

    def _apt(self, words: tuple[str, ...]) -> Raw:
        """A simulation: what is installed or removed takes nothing else along."""
        names = words[words.index("--") + 1 :]
        strange = [name for name in names if name not in PACKAGES and name not in self.packages]
        if strange:
            return Raw(100, b"", "\n".join(f"E: Unable to locate package {name}" for name in strange))
        return Raw(0, "\n".join(f"Remv {name} [1]" for name in names if "remove" in words).encode())

    def _show(self, words: tuple[str, ...]) -> Raw:
        if words[0] == "is-system-running":
            return Raw(0, b"running\n")
        names = words[words.index("--") + 1 :]
        return Raw(
            0, "\n\n".join("\n".join(f"{key}={value}" for key, value in self._unit(name)) for name in names).encode()
        )

    def _unit(self, name: str) -> list[tuple[str, str]]:
        unit, file = self.units.get(name), self.disk.at(f"{UNITS}/{name}")
        if unit is None and file is None:
            return [("Id", name), ("LoadState", "not-found"), ("ActiveState", "inactive")]
        unit = unit or Unit()
        since = datetime.fromtimestamp(unit.started, UTC).strftime("%a %Y-%m-%d %H:%M:%S.%f UTC")
        return [
            ("Id", name),
            ("LoadState", "masked" if unit.masked else "loaded"),
            ("ActiveState", "active" if unit.active else "inactive"),
            ("SubState", "running" if unit.active else "dead"),
            ("UnitFileState", "masked" if unit.masked else "enabled" if unit.enabled else "disabled"),
            ("NeedDaemonReload", "yes" if file and file.time > self.read_units else "no"),
            ("Type", "simple"),
            ("RemainAfterExit", "no"),
            ("CanReload", "yes"),
            ("ExecMainStartTimestamp", since if unit.active else ""),
            ("StateChangeTimestamp", since),
        ]

    def _test(self, words: tuple[str, ...]) -> Raw:
        return Raw(0 if self.disk.at(words[-1]) else 1, b"")

    _ANSWERS: ClassVar[dict[str, Any]] = {
        "stat": lambda self, words: self.disk.stat(words),
        "ls": lambda self, words: self.disk.listing(words[-1]),
        "sha256sum": lambda self, words: self.disk.sums(words[1:]),
        "getent": _getent,
        "dpkg-query": _dpkg,
        "apt-get": _apt,
        "systemctl": _show,
        "test": _test,
        "nproc": lambda *_: Raw(0, b"16"),
        "date": lambda self, _: Raw(0, f"{self.disk.clock:.9f}".encode()),
        "uname": lambda *_: Raw(0, b"host 6.1.0 x86_64"),
        "systemd-detect-virt": lambda *_: Raw(0, b"none"),
    }

    # What it does.

    def do(self, call: Call) -> None:
        """Raises Failed with what the program says."""
        match call:
            case Append(path, line):
                known = self.disk.entries.get(path)
                text = known.content if known else b""
                text += b"\n" if text and not text.endswith(b"\n") else b""
                self.disk.put(path, Entry(content=text + line.encode() + b"\n", mode=0o600))
            case Write(path):
                if call.new and self.disk.at(path):
                    raise Failed(f"{path}: is there now, and was not when it was read; plan again")
                self.disk.write(path, call.content, call.mode, call.owner, call.group)
            case Exec((program, *words)):
                self._PROGRAMS[program](self, words, call.stdin)
            case _:
                raise AssertionError(f"the modelled host cannot do {call}")

    def _chown(self, words: list[str], _: bytes) -> None:
        owner, _, group = words[1].partition(":")
        fields = {"owner": owner} if owner else {}
        self.disk.change(words[2], **fields, **({"group": group} if group else {}))

    def _install(self, words: list[str], _: bytes) -> None:
        assert words[:3] == ["-d", "-m", "0700"], words
        self.disk.put(words[-1], Entry("directory", mode=0o700))
        self.disk.change(words[-1], owner=words[4])

    def _tee(self, words: list[str], stdin: bytes) -> None:
        entry = self.disk.at(words[1])
        if entry is None:
            raise Failed(f"tee: {words[1]}: No such file or directory")
        self.disk.put(words[1], Entry(content=stdin, mode=entry.mode))

    def _account(self, words: list[str], new: bool) -> None:
        name = words[-1]
        if new == (name in self.users):
            raise Failed(f"user '{name}' {'already exists' if new else 'does not exist'}")
        told = dict(pairwise(words))
        user = self.users.get(name) or User(max((one.uid for one in self.users.values()), default=1000) + 1, "")
        user.home = told.get("--home-dir") or told.get("--home") or user.home or f"/home/{name}"
        user.shell, user.comment = told.get("--shell", user.shell), told.get("--comment", user.comment)
        if "--groups" in told:
            user.groups = tuple(dict.fromkeys((*user.groups, *told["--groups"].split(","))))
        self.users[name] = user
        self.disk.names[name] = user.uid
        if "--create-home" in words and user.home not in self.disk.entries:
            self.disk.put(user.home, Entry("directory", mode=0o700, owner=name, group=name))

    def _userdel(self, words: list[str], _: bytes) -> None:
        if self.users.pop(words[-1], None) is None:
            raise Failed(f"userdel: user '{words[-1]}' does not exist")
        del self.disk.names[words[-1]]

    def _systemctl(self, words: list[str], _: bytes) -> None:
        verb, name = next(word for word in words if not word.startswith("-")), full(words[-1])
        if verb == "daemon-reload":
            self.read_units = self.disk.tick()
            return
        if name not in self.units and self.disk.at(f"{UNITS}/{name}") is None:
            raise Failed(f"Unit {name} could not be found.")
        unit = self.units.setdefault(name, Unit())
        if verb == "status" and not unit.active:
            raise Failed(f"{name} is not active")
        if verb in ("start", "restart") and unit.masked:
            raise Failed(f"Unit {name} is masked.")
        unit.enabled = {"enable": True, "disable": False}.get(verb, unit.enabled)
        unit.masked = {"mask": True, "unmask": False}.get(verb, unit.masked)
        if verb in ("start", "restart", "stop", "reload") or "--now" in words:
            unit.active = verb in ("start", "restart", "reload")
            unit.started = self.disk.tick()

    def _sh(self, words: list[str], _: bytes) -> None:
        """Of scripts, only the package manager's are modelled here; a hypervisor knows some more."""
        if words[:2] != ["-c", apt.LASTING]:
            raise AssertionError(f"the modelled host does not know the script {words}")
        argv = words[words.index("--") + 1 :]
        names = argv[argv.index("--") + 1 :] if "--" in argv else []
        if argv[:2] == ["apt-get", "install"]:
            for name in names:
                self.install(name)
        elif argv[:2] == ["apt-get", "remove"]:
            for name in names:
                self.uninstall(name)

    def install(self, name: str) -> None:
        if name in self.packages:
            return
        version, unit, file = PACKAGES[name]
        self.packages[name] = version
        if file not in self.disk.entries:
            self.disk.put(file, Entry(content=b"# of the package\n"))
        if unit:
            self.units.setdefault(full(unit), Unit(True, True, started=self.disk.tick()))

    def uninstall(self, name: str) -> None:
        self.packages.pop(name, None)
        if name in PACKAGES and PACKAGES[name][1]:
            self.units.pop(full(PACKAGES[name][1]), None)

    _PROGRAMS: ClassVar[dict[str, Callable[..., None]]] = {
        "rm": lambda self, words, _: self.disk.remove(words[-1]),
        "rmdir": lambda self, words, _: self.disk.remove_directory(words[-1]),
        "mkdir": lambda self, words, _: self.disk.make(words[-1], words[1]),
        "chmod": lambda self, words, _: self.disk.change(words[2], mode=int(words[1], 8)),
        "chown": _chown,
        "install": _install,
        "tee": _tee,
        "useradd": lambda self, words, _: self._account(words, new=True),
        "usermod": lambda self, words, _: self._account(words, new=False),
        "userdel": _userdel,
        "systemctl": _systemctl,
        "sleep": lambda *_: None,
        "sh": _sh,
    }

    # What it comes to.

    def state(self) -> dict[str, Any]:
        """Everything that is there, by what it is called."""
        things: dict[str, Any] = {f"path:{path}": entry for path, entry in self.disk.entries.items()}
        things |= {f"user:{name}": repr(user) for name, user in self.users.items()}
        things |= {f"unit:{name}": repr(unit) for name, unit in self.units.items()}
        return things | {f"package:{name}": version for name, version in self.packages.items()}


def sysctl_path(name: str) -> str:
    return "/proc/sys/" + re.sub(r"[.]", "/", name)
