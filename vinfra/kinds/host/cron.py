"""Jobs of cron, each in a file of its own in /etc/cron.d."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import bringers, compare, created, deleted, later, own_identity, refused, updated
from vinfra.kinds.host import accounts
from vinfra.kinds.host.files import contents, paths
from vinfra.kinds.host.schedules import crontab
from vinfra.model import spec as shape
from vinfra.model.action import Action
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Listed, Removal, Scope
from vinfra.model.question import Exec, Question, ReadFile
from vinfra.model.spec import field
from vinfra.model.step import Exec as Run
from vinfra.model.step import Step, Write
from vinfra.model.values import Text

NAME = "host.cron"
SECTION = "cron"
SHORTHAND = ""
ORDER = 64
SHARED = False
REMOVAL = Removal(when="a job that runs goes on")

FOLDER = "/etc/cron.d"
# Debian's and cronie's; whoever has one of them runs what is in the folder.
DAEMONS = ("/usr/sbin/cron", "/usr/sbin/crond")
PACKAGES = {"debian": "cron", "redhat": "cronie", "suse": "cronie"}
FILES = Exec(("ls", "-A", "-1", "--", FOLDER))
NO_SUCH_FILE = 2
LONGEST = 998  # Debian's cron passes over the file of a longer command (MAX_COMMAND in cron.h), and tells its log alone


class Spec(shape.Spec):
    """A job of cron: /etc/cron.d/vinfra-<name>."""

    FOLLOWS = ("file",)

    schedule: Text = field(
        f"When: five fields as in crontab(5), or one of {', '.join(crontab.NICKNAMES)}.",
        default=...,
        examples=("30 4 * * 1-5", "@daily"),
    )
    command: Text = field(
        "The line that sh is given. A % is just a %: it is escaped for cron.",
        default=...,
        examples=("/usr/local/bin/backup --to /srv/backup/$(date +%F)",),
    )
    user: Text = field("Who runs it.", default="root", examples=("backup",))
    env: dict[str, Text] | None = field("Environment variables, for everybody to read.", examples=({"MAILTO": "ops"},))


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a file's that cron reads; the schedule is one; everything is one line."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,100}", name):
        return "write a short name: letters, digits, - and _ (cron passes over files with a dot)"
    if not isinstance(desired, Spec) or desired.deferred:
        return ""
    if wrong := crontab.schedule_problem(desired.schedule):
        return f"schedule: {wrong}"
    return _lines(desired)


def _lines(desired: Spec) -> str:
    if not desired.command.strip() or any(ord(letter) < 32 and letter != "\t" for letter in desired.command):
        return "command is one line without control characters; write a script under files for more"
    if len(contents.encoded(desired.command.replace("%", r"\%"))) > LONGEST:
        return f"command is longer than {LONGEST} bytes, and cron would not take it; write a script under files"
    if r"\%" in desired.command:
        return r"command: write % alone, for vinfra escapes it for cron; \% would reach the shell as it is"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*\$?", desired.user):
        return "user is a user's name"
    for key, value in (desired.env or {}).items():
        if not re.fullmatch(r"[A-Za-z_]\w*", key) or "\n" in value or '"' in value:
            return f"env: {key} must be a name, and its value one line without quotes"
    return ""


identity = own_identity


def file_of(name: str) -> str:
    """The file that is this job's own."""
    return f"{FOLDER}/vinfra-{name}"


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Who runs it comes first."""
    user = getattr(desired, "user", None)
    return frozenset(), frozenset({f"user:{user}"} if user else ())


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """Each file, what it is, and whether there is a cron."""
    files = [file_of(item.address.name) for item in scope.wanted]
    if files:
        yield from paths.ask([*files, *DAEMONS])
    yield from map(ReadFile, files)
    yield from accounts.ask_names(_users(scope))


def _users(scope: Scope) -> list[object]:
    return [getattr(item.desired, "user", None) for item in scope.wanted]


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each job as its file has it; the text is among the notes."""
    files = [file_of(item.address.name) for item in scope.wanted]
    there = paths.read([*files, *DAEMONS], answers) if files else {}
    daemon = any(isinstance(there.get(path), paths.Found) for path in DAEMONS)
    found: dict[str, Answer] = {}
    for item in scope.wanted:
        nobody = accounts.nobody(getattr(item.desired, "user", None), _users(scope), answers)
        found[item.address.name] = _one(
            file_of(item.address.name), there, {"daemon": daemon, "nobody": nobody}, answers
        )
    return found


def _one(file: str, there: Mapping[str, Any], notes: dict[str, Any], answers: Answers) -> Answer:
    found, raw = there[file], answers.get(ReadFile(file))
    if isinstance(found, Unknown):
        return found
    if isinstance(found, paths.Nothing):
        return Absent(notes)
    if raw is None or not raw.ok:
        return Unknown(f"cannot read {file}: {(raw.err.strip() if raw else '') or 'no reason given'}")
    job = crontab.parsed(raw.text)
    told = {"schedule": job.schedule, "command": job.command, "user": job.user, "env": job.env or None} if job else {}
    notes |= {"text": raw.text, "found": found}
    return Present(Spec.model_construct(None, **{**dict.fromkeys(Spec.model_fields), **told}), notes)


def _text(desired: Spec) -> str:
    return crontab.written(crontab.Job(desired.schedule, desired.user, desired.command, desired.env or {}))


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Field by field; then whether the file holds that and nothing else, and cron would take it."""
    desired = resource.desired
    if not isinstance(desired, Spec):
        return deleted() if isinstance(answer, Present) else Delta(Action.NOOP)
    assert isinstance(answer, Present | Absent)
    action = Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    fields = list(compare(answer.actual if isinstance(answer, Present) else None, _spaced(desired)))
    if reason := crontab.schedule_problem(desired.schedule) or _lines(desired):
        return refused(action, reason, fields)
    if not answer.notes["daemon"]:
        if found := bringers(scope, "package:", "operation:", "command:"):
            return later(action, f"no cron here yet; {found[0]} may bring it", fields)
        package = PACKAGES.get((scope.facts.get("os") or {}).get("family") or "", "cron")
        return refused(action, f"this host has no cron: declare the package {package}", fields)
    said = accounts.no_user(desired.user, "cron", scope) if answer.notes["nobody"] else ""
    if said and fields:
        return refused(action, said, fields)
    if action is Action.CREATE:
        return created(fields)
    found = answer.notes["found"]
    odd = (found.mode, found.uid, found.gid) != ("0644", "0", "0")
    if not fields and (odd or answer.notes["text"] != _text(desired)):
        how = f"mode {found.mode}, owner {found.owner}:{found.group}" if odd else "another text"
        fields.append(FieldChange("file", how, "as vinfra writes it"))
    return updated(fields) if fields else Delta(Action.NOOP, notice=said)


def _spaced(desired: Spec) -> Spec:
    schedule, command = " ".join(desired.schedule.split()), desired.command.strip(" \t")
    return desired.model_copy(update={"schedule": schedule, "command": command})


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """One atomic write; cron itself sees it within a minute."""
    file, desired = file_of(change.address.name), change.desired
    if not isinstance(desired, Spec):
        return [Step(f"remove {file}", (Run(("rm", "-f", "--", file)),))]
    return [Step(f"write {file}", (Write(file, contents.encoded(_text(desired)), "0644", "root", "root"),))]


def undo(change: Change, scope: Scope) -> Undo:
    """The file as it was, byte for byte; a new one goes."""
    if "text" not in change.notes:
        return Undo(tuple(steps(replace(change, desired=None), scope)), early=True)
    file, found = file_of(change.address.name), change.notes["found"]
    write = Write(file, contents.encoded(change.notes["text"]), found.mode, found.uid, found.gid)
    return Undo((Step(f"{file} as it was", (write,)),))


def ask_all(answers: Answers) -> Iterable[Question]:
    """The folder; then the files in it that are ours."""
    yield FILES
    yield from map(ReadFile, _ours(answers))


def _ours(answers: Answers) -> list[str]:
    names = answers[FILES].text.splitlines() if FILES in answers else []
    return sorted(f"{FOLDER}/{name}" for name in names if re.fullmatch(r"vinfra-[\w-]+", name))


def listing(_scope: Scope, answers: Answers) -> Iterable[Listed]:
    """Those that vinfra wrote; what others wrote are files."""
    for file in _ours(answers):
        if job := crontab.parsed(answers[ReadFile(file)].text):
            fields: dict[str, Any] = {"schedule": job.schedule, "command": job.command}
            fields |= {"user": job.user} if job.user != "root" else {}
            yield Listed(file.rpartition("/vinfra-")[2], fields | ({"env": dict(job.env)} if job.env else {}))
