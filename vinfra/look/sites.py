"""Each host as a place for machines, from what it told in the first round and what the blueprint says of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.model.blueprint import Resource
from vinfra.model.kind import Choosy, Kinds, Promises
from vinfra.model.placement import Promise
from vinfra.model.request import Wish
from vinfra.stages.discover import Survey
from vinfra.stages.place import Site, marks_of


def sites_of(
    surveys: Mapping[str, Survey],
    declared: Mapping[str, Sequence[Resource]],
    wish: Wish,
    movable: Sequence[Resource],
    kinds: Kinds,
) -> dict[str, Site]:
    """The sites by host. `declared` is what the blueprint declares for each host, `movable` what may come to it."""
    owner, formerly = wish.blueprint.name, wish.blueprint.formerly
    sites = {}
    for host, found in surveys.items():
        facts = found.state.facts
        sites[host] = Site(
            host=host,
            error=found.error,
            found=found.found,
            tenants=[replace(one, owner=owner) if one.owner in formerly else one for one in found.tenants],
            marks=marks_of(found.state.marks.values(), owner),
            labels=wish.inventory.hosts[host].variables,
            cpus=(facts.get("cpu") or {}).get("count"),
            memory=(facts.get("memory") or {}).get("total"),
            stores=found.stores,
            promise=_promise(declared.get(host, ()), kinds),
            unfit=_unfit(movable, facts, kinds) if facts else {},
        )
    return sites


def _promise(declared: Sequence[Resource], kinds: Kinds) -> Promise:
    """What the host's own declaration says may be promised of it."""
    for resource in declared:
        kind = kinds[resource.address.kind]
        if resource.desired is not None and isinstance(kind, Promises):
            return kind.promise(resource.desired)
    return Promise()


def _unfit(movable: Sequence[Resource], facts: Mapping[str, Any], kinds: Kinds) -> dict[str, str]:
    """Machines that need what a host with these facts does not have, and what that is."""
    told: dict[str, str] = {}
    for resource in movable:
        kind = kinds[resource.address.kind]
        if resource.demand and resource.desired is not None and isinstance(kind, Choosy):
            told.setdefault(resource.demand.member, kind.unfit(resource.desired, facts))
    return {member: why for member, why in told.items() if why}
