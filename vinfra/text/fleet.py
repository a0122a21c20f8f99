"""The members of a fleet: how many, and what each is called."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vinfra.errors import InputError
from vinfra.model.action import Impact
from vinfra.model.blueprint import Declaration, Member
from vinfra.model.inventory import Host, Inventory
from vinfra.model.source import Pointer, Problem
from vinfra.text.complaint import Complaints, pathway, sort_of
from vinfra.text.expression import is_template, placed
from vinfra.text.item import allowance
from vinfra.text.template import MEMBER, Variables

MOST = 10_000
GROUP = "fleets"
SIZES = ("count", "for_each", "remove")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def members(fleet: Declaration, top: Mapping[str, Any], complaints: Complaints) -> tuple[Member, ...]:
    """Every member in order; none when something is wrong, which is told. `top` are var files' and -e's variables."""
    value = fleet.value if isinstance(fleet.value, dict) else {}

    def say(pointer: Pointer, message: str) -> None:
        position = fleet.source.position((*fleet.pointer, *pointer))
        complaints.take(Problem(position, pathway((*fleet.path, *pointer)), message))

    try:
        sizes = Variables(fleet.scope, top).render({key: value[key] for key in SIZES if key in value})
        gone = _removed(sizes, say)
        found = list(_counted(sizes, len(gone), say))
        named = [_named(fleet, value.get("name"), member, top) for member in found]
    except InputError as error:
        told = placed(error, fleet.position, pathway(fleet.path)).problems
        complaints.take(*(problem for problem in told if isinstance(problem, Problem)))
        return ()
    if complaint := _wrong([member.name for member in named]):
        say(("name",) if "name" in value else (), complaint)
        return ()
    return tuple(_staying(named, sizes, gone, say))


def allowed(fleet: Declaration, top: Mapping[str, Any], complaints: Complaints) -> Impact:
    """What the fleet's `allow:` says: it holds for its members, and for those that leave it too."""
    value = fleet.value if isinstance(fleet.value, dict) else {}

    def say(pointer: Pointer, message: str) -> None:
        position = fleet.source.position((*fleet.pointer, *pointer))
        complaints.take(Problem(position, pathway((*fleet.path, *pointer)), message))

    try:
        return allowance(Variables(fleet.scope, top).render({"allow": value.get("allow")})["allow"], say)
    except InputError:
        return Impact.NONE  # said already, of its members


def _removed(sizes: Mapping[str, Any], say: Callable[[Pointer, str], None]) -> list[str]:
    """The names of those that go before any other."""
    names = sizes.get("remove")
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        say(("remove",), f"write a list of names, not {sort_of(names)}")
    elif sizes.get("for_each") is not None:
        say(("remove",), "members of `for_each:` go when they leave it; `remove:` is for those of `count:`")
    else:
        return list(dict.fromkeys(map(str, names)))
    return []


def _staying(
    named: list[Member], sizes: Mapping[str, Any], gone: list[str], say: Callable[[Pointer, str], None]
) -> Iterator[Member]:
    """As many as there are to be, without those that go: each keeps the number that it has."""
    if not named:
        return
    known = {member.name for member in named}
    for name in (name for name in gone if name not in known):
        some = f"{named[0].name} … {named[-1].name}"
        say(("remove",), f"{name!r} is none of its members ({some}); one with a higher number goes by itself")
    staying = [member for member in named if member.name not in gone]
    yield from staying if sizes.get("count") is None else staying[: int(str(sizes["count"]))]


def _counted(sizes: Mapping[str, Any], more: int, say: Callable[[Pointer, str], None]) -> Iterator[Member]:
    """Everyone who may be one; with `count` so many `more` as others go by name."""
    count, each = sizes.get("count"), sizes.get("for_each")
    if count is not None and each is not None:
        say(("for_each",), "give either `count:` or `for_each:`, not both")
    elif count is None and each is None:
        say((), "say how many: `count: 4`, or `for_each:` with a list or a mapping")
    elif isinstance(each, dict):
        yield from (Member("", number, str(key), item) for number, (key, item) in enumerate(each.items(), 1))
    elif isinstance(each, list) and all(isinstance(item, str | int) for item in each):
        yield from (Member("", number, str(item), item) for number, item in enumerate(each, 1))
    elif each is not None:
        say(("for_each",), f"write a list of names, or a mapping by name, not {sort_of(each)}")
    elif not re.fullmatch(r"[0-9]+", str(count)) or int(str(count)) > MOST:
        say(("count",), f"write a whole number from 0 to {MOST}")
    else:
        yield from (Member("", number) for number in range(1, int(str(count)) + more + 1))


def _named(fleet: Declaration, pattern: Any, member: Member, top: Mapping[str, Any]) -> Member:
    """`web-01`, or `web-blue` with `for_each`, unless the fleet says otherwise in a template over `member`."""
    if is_template(pattern):
        name = Variables(fleet.scope, {**top, MEMBER: member.facets()}).render(pattern)
    elif pattern is None:
        name = f"{fleet.name}-{member.key or format(member.number, '02d')}"
    else:
        name = pattern
    return Member(str(name), member.number, member.key, member.value)


def _wrong(names: list[str]) -> str:
    odd = next((name for name in names if not _NAME.fullmatch(name)), None)
    if odd is not None:
        return f"{odd!r} is no name for a machine; use letters, digits, dot, _ and -, at most 63"
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        return f"two members would be called {twice!r}; use {{{{ member.number }}}} or {{{{ member.key }}}} in the name"
    return ""


def joined(inventory: Inventory, fleets: Mapping[str, tuple[Member, ...]]) -> Inventory:
    """The inventory with every member as a host: `web-01`, in the groups `fleets.web` and `fleets`."""
    hosts = dict(inventory.hosts)
    groups = dict(inventory.groups)
    for fleet, found in fleets.items():
        group = f"{GROUP}.{fleet}"
        for member in found:
            hosts[member.name] = Host(
                member.name,
                connection="guest",
                groups=(GROUP, group),
                variables={MEMBER: member.facets()},
            )
        groups[group] = tuple(member.name for member in found)
        groups[GROUP] = (*groups.get(GROUP, ()), *groups[group])
    return Inventory(hosts, groups, inventory.file, inventory.warnings)
