"""Virtual machines at work, without a blueprint: where they are, how they are, and their power switch.

Who a machine belongs to is read from itself, so the inventory is all that is needed.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TypeVar

from vinfra.errors import RefusedError, TransportError, UsageError
from vinfra.kinds.host import facts as host_facts
from vinfra.kinds.kvm.reading import census
from vinfra.model.inventory import Host
from vinfra.model.machine import Machine, Site
from vinfra.model.outcome import Observer
from vinfra.model.step import Step, Verb, Virt
from vinfra.transport.leases import Leases, holder
from vinfra.transport.reach import Connections

GRACE = 30.0
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, slots=True)
class Action:
    """What is done to a machine: libvirt's verb, and how many seconds its own system may take for it."""

    verb: Verb
    seconds: float = 0.0


def survey(connections: Connections, hosts: Iterable[str], forks: int, observer: Observer) -> dict[str, Site]:
    """Each host and its machines, in one round trip a host; a host that cannot be read says why in `error`."""

    def one(host: str) -> Site:
        observer.host_started(host, 0)
        began = time.monotonic()
        try:
            answers = connections.reader(host).ask((*host_facts.ask(), *census.QUESTIONS))
        except TransportError as error:
            observer.host_read(host, time.monotonic() - began, error.message)
            return Site(host, error=error.line)
        observer.host_read(host, time.monotonic() - began, "")
        facts = host_facts.read(answers)
        return Site(
            host=host,
            libvirt=census.absence(answers),
            cpu=facts["cpu"]["count"],
            memory=facts["memory"]["total"],
            system=facts["os"]["pretty"] or "",
            machines=census.machines(host, answers),
        )

    return dict(_side_by_side(one, tuple(hosts), forks))


def find(sites: Iterable[Site], names: Sequence[str], *, ours: bool = False) -> list[Machine]:
    """The machines that names or patterns mean (`web-01`, `hv1/web-01`, `web-*`).

    Raises UsageError for a name that means none or, written out, several; RefusedError, with `ours`, for a machine that
    no blueprint owns.
    """
    sites = list(sites)
    everyone = [machine for site in sites for machine in site.machines]
    found: dict[Machine, None] = {}
    for name in names:
        matching = [machine for machine in everyone if _called(machine, name)]
        if not matching:
            raise _nobody(name, sites, everyone)
        if len(matching) > 1 and not any(sign in name for sign in "*?["):
            places = ", ".join(f"{machine.host}/{machine.name}" for machine in matching)
            raise UsageError(f"{name!r} is on several hosts", f"write one of {places}")
        strange = next((machine for machine in matching if ours and not machine.blueprint), None)
        if strange:
            raise RefusedError(
                f"{strange.name} on {strange.host} was not made by vinfra", f"use virsh on {strange.host}"
            )
        found |= dict.fromkeys(matching)
    return list(found)


def as_host(
    machine: Machine, hypervisor: Host, user: str = "", key_file: str | None = None, *, direct: bool = False
) -> Host:
    """A machine that told its address and host key as a host, through its hypervisor unless `direct`."""
    return Host(
        machine.name,
        address=machine.address,
        user=user or machine.user,
        key_file=key_file or hypervisor.key_file,
        jump=() if direct or hypervisor.connection == "local" else (machine.host,),
        host_key=machine.key,
    )


def power(connections: Connections, machines: Sequence[Machine], action: Action) -> list[tuple[Machine, str]]:
    """Do it to each, side by side; with each machine what went wrong, "" for nothing."""

    def one(machine: Machine) -> str:
        call = Virt(action.verb, machine.name, seconds=action.seconds)
        try:
            step = Step(f"{action.verb} {machine.name}", (call,), timeout=action.seconds + GRACE)
            result = leases.writer(machine.host).run(step)
        except TransportError as error:
            return str(error)
        return (result.err or f"exit status {result.returncode}") if result.returncode else ""

    with Leases(connections, holder(action.verb.value)) as leases:
        return _side_by_side(one, machines, 50)


def _side_by_side(work: Callable[[_In], _Out], items: Sequence[_In], forks: int) -> list[tuple[_In, _Out]]:
    with ThreadPoolExecutor(max(1, min(forks, len(items))), thread_name_prefix="fleet") as pool:
        return list(zip(items, pool.map(work, items), strict=True))


def _called(machine: Machine, name: str) -> bool:
    return any(fnmatchcase(own, name) for own in (machine.name, f"{machine.host}/{machine.name}"))


def _nobody(name: str, sites: Sequence[Site], everyone: Sequence[Machine]) -> UsageError:
    dark = [site.host for site in sites if site.error]
    near = get_close_matches(name, [machine.name for machine in everyone], n=1)
    hint = f"did you mean {near[0]}?" if near else "`vinfra status` lists them"
    unread = f"; {', '.join(dark)} could not be read" if dark else ""
    return UsageError(f"no machine is called {name!r}{unread}", hint)
