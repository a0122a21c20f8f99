"""Reading what stands at a path: one question for all paths of a kind, and what each of them told."""

import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from posixpath import dirname as above

from vinfra.kinds.compare import bringers, refused
from vinfra.model.action import Action
from vinfra.model.answer import Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Delta
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec
from vinfra.model.source import NOWHERE

# Neither a user's name nor a group's can hold a colon; the path comes last, for it can hold anything.
FORMAT = "%f:%U:%G:%u:%g:%s:%.9Y:%n"

SORTS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at a path. Owner and group are numbers if they have no name; `modified` is in seconds since 1970."""

    sort: str
    mode: str
    owner: str
    group: str
    uid: str
    gid: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Nothing:
    """The path does not exist; we looked."""


def ask(paths: Iterable[str], follow: bool = True) -> list[Exec]:
    """The question about all these paths, none when there are none; `follow`: about what a link points to."""
    known = sorted(set(paths))
    flags = ("-L",) if follow else ()
    return [Exec(("stat", *flags, "-c", FORMAT, "--", *known))] if known else []


def read(paths: Iterable[str], answers: Answers, follow: bool = True) -> dict[str, Found | Nothing | Unknown]:
    """What is known of each path. What could not be looked at is Unknown, with what the host said."""
    known = sorted(set(paths))
    if not known:
        return {}
    raw = answers.get(ask(known, follow)[0])
    if raw is None:
        return dict.fromkeys(known, Unknown("not asked yet"))
    there = dict(filter(None, map(_line, raw.text.splitlines())))
    return {path: there.get(path) or _missing(path, raw.returncode, raw.err) for path in known}


def watched(scope: Scope) -> list[str]:
    """Every path of a kind here, and the directory above each."""
    return [path for item in scope.wanted for path in (item.address.name, above(item.address.name))]


def ask_aliases(scope: Scope) -> list[Exec]:
    """Only when something is to go: which thing each path is, so that none goes that another name still means."""
    names = sorted({ref.partition(":")[2] for ref in scope.siblings if ref.startswith(("file:", "directory:"))})
    going = any(item.desired is None for item in scope.wanted)
    return [Exec(("stat", "-L", "-c", "%d:%i:%n", "--", *names))] if going else []


def alias(name: str, scope: Scope, answers: Answers) -> str:
    """The path that is to stay and is the same thing as this one through a link; "" for none."""
    raw = next((answers[question] for question in ask_aliases(scope) if question in answers), None)
    lines = [line.split(":", 2) for line in raw.text.splitlines()] if raw else []
    things = {parts[2]: (parts[0], parts[1]) for parts in lines if len(parts) == 3}
    wanted = {ref.partition(":")[2] for ref, item in scope.siblings.items() if item.desired is not None}
    same = (path for path, thing in things.items() if path != name and thing == things.get(name))
    return next((path for path in same if path in wanted), "")


def with_aliases(found: dict[str, Answer], scope: Scope, answers: Answers) -> dict[str, Answer]:
    """The answers, with the other name among the notes of what is there and is to go."""
    for item in scope.wanted:
        answer = found[item.address.name]
        if item.desired is None and isinstance(answer, Present):
            answer.notes["alias"] = alias(item.address.name, scope, answers)
    return found


def staying(resource: Resource, other: str) -> Delta:
    """What becomes of something that is to go and is also something that is to stay."""
    reason = f"it is {other} under another name"
    stays = Delta(Action.NOOP, reason=f"stays: {reason}")
    return stays if resource.position is NOWHERE else refused(Action.DELETE, f"{reason}, which is to stay")


def _line(line: str) -> tuple[str, Found] | None:
    parts = line.split(":", 7)
    if len(parts) != 8:
        return None
    raw, owner, group, uid, gid, size, modified, path = parts
    try:
        mode = int(raw, 16)
        return path, Found(
            sort=SORTS.get(stat.S_IFMT(mode), "unknown"),
            mode=f"{stat.S_IMODE(mode):04o}",
            owner=uid if owner == "UNKNOWN" else owner,
            group=gid if group == "UNKNOWN" else group,
            uid=uid,
            gid=gid,
            size=int(size),
            modified=float(modified),
        )
    except ValueError:
        return None


def _missing(path: str, returncode: int, err: str) -> Nothing | Unknown:
    """Only stat's own word counts as absence: `stat: cannot statx '/x': No such file or directory`."""
    for line in err.splitlines():
        subject, _, reason = line.rpartition(": ")
        if _unquoted(subject).endswith(f" {path}"):
            return (
                Nothing() if reason in ("No such file or directory", "Not a directory") else Unknown(f"stat: {reason}")
            )
    return Unknown(f"stat: exit status {returncode}, and not a word about {path}")


# coreutils quote a name as a shell would: 'it'\\''s', 'a'$'\\303\\274', "it's".
_QUOTED = re.compile(r"\$'((?:\\.|[^'])*)'|'([^']*)'|\"([^\"]*)\"|\\(.)|(.)", re.DOTALL)


def _unquoted(subject: str) -> str:
    """What stat says, with the names in it as they are."""
    found = bytearray()
    for escaped, single, double, one, other in _QUOTED.findall(subject):
        if escaped:
            found += re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), escaped.encode())
        else:
            found += (single or double or one or other).encode("utf-8", "surrogateescape")
    return found.decode("utf-8", "surrogateescape")


def parents(path: str) -> list[str]:
    """The directories above a path, the nearest first, without `/`."""
    found = []
    while (path := above(path)) not in ("/", ""):
        found.append(path)
    return found


def mounts_above(path: str) -> frozenset[str]:
    """References to what may be mounted where a path is: that comes before."""
    return frozenset(f"mount:{one}" for one in (path, *parents(path)))


def name_problem(name: str) -> str:
    """Why a name cannot be a path we manage; "" if it can."""
    if not name.startswith("/"):
        return "write the absolute path, such as /etc/motd"
    if name != "/" and (name.endswith("/") or "//" in name or {".", ".."} & set(name.split("/"))):
        return "write the path without '.', '..', doubled or trailing slashes"
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return "a path with control characters is not supported"
    return "" if name != "/" else "the root directory is not a thing to manage"


def unmade_parent(path: str, notes: dict[str, object], scope: Scope) -> tuple[bool, str]:
    """Whether the directory above may still come, and why the path cannot be made right now ("" if it can)."""
    parent = above(path)
    mounts = [ref for ref in bringers(scope, "mount:") if f"{path}/".startswith(f"{ref.partition(':')[2]}/")]
    if mounts:
        return True, f"{mounts[-1]} comes before it, and may hold it"
    if notes.get("parent") != "nothing":
        problem = str(notes.get("parent", ""))
        return False, f"{parent} {problem}" if problem else ""
    sibling = scope.siblings.get(f"directory:{parent}")
    if sibling is not None and sibling.desired is not None:
        return False, ""
    found = bringers(scope, "package:", "operation:", "user:")
    if found:
        return True, f"{parent} is not there yet; {found[0]} may bring it"
    return False, f"{parent} does not exist; declare it under directories"


def parent_note(path: str, found: dict[str, Found | Nothing | Unknown]) -> dict[str, object]:
    """The note that `unmade_parent` reads: nothing at all when the directory above is there."""
    parent = found.get(above(path))
    if parent is None or (isinstance(parent, Found) and parent.sort == "directory"):
        return {}
    if isinstance(parent, Unknown):
        return {"parent": f"cannot be looked at: {parent.reason}"}
    return {"parent": "nothing"} if isinstance(parent, Nothing) else {"parent": f"is a {parent.sort}, not a directory"}
