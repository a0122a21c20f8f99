"""Groups of a host and who is in them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import compare, created, deleted, own_identity, refused, updated
from vinfra.kinds.host import access, accounts
from vinfra.kinds.host import listing as everything
from vinfra.model import spec as shape
from vinfra.model.action import Action
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step
from vinfra.model.values import Flag, Text, Whole

NAME = "host.group"
SECTION = "groups"
SHORTHAND = "gid"
ORDER = 15
SHARED = False
REMOVAL = Removal(when="its files keep its number; refused while it is a user's primary group")

GROUPS, USERS = accounts.GROUPS, Ask(("getent", "passwd"))
GONE = 6  # groupdel(8): the group does not exist


class Spec(shape.Spec):
    """A group. Users who are made in the same blueprint name their groups themselves (`groups:` of users)."""

    gid: Whole | None = field(
        "Group number; files keep the old one.", when="refused when another group has it", examples=(2000,)
    )
    system: Flag = field("Make it a system group, with a low number.", default=False, compared=False)
    members: tuple[Text, ...] | None = field(
        "Users who must be in it; others stay unless exclusive_members. A login sees it only when it is made anew.",
        additive=True,
        examples=(["ada", "bob"],),
    )
    exclusive_members: Flag = field("Take users out who are not listed.", default=False, compared=False)


def check(name: str, desired: shape.Spec | None) -> str:
    """The name, and what makes sense together."""
    if not re.fullmatch(r"[a-z_][a-z0-9_.-]{0,30}[a-z0-9_$-]?", name):
        return "write a group name: small letters, digits, . _ -, at most 32"
    if not isinstance(desired, Spec):
        return "root cannot be removed" if name == "root" else ""
    if isinstance(desired.gid, int) and not 0 <= desired.gid < 2**32 - 1:
        return "gid: write a number from 0 to 4294967294"
    if desired.exclusive_members and desired.members is None:
        return "exclusive_members needs members"
    wrong = [user for user in desired.members or () if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@$-]*", user)]
    return f"members: {wrong[0]!r} is no user name" if wrong else ""


identity = own_identity
ask_all = everything.ask_groups
listing = everything.groups


def references(_name: str, _desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Users come after their groups."""
    return frozenset(), frozenset()


def ask(_scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All groups and users."""
    return (GROUPS, USERS)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each group as it is; who has it as the primary one, and who else there is."""
    groups, users = (_rows(answers, question, columns) for question, columns in ((GROUPS, 4), (USERS, 7)))
    if isinstance(groups, Unknown) or isinstance(users, Unknown):
        lost = groups if isinstance(groups, Unknown) else users
        assert isinstance(lost, Unknown)
        return {item.address.name: lost for item in scope.wanted}
    known = {"users": frozenset(row[0] for row in users), "numbers": {row[2]: row[0] for row in groups}}
    return {item.address.name: _one(item.address.name, groups, users, known) for item in scope.wanted}


def _rows(answers: Answers, question: Ask, columns: int) -> list[list[str]] | Unknown:
    raw = answers[question]
    if not raw.ok:
        return Unknown(f"getent {question.argv[1]}: {raw.err.strip() or f'exit status {raw.returncode}'}")
    rows = [line.split(":") for line in raw.text.splitlines()]
    return [row for row in rows if len(row) >= columns and row[2].isdigit()]


def _one(name: str, groups: list[list[str]], users: list[list[str]], known: dict[str, Any]) -> Answer:
    row = next((row for row in groups if row[0] == name), None)
    if row is None:
        return Absent(known)
    primary = tuple(user[0] for user in users if user[3] == row[2])
    members = tuple(filter(None, row[3].split(",")))
    return Present(Spec.model_construct(gid=int(row[2]), members=members), {**known, "primary": primary})


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Number and members; a number or a user that is not to be had is said before."""
    name, desired = resource.address.name, resource.desired
    if not isinstance(desired, Spec):
        return _gone(answer, scope)
    assert isinstance(answer, Present | Absent)
    actual = answer.actual if isinstance(answer, Present) else None
    assert actual is None or isinstance(actual, Spec)
    there = frozenset((actual.members or ()) if actual else ())
    fields = list(compare(actual, desired, skip=("members",) if desired.exclusive_members else ()))
    if desired.exclusive_members and there != frozenset(desired.members or ()):
        fields.append(FieldChange("members", tuple(sorted(there)), tuple(dict.fromkeys(desired.members or ()))))
    action = Action.UPDATE if actual else Action.CREATE
    owner = answer.notes["numbers"].get(str(desired.gid))
    if owner not in (None, name):
        return refused(action, f"group {owner} has the number {desired.gid}", fields)
    if why := _nobody(desired, answer.notes["users"], scope):
        return refused(action, why, fields)
    return updated(fields) if actual else created(fields)


def _nobody(desired: Spec, users: frozenset[str], scope: Scope) -> str:
    missing = sorted(set(desired.members or ()) - users)
    if not missing:
        return ""
    if f"user:{missing[0]}" in scope.siblings:
        return f"user {missing[0]} comes after its groups; name this group under the user's own `groups`"
    return f"no user {missing[0]} on this host"


def _gone(answer: Answer, scope: Scope) -> Delta:
    if not isinstance(answer, Present) or not isinstance(answer.actual, Spec):
        return Delta(Action.NOOP)
    if answer.actual.gid == 0:
        return refused(Action.DELETE, "its number is 0: it is root's")
    going = {ref.partition(":")[2] for ref, item in scope.siblings.items() if item.desired is None and "user:" in ref}
    staying = [user for user in answer.notes["primary"] if user not in going]
    if staying:
        return refused(Action.DELETE, f"it is the primary group of {', '.join(staying)}")
    return deleted(REMOVAL, "files keep its number")


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """groupadd, groupmod or groupdel; then who comes in and who goes. Who may do what can hang on it."""
    name, desired = change.address.name, change.desired
    if not isinstance(desired, Spec):
        call = Exec(("groupdel", "--", name), ok=(0, GONE))
        return [Step(f"remove group {name}", (call,), guards=access.ACCOUNTS)]
    changes = {item.path: item.after for item in change.delta.fields}
    found: list[Step] = []
    number = ("--gid", str(changes["gid"])) if "gid" in changes else ()
    if change.delta.action is Action.CREATE:
        kind = ("--system",) if desired.system else ()
        found.append(Step(f"add group {name}", (Exec(("groupadd", *kind, *number, "--", name)),)))
    elif number:
        found.append(Step(f"group {name}: number {changes['gid']}", (Exec(("groupmod", *number, "--", name)),)))
    if "members" in changes:
        there = frozenset(getattr(change.actual, "members", None) or ())
        wish = changes["members"]
        calls = [Exec(("gpasswd", "--add", user, name)) for user in wish if user not in there]
        if desired.exclusive_members:
            calls += [Exec(("gpasswd", "--delete", user, name)) for user in sorted(there - set(wish))]
        found.append(Step(f"group {name}: members {', '.join(wish) or 'none'}", tuple(calls)))
    if change.delta.action is Action.CREATE:
        return found
    return [replace(step, guards=access.ACCOUNTS) for step in found]


def undo(change: Change, _scope: Scope) -> Undo:
    """A new group goes; of one that was there number and members are as they were."""
    name = change.address.name
    if change.delta.action is Action.CREATE:
        call = Exec(("groupdel", "--", name), ok=(0, GONE))
        return Undo((Step(f"remove group {name}", (call,), guards=access.ACCOUNTS),), early=True)
    actual = change.actual
    assert isinstance(actual, Spec)
    calls = [Exec(("groupmod", "--gid", str(actual.gid), "--", name))]
    calls.append(Exec(("gpasswd", "--members", ",".join(actual.members or ()), name)))
    return Undo((Step(f"group {name} as it was", tuple(calls), guards=access.ACCOUNTS),))
