"""Everything of the host kinds that somebody made on a host: what is worth declaring, and what can only be told of.

Of files only those are listed that lie in folders for additions (sysctl.d and the like) and that no package brought; of
packages those that were asked for; of services those that are not as their distribution would have them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vinfra.kinds.host import accounts
from vinfra.kinds.host.files import paths
from vinfra.kinds.host.packages import roles
from vinfra.model.kind import Answers, Listed, Scope
from vinfra.model.question import Exec, Question, ReadFile

# The two that are always there make ls write the name of each folder above what is in it.
FOLDERS = (
    *("/etc", "/usr/local"),
    *("/etc/apt/apt.conf.d", "/etc/apt/preferences.d", "/etc/apt/sources.list.d", "/etc/cron.d", "/etc/logrotate.d"),
    *("/etc/modprobe.d", "/etc/modules-load.d", "/etc/profile.d", "/etc/ssh/sshd_config.d", "/etc/sudoers.d"),
    *("/etc/sysctl.d", "/etc/systemd/system", "/etc/tmpfiles.d", "/etc/udev/rules.d", "/usr/local/bin"),
    "/usr/local/sbin",
)
ENTRIES = Exec(("ls", "-A", "-1", "-p", "--", *FOLDERS))
CONFFILES = Exec(("dpkg-query", "-W", "-f", "${Conffiles}\n"))
PACKAGES = Exec(
    ("dpkg-query", "-W", "-f", "${binary:Package}\t${Priority}\t${Essential}\t${Section}\t${db:Status-Status}\n")
)
AUTOMATIC = ReadFile("/var/lib/apt/extended_states", limit=16 << 20)
UNITS = Exec(
    (
        *("systemctl", "show", "-p", "Id,UnitFileState,UnitFilePreset,ActiveState,FragmentPath,Type", "--"),
        *("*.service", "*.timer", "*.socket", "*.path"),
    )
)
LIBRARIES = ("libs", "oldlibs")  # nobody asks for these, whatever an installer noted
USERS, GROUPS = Exec(("getent", "passwd")), accounts.GROUPS
NO_PROGRAM = 127
# login.defs(5): UID_MIN and UID_MAX as the distributions have them.
PEOPLE = range(1000, 60000)
OWN_SYSCTL = re.compile(r"/etc/sysctl\.d/90-vinfra-.*\.conf")
# Files of other kinds, which list them themselves.
OWN = re.compile(
    r"/etc/((sysctl|modules-load|modprobe|tmpfiles)\.d/(90|zz)-vinfra-.*\.conf|cron\.d/vinfra-[\w-]+"
    r"|systemd/system/vinfra-[\w-]+\.(timer|service)|apt/(sources\.list|preferences)\.d/vinfra-[\w-]+\.(sources|pref))"
)
LIMIT = ReadFile("/").limit


def _unread(answers: Answers, *questions: Question) -> Iterator[Listed]:
    """A line for each question that came to nothing, though the host has the program."""
    for question in questions:
        raw = answers.get(question)
        if raw is None or (not raw.ok and raw.returncode not in (2, NO_PROGRAM)):
            yield Listed("", note=" ".join(raw.err.split() if raw else ()) or "the host gave no answer")


def ask_packages(_answers: Answers) -> Iterable[Question]:
    """What dpkg has, and what of that came as a dependency."""
    return (PACKAGES, AUTOMATIC)


def packages(scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Those that were asked for; a host without dpkg lists none."""
    yield from _unread(answers, PACKAGES)
    stanzas = answers[AUTOMATIC].text.split("\n\n") if answers[AUTOMATIC].ok else []
    automatic = {_field(stanza, "Package") for stanza in stanzas if _field(stanza, "Auto-Installed") == "1"}
    for name, owner in sorted(_asked_for(answers, automatic, _by_role(scope))):
        yield Listed(name, {}, owner=owner)


def _asked_for(answers: Answers, automatic: set[str], owners: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for line in answers[PACKAGES].text.splitlines():
        name, priority, essential, section, status = (*line.split("\t"), *(5 * ("",)))[:5]
        needed = priority in ("required", "important", "standard") or essential == "yes" or section in LIBRARIES
        if status == "installed" and not needed and name.partition(":")[0] not in automatic:
            yield name, owners.get(name.partition(":")[0], "")


def _by_role(scope: Scope) -> dict[str, str]:
    """The packages that a mark means by their role, and its blueprint."""
    family = (scope.facts.get("os") or {}).get("family")
    roled = [(mark, mark.identity.get("role")) for marks in scope.marks.values() for mark in marks]
    return {name: mark.blueprint for mark, role in roled if role for name in roles.packages(role, family)}


def _field(stanza: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", stanza, re.MULTILINE)
    return found[1] if found else ""


def ask_users(answers: Answers) -> Iterable[Question]:
    """All accounts; then the keys that let people in."""
    yield from (USERS, GROUPS)
    for row in _people(answers):
        yield ReadFile(_keys(row))


def _people(answers: Answers) -> list[list[str]]:
    rows = [line.split(":") for line in answers[USERS].text.splitlines()] if USERS in answers else []
    return [row for row in rows if len(row) == 7 and row[2].isdigit() and int(row[2]) in PEOPLE]


def _keys(row: list[str]) -> str:
    return f"{row[5]}/.ssh/authorized_keys"


def users(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """People, not the system's own accounts; never a password or its hash."""
    yield from _unread(answers, USERS, GROUPS)
    groups = [line.split(":") for line in answers[GROUPS].text.splitlines()]
    for row in sorted(_people(answers)):
        name, _, uid, gid, comment, home, shell = row
        primary = next((group[0] for group in groups if len(group) > 2 and group[2] == gid), gid)
        others = [group[0] for group in groups if len(group) > 3 and name in group[3].split(",")]
        raw = answers[ReadFile(_keys(row))]
        lines = [line for line in raw.text.splitlines() if accounts.key_of(line)] if raw.ok else []
        fields: dict[str, Any] = {"uid": int(uid), "group": primary, "shell": shell, "home": home}
        fields |= {"comment": comment} if comment else {}
        fields |= {"groups": others} if others else {}
        fields |= {"authorized_keys": lines} if lines else {}
        yield Listed(name, fields, note="a password, if there is one, is not written here")


def ask_groups(_answers: Answers) -> Iterable[Question]:
    """All groups, and whose primary ones they are."""
    return (GROUPS, USERS)


def groups(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Those that somebody made, but for those that users have by their own name."""
    yield from _unread(answers, GROUPS, USERS)
    own = {tuple(row[index] for index in (0, 3)) for row in _rows(answers, USERS) if len(row) > 3}
    for row in sorted(_rows(answers, GROUPS)):
        if len(row) == 4 and row[2].isdigit() and int(row[2]) in PEOPLE and (row[0], row[2]) not in own:
            members = list(filter(None, row[3].split(",")))
            yield Listed(row[0], {"gid": int(row[2])} | ({"members": members} if members else {}))


def _rows(answers: Answers, question: Question) -> list[list[str]]:
    return [line.split(":") for line in answers[question].text.splitlines()]


def ask_files(answers: Answers) -> Iterable[Question]:
    """What lies in the folders and what packages brought; then what each of the others is, and what is in it."""
    yield from (ENTRIES, CONFFILES)
    names = _files(answers)
    yield from paths.ask(names, follow=False)
    yield from (ReadFile(name) for name in names)


def _files(answers: Answers) -> list[str]:
    """The paths that no package brought, of the folders but the two topmost."""
    if ENTRIES not in answers or not answers.get(CONFFILES, answers[ENTRIES]).ok:
        return []
    brought = {line.split()[0] for line in answers[CONFFILES].text.splitlines() if line.strip()}
    found, folder = [], ""
    for line in answers[ENTRIES].text.splitlines():
        if line.endswith(":") and line[:-1] in FOLDERS:
            folder = line[:-1]
        elif line and not line.endswith("/") and folder not in FOLDERS[:2] and f"{folder}/{line}" not in brought:
            found.append(f"{folder}/{line}")
    return sorted(name for name in found if not paths.name_problem(name) and not OWN.fullmatch(name))


def files(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Plain files with their text; what not everybody may read is not written down."""
    yield from _unread(answers, ENTRIES)
    names = _files(answers)
    for name, there in paths.read(names, answers, follow=False).items():
        if isinstance(there, paths.Found) and there.sort == "file" and not name.endswith(("/.placeholder", "/README")):
            yield _file(name, there, answers)


def _file(name: str, there: paths.Found, answers: Answers) -> Listed:
    raw = answers[ReadFile(name)]
    if not int(there.mode, 8) & 0o004:
        return Listed(name, note=f"not everybody may read it (mode {there.mode}), so what is in it is not written here")
    try:
        text = raw.out.decode()
    except UnicodeDecodeError:
        text = "\0"
    if not raw.ok or there.size > LIMIT or any(ord(sign) < 32 and sign not in "\t\n" for sign in text):
        return Listed(name, note="it is no text, or too long; keep it beside the blueprint and name it as `source:`")
    usual = {"mode": "0644", "owner": "root", "group": "root"}
    own = {key: value for key, value in usual.items() if getattr(there, key) != value}
    return Listed(name, {"content": text, **{key: getattr(there, key) for key in own}})


def ask_sysctl(answers: Answers) -> Iterable[Question]:
    """Our own files, which hold one parameter each."""
    yield ENTRIES
    yield from (ReadFile(name) for name in _own_sysctl(answers))


def _own_sysctl(answers: Answers) -> list[str]:
    lines = answers[ENTRIES].text.splitlines() if ENTRIES in answers else []
    return sorted(name for line in lines if OWN_SYSCTL.fullmatch(name := f"/etc/sysctl.d/{line}"))


def sysctl(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Parameters that vinfra set; those set by others are files."""
    for file in _own_sysctl(answers):
        key, _, value = answers[ReadFile(file)].text.strip().partition("=")
        if key.strip():
            yield Listed(key.strip(), {"value": " ".join(value.split())})


def ask_services(_answers: Answers) -> Iterable[Question]:
    """Every unit that is loaded."""
    return (UNITS,)


def services(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Units that somebody wrote, masked, or enabled or disabled against the distribution's wish."""
    yield from _unread(answers, UNITS)
    blocks = answers[UNITS].text.strip("\n").split("\n\n")
    told = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks)
    for unit in sorted(told, key=lambda unit: unit.get("Id", "")):
        name, state, preset = (unit.get(key, "") for key in ("Id", "UnitFileState", "UnitFilePreset"))
        own = unit.get("FragmentPath", "").startswith(("/etc/systemd/system/", "/usr/local/"))
        against = (state, preset) in (("enabled", "disabled"), ("disabled", "enabled"))
        if OWN.fullmatch(unit.get("FragmentPath", "")):
            continue
        if name and (own or against or state == "masked"):
            yield Listed(name.removesuffix(".service"), _service(state, unit))


def _service(state: str, unit: Mapping[str, str]) -> dict[str, Any]:
    if state == "masked":
        return {"masked": True}
    fields: dict[str, Any] = {"enabled": state == "enabled"} if state in ("enabled", "disabled") else {}
    runs = unit.get("ActiveState") in ("active", "reloading", "activating")
    return fields | ({"running": runs} if unit.get("Type") != "oneshot" else {})
