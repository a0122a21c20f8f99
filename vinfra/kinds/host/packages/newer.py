"""What apt would bring up to date, as it is simulated while planning, and the command lines that do just that."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vinfra.kinds.host.packages import apt
from vinfra.model.kind import Answers
from vinfra.model.question import Exec as Ask
from vinfra.model.question import ReadFile
from vinfra.model.step import Exec

# apt-get(8): `upgrade` never removes anything; with new packages it is what `apt upgrade` does.
KEEPING, REMOVING = ("upgrade", "--with-new-pkgs"), ("dist-upgrade",)
AUTOMATIC = ReadFile("/var/lib/apt/extended_states", limit=4 << 20)
MANY = 8


@dataclass(frozen=True, slots=True)
class Newer:
    """A package that would come or get another version: `before` is "" for a new one, `origin` whence it comes."""

    name: str
    before: str
    after: str
    origin: str

    def __str__(self) -> str:
        return f"{self.name} {self.before} → {self.after}" if self.before else f"{self.name} {self.after} (new)"


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What apt would do. `kept` are those that it leaves as they are although there is a newer version, `unfinished`
    those that dpkg left unconfigured.
    """

    packages: tuple[Newer, ...] = ()
    removes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    error: str = ""

    @property
    def anything(self) -> bool:
        """Whether there is something to do."""
        return bool(self.packages or self.removes or self.unfinished)


def question(removals: bool, names: Iterable[str] = ()) -> Ask:
    """What apt would do about all packages, or about these alone."""
    if names:
        return Ask((*apt.SIMULATE, "install", "--only-upgrade", "--no-remove", "--", *names))
    return Ask((*apt.SIMULATE, *(REMOVING if removals else KEEPING)))


def read(asked: Ask, answers: Answers) -> Foreseen | None:
    """The simulation's answer; None before it was asked."""
    raw = answers.get(asked)
    if raw is None:
        return None
    found = re.findall(r"^Inst (\S+) (?:\[(\S+)\] )?\((\S+) (.*?) ?\[[^]]+\]\)", raw.text, re.MULTILINE)
    packages = tuple(sorted((Newer(*item) for item in found), key=lambda item: item.name))
    named = {item.name for item in packages}
    configured = re.findall(r"^Conf (\S+)", raw.text, re.MULTILINE)
    errors = [line.removeprefix("E: ") for line in raw.err.splitlines() if line.startswith("E: ")]
    return Foreseen(
        packages,
        tuple(sorted(re.findall(r"^(?:Remv|Purg) (\S+)", raw.text, re.MULTILINE))),
        tuple(sorted(_listed(raw.text, "The following packages have been kept back:"))),
        tuple(sorted({name for name in configured if name not in named})),
        "" if raw.ok else "; ".join(errors) or f"exit status {raw.returncode}",
    )


def secure(found: Foreseen) -> list[str]:
    """The packages whose newer version comes from an archive of security updates; none that would be new."""
    return [item.name for item in found.packages if item.before and "security" in item.origin.lower()]


def automatic(answers: Answers) -> frozenset[str]:
    """The packages that apt installed for others: naming one on a command line would make it one somebody wanted."""
    raw = answers.get(AUTOMATIC)
    text = raw.text if raw is not None and raw.ok else ""
    blocks = (dict(re.findall(r"^([\w-]+): *(.*)$", block, re.MULTILINE)) for block in text.split("\n\n"))
    return frozenset(block.get("Package", "") for block in blocks if block.get("Auto-Installed") == "1")


def told(packages: Iterable[object]) -> str:
    """Some of them, and how many more."""
    words = [str(item) for item in packages]
    more = len(words) - MANY
    return ", ".join(words[:MANY]) + (f" and {more} more" if more > 0 else "")


def refresh(facts: Mapping[str, Any]) -> Exec:
    """Fetch the package lists; one that cannot be had is an error, for old ones would pass for new (apt 2.1.8)."""
    return apt.lasting(
        ("apt-get", "update", "-o", "DPkg::Lock::Timeout=600", "-o", "APT::Update::Error-Mode=any"), facts
    )


# Whoever was killed may have left its work to the unit, which goes on: what is left after it is less than was planned,
# never more. Lines are `package version`; those that were planned are on standard input.
_SURE = f"""\
while systemctl --quiet is-active {apt.UNIT} 2>/dev/null; do sleep 0.3; done
planned=$(cat)
now=$("$@") || {{ echo 'apt cannot say any more what it would do: plan again' >&2; exit 1; }}
more=$(printf '%s\\n' "$now" | sed -n '
s/^Inst \\([^ ]*\\) [^(]*(\\([^ ]*\\) .*/\\1 \\2/p
s/^\\(Remv\\|Purg\\) \\([^ ]*\\).*/- \\2/p' |
while read -r line; do
case "
$planned
" in *"
$line
"*) ;; *) echo "$line";; esac
done)
[ -z "$more" ] || {{ echo "apt would do more now than was planned; plan again:" $more >&2; exit 1; }}
"""


def sure(asked: Ask, found: Foreseen) -> Exec:
    """Fails when apt would do by now what was not foreseen: somebody fetched its lists meanwhile."""
    lines = [*(f"{item.name} {item.after}" for item in found.packages), *(f"- {name}" for name in found.removes)]
    return Exec(("sh", "-c", _SURE, "sh", *asked.argv), stdin="".join(f"{line}\n" for line in lines).encode())


# A service that does not come up again on its new version is told, and fails the row: the packages stay as they are.
_WATCHED = """\
failed() { systemctl list-units --failed --plain --no-legend | cut -d' ' -f1; }
before=$(failed)
"$@" || exit
for unit in $(failed); do
case "
$before
" in *"
$unit
"*) ;; *) broken="$broken $unit";; esac
done
[ -z "$broken" ] || { echo "the packages are up to date, but these units failed, which had not:$broken" >&2; exit 1; }
"""


def upgrade(removals: bool, names: Iterable[str], facts: Mapping[str, Any]) -> Exec:
    """Do what was simulated: configuration files that somebody changed stay as they are, and nothing asks."""
    if named := tuple(names):
        how: tuple[str, ...] = ("install", *apt.OPTIONS, "--only-upgrade", "--no-remove", "--", *named)
    else:
        verb, *options = REMOVING if removals else KEEPING
        how = (verb, *apt.OPTIONS, *options)
    run = apt.lasting(("apt-get", *how), facts)
    return run if run.env else Exec(("sh", "-c", _WATCHED, "sh", *run.argv))  # with systemd, which sets it itself


def _listed(text: str, title: str) -> list[str]:
    _, found, below = text.partition(title)
    names: list[str] = []
    for line in below.splitlines()[1:] if found else ():
        if not line.startswith(" "):
            break
        names += line.split()
    return names
