"""What is wished for of a network on one host: its own fields, and the addresses that machines want of it."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from vinfra.kinds.kvm.networks import declared, members, network_xml
from vinfra.kinds.kvm.networks.declared import BORROWED, Spec
from vinfra.kinds.kvm.networks.parts import Lease
from vinfra.kinds.kvm.networks.problems import promise_problem
from vinfra.model.kind import Scope


def of(name: str, desired: Spec, scope: Scope, notes: Mapping[str, Any], there: str = "") -> Spec:
    """The fields as the XML has them; `there` is the one that they are laid over. What is left out is said."""
    known: dict[str, Any] = {
        "vlan": None if desired.vlan is None else desired.vlan.tags(),
        "portgroups": declared.groups(desired.portgroups),
        **{key: declared.records(getattr(desired, key)) for key in ("dns", "txt", "srv")},
    }
    if desired.mode in BORROWED:
        return desired.model_copy(update={**known, "stp": None, "dhcp": None})
    if desired.cidr is None:
        return desired.model_copy(update=known)
    dhcp = desired.dhcp
    every = dhcp is None or dhcp == network_xml.whole(IPv4Network(desired.cidr))
    known["dhcp"] = True if every else network_xml.in_order(dhcp) if isinstance(dhcp, str) else dhcp
    known["hosts"] = _promised(name, desired, scope, notes, there)
    return desired.model_copy(update=known)


def _promised(name: str, desired: Spec, scope: Scope, notes: Mapping[str, Any], there: str) -> tuple[Lease, ...] | None:
    """Where a blueprint names none, those that others wrote stay."""
    wanted = tuple(members.promised(name, scope, notes["domains"]))
    if desired.hosts is not None:
        return tuple(sorted({*declared.promised(desired.hosts), *wanted}))
    known = network_xml.parse(there)["hosts"] if there else ()
    return members.kept(known, wanted, members.leaving(scope, notes["domains"])) or (() if known else None)


def problem(name: str, desired: Spec, scope: Scope, notes: Mapping[str, Any]) -> str:
    """Why machines cannot have the addresses that they want of it; "" if they can."""
    wanted = tuple(members.promised(name, scope, notes["domains"]))
    if wanted and (desired.mode in BORROWED or desired.cidr is None):
        first = wanted[0]
        said = f"{first.name} wants {first.address}, and {name} gives out no addresses"
        return f"{said}; write {first.address}/24 to have it set in the machine"
    fixed = tuple(members.fixed(name, scope))
    if desired.cidr is None or not (wanted or fixed):
        return ""
    found = (*declared.promised(desired.hosts or {}), *wanted, *fixed)
    return promise_problem(desired.cidr, found) or _given_out(name, desired, scope, notes, fixed)


def _given_out(name: str, desired: Spec, scope: Scope, notes: Mapping[str, Any], fixed: Iterable[Lease]) -> str:
    """An address that a machine just has must not be given to another one."""
    dhcp = of(name, desired, scope, notes).dhcp
    for text in network_xml.ranges(dhcp or False, IPv4Network(str(desired.cidr))):
        first, last = map(IPv4Address, text.split("-"))
        if one := next((one for one in fixed if first <= IPv4Address(one.address) <= last), None):
            said = f"{one.name} has {one.address} without asking, and {name} gives that out ({text})"
            return f"{said}; write it without its prefix, or leave it out of dhcp"
    return ""
