"""Snapshots of a machine by hand: what there is, a new one, back to one, away with one."""

from collections.abc import Iterable
from datetime import UTC, datetime
from difflib import get_close_matches
from xml.sax.saxutils import escape

from vinfra.errors import RefusedError, UsageError
from vinfra.estate.backup import LONG, run
from vinfra.kinds.kvm.reading import snapshots as reading
from vinfra.kinds.kvm.reading.virsh import DOMAINS, failure, found
from vinfra.model.machine import Machine
from vinfra.model.snapshot import Snapshot
from vinfra.model.step import Verb, Virt
from vinfra.transport.leases import Leases, holder
from vinfra.transport.reach import Connections


def listed(connections: Connections, machines: Iterable[Machine]) -> dict[Machine, list[Snapshot]]:
    """The snapshots of machines, oldest first."""
    return {machine: _those(connections, machine) for machine in machines}


def _those(connections: Connections, machine: Machine) -> list[Snapshot]:
    answers = connections.reader(machine.host).ask((reading.SNAPSHOTS,))
    if not answers[reading.SNAPSHOTS].ok:
        raise RefusedError(f"{machine.host}: {failure(answers[reading.SNAPSHOTS])}")
    return list(reading.snapshots(answers).get(machine.name, ()))


def named(connections: Connections, machine: Machine, name: str) -> Snapshot:
    """One of a machine's snapshots. Raises UsageError, RefusedError for one that vinfra cannot go back to."""
    those = {one.name: one for one in _those(connections, machine)}
    if name not in those:
        near = get_close_matches(name, those, n=1)
        hint = f"did you mean {near[0]}?" if near else f"`vinfra snapshot list {machine.name}` shows what there is"
        raise UsageError(f"{machine.name} has no snapshot {name!r}", hint)
    if those[name].external:
        hint = f"virsh snapshot-dumpxml {machine.name} {name} on {machine.host} says where"
        raise RefusedError(f"{name} of {machine.name} was made by others, in files of its own", hint)
    return those[name]


def create(connections: Connections, machine: Machine, name: str = "") -> str:
    """Take one, and its name: the time, unless one is given. Raises UsageError, RefusedError, StepFailed."""
    name = name or f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if any(ord(letter) < 32 or letter in "/\\" for letter in name) or name.startswith("-"):
        raise UsageError(f"{name!r} cannot be the name of a snapshot", "write a short name, such as before-upgrade")
    with Leases(connections, holder("snapshot")) as leases:
        writer = leases.claim(machine.host)
        domain = found(writer.ask((DOMAINS,)), DOMAINS).get(machine.name)
        if domain is None:
            raise RefusedError(f"{machine.name} on {machine.host} is not there any more")
        if problem := reading.objection(domain.live or domain.persistent):
            raise RefusedError(f"{machine.name}: {problem}")
        if name in {one.name for one in _those(connections, machine)}:
            raise RefusedError(
                f"{machine.name} has a snapshot {name} already", "name another one, or delete that first"
            )
        xml = f"<domainsnapshot><name>{escape(name)}</name></domainsnapshot>"
        run(
            writer,
            f"take a snapshot of {machine.name}",
            Virt(Verb.SNAPSHOT_CREATE, machine.name, xml=xml, seconds=LONG),
        )
    return name


def change(connections: Connections, machine: Machine, verb: Verb, name: str) -> None:
    """Go back to a snapshot, or delete it. Raises UsageError, RefusedError, StepFailed."""
    with Leases(connections, holder("snapshot")) as leases:
        writer = leases.claim(machine.host)
        one = named(connections, machine, name)
        run(writer, f"{verb} {name}", Virt(verb, machine.name, part=one.name, seconds=LONG))
