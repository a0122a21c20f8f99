"""Asking apt what it would do, and the command lines that do it.

Everything apt installs or removes is simulated while planning, so that nobody is surprised by what else goes or comes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vinfra.model.kind import Answers
from vinfra.model.question import READ_ONLY, Raw
from vinfra.model.question import Exec as Ask
from vinfra.model.step import Exec

LISTS = "/var/lib/apt/lists"
STALE = 86400.0
SIMULATE = ("apt-get", *READ_ONLY["apt-get"][0].lead)
LISTS_CHANGED = Ask(("stat", "-c", "%Y:%n", "--", LISTS, f"{LISTS}/partial"))
LISTS_THERE = Ask(("ls", "-A", "-1", "--", LISTS))
INTERRUPTED = Ask(("ls", "-A", "-1", "--", "/var/lib/dpkg/updates"))
NOW = Ask(("date", "+%s.%N"))

ENVIRONMENT = (("DEBIAN_FRONTEND", "noninteractive"), ("NEEDRESTART_SUSPEND", "1"), ("LC_ALL", "C.UTF-8"))
OPTIONS = (
    *("-y", "-o", "DPkg::Lock::Timeout=600", "-o", "APT::Get::AutomaticRemove=false"),
    *("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"),
)


@dataclass(frozen=True, slots=True)
class Simulated:
    """What apt would do for a whole set of packages. `unknown` are those its lists do not hold, with its words.

    `upgrades` are all that are installed and get another version.
    """

    removes: frozenset[str] = frozenset()
    downgrades: frozenset[str] = frozenset()
    upgrades: frozenset[str] = frozenset()
    instead: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def ask() -> list[Ask]:
    """How old the package lists are, and whether dpkg was interrupted."""
    return [LISTS_CHANGED, LISTS_THERE, INTERRUPTED, NOW]


def lists_age(answers: Answers) -> float | None:
    """Seconds since the package lists last changed; None when there are none, or nobody knows."""
    changed, there, now = (answers.get(question) for question in (LISTS_CHANGED, LISTS_THERE, NOW))
    if changed is None or there is None or now is None or "Packages" not in there.text:
        return None
    times = [int(stamp) for stamp in re.findall(r"^(\d+):", changed.text, re.MULTILINE)]
    try:
        return max(0.0, float(now.text) - max(times))
    except ValueError:
        return None


def lists_changed(answers: Answers) -> int:
    """When the package lists last changed, in seconds since 1970; 0 when there are none, or nobody knows."""
    changed, age = answers.get(LISTS_CHANGED), lists_age(answers)
    times = [int(stamp) for stamp in re.findall(r"^(\d+):", changed.text, re.MULTILINE)] if changed else []
    return 0 if age is None else max(times)


def interrupted(answers: Answers) -> bool:
    """Whether dpkg left a journal behind; then apt does nothing before `dpkg --configure -a`."""
    raw = answers.get(INTERRUPTED)
    return raw is not None and any(line.isdigit() for line in raw.text.splitlines())


def simulate(verb: str, names: Iterable[str], answers: Answers) -> Ask | Simulated:
    """What apt would do with these, or the question that is to be asked next. `verb` may carry options."""
    rest, unknown = sorted(set(names)), dict[str, str]()
    while rest:
        question = Ask((*SIMULATE, *verb.split(), "--", *rest))
        raw = answers.get(question)
        if raw is None:
            return question
        strange = {item: word for item in rest if (word := _unknown(item, raw.err))}
        if raw.ok or not strange:
            return _parsed(raw, unknown)
        unknown |= strange
        rest = [item for item in rest if item not in strange]
    return Simulated(unknown=unknown)


def _unknown(item: str, err: str) -> str:
    name, _, version = item.partition("=")
    for said in (
        f"Unable to locate package {name}",
        f"Version '{version}' for '{name}' was not found",
        f"Package '{name}' has no installation candidate",
    ):
        if re.search(rf"^E: {re.escape(said)}$", err, re.MULTILINE):
            return said
    return ""


def _parsed(raw: Raw, unknown: dict[str, str]) -> Simulated:
    error = "; ".join(line.removeprefix("E: ") for line in raw.err.splitlines() if line.startswith("E: "))
    return Simulated(
        removes=frozenset(re.findall(r"^(?:Remv|Purg) (\S+)", raw.text, re.MULTILINE)),
        upgrades=frozenset(re.findall(r"^Inst (\S+) \[", raw.text, re.MULTILINE)),
        downgrades=frozenset(_listed(raw.text, "The following packages will be DOWNGRADED:")),
        instead={old: new for new, old in re.findall(r"^Note, selecting '(\S+)' instead of '(\S+)'", raw.text, re.M)},
        unknown=unknown,
        error="" if raw.ok else error or f"exit status {raw.returncode}",
    )


def _listed(text: str, title: str) -> list[str]:
    """apt lists packages on indented lines below a title."""
    _, found, below = text.partition(title)
    lines = below.splitlines()[1:] if found else []
    names: list[str] = []
    for line in lines:
        if not line.startswith(" "):
            break
        names += line.split()
    return names


# One unit at a time, under one name: a run whose controller was killed is waited for. Its output goes to the journal,
# not to us: with our end of a pipe gone, apt would die in the middle of its work.
UNIT = "vinfra-packages.service"
LASTING = f"""\
while systemctl --quiet is-active {UNIT}; do sleep 0.3; done
systemd-run --quiet --wait --collect --unit={UNIT} "$@" && exit 0
status=$?
journalctl --quiet --no-pager --output=cat --unit={UNIT} --lines=12 >&2
exit $status
"""


def lasting(argv: tuple[str, ...], facts: Mapping[str, Any]) -> Exec:
    """As a transient unit where systemd runs: it outlives a lost connection and ends what dpkg began."""
    if not (facts.get("systemd") or {}).get("running"):
        return Exec(argv, env=ENVIRONMENT)
    settings = tuple(f"--setenv={name}={value}" for name, value in ENVIRONMENT)
    return Exec(("sh", "-c", LASTING, "sh", *settings, "--", *argv))


def update(facts: Mapping[str, Any]) -> Exec:
    """Fetch the package lists."""
    return lasting(("apt-get", "update", "-o", "DPkg::Lock::Timeout=600"), facts)


def finish(facts: Mapping[str, Any]) -> Exec:
    """End what an interrupted dpkg began."""
    return lasting(("dpkg", "--force-confdef", "--force-confold", "--configure", "-a"), facts)


@dataclass(frozen=True, slots=True)
class Flags:
    """How to install: `again` unpacks anew what is half there, `replaces` lets others go that were foreseen to go."""

    recommends: bool = False
    downgrade: bool = False
    again: bool = False
    replaces: bool = False


def install(names: Iterable[str], facts: Mapping[str, Any], how: Flags) -> Exec:
    """Install or change versions; never at the price of a package that was not foreseen to go."""
    flags = ["--install-recommends" if how.recommends else "--no-install-recommends"]
    flags += ["--allow-downgrades"] if how.downgrade else []
    flags += ["--reinstall"] if how.again else []
    flags += [] if how.replaces else ["--no-remove"]
    return lasting(("apt-get", "install", *OPTIONS, *flags, "--", *names), facts)


def remove(names: Iterable[str], facts: Mapping[str, Any]) -> Exec:
    """Remove, keeping configuration files and everything else."""
    return lasting(("apt-get", "remove", *OPTIONS, "--", *names), facts)
