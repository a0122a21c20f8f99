"""A step's calls as one script that stops at the first that fails, and its output as the step's result."""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace

from vinfra.model import lease
from vinfra.model.step import (
    CHANGED,
    HELD,
    SCRATCH,
    Append,
    Call,
    Exec,
    Guard,
    Hold,
    Reboot,
    Shell,
    Step,
    StepResult,
    Virt,
    Write,
)
from vinfra.transport import access, reboot, shell

KEPT = 65536

# replace: path, mode, owner, group; content on standard input. The new file is written where only root reads it, gets
# its owner before its mode, and takes the old one's place in one rename. A file that is itself a mount point (such as
# /etc/hosts of a container) cannot be renamed over and is written in place.
_FUNCTIONS = """\
replace() {
p=$(readlink -f -- "$1" && echo .) || { echo "$1: no such directory" >&2; exit 1; }
p=${p%??} mode=$2 owner=$3 group=$4
[ "$6" != new ] || [ ! -e "$p" ] || { echo "$p: is there now, and was not when it was read; plan again" >&2; exit 1; }
[ ! -e "$p" ] || [ -f "$p" ] || { echo "$p: not a regular file" >&2; exit 1; }
if [ -e "$p" ]; then
[ -n "$mode" ] || mode=$(stat -c %a -- "$p") || exit
[ -n "$owner" ] || owner=$(stat -c %u -- "$p") || exit
[ -n "$group" ] || group=$(stat -c %g -- "$p") || exit
fi
umask 077
b=${p##*/}; [ ${#b} -lt 200 ] || b=long
rm -f -- "${p%/*}/.$b.vinfra."??????
t=$(mktemp "${p%/*}/.$b.vinfra.XXXXXX") || exit
trap 'rm -f -- "$t"' 0
trap 'exit 1' 1 2 13 15
cat >"$t" || exit
[ "$(stat -c %s -- "$t")" = "$5" ] || { echo "$p: the content did not arrive in full" >&2; exit 1; }
[ -z "$owner$group" ] || chown -- "$owner${group:+:$group}" "$t" || exit
chmod -- "${mode:-0644}" "$t" || exit
if [ -e "$p" ] && [ -d /sys/fs/selinux/booleans ]; then chcon --reference="$p" -- "$t" 2>/dev/null; fi
sync -- "$t" 2>/dev/null || sync
if grep -q -F -e " $p " /proc/self/mountinfo 2>/dev/null; then
cat -- "$t" >"$p" && chown -- "$(stat -c %u:%g -- "$t")" "$p" && chmod -- "$(stat -c %a -- "$t")" "$p"
exit
fi
mv -f -- "$t" "$p" || exit
trap - 0
if [ -d /sys/fs/selinux/booleans ]; then restorecon -- "$p" 2>/dev/null; fi
exit 0
}
end() {
printf '\\n%s end\\n' $N >&2
printf '\\n%s end %s %s\\n' $N $1 $2
}
append() {
umask 077
mkdir -p -m 0700 -- "${1%/*}" || exit
size=0; [ ! -s "$1" ] || size=$(stat -c %s -- "$1") || exit
[ ! -s "$1" ] || [ -z "$(tail -c 1 -- "$1")" ] || echo >>"$1" || exit
cat >>"$1" || { dd if=/dev/null of="$1" bs=1 seek=$size count=0 2>/dev/null; exit 1; }  # half a line is no line
}
"""

# now, then lease: the fields of the lease, and what a run does with it: grip, token, seconds, seen, dead; the holder on
# standard input. One at a time by flock (where there is none, by a folder, whose maker was killed if it is there for
# long), and one rename puts the new line there. `fenced` is asked before a step and `ours` between its calls, which go
# on when their controller was killed. `at_work` says that until the script ends.
_LEASE = f"""\
now() {{
end=0 token= holder=
[ ! -f {lease.LEASE} ] || read -r end token holder <{lease.LEASE}
case $end in ''|*[!0-9]*) end=0;; esac
read -r up _ </proc/uptime && up=${{up%%.*}}
[ $end -gt $up ] && [ $end -le $((up + {lease.LONGEST})) ] || end=0
}}
fenced() {{ now; [ $end != 0 ] && [ "$token" = "$1" ]; }}
ours() {{ now; [ "$token" = "$1" ]; }}
at_work() {{
read -r up <"/proc/$$/stat" || return
set -- ${{up##*) }}
work={lease.STEPS}/$$-${{20}}
mkdir -p -m 0700 {lease.STEPS} && : >"$work"
}}
lease() {{
umask 077
mkdir -p -m 0700 {lease.LEASE.rpartition("/")[0]} || exit 1
if command -v flock >/dev/null; then exec 8>{lease.LEASE}.lock && flock -w 20 8 || exit 1
else
i=0
until mkdir {lease.LEASE}.mutex 2>/dev/null; do
i=$((i + 1)); [ $i != 9 ] || rmdir {lease.LEASE}.mutex 2>/dev/null
sleep 1
done
trap 'rmdir {lease.LEASE}.mutex' 0
fi
now
case $1 in
take)
if [ $end != 0 ] && [ "$token" != "$2" ] && [ "$token" != "$5" ]; then r={HELD}
elif [ "$4" != any ] && [ "$4" != "=$token" ]; then r={CHANGED}
else r=0; fi;;
*) if [ "$token" = "$2" ]; then r=0; else r={HELD}; fi;;  # one that lapsed and that nobody took is still ours
esac
[ $r = 0 ] || {{ printf '%s %s %s\\n' "$((end ? end - up : 0))" "$token" "$holder"; exit $r; }}
# Copies of files as they were before a step that might have cut us off may hold secrets; no timer needs them any more.
case $1 in
take) for copies in {access.KEPT}*; do [ "$copies" = {access.KEPT}"$2" ] || rm -rf -- "$copies"; done;;
release) rm -rf -- {access.KEPT}"$2";;
esac
[ $1 = release ] && end=0 || end=$((up + $3))
{{ printf '%s %s ' $end "$2" && cat; }} >{lease.LEASE}.new && mv -f {lease.LEASE}.new {lease.LEASE}
}}
"""


def step_script(step: Step, nonce: str) -> bytes:
    """One script for all calls of a step. What is secret travels in it, and never in a process's arguments."""
    guarded = any(isinstance(call, Guard) for call in step.calls)
    leased = step.fence or any(isinstance(call, Hold) for call in step.calls)
    restarts = reboot.FUNCTION if reboot.restarts(step) else ""
    lines = [
        "{",
        shell.PREAMBLE + f"N={nonce} work=; umask 022",
        "case $(command -v printf) in /*) echo 'this shell has no printf of its own' >&2; exit 126;; esac",
        _FUNCTIONS + (_LEASE if leased else "") + (access.FUNCTIONS if guarded else "") + restarts,
        "printf '\\n%s begin\\n' $N; printf '\\n%s begin\\n' $N >&2",
    ]
    token, lost = shell.words([step.fence]), f"{{ end {len(step.calls)} {HELD}; exit 1; }}"
    if step.fence:
        lines.append(f"fenced {token} || {lost}; {_leaving()}; at_work 2>/dev/null")
    scratch = f"/tmp/vinfra-{nonce}"  # noqa: S108  made with mkdir, which fails if it is there
    calls = [_scratched(call, scratch) for call in step.calls]
    if calls != list(step.calls):
        lines.append(f"mkdir -m 0700 {scratch} || {{ end 0 1; exit 1; }}; {_leaving(scratch)}")
    for number, call in enumerate(calls):
        ok = call.ok if isinstance(call, Exec) else (0,)
        if step.fence and number:
            lines.append(f"ours {token} || {lost}")
        lines.append(_RENDERERS[type(call)](call))
        pattern = "|".join(map(str, ok))
        lines.append(f"r=$?; case $r in {pattern});; *) end {number} $r; exit 1;; esac")
    lines.append(f"end {len(step.calls) - 1} 0; exit 0; }}")
    return shell.raw("\n".join(lines) + "\n")


def _leaving(scratch: str = "") -> str:
    """The script takes its own with it at its end, also when nobody hears it any more."""
    return f"trap 'rm -rf -- \"$work\" {scratch}' EXIT; trap 'exit 1' HUP PIPE"


def _scratched(call: Call, scratch: str) -> Call:
    match call:
        case Shell() if SCRATCH in call.text:
            return Shell(call.text.replace(SCRATCH, scratch))
        case Write() if call.path.startswith(SCRATCH):
            return replace(call, path=call.path.replace(SCRATCH, scratch))
    return call


def end_of_step(nonce: str) -> bytes:
    """What both outputs of a step that came to its end hold, whether it succeeded or not."""
    return f"\n{nonce} end".encode()


def parse_step(out: bytes, err: bytes, nonce: str, step: Step) -> StepResult | None:
    """The result, or None when the script did not come to its end."""
    found = re.search(rb"\n%s end (\d+) (\d+)\n" % nonce.encode(), out)
    if not found:
        return None
    return StepResult(
        int(found[2]), heard(out[: found.start()], nonce, step), heard(err, nonce, step), 0, int(found[1])
    )


def heard(stream: bytes, nonce: str, step: Step) -> str:
    """What the calls printed, without what the login shell printed before them and without the step's secrets."""
    _, begin, after = stream.partition(f"\n{nonce} begin\n".encode())
    text = (after if begin else stream).partition(f"\n{nonce} end".encode())[0][-KEPT:].decode("utf-8", "replace")
    return hide(text, step)


def hide(text: str, step: Step) -> str:
    """A text without the step's secrets."""
    for secret in _secrets(step):
        text = text.replace(secret, "•••")
    return text


def began(out: bytes, nonce: str) -> bool:
    """Whether the script started, so that it may have done something."""
    return f"\n{nonce} begin\n".encode() in out


def _secrets(step: Step) -> list[str]:
    if not step.secret:
        return []
    texts: list[str] = []
    for call in step.calls:
        match call:
            case Exec():
                texts += [*call.stdin.decode("utf-8", "replace").splitlines(), *(value for _, value in call.env)]
            case Write():
                texts += call.content.decode("utf-8", "replace").splitlines()
            case Append():
                texts.append(call.line)
            case Shell():
                texts += call.text.split()
            case Virt():
                texts += [*re.split(r"[<>\"'\n]", call.xml), *call.content.decode("utf-8", "replace").splitlines()]
    return sorted({text.strip() for text in texts if len(text.strip()) > 3}, key=len, reverse=True)


def _exec(call: Call) -> str:
    assert isinstance(call, Exec)
    environment = "".join(f"{_name(name)}={shlex.quote(value)}; export {name}; " for name, value in call.env)
    command = f"( {environment}{shell.words(call.argv)} )"
    return f"{{ {shell.emit(call.stdin)}\n}} | {command}" if call.stdin else f"{command} </dev/null"


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"not the name of an environment variable: {name!r}")
    return name


def _write(call: Call) -> str:
    assert isinstance(call, Write)
    arguments = shell.words(
        [call.path, call.mode or "", call.owner or "", call.group or "", str(len(call.content)), "new" * call.new]
    )
    return f"{{ {shell.emit(call.content)}\n}} | ( replace {arguments} )"


def _append(call: Call) -> str:
    assert isinstance(call, Append)
    return f"{{ {shell.emit(shell.raw(call.line + chr(10)))}\n}} | ( append {shell.words([call.path])} )"


def _shell(call: Call) -> str:
    assert isinstance(call, Shell)
    # Not `sh -c`: its argument could be read in the process list while it runs.
    return f"( eval {shlex.quote(call.text)} ) </dev/null"


def _hold(call: Call) -> str:
    assert isinstance(call, Hold)
    seen = "any" if call.seen is None else f"={call.seen}"
    arguments = shell.words([call.grip, call.token, str(call.seconds), seen, call.dead])
    return f"{{ {shell.emit(shell.raw(call.holder + chr(10)))}\n}} | ( lease {arguments} )"


def _guard(call: Call) -> str:
    assert isinstance(call, Guard)
    return access.rendered(call)


def _reboot(call: Call) -> str:
    assert isinstance(call, Reboot)
    return reboot.rendered(call)


_RENDERERS: dict[type, Callable[[Call], str]] = {
    Exec: _exec,
    Write: _write,
    Append: _append,
    Shell: _shell,
    Hold: _hold,
    Guard: _guard,
    Reboot: _reboot,
}
