"""Users of a host, their groups and the keys they log in with."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from vinfra.kinds.compare import bringers, compare, created, deleted, later, own_identity, refused, updated
from vinfra.kinds.host import access, accounts
from vinfra.kinds.host import listing as everything
from vinfra.kinds.host.accounts import Account
from vinfra.kinds.host.files import ownership
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question
from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step, Write
from vinfra.model.values import Flag, Text, Whole

NAME = "host.user"
SECTION = "users"
SHORTHAND = ""
ORDER = 20
SHARED = False
REMOVAL = Removal(Impact.RESTART, "not while a process of it runs", "its home stays")
ALONE: dict[str, Any] = {"impact": REMOVAL.impact, "why": REMOVAL.why}


def _hash(value: Any) -> Any:
    if isinstance(value, str) and any(letter == ":" or letter < " " for letter in value):
        raise ValueError("a hash holds no colon and no line break")  # each is a line of /etc/shadow
    if isinstance(value, Secret | str):
        return value
    raise ValueError("write a crypt(5) hash, or {secret: …}")


Hash = Annotated[Any, BeforeValidator(_hash), WithJsonSchema({"type": ["string", "object"]})]


class Spec(shape.Spec):
    """A user account."""

    uid: Whole | None = field("User number; a change leaves files outside the home with the old one.", **ALONE)
    group: Text | None = field("Primary group; it must exist. Default: one named like the user.", examples=("users",))
    groups: tuple[Text, ...] | None = field(
        "Groups the user must also be in; others stay. A login sees it only when it is made anew.",
        additive=True,
        examples=(["sudo", "adm"],),
    )
    shell: Text | None = field("Login shell.", examples=("/bin/bash",))
    home: Text | None = field(
        "Home directory; on a change nothing is moved. Default for a new user: /home/<name>.",
        **ALONE,
        examples=("/srv/deploy",),
    )
    comment: Text | None = field("Full name (GECOS).", examples=("Deployment",))
    system: Flag = field("Make it a system user, with a low number and no home.", default=False, compared=False)
    authorized_keys: tuple[Text, ...] | None = field(
        "SSH public keys that may log in; others stay unless exclusive_keys.",
        additive=True,
        examples=(["ssh-ed25519 AAAAC3… ops@example"],),
    )
    exclusive_keys: Flag = field("Remove SSH keys that are not listed.", default=False, compared=False)
    password_hash: Hash = field(
        'Hash of the password as in /etc/shadow (crypt(5)); "!" locks it.',
        secret=True,
        examples=({"secret": "env:PW"},),
    )


def check(name: str, desired: shape.Spec | None) -> str:
    """The name, and what goes into a file of lines or colons."""
    if not re.fullmatch(r"[a-z_][a-z0-9_.-]{0,30}[a-z0-9_$-]?", name):
        return "write a user name: small letters, digits, . _ -, at most 32"
    if not isinstance(desired, Spec):
        return "root cannot be removed" if name == "root" else ""
    for key in ("group", "shell", "home", "comment"):
        value = getattr(desired, key)
        if isinstance(value, str) and (":" in value or "\n" in value):
            return f"{key} cannot hold a colon or a line break"
    for key in desired.authorized_keys or ():
        if isinstance(key, str) and not accounts.key_of(key):
            return f"{key[:30]!r} is no SSH public key, such as 'ssh-ed25519 AAAA… comment'"
    if desired.exclusive_keys and desired.authorized_keys is None:
        return "exclusive_keys needs authorized_keys"
    return ""


identity = own_identity
ask_all = everything.ask_users
listing = everything.users


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Groups come first, by themselves or with packages. A user who goes leaves them before they go."""
    names = (getattr(desired, "group", None), *(getattr(desired, "groups", None) or ()))
    return frozenset(), frozenset(f"group:{name}" for name in names if name)


def ask(scope: Scope, answers: Answers) -> Iterable[Question]:
    """The account databases, and each home's authorized_keys."""
    names = [item.address.name for item in scope.wanted]
    hashed = [
        item.address.name for item in scope.wanted if isinstance(item.desired, Spec) and item.desired.password_hash
    ]
    yield from accounts.ask(names, hashed, _homes(scope), answers)


def _homes(scope: Scope) -> dict[str, str]:
    """Whose keys are wanted, and where their home probably is: right guesses save a round trip."""
    return {
        item.address.name: item.desired.home
        or ("/root" if item.address.name == "root" else f"/home/{item.address.name}")
        for item in scope.wanted
        if isinstance(item.desired, Spec) and item.desired.authorized_keys is not None
    }


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each account as it is."""
    names = [item.address.name for item in scope.wanted]
    found = accounts.read(names, _homes(scope), answers)
    groups = accounts.group_names(answers)
    return {name: _answer(account, groups) for name, account in found.items()}


def _answer(account: Account | Unknown | None, groups: tuple[str, ...]) -> Answer:
    if isinstance(account, Unknown):
        return account
    if account is None:
        return Absent({"all_groups": groups})
    actual = Spec.model_construct(
        uid=account.uid,
        group=account.group,
        groups=account.groups,
        shell=account.shell,
        home=account.home,
        comment=account.comment,
        authorized_keys=account.keys,
        password_hash=account.password,
    )
    return Present(actual, {"gid": account.gid, "keys": account.key_problem, "all_groups": groups})


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Field by field; keys are compared without their comments, groups and keys only for what is missing."""
    desired = resource.desired
    if not isinstance(desired, Spec):
        return _gone(resource.address.name, answer, scope)
    if isinstance(desired.password_hash, Secret):
        return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=f"{desired.password_hash} was not resolved")
    if not isinstance(answer, Present):
        groups = answer.notes["all_groups"] if isinstance(answer, Absent) else ()
        return _grouped(created(fresh := compare(None, desired)), groups, scope, fresh)
    actual = answer.actual
    assert isinstance(actual, Spec)
    fields = list(compare(actual, desired, skip=("authorized_keys", "group")))
    if ownership.differs(str(actual.group), str(answer.notes["gid"]), desired.group):
        fields.append(FieldChange("group", actual.group, desired.group))
    if desired.authorized_keys is not None:
        if problem := answer.notes["keys"]:
            return refused(Action.UPDATE, problem, fields)
        fields += _keys(actual, desired)
    return _grouped(updated(fields), answer.notes["all_groups"], scope, fields)


def _gone(name: str, answer: Answer, scope: Scope) -> Delta:
    if not isinstance(answer, Present) or not isinstance(answer.actual, Spec):
        return Delta(Action.NOOP)
    if answer.actual.uid == 0:
        return refused(Action.DELETE, "its number is 0: it is root by another name")
    wishes = {reference: item.desired for reference, item in scope.siblings.items()}
    named = [
        ref for ref, wish in wishes.items() if name in (getattr(wish, "owner", None), getattr(wish, "group", None))
    ]
    if named:
        return refused(Action.DELETE, f"{sorted(named)[0]} is to belong to it")
    return deleted(REMOVAL, f"its home {answer.actual.home} stays")


def _keys(actual: Spec, desired: Spec) -> list[FieldChange]:
    there, wish = actual.authorized_keys or (), desired.authorized_keys or ()
    known = {accounts.key_of(line) for line in there}
    missing = tuple(line for line in wish if accounts.key_of(line) not in known)
    if not desired.exclusive_keys:
        return [FieldChange("authorized_keys", None, missing)] if missing else []
    same = known == {accounts.key_of(line) for line in wish}
    return [] if same else [FieldChange("authorized_keys", there, wish)]


def _grouped(delta: Delta, known: Sequence[str], scope: Scope, most: Iterable[FieldChange]) -> Delta:
    """useradd and usermod refuse groups that are not there: better said before. Groups of this plan come first."""
    wish = {name for item in delta.fields if item.path == "groups" for name in item.after}
    wish |= {item.after for item in delta.fields if item.path == "group" and not item.after.isdigit()}
    missing = sorted(wish - {*known, *(ref.partition(":")[2] for ref in bringers(scope, "group:"))})
    if not missing:
        return delta
    found = bringers(scope, "package:", "operation:")
    if found:
        return later(delta.action, f"no group {', '.join(missing)} yet; {found[0]} may bring it", most)
    return refused(delta.action, f"no group {', '.join(missing)} on this host", delta.fields)


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """useradd, usermod or userdel; the password's hash by standard input; then the keys."""
    name, desired = change.address.name, change.desired
    if not isinstance(desired, Spec):
        step = Step(f"remove user {name}, keep the home", (Exec(("userdel", "--", name)),), change.delta.impact)
        return [replace(step, guards=access.ACCOUNTS)]
    changes = {item.path: item.after for item in change.delta.fields}
    new = change.delta.action is Action.CREATE
    options = _options(changes, new)
    found = []
    if new:
        home = ("--no-create-home",) if desired.system else ("--create-home",)
        kind = ("--system",) if desired.system else ()
        found.append(Step(f"add user {name}", (Exec(("useradd", *kind, *home, *options, "--", name)),)))
    elif options:
        found.append(Step(f"change user {name}", (Exec(("usermod", *options, "--", name)),), change.delta.impact))
    if "password_hash" in changes:
        line = f"{name}:{desired.password_hash}\n".encode()
        found.append(Step(f"set the password hash of {name}", (Exec(("chpasswd", "-e"), stdin=line),), secret=True))
    if "authorized_keys" in changes:
        found.append(_write_keys(name, desired, change.actual))
    if new:
        return found
    folder = desired.home or getattr(change.actual, "home", None) or f"/home/{name}"
    return [replace(step, guards=(*access.ACCOUNTS, f"{folder}/.ssh/authorized_keys")) for step in found]


OPTIONS = {"uid": "--uid", "group": "--gid", "shell": "--shell", "home": "--home-dir", "comment": "--comment"}


def _options(changes: Mapping[str, Any], new: bool) -> tuple[str, ...]:
    names = OPTIONS if new else {**OPTIONS, "home": "--home"}
    options = [part for key, option in names.items() if key in changes for part in (option, str(changes[key]))]
    if "groups" in changes:
        options += [*(() if new else ("--append",)), "--groups", ",".join(changes["groups"])]
    return tuple(options)


def _write_keys(name: str, desired: Spec, actual: shape.Spec | None) -> Step:
    there = (getattr(actual, "authorized_keys", None) or ()) if not desired.exclusive_keys else ()
    known = {accounts.key_of(line) for line in there}
    lines = [*there, *(line for line in desired.authorized_keys or () if accounts.key_of(line) not in known)]
    home = desired.home or getattr(actual, "home", None) or f"/home/{name}"
    folder = f"{home}/.ssh"
    calls = (
        Exec(("install", "-d", "-m", "0700", "-o", name, "--", folder)),
        Write(f"{folder}/authorized_keys", "".join(f"{line}\n" for line in lines).encode(), "0600", name),
        Exec(("chown", "--", f"{name}:", folder, f"{folder}/authorized_keys")),
    )
    return Step(f"write {folder}/authorized_keys, {len(lines)} key{'' if len(lines) == 1 else 's'}", calls)
