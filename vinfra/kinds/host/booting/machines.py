"""The virtual machines of a host that restarts: those that run go down by their own system, and come up again.

Which ran is noted on the host before the first of them is shut down, and the note goes when all of them are up: a run
that is killed on the way leaves to the next one what it must know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vinfra.kinds.kvm.reading import virsh
from vinfra.model.kind import Answers
from vinfra.model.question import Question, ReadFile
from vinfra.model.step import Exec, Step, Verb, Virt, Write

NOTE = "/var/lib/vinfra/machines-of-restart"
QUESTIONS: tuple[Question, ...] = (virsh.DOMAINS, ReadFile(NOTE))
MANY = 6
_ROOM = 60.0

# What is gone is nobody's concern; what libvirt itself starts meanwhile is no failure.
_START = f"""\
[ -f {NOTE} ] || exit 0
ask() {{ virsh -q -c qemu:///system "$@" </dev/null; }}
i=0
until ask version >/dev/null 2>&1; do
i=$((i + 1)); [ $i -lt 60 ] || {{ echo 'libvirt does not answer' >&2; exit 1; }}
sleep 1
done
bad=
while read -r name; do
state=$(ask domstate --domain "$name" 2>/dev/null) || continue
case $state in
'shut off'|crashed)
ask start --domain "$name" >/dev/null || [ "$(ask domstate --domain "$name")" = running ] || bad="$bad $name";;
esac
done <{NOTE}
[ -z "$bad" ] || {{ echo "not started:$bad" >&2; exit 1; }}
[ "$1" = keep ] || rm -f {NOTE}
"""
# As the last thing before the restart: a machine that somebody started since would be cut off.
_ALONE = """\
command -v virsh >/dev/null || exit 0
left=$(virsh -r -q -c qemu:///system list --name </dev/null 2>/dev/null) || exit 0
[ -z "$left" ] || { echo "running since the host was read:" $left >&2; exit 1; }
"""
START = Exec(("sh", "-c", _START, "sh", "forget"))
# After a shutdown that failed the note stays: one that was asked to go down may still do so.
AGAIN = Exec(("sh", "-c", _START, "sh", "keep"))
ALONE = Exec(("sh", "-c", _ALONE))
FOLDER = Exec(("install", "-d", "-m", "0700", NOTE.rpartition("/")[0]))


@dataclass(frozen=True, slots=True)
class Machines:
    """Those that run, those among them that would not come back as they were (each with the reason), and those that an
    earlier restart took down and nobody started again. `noted`: whether there is a note of such ones. `unknown` says
    why nobody knows.
    """

    running: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    noted: bool = False
    unknown: str = ""


def read(answers: Answers) -> Machines:
    """What libvirt and the note say."""
    raw, note = answers.get(virsh.DOMAINS), answers.get(ReadFile(NOTE))
    noted = note is not None and note.ok
    names = note.text.split("\n") if note is not None and note.ok else []
    if raw is None or (not raw.ok and raw.returncode != virsh.NO_SUCH_PROGRAM):
        return Machines(noted=noted, unknown=virsh.failure(raw))
    found = virsh.found(answers, virsh.DOMAINS)
    running = tuple(sorted(name for name, domain in found.items() if domain.active))
    lost = []
    for name in running:
        if not found[name].persistent:
            lost.append(f"{name} is transient, so it would be gone")
        elif found[name].state in ("paused", "pmsuspended"):
            lost.append(f"{name} is {found[name].state}, and hears no power button")
    down = tuple(sorted({name for name in names if name in found and not found[name].active}))
    return Machines(running, tuple(lost), down, noted)


def named(names: Sequence[str]) -> str:
    """Some of them by name, the rest by number."""
    more = len(names) - MANY
    return ", ".join(names[:MANY]) + (f" and {more} more" if more > 0 else "")


def shut_down(machines: Machines, seconds: float, impact: Any) -> list[Step]:
    """Note which run, then ask all of them to go down, and wait for each. One that does not: all run again."""
    names = (*machines.running, *(name for name in machines.down if name not in machines.running))
    if not names:
        return []
    content = "".join(f"{name}\n" for name in names).encode()
    note = Step(f"note that {named(names)} ran", (FOLDER, Write(NOTE, content, "0600")))
    if not machines.running:
        return [note]
    presses = tuple(Virt(Verb.DOMAIN_PRESS, name) for name in machines.running)
    waits = tuple(Virt(Verb.DOMAIN_SHUTDOWN, name, seconds=seconds) for name in machines.running)
    # What was pressed side by side is down when the slowest is; the limit is of each call.
    down = Step(
        f"shut {named(machines.running)} down", (*presses, *waits), impact, timeout=seconds + _ROOM, otherwise=(AGAIN,)
    )
    return [note, down]


def start(names: Sequence[str]) -> Step:
    """Start what ran before the restart, and forget about it once all of it does."""
    return Step(f"start {named(names)}" if names else "forget an earlier restart", (START,), timeout=300.0)
