"""Steps that could cut off their own branch: the host itself takes them back unless a new login confirms them.

Before such a step (`Step.risks_access`), in the same round trip, the host keeps the files it names and starts a timer.
Then a new login, and sudo where it is used, must work; over that login the timer is stopped. Else it puts the files
back and runs what makes them count again. Nobody has to be alive for that but the host.
"""

import shlex
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from hashlib import sha256

from vinfra.errors import TransportError
from vinfra.model.step import GUARD_SECONDS, Guard, Step, StepResult, Watch
from vinfra.model.transport import Writer
from vinfra.transport import shell

Anew = Callable[[str], AbstractContextManager[Writer]]
# Before each run's token: the files as they were. They go when its lease is given back, or when the next one is taken,
# which is not to be had before the timer is up.
KEPT = "/run/vinfra/before-"
TAKEN = "the host has taken it back by itself"
_AFTER = 3.0  # seconds for the files to be put back once the timer is up

# arm: name, seconds, folder, then a path and its copy's name for each file; the undo script on standard input. The copy
# is of the file as it was before this run's first such step. How an earlier step of that name ended does not count: a
# rollback may do again what the host took back. confirm, revert: name, folder.
FUNCTIONS = """\
arm() {
[ -d /run/systemd/system ] && command -v systemd-run >/dev/null || {
echo 'without systemd nobody here could take this back if it shut us out' >&2; exit 1; }
umask 077
n=$1 s=$2 d=$3; shift 3
mkdir -p -m 0700 /run/vinfra "$d" && rm -f -- "$d/$n.done" && cat >"$d/$n" || exit
while [ $# -gt 1 ]; do
if [ -e "$d/$2" ] || [ -e "$d/$2.none" ]; then :
elif [ -f "$1" ]; then cp -pL -- "$1" "$d/$2" || exit
else : >"$d/$2.none" || exit
fi
shift 2
done
systemd-run --quiet --collect --unit=$n --on-active=$s --timer-property=AccuracySec=100ms /bin/sh "$d/$n"
}
confirm() {
systemctl stop $1.timer 2>/dev/null
[ ! -e "$2/$1.done" ] && ! systemctl is-active --quiet $1.service || {
echo 'the host has taken it back by itself' >&2; exit 1; }
rm -f -- "$2/$1"
}
revert() {
systemctl stop $1.timer 2>/dev/null
[ ! -e "$2/$1.done" ] || { echo 'the host has taken it back by itself' >&2; exit 0; }
[ ! -e "$2/$1" ] || /bin/sh "$2/$1"
}
"""


def rendered(call: Guard) -> str:
    """A guard's call as a line of shell."""
    folder = f"{KEPT}{call.run}"
    name = f"vinfra-undo-{call.name}"
    if call.watch is not Watch.ARM:
        return f"( {call.watch} {shell.words([name, folder])} ) </dev/null"
    copies = [(path, sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]) for path in call.paths]
    words = shell.words([name, str(call.seconds), folder, *(word for pair in copies for word in pair)])
    lines = [f"cd {shlex.quote(folder)} || exit", f": >{name}.done"]
    for path, copy in copies:
        lines += [
            f"if p=$(readlink -f -- {shlex.quote(path)}) && [ -f {copy} ]; then",
            f'cp -p -- {copy} "$p.vinfra-undo" && mv -f -- "$p.vinfra-undo" "$p"',
            f'elif [ -e {copy}.none ]; then rm -f -- "$p"; fi',
        ]
    lines += [shell.words(command) for command in call.again]
    return f"{{ {shell.emit(shell.raw(chr(10).join(lines) + chr(10)))}\n}} | ( arm {words} )"


def guarded(step: Step, host: str, token: str, writer: Writer, anew: Anew) -> StepResult:
    """Run a step under guard and the lease's `token`; `anew` makes a new login to a host.

    A result that is no success when the host took the step back. Raises TransportError when that is not known.
    """
    name = f"{token}-{sha256(step.summary.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    arm = Guard(Watch.ARM, token, name, step.guards, step.again)
    began = time.monotonic()
    result = writer.run(replace(step, calls=(arm, *step.calls), fence=token))
    if result.returncode:
        back = writer.run(Step(f"take back: {step.summary}", (Guard(Watch.REVERT, token, name),), fence=token))
        # What the step said of it last ("Cannot find device") came of that, if the timer was up before its end.
        late = f"after {GUARD_SECONDS} s {TAKEN}, while it still ran; it ended with: " if TAKEN in back.err else ""
        return replace(result, call=max(0, result.call - 1), err=f"{late}{result.err}")
    confirm = Step(f"confirm: {step.summary}", (Guard(Watch.CONFIRM, token, name),), fence=token)
    try:
        with anew(host) as login:
            confirmed = login.run(confirm)
    except TransportError as error:
        return _taken_back(step, host, began, error.message, anew)
    if confirmed.returncode:
        return StepResult(1, err=f"{step.summary} cut us off for too long ({confirmed.err.strip()})")
    return result


def _taken_back(step: Step, host: str, began: float, why: str, anew: Anew) -> StepResult:
    time.sleep(max(0.0, began + GUARD_SECONDS + _AFTER - time.monotonic()))
    said = f"after it no new login was possible ({why})"
    try:
        with anew(host) as login:
            login.run(Step("look whether it is back", ()))
    except TransportError as error:
        raise TransportError(f"{step.summary}: {said}, and {host} is not back", error.message) from error
    return StepResult(1, err=f"{said}; {host} has taken it back by itself")
