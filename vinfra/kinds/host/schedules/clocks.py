"""What sets a host's clock: chrony's configuration, the other programs that would, and whether the clock is right."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vinfra.kinds.host.systemd import units
from vinfra.model.kind import Answers
from vinfra.model.question import Exec, ReadFile
from vinfra.model.step import Call, Step, Write
from vinfra.model.step import Exec as Run

CONFIGURATIONS = ("/etc/chrony/chrony.conf", "/etc/chrony.conf")
CHRONY = ("chrony.service", "chronyd.service")
OTHERS = ("systemd-timesyncd.service", "ntpsec.service", "ntp.service", "ntpd.service", "openntpd.service")
CLOCK = Exec(("timedatectl", "show", "-p", "Timezone", "-p", "NTPSynchronized"))
LINK = Exec(("stat", "-c", "%N", "--", "/etc/localtime"))
ZONES = "/usr/share/zoneinfo"
TAKEN_OUT = "# vinfra: "
SOURCE = re.compile(r"\s*(server|pool|peer)\s+\S")


@dataclass(frozen=True, slots=True)
class Setup:
    """chrony's main file, the file of ours that it reads, and whether that is one of sources alone."""

    main: str
    text: str
    own: str
    reloads: bool


def guesses() -> tuple[str, ...]:
    """Where our file is on the distributions that are known: right guesses save a round trip."""
    return "/etc/chrony/sources.d/vinfra.sources", "/etc/chrony.d/vinfra.conf"


def setup(answers: Answers) -> Setup | str:
    """How this host's chrony is told of sources (chrony.conf(5)); or in a sentence why it cannot be told."""
    for main in CONFIGURATIONS:
        raw = answers.get(ReadFile(main))
        if raw is not None and raw.ok:
            return _read(main, raw.text)
    return "no chrony here"


def _read(main: str, text: str) -> Setup | str:
    for pattern, name, reloads in (
        (r"^\s*sourcedir\s+(/etc/\S+)", "vinfra.sources", True),
        (r"^\s*confdir\s+(/etc/\S+)", "vinfra.conf", False),
        (r"^\s*include\s+(/etc/\S+)/\*\.conf", "vinfra.conf", False),
    ):
        if match := re.search(pattern, text, re.MULTILINE):
            return Setup(main, text, f"{match[1].rstrip('/')}/{name}", reloads)
    return f"{main} reads no folder: add a line `sourcedir /etc/chrony/sources.d` to it"


def others_in(text: str) -> bool:
    """Whether chrony's main file names sources of its own."""
    return any(map(SOURCE.match, text.splitlines()))


def without(text: str) -> str:
    """The main file with its own sources taken out, as comments that `again` knows."""
    return "".join(f"{TAKEN_OUT}{line}" if SOURCE.match(line) else line for line in text.splitlines(keepends=True))


def again(text: str) -> str:
    """The main file with what was taken out put back."""
    return "".join(line.removeprefix(TAKEN_OUT) for line in text.splitlines(keepends=True))


def sources(servers: Iterable[str], pools: Iterable[str]) -> str:
    """Our file. What is given without options asks quickly at first."""
    lines = [("server", item) for item in servers] + [("pool", item) for item in pools]
    return "".join(f"{kind} {item if ' ' in item else f'{item} iburst'}\n" for kind, item in lines)


def parsed(text: str, kind: str) -> tuple[str, ...]:
    """The servers or pools of our file, as a blueprint writes them."""
    found = re.findall(rf"^\s*{kind}\s+(.*\S)\s*$", text, re.MULTILINE)
    return tuple(re.sub(r"^(\S+) iburst$", r"\1", " ".join(line.split())) for line in found)


def zone(answers: Answers) -> str | None:
    """The time zone, by what /etc/localtime points to."""
    raw = answers.get(LINK)
    match = re.search(rf"-> '(?:\.\./)*/?{ZONES.lstrip('/')}/([^']+)'", raw.text) if raw else None
    return match[1] if match else None


def synchronized(answers: Answers) -> bool | None:
    """Whether the kernel holds the clock to be right; None where nobody says."""
    raw = answers.get(CLOCK)
    match = re.search(r"^NTPSynchronized=(yes|no)$", raw.text, re.MULTILINE) if raw else None
    return None if match is None else match[1] == "yes"


def zone_step(zone: str, named: bool) -> Step:
    """As timedatectl does it (it needs D-Bus): a link that takes the old one's place; Debian 12 has its name too."""
    fresh = "/etc/localtime.vinfra-new"
    calls: list[Call] = [
        Run(("ln", "-sfn", "--", f"{ZONES}/{zone}", fresh)),
        Run(("mv", "-fT", "--", fresh, "/etc/localtime")),
    ]
    if named:
        calls.append(Write("/etc/timezone", f"{zone}\n".encode(), "0644", "root", "root"))
    return Step(f"the time zone is {zone}", tuple(calls))


def chrony(known: Mapping[str, units.Unit]) -> str | None:
    """The unit that this host's chrony is."""
    return next((unit for unit in CHRONY if unit in known and known[unit].load == "loaded"), None)
