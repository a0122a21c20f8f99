"""Which packages a resource stands for, and what apt would do about those that are not as wished."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vinfra.kinds.host.packages import apt, roles
from vinfra.kinds.host.packages.installed import Installed
from vinfra.model.answer import Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec
from vinfra.model.spec import Spec

Known = Mapping[str, Installed | Unknown | None]


@dataclass(frozen=True, slots=True)
class Foresight:
    """What apt would do for some packages, or the question that must be asked to know."""

    names: frozenset[str]
    verb: str
    result: Exec | apt.Simulated


def of(resource: Resource, scope: Scope) -> tuple[str, ...]:
    """The packages that a resource stands for on this host; the mark knows what one that left the blueprint did."""
    return roles.packages(role, family(scope)) if (role := _role(resource, scope)) else (resource.address.name,)


def candidates(resource: Resource, scope: Scope) -> tuple[str, ...]:
    """Every package a resource may stand for, on whatever distribution."""
    return roles.everywhere(role) if (role := _role(resource, scope)) else (resource.address.name,)


def _role(resource: Resource, scope: Scope) -> str | None:
    if resource.desired is not None:
        return getattr(resource.desired, "role", None)
    marks = scope.marks.get(resource.address.name, ())
    return next((mark.identity.get("role") for mark in marks if mark.blueprint == scope.owner), None)


def going(scope: Scope) -> set[str]:
    """The packages that are to be absent and that neither this blueprint nor another one wants."""
    wanted = {_bare(name) for item in scope.wanted if item.desired is not None for name in of(item, scope)}
    gone = {name for item in scope.wanted if item.desired is None for name in of(item, scope)} - taken(scope).keys()
    return {name for name in gone if _bare(name) not in wanted}


def staying(names: Sequence[str], scope: Scope) -> str:
    """Why none of these may go, "" if one may."""
    if going(scope) & set(names):
        return ""
    users = taken(scope)
    return next(
        (f"blueprint {users[name]} uses {name} too" for name in names if name in users), "it is wanted elsewhere here"
    )


def taken(scope: Scope) -> dict[str, str]:
    """The packages that other blueprints have marks on, each with the blueprint."""
    others = [mark for marks in scope.marks.values() for mark in marks if mark.blueprint != scope.owner]
    named = {mark.name: mark.blueprint for mark in others if "role" not in mark.identity}
    meant = ((mark, roles.packages(mark.identity.get("role", ""), family(scope))) for mark in others)
    return named | {name: mark.blueprint for mark, names in meant for name in names}


def _bare(name: str) -> str:
    """`nginx` and `nginx:amd64` may be one package: what is wanted under one name is not removed under the other."""
    return name.partition(":")[0]


def family(scope: Scope) -> str | None:
    """The family of the host's distribution."""
    found = (scope.facts.get("os") or {}).get("family")
    return str(found) if found else None


def by_apt(scope: Scope) -> bool:
    """Whether apt manages this host's packages."""
    return family(scope) == "debian"


def pinned(name: str, desired: Spec | None) -> str:
    """A package as apt's command line names it."""
    version = getattr(desired, "version", None)
    return f"{name}={version}" if version else name


def fits(version: str, desired: Spec | None) -> bool:
    """Whether an installed version is one that is wished for."""
    wish = getattr(desired, "version", None)
    if wish is None:
        return True
    return version.startswith(wish[:-1]) if wish.endswith("*") else version == wish


def verb_of(desired: Spec | None) -> str:
    """What apt-get is to do, with the option that changes what it does."""
    if desired is None:
        return "remove"
    return f"install --{'' if getattr(desired, 'recommends', False) else 'no-'}install-recommends"


def foresee(scope: Scope, found: Known, answers: Answers) -> list[Foresight]:
    """One simulation of all that goes, one of all that comes; one each when together they would do too much."""
    if not by_apt(scope):
        return []
    leaving = going(scope)
    wishes: dict[str, list[str]] = {}
    for item in scope.wanted:
        for name in of(item, scope):
            there = found.get(name)
            if item.desired is None:
                if isinstance(there, Installed) and name in leaving:
                    wishes.setdefault("remove", []).append(name)
            elif there is None or (isinstance(there, Installed) and not fits(there.version, item.desired)):
                wishes.setdefault(verb_of(item.desired), []).append(pinned(name, item.desired))
    return [one for verb, names in wishes.items() for one in _together(verb, names, leaving, answers)]


def _together(verb: str, names: Sequence[str], leaving: set[str], answers: Answers) -> Iterable[Foresight]:
    result = apt.simulate(verb, names, answers)
    whole = Foresight(frozenset(names), verb, result)
    if isinstance(result, Exec) or len(names) == 1:
        return [whole]
    if not (result.removes - leaving or result.downgrades or result.error):
        return [whole]
    return [Foresight(frozenset({name}), verb, apt.simulate(verb, [name], answers)) for name in names]


def about(item: Resource, names: Sequence[str], foreseen: Sequence[Foresight]) -> dict[str, Any]:
    """What apt would do for this resource; a simulation that was not answered says so as an error."""
    mine = {pinned(name, item.desired) for name in names}
    found = [one.result for one in foreseen if one.verb == verb_of(item.desired) and one.names & mine]
    known = [one for one in found if isinstance(one, apt.Simulated)]
    return {
        "removes": frozenset(name for one in known for name in one.removes),
        "downgrades": frozenset(name for one in known for name in one.downgrades),
        "upgrades": frozenset(name for one in known for name in one.upgrades),
        "instead": {old: new for one in known for old, new in one.instead.items()},
        "unknown": {key: word for one in known for key, word in one.unknown.items() if key in mine},
        "error": "; ".join(one.error for one in known if one.error),
    }
