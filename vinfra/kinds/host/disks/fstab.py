"""/etc/fstab: its entries, and how one line of it is changed while every other stays as it is, byte for byte."""

import re
from dataclasses import dataclass

from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import ReadFile
from vinfra.model.step import Exec, Step

FILE = "/etc/fstab"
QUESTION = ReadFile(FILE)
NO_SUCH_FILE = 2

# Words: the line as it was read ("" for none), the new one ("" to remove it), the comment above it, which field tells
# the entry (1: what, 2: where) and its value. The new table is checked before it takes the old one's place; what was
# wrong before is not held against it. systemd makes its units from it anew. What is so already is no error.
_EDIT = """\
old=$1 new=$2 comment=$3 field=$4 value=$5
file=$(readlink -f -- /etc/fstab) || exit
set -f
umask 022
rm -f -- "$file.vinfra"
if [ -e "$file" ]; then cp -p -- "$file" "$file.vinfra"; else : >"$file.vinfra"; fi || exit
trap 'rm -f -- "$file.vinfra"' EXIT
entry() {
set -- $1
case $1 in ''|'#'*) return 1;; esac
[ $field = 2 ] || set -- x "$1"
[ "$2" = "$value" ]
}
done= held= already=
copy() {
while IFS= read -r line || [ -n "$line" ]; do
if [ -z "$done" ] && [ -n "$old" ] && [ "$line" = "$old" ]; then
done=yes
if [ -n "$new" ]; then [ -z "$held" ] || printf '%s\\n' "$comment"; printf '%s\\n' "$new"; fi
held=
continue
fi
[ -z "$held" ] || printf '%s\\n' "$comment"
held=
if [ -n "$new" ] && [ "$line" = "$new" ]; then already=yes
elif entry "$line"; then echo "/etc/fstab has another line for $value now; plan again" >&2; return 1; fi
if [ "$line" = "$comment" ]; then held=yes; else printf '%s\\n' "$line"; fi
done
[ -z "$held" ] || printf '%s\\n' "$comment"
if [ -n "$already" ]; then [ -z "$done" ] || return 1
elif [ -z "$old" ]; then [ -n "$held" ] || printf '%s\\n' "$comment"; printf '%s\\n' "$new"
elif [ -z "$done$new" ]; then :
elif [ -z "$done" ]; then echo "/etc/fstab was changed since it was read; plan again" >&2; return 1; fi
}
if [ -e "$file" ]; then copy <"$file" >"$file.vinfra"; else copy </dev/null >"$file.vinfra"; fi || exit
last=
[ ! -e "$file" ] || last=$(tail -n 1 -- "$file")
if [ -n "$last" ] && [ -n "$(tail -c 1 -- "$file")" ] && [ "$(tail -n 1 -- "$file.vinfra")" = "$last" ]; then
truncate -s -1 -- "$file.vinfra" || exit
fi
if ! said=$(findmnt --verify --tab-file "$file.vinfra" 2>&1) && findmnt --verify --tab-file "$file" >/dev/null 2>&1
then
echo "findmnt does not take the new line:" >&2
printf '%s\\n' "$said" | grep -F -e '[E]' -e error >&2
exit 1
fi
sync -- "$file.vinfra" 2>/dev/null || sync
mv -f -- "$file.vinfra" "$file" || exit
[ ! -d /run/systemd/system ] || systemctl daemon-reload
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table, as it is there and as it reads."""

    line: str
    source: str
    target: str
    type: str
    options: tuple[str, ...]
    dump: int
    passno: int


def read(answers: Answers) -> tuple[Entry, ...] | Unknown:
    """Every entry; none when there is no such file."""
    raw = answers.get(QUESTION)
    if raw is None or raw.returncode not in (0, NO_SUCH_FILE):
        return Unknown(f"cannot read {FILE}: {(raw.err.strip() if raw else '') or 'no reason given'}")
    if len(raw.out) >= QUESTION.limit:
        return Unknown(f"{FILE} is longer than {QUESTION.limit} bytes")
    return tuple(filter(None, map(_entry, raw.text.split("\n")))) if raw.ok else ()


def _entry(line: str) -> Entry | None:
    words = line.split()
    if not words or words[0].startswith("#") or len(words) < 2:
        return None
    source, target, sort, options, dump, passno = (*words, *("auto", "defaults", "0", "0")[max(len(words) - 2, 0) :])[
        :6
    ]
    numbers = [int(word) if word.isascii() and word.isdecimal() else 0 for word in (dump, passno)]
    return Entry(line, _plain(source), _plain(target), sort, tuple(_plain(options).split(",")), *numbers)


def _plain(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


def escaped(word: str) -> str:
    """A word as the table has it: white space and backslashes in octal."""
    return re.sub(r"[\s\\#]", lambda found: f"\\{ord(found[0]):03o}", word)


def line(entry: Entry) -> str:
    """The line that says what an entry says."""
    options = escaped(",".join(entry.options) or "defaults")
    return f"{escaped(entry.source)} {escaped(entry.target)} {entry.type} {options} {entry.dump} {entry.passno}"


def edit(reference: str, old: Entry | None, new: Entry | None) -> Step:
    """The step that writes, changes or removes the line of a mount or a swap area."""
    one = new or old
    assert one is not None
    field, value = ("1", one.source) if one.type == "swap" else ("2", one.target)
    before, after = old.line if old else "", (new.line or line(new)) if new else ""
    words = (before, after, f"# vinfra: {reference}", field, escaped(value))
    said = f"{'add' if not old else 'change' if new else 'remove'} the line of {value} in {FILE}"
    return Step(said, (Exec(("sh", "-c", _EDIT, "sh", *words)),))
