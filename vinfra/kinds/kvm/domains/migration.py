"""Whether a machine can be carried over to another host as it is, and the step that does it."""

from collections.abc import Iterator
from typing import Any

from vinfra.kinds.kvm.domains import hardware, machine
from vinfra.kinds.kvm.reading.virsh import Found, element
from vinfra.model.action import Impact
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.kind import Scope
from vinfra.model.step import Migrate, Path, Step

HOURS = 12 * 3600.0  # a large disk over a slow line


def stays(resource: Resource, answers: tuple[Answer, Answer], scopes: tuple[Scope, Scope]) -> str:
    """Why it cannot go; "" if nothing that is known speaks against it. libvirt looks again before it begins."""
    here, there = answers
    if not isinstance(here, Present) or not isinstance(there, Absent) or "site" not in there.notes:
        return f"nobody knows what {scopes[1].host} has"
    return next(_reasons(resource, here.notes, there.notes["site"], scopes), "")


def _reasons(resource: Resource, notes: Any, place: hardware.Site, scopes: tuple[Scope, Scope]) -> Iterator[str]:
    desired, name, there = resource.desired, resource.address.name, scopes[1].host
    assert isinstance(desired, machine.Spec)
    domain: Found = notes["domain"]
    tree = element(domain.live or domain.definition)
    if domain.state == "crashed" or not domain.persistent:
        yield "it has crashed" if domain.persistent else "libvirt does not keep it: it is transient"
    if domain.snapshots:
        many = domain.snapshots > 1
        yield f"its {domain.snapshots} snapshot{'s' * many} cannot go along: delete {'them' if many else 'it'} first"
    if tree.find("devices/hostdev") is not None:
        yield "it has devices of its host"
    if tree.find("devices/disk//encryption") is not None:
        yield "its disks are encrypted, with a secret of its host"
    kept = {"os/nvram": "its firmware's variables are", "devices/tpm": "its TPM's state is"}
    for path, what in kept.items():
        if not domain.active and tree.find(path) is not None:
            yield f"it is off, and {what} a file of its host: start it first"
    for disk_name, disk in machine.disks(desired).items():
        if disk.volume is not None and (disk.pool or desired.pool) not in _shared(resource):
            yield f"its disk {disk_name} is the volume {disk.volume}, which is declared for its host"
    if lacking := hardware.objection(name, desired, scopes[1], place):
        yield f"on {there} {lacking}"
    for pool in sorted({disk.pool or desired.pool for disk in machine.disks(desired).values()} | {desired.pool}):
        paths = notes["site"].pools.get(pool), place.pools.get(pool)
        if paths[0] and paths[1] and paths[0] != paths[1]:
            yield f"pool {pool} is in {paths[1]} on {there}, and in {paths[0]} here"
    yield from _processors(tree, domain, scopes)


def _processors(tree: Any, domain: Found, scopes: tuple[Scope, Scope]) -> Iterator[str]:
    arch = [scope.facts.get("arch") for scope in scopes]
    if all(arch) and arch[0] != arch[1]:
        yield f"{scopes[1].host} is {arch[1]}, and its own is {arch[0]}"
    models = [(scope.facts.get("cpu") or {}).get("model") for scope in scopes]
    cpu = tree.find("cpu")
    if cpu is not None and cpu.get("mode") == "host-passthrough" and domain.active and models[0] != models[1]:
        yield f"it has the CPU of its host as it is ({models[0]}), and {scopes[1].host} has another ({models[1]})"


def _shared(resource: Resource) -> tuple[str, ...]:
    return resource.demand.shared if resource.demand else ()


def carry(resource: Resource, answer: Answer, to: str) -> tuple[Step, str]:
    """As it runs, or what is off as it is."""
    assert isinstance(answer, Present)
    demand, domain = resource.demand, answer.notes["domain"]
    path = Path(demand.path) if demand else Path.RELAY
    what = "as it runs" if domain.active else "while it is off"
    disks = "its disks are shared" if _shared(resource) else "with its disks"
    ways = {Path.TCP: ", in the clear", Path.TLS: ", by TLS"}
    call = Migrate(resource.address.name, to, path, _shared(resource))
    step = Step(f"carry {resource.address.name} over to {to} {what}", (call,), Impact.LIVE, HOURS)
    return step, f"{what}, {disks}{ways.get(path, '')}"
