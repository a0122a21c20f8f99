"""Of a plan that leaves hosts, what leaves them; and who must stay there, with the reason. Pure."""

from collections.abc import Container, Iterator
from dataclasses import replace

from vinfra.look.moves import Moves
from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Later, Unknown
from vinfra.model.change import Change, Delta
from vinfra.model.kind import Tenant
from vinfra.model.machine import DOMAIN
from vinfra.model.plan import Plan


def evacuation(plan: Plan, moves: Moves, hosts: frozenset[str]) -> Plan:
    """The rows that leave `hosts`, with what must be there before and what goes after them. Any other waits."""
    rows = {row.address: row for row in plan.changes}
    kept = {row.address for row in plan.changes if row.goes_to and row.place in hosts}
    kept |= {row.address for row in plan.changes if _stuck(row, moves) and row.place in hosts}
    following = [row.address for row in plan.changes if row.after & kept and row.delta.action is Action.DELETE]
    ends = list(kept)
    while ends:
        needs = {address for address in rows[ends.pop()].after if address in rows} - kept
        kept |= needs
        ends += needs
    kept |= {*following}
    changes = (*(row for row in plan.changes if row.address in kept), *_staying(moves, hosts, plan, kept))
    named = tuple(host for host in plan.hosts if host in hosts or any(row.place == host for row in changes))
    unknown = {host: why for host, why in plan.unknown.items() if host in named}
    return replace(plan, changes=changes, hosts=named, unknown=unknown, kept=(), rollouts=())


def _stuck(row: Change, moves: Moves) -> bool:
    """One of ours that should leave and cannot, or of which nobody knows."""
    name, dark = row.address.name, row.delta.verdict in (Verdict.REFUSED, Verdict.UNKNOWN)
    going = moves.placement.stuck.keys() | moves.placement.moving.keys()
    return row.address.kind == DOMAIN and dark and name in going


def _staying(moves: Moves, hosts: frozenset[str], plan: Plan, leaving: Container[Address]) -> Iterator[Change]:
    """Machines that this blueprint cannot move, or not now: what runs there, or starts with the host."""
    known = {row.address.name: row for row in plan.changes if row.address.kind == DOMAIN and not row.address.host}
    for host in sorted(hosts & moves.surveys.keys()):
        for tenant in moves.surveys[host].tenants:
            if tenant.cpu and (tenant.name not in known or tenant.owner not in ("", moves.owner)):
                yield _row(host, tenant, _why(host, tenant, moves.owner))
            elif tenant.cpu and (row := known[tenant.name]).address not in leaving:
                dark = row.delta.verdict in (Verdict.REFUSED, Verdict.UNKNOWN)
                yield _row(host, tenant, row.delta.reason if dark else "its row has to be applied before it can go")
        if host not in plan.unknown and (why := _silent(moves, host)):
            yield _row(host, Tenant("*", 0, 0), f"nobody knows which machines are there: {why}")


def _why(host: str, tenant: Tenant, owner: str) -> str:
    if tenant.owner == owner:
        return f"is declared for {host} itself, under domains: make it a fleet of one, or shut it down"
    if tenant.owner:
        return f"is of blueprint {tenant.owner}: evacuate {host} with that one too"
    return "was not made by vinfra: move it yourself (virsh migrate), or shut it down"


def _silent(moves: Moves, host: str) -> str:
    answers = moves.surveys[host].found.values()
    dark = next((answer for answer in answers if isinstance(answer, Unknown | Later)), None)
    return "" if dark is None or getattr(dark, "bare", False) else dark.reason


def _row(host: str, tenant: Tenant, why: str) -> Change:
    address = Address(DOMAIN, host, tenant.name)
    return Change(address, Delta(Action.MOVE, verdict=Verdict.REFUSED, reason=why), desired=None, actual=None)
