"""All of a host's questions as one script, and its output as the answers.

The script writes nothing, not even a temporary file: each question's output goes straight into one compressed stream,
its errors into a variable, and a line with a nonce ends each answer.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Sequence

from vinfra.errors import TransportError
from vinfra.model import mark
from vinfra.model.question import (
    Exec,
    PyinfraFact,
    Question,
    Raw,
    ReadFile,
    ReadLibvirt,
    ReadLogin,
    ReadMarks,
    ReadTree,
)
from vinfra.transport import pyinfra_facts, shell

_LIMIT = 60

# program: spares a host that does not have it the timeout(1) that would find that out.
# present: ends with 2 for what does not exist, with 1 for what may not be looked at.
# timeout(1) costs as much as the program it watches. These ask nobody but the kernel, which always answers; `test` is
# part of the shell. The kernel's own files cannot hang either.
_PROMPT = ("date", "nproc", "test", "uname")

# limit: sets $T to the words that put a time limit before a command (coreutils, then two generations of busybox).
# ask: runs one question. A question that hung once makes the limit short for the rest, or 300 of them would take hours.
_FUNCTIONS = """\
limit() {
if timeout -k 2 9 true; then T="timeout -k 2 $1"
elif timeout 9 true; then T="timeout $1"
elif timeout -t 9 true; then T="timeout -t $1"
else T=
fi
} </dev/null 2>/dev/null
ask() {
n=$1; shift
e=$("$@" </dev/null 2>&1 >&3 3>&-); r=$?
case $r in
124|137|143) r=124; e="no answer in time
$e"; [ -z "$T" ] || limit 3;;
esac
printf '\\n%s %s %s\\n%s\\n%s.\\n' "$N" "$n" "$r" "$e" "$N" >&3
}
program() {
command -v "$1" >/dev/null || { echo "$1: not found" >&2; exit 127; }
$T "$@"
}
present() {
[ -e "$1" ] && return 0
d=${1%/*}
if [ -d "${d:=/}" ] && [ -x "$d" ] && [ ! -L "$1" ]; then
echo "$1: No such file or directory" >&2
exit 2
fi
m=$(ls -dL -- "$1" 2>&1 >/dev/null) && return 0
printf '%s\\n' "$m" >&2
case $m in *": No such file or directory"|*": Not a directory") exit 2;; esac
exit 1
}
content() {
present "$3"
[ -f "$3" ] || { echo "$3: not a regular file" >&2; exit 1; }
case $3 in /proc/*) $1 -c "$2" -- "$3";; *) $T $1 -c "$2" -- "$3";; esac
}
marks() {
m=$(ls -dL -- "$1" 2>&1 >/dev/null) || case $m in
*": No such file or directory") exit 0;;
*) printf '%s\\n' "$m" >&2; exit 1;;
esac
[ -r "$1" ] && [ -x "$1" ] || { echo "$1: Permission denied" >&2; exit 1; }
for f in "$1"/*.jsonl; do
[ -e "$f" ] || [ -L "$f" ] || continue
[ -f "$f" ] || { echo "$f: not a regular file" >&2; exit 1; }
s=$(wc -c <"$f") || exit 1
[ "$s" -le $2 ] || { echo "$f: larger than $2 bytes" >&2; exit 1; }
cat -- "$f" && echo || exit 1
done
}
"""

# login: sudo(8) takes the variable away from the root shell, but what started sudo has it.
_LOGIN = """\
login() {
p=$$
while [ "${p:-1}" -gt 1 ]; do
c=$(tr '\\0' '\\n' <"/proc/$p/environ" 2>/dev/null | sed -n 's/^SSH_CONNECTION=//p')
[ -z "$c" ] || { printf '%s\\n' "$c"; exit 0; }
IFS= read -r s <"/proc/$p/stat" || exit 1
set -- ${s##*) }; p=$2
done
echo 'not by SSH' >&2
exit 2
}
"""

# libvirt: what libvirt has of one sort, asked of one virsh in a batch; only what runs has a second, live definition.
# A volume is named by its path, which no name can be mistaken for; in a Ceph pool that is POOL/NAME. Blockers, what
# models lack that are not usable, are four fifths of what libvirt 11.3 says of domcapabilities.
_LIBVIRT = r"""
libvirt() {
command -v virsh >/dev/null || { echo 'no virsh here' >&2; exit 127; }
export XDG_CACHE_HOME=/dev/null  # or virsh would write its history
v() { $T virsh -q -r -c qemu:///system "$@"; }
case $1 in
domains) i=dumpxml l=list;;
networks) i=net-dumpxml l=net-list;;
pools) i=pool-dumpxml l=pool-list;;
domcapabilities)
for t in kvm qemu; do
for m in q35 pc; do echo "domcapabilities --virttype $t --machine $m"; done
done | $T virsh -q -c qemu:///system | sed '/<blockers /,/<\/blockers>/d'
exit;;
backends) v pool-capabilities; exit;;
secrets) v secret-list; exit;;
snapshots)
a=$(v list --all --uuid) || exit
for u in $a; do
v snapshot-list $u --name </dev/null | sed -n 's/["\\]/\\&/g
s,^\(..*\)$,snapshot-dumpxml '$u' "\1",p'
done | v
exit;;
*) v capabilities && { echo version | v; exit 0; }; exit;;
esac
a=$(v $l --all --uuid) && r=$(v $l --uuid) || exit
{
echo "$l --all --autostart --uuid"
echo "$l --all --transient --uuid"
if [ $1 = domains ] && [ -n "$a" ]; then
echo 'domstats --state'
for u in $(v list --all --with-snapshot --uuid </dev/null); do echo "snapshot-list $u --name"; done
fi
for u in $a; do echo "$i --inactive $u"; done
for u in $r; do
echo "$i $u"
case $1 in
networks) echo "net-dhcp-leases $u";;
pools)
v vol-list $u </dev/null | sed -n 's/["\\]/\\&/g
s,^[^/]*[[:space:]]\(/.*[^[:space:]]\)[[:space:]]*$,vol-dumpxml --pool '$u' "\1",p
t
s,^ *[^ /]*  *\([^ /]*/[^ ]*\) *$,vol-dumpxml --pool '$u' "\1",p';;
esac
done
} | v
}
"""


# tree: names (a pattern each: what is not there stays a pattern), where links point, then every line of the files after
# its path. One grep reads them all: a process a file would cost more than all the rest, and dash's `read` takes a call
# to the kernel for each byte. Folders come as PATTERN=LEAVES, so that each is looked through once; a long list grows by
# pieces, which is what bash takes well. So many files that they do not fit a command line go in several goes.
_TREE = r"""
tree() {
m=$1
printf '%s\n' $2
echo =links
[ -z "$3" ] || $T ls -ld -- $3 2>/dev/null
[ $? -lt 124 ] || exit 124
echo =files
f=$4
shift 4
l= n=0
for g in "$@"; do
for d in ${g%%=*}; do
for e in ${g#*=}; do l="$l $d/$e"; done
n=$((n + 1))
[ $((n % 64)) != 0 ] || { f="$f$l"; l=; }
done
done
f="$f$l"
set -f
set -- $f
[ $# -gt 0 ] || exit 0
if [ $# -le 4000 ]; then $T grep -saH -m $m '' -- "$@"
else printf '%s\0' "$@" | $T xargs -0 -n 1000 grep -saH -m $m '' -- | head -c 16777216
fi
r=$?
[ $r -le 2 ] || exit $r
}
"""
# What only some questions need.
_MORE = ((ReadLibvirt, _LIBVIRT), (ReadTree, _TREE), (ReadLogin, _LOGIN))


def probe_script(questions: Sequence[Question], nonce: str, limit: int = _LIMIT) -> bytes:
    """One script for all questions; a repeated question is asked once. `limit`: seconds for each."""
    asks = [f"ask {number} {_render(question)}" for number, question in enumerate(dict.fromkeys(questions))]
    lines = [
        "{",
        shell.PREAMBLE + f"N={nonce}",
        _FUNCTIONS + "".join(text for sort, text in _MORE if any(isinstance(item, sort) for item in questions)),
        f"limit {limit}",
        "if gzip -1 </dev/null >/dev/null 2>&1; then z='gzip -1'; else z=cat; fi",
        "printf '\\n%s begin\\n' $N",
        "{ exec 3>&1",
        *asks,
        "} | $z",
        "printf '\\n%s end\\n' $N",
        "exit 0; }",
    ]
    return shell.raw("\n".join(lines) + "\n")


def end_of_probe(nonce: str) -> bytes:
    """What the output of a complete probe ends with."""
    return f"\n{nonce} end\n".encode()


def parse_probe(output: bytes, questions: Sequence[Question], nonce: str) -> dict[Question, Raw]:
    """The answer to each question. Raises TransportError unless every one of them is there in full."""
    begin, end = f"\n{nonce} begin\n".encode(), end_of_probe(nonce)
    start = output.find(begin)
    stop = output.find(end, start)
    if start < 0 or stop < 0:
        raise TransportError("the answers were cut short", "run it again; if it stays, look at the host's login shell")
    stream = _unpacked(output[start + len(begin) : stop])
    answers: dict[Question, Raw] = {}
    position = 0
    for number, question in enumerate(dict.fromkeys(questions)):
        answers[question], position = _answer(stream, position, number, nonce.encode())
    return answers


def _unpacked(data: bytes) -> bytes:
    start = data.find(b"\x1f\x8b\x08")
    if start < 0:
        return data
    try:
        return gzip.decompress(data[start:])
    except (OSError, EOFError, zlib.error) as error:
        hint = "something on the host writes into our output, perhaps a background job of its login shell"
        raise TransportError("the answers were damaged on the way", hint) from error


def _answer(stream: bytes, position: int, number: int, nonce: bytes) -> tuple[Raw, int]:
    head = re.compile(rb"\n%s %d (\d+)\n" % (nonce, number)).search(stream, position)
    tail = b"\n%s.\n" % nonce
    stop = stream.find(tail, head.end()) if head else -1
    if head is None or stop < 0:
        raise TransportError("an answer is missing from what the host said")
    errors = stream[head.end() : stop].decode("utf-8", "replace")
    return Raw(int(head[1]), stream[position : head.start()], errors), stop + len(tail)


def _render(question: Question) -> str:
    return _RENDERERS[type(question)](question)


def _exec(question: Question) -> str:
    assert isinstance(question, Exec)
    return ("" if question.argv[0] in _PROMPT else "program ") + shell.words(question.argv)


def _read_file(question: Question) -> str:
    assert isinstance(question, ReadFile)
    return f"content {'tail' if question.last else 'head'} {int(question.limit)} {shell.words([question.path])}"


def _read_tree(question: Question) -> str:
    assert isinstance(question, ReadTree)
    names = (path if _wild(path) else f"{path[:-1]}[{path[-1]}]" for path in question.names)
    plain = (path for path in question.files if not _wild(path))
    folders: dict[str, list[str]] = {}
    for path in filter(_wild, question.files):
        parts = path.split("/")
        end = max(number for number, part in enumerate(parts) if _wild(part)) + 1
        folders.setdefault("/".join(parts[:end]), []).append("/".join(parts[end:]))
    lists = [" ".join(paths) for paths in (names, question.links, plain)]
    groups = [f"{folder}={' '.join(leaves)}" for folder, leaves in folders.items()]
    return f"tree {int(question.lines)} {shell.words([*lists, *groups])}"


def _wild(path: str) -> bool:
    return not {"*", "["}.isdisjoint(path)


def _read_marks(_: Question) -> str:
    return f"marks {mark.DIRECTORY} {mark.LARGEST}"


def _read_libvirt(question: Question) -> str:
    assert isinstance(question, ReadLibvirt)
    return f"libvirt {question.sort}"


def _read_login(_: Question) -> str:
    return "login"


def _fact(question: Question) -> str:
    assert isinstance(question, PyinfraFact)
    return f"$T sh -c {shell.words([pyinfra_facts.command_text(question)])}"


_RENDERERS: dict[type, Callable[[Question], str]] = {
    Exec: _exec,
    ReadFile: _read_file,
    ReadTree: _read_tree,
    ReadMarks: _read_marks,
    ReadLibvirt: _read_libvirt,
    ReadLogin: _read_login,
    PyinfraFact: _fact,
}
