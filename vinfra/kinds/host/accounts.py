"""Reading accounts: the user, group and shadow databases, and the keys in each home."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vinfra.kinds.compare import bringers
from vinfra.kinds.host.files import paths
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec, Question, ReadFile

GROUPS = Exec(("getent", "group"))
SOME_MISSING = 2  # getent(1): one or more supplied keys could not be found
KEY = re.compile(r"((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+)\s+([A-Za-z0-9+/]+=*)")


@dataclass(frozen=True, slots=True)
class Account:
    """One user as found. `key_problem` says why the keys cannot be managed;"""

    uid: int
    gid: int
    group: str
    groups: tuple[str, ...]
    shell: str
    home: str
    comment: str
    keys: tuple[str, ...] | None
    key_problem: str
    password: str | None


def key_of(line: str) -> tuple[str, ...]:
    """The key itself, without options and comment; () for a line that holds none."""
    found = KEY.search(line)
    return found.groups() if found and not line.lstrip().startswith("#") else ()


def _passwd(names: Iterable[str]) -> Exec:
    return Exec(("getent", "passwd", *sorted(names)))


def _shadow(names: Iterable[str]) -> Exec:
    return Exec(("getent", "shadow", *sorted(names)))


def ask(names: Sequence[str], hashed: Sequence[str], homes: Mapping[str, str], answers: Answers) -> Iterable[Question]:
    """All users in one question each of passwd, group and shadow; keys where the home is, once that is known."""
    if not names:
        return
    yield _passwd(names)
    yield GROUPS
    if hashed:
        yield _shadow(hashed)
    known = _lines(answers, _passwd(names))
    actual = {
        name: known[name][5] if isinstance(known, dict) and name in known else home for name, home in homes.items()
    }
    yield from paths.ask(_key_paths(actual), follow=False)
    yield from (ReadFile(f"{home}/.ssh/authorized_keys") for home in actual.values())


def _key_paths(homes: Mapping[str, str]) -> list[str]:
    return [path for home in homes.values() for path in (f"{home}/.ssh", f"{home}/.ssh/authorized_keys")]


def ask_names(names: Iterable[object]) -> list[Exec]:
    """Which of these users there are; nobody asks about root, or about one who is a number."""
    known = {name for name in names if isinstance(name, str) and name != "root" and not name.isdigit()}
    return [_passwd(known)] if known else []


def nobody(name: object, names: Iterable[object], answers: Answers) -> bool:
    """Whether there is surely no user of this name, by what `ask_names` asked."""
    asked = ask_names(names)
    found = _lines(answers, asked[0]) if asked else None
    return isinstance(found, dict) and name in asked[0].argv and name not in found


def no_user(name: str, what: str, scope: Scope) -> str:
    """Why something cannot run as somebody who is not there, "" if this plan may bring them."""
    brought = bringers(scope, "user:", "package:", "operation:", "command:")
    if f"user:{name}" in brought or any(not ref.startswith("user:") for ref in brought):
        return ""
    return f"there is no user {name} on this host, so {what} would not run it; declare it under users"


def _lines(answers: Answers, question: Exec) -> dict[str, list[str]] | Unknown:
    """A database's lines by name. getent's status 2 is an answer too: those not listed do not exist."""
    raw = answers.get(question)
    if raw is None:
        return Unknown("not asked yet")
    if raw.returncode not in (0, SOME_MISSING):
        return Unknown(f"getent {question.argv[1]}: {raw.err.strip() or f'exit status {raw.returncode}'}")
    rows = (line.split(":") for line in raw.text.splitlines())
    return {row[0]: row for row in rows if len(row) >= 3}


def read(names: Sequence[str], homes: Mapping[str, str], answers: Answers) -> dict[str, Account | Unknown | None]:
    """Each account, None when there is none of this name."""
    if not names:
        return {}
    users, groups = _lines(answers, _passwd(names)), _lines(answers, GROUPS)
    if isinstance(users, Unknown):
        return dict.fromkeys(names, users)
    if isinstance(groups, Unknown):
        return dict.fromkeys(names, groups)
    actual = {name: users[name][5] for name in homes if name in users}
    links = paths.read(_key_paths(actual), answers, follow=False)
    shadows = _any_shadow(answers)
    return {
        name: _account(users[name], groups, actual, links, shadows, answers) if name in users else None
        for name in names
    }


def group_names(answers: Answers) -> tuple[str, ...]:
    """Every group of the host; none when that could not be read."""
    groups = _lines(answers, GROUPS)
    return tuple(groups) if isinstance(groups, dict) else ()


def _any_shadow(answers: Answers) -> dict[str, list[str]] | Unknown:
    questions = [item for item in answers if isinstance(item, Exec) and item.argv[:2] == ("getent", "shadow")]
    return _lines(answers, questions[0]) if questions else {}


def _account(
    row: list[str],
    groups: Mapping[str, list[str]],
    homes: Mapping[str, str],
    links: Mapping[str, paths.Found | paths.Nothing | Unknown],
    shadows: Mapping[str, list[str]] | Unknown,
    answers: Answers,
) -> Account | Unknown:
    if len(row) < 7 or not row[2].isdigit():
        return Unknown(f"getent passwd: cannot make sense of {':'.join(row)}")
    if isinstance(shadows, Unknown):
        return shadows
    name = row[0]
    keys: tuple[str, ...] | Unknown | None = None
    problem = ""
    if name in homes:
        problem = _linked(homes[name], links)
        keys = _keys(homes[name], answers)
    if isinstance(keys, Unknown):
        return keys
    primary: str = next((other[0] for other in groups.values() if other[2] == row[3]), row[3])
    return Account(
        uid=int(row[2]),
        gid=int(row[3]),
        group=primary,
        groups=(primary, *(other[0] for other in groups.values() if len(other) > 3 and name in other[3].split(","))),
        shell=row[6],
        home=row[5],
        comment=row[4],
        keys=keys,
        key_problem=problem,
        password=shadows[name][1] if name in shadows else None,
    )


def _linked(home: str, links: Mapping[str, paths.Found | paths.Nothing | Unknown]) -> str:
    """root does not write through a link that a user can point anywhere."""
    for path in _key_paths({"": home}):
        there = links.get(path)
        if isinstance(there, paths.Found) and there.sort == "link":
            return f"{path} is a link; its owner could point it at any file, so keys are not written through it"
    return ""


def _keys(home: str, answers: Answers) -> tuple[str, ...] | Unknown:
    raw = answers.get(ReadFile(f"{home}/.ssh/authorized_keys"))
    if raw is None or raw.returncode not in (0, 2):
        said = raw.err.strip() if raw else "not asked"
        return Unknown(f"cannot read {home}/.ssh/authorized_keys: {said or 'no reason given'}")
    return tuple(line for line in raw.text.splitlines() if line.strip()) if raw.ok else ()
