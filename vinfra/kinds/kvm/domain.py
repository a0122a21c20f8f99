"""Virtual machines in libvirt: what they are made of, whether they run, and what of that needs a restart.

The definition and what runs are kept apart: `memory` is what the next boot gets, `memory.running` what the system has.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import SAME, compare, created, deleted, own_identity, refused, updated
from vinfra.kinds.kvm.domains import (
    board,
    domain_back,
    domain_xml,
    first_boot,
    hardware,
    live,
    machine,
    migration,
    neighbours,
    preflight,
    room,
    rows,
    schedule,
)
from vinfra.kinds.kvm.domains.domain_xml import ASPECTS
from vinfra.kinds.kvm.domains.drives import snapshots
from vinfra.kinds.kvm.hypervisors import acceleration, needs
from vinfra.kinds.kvm.reading import listing as everything
from vinfra.kinds.kvm.reading import ownership
from vinfra.kinds.kvm.reading.virsh import DOMAINS, HYPERVISOR, NETWORKS, POOLS, Found, found, missing
from vinfra.kinds.kvm.seeds import network_config
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta
from vinfra.model.kind import Answers, Part, Removal, Scope, Tenant, Trait
from vinfra.model.question import Question
from vinfra.model.step import Step, Verb, Virt

NAME = "kvm.domain"
SECTION = "domains"
SHORTHAND = ""
ORDER = 140
SHARED = False
TRAITS = frozenset({Trait.TOP})

REMOVAL = Removal(Impact.REPLACE, "the machine is gone; its disks are volumes")
# Without these nobody knows what a machine is made of, or which host has room for it.
KNOWN_FIRST = frozenset({"cpu", "memory", "image", "disks", "pool", "networks", "cdroms", "cloud_init", "access"})
KNOWN_FIRST |= {"snapshots", "snapshot_before"}

Spec = machine.Spec
carried = ownership.carried
own = ownership.own_domain
storage = room.storage
stores = room.stores
unfit = needs.unfit
stays = migration.stays
alone = neighbours.alone
carry = migration.carry


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is a host's; memory is whole MiB; nothing is said twice."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", name):
        return "write a host name, such as web-01"
    if not isinstance(desired, Spec):
        return ""
    if waiting := sorted(KNOWN_FIRST & desired.deferred):
        return f"{', '.join(waiting)} cannot depend on facts: it is needed before any host is asked"
    return machine.problem(desired) or board.problem(desired) or schedule.problem(desired)


identity = own_identity
ask_all = everything.ask_domains
listing = everything.domains


def references(name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Its volumes and its seed must be there; networks, pools and the hypervisor come first if they are declared."""
    if not isinstance(desired, Spec):
        return frozenset(), frozenset({HYPERVISOR})
    disks = machine.disks(desired)
    hard = {f"volume:{disk.volume or f'{name}/{own}'}" for own, disk in disks.items()}
    if machine.has_seed(desired):
        hard.add(f"seed:{name}/{machine.SEED}")
    hard |= {f"image:{drive.image}" for drive in (desired.cdroms or {}).values() if drive.image}
    pools = {f"pool:{disk.pool or desired.pool}" for disk in disks.values()}
    networks = {f"network:{nic.network}" for nic in desired.networks or () if nic.network}
    return frozenset(hard), frozenset({HYPERVISOR, *pools, *networks, *board.bringers(desired)})


def parts(name: str, desired: shape.Spec) -> Iterator[Part]:
    """A volume for each disk of its own, the seed for its first boot, and the wait for its SSH."""
    assert isinstance(desired, Spec)
    for own, disk in machine.disks(desired).items():
        if disk.volume is None:
            made = {"size": disk.size, "image": disk.image, "format": disk.format, "clone": disk.clone}
            yield _part("kvm.volume", f"{name}/{own}", pool=disk.pool or desired.pool, **made)
    access, first = desired.access, desired.cloud_init or first_boot.CloudInit()
    if machine.has_seed(desired):
        told: dict[str, Any] = {"pool": desired.pool, "hostname": name, **dict(first)}
        told |= {"user": access.user, "public_key": access.public_key} if access else {}
        if first.network_config is None:
            told["network_config"] = network_config.generated(desired.networks or ())
        yield _part("kvm.seed", f"{name}/{machine.SEED}", **told)
    yield from schedule.parts(name, desired)
    if access:
        login = {key: value for key, value in access if key != "public_key"}
        yield _part("kvm.guest", name, address=machine.address(desired), **login)


def _part(kind: str, name: str, **fields: Any) -> Part:
    return Part(kind, name, {key: value for key, value in fields.items() if value is not None})


def demand(desired: shape.Spec) -> tuple[int, int]:
    """Virtual CPUs and bytes of memory; what neither runs nor starts by itself takes nothing."""
    assert isinstance(desired, Spec)
    idle = desired.power == "stopped" and not desired.autostart
    return (0, 0) if idle else (desired.cpu_max or desired.cpu, desired.memory_max or desired.memory)


def tenants(answers: Answers) -> Iterator[Tenant]:
    """Every domain, ours or not; those that run or start with their host with all that their definition may take."""
    for name, domain in found(answers, DOMAINS).items():
        size = domain_xml.size(domain.definition) if domain.active or domain.autostart else (0, 0)
        yield Tenant(name, *size, ownership.owner(domain.definition)[0])


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All domains, what they may be plugged into, and how their CPUs run."""
    return (DOMAINS, NETWORKS, POOLS, acceleration.ACCELERATOR, *hardware.ask(scope), *preflight.ask(scope))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """The definition; among the notes what runs (`live`), what the host has (`site`), and libvirt's own `domain`."""
    for sort in (DOMAINS, NETWORKS, POOLS):
        if (unread := missing(answers, sort, scope)) is not None:
            return dict.fromkeys((item.address.name for item in scope.wanted), unread)
    there = found(answers, DOMAINS)
    site = hardware.site(acceleration.accelerator(answers), scope, answers)
    return {item.address.name: _one(there.get(item.address.name), site) for item in scope.wanted}


def _one(domain: Found | None, site: hardware.Site) -> Answer:
    if domain is None:
        return Absent({"site": site})
    defined = domain_xml.parse(domain.definition)
    runs = domain_xml.parse(domain.live) if domain.active else None
    actual = machine.as_found(domain.name, defined, domain.autostart, rows.POWER.get(domain.state))
    return Present(actual, {"site": site, "domain": domain, "defined": defined, "live": runs})


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Aspect by aspect, the definition and what runs. Somebody else's domain is left alone."""
    desired, name = resource.desired, resource.address.name
    notes = answer.notes if isinstance(answer, Present | Absent) else {}
    whose = ownership.stranger(notes["domain"], scope) if "domain" in notes else ""
    reason = f"{scope.host} has a domain of this name that is not of this blueprint ({whose})"
    if whose and (desired is None or whose != ownership.UNMARKED):
        return refused(Action.DELETE if desired is None else Action.UPDATE, reason)
    if not isinstance(desired, Spec):
        return deleted(REMOVAL, schedule.lost(notes["domain"])) if "domain" in notes else SAME
    wish = hardware.wish(name, desired, scope, notes["site"], notes.get("defined"))
    if "domain" not in notes:
        delta = created(compare(None, desired, skip=machine.usual(desired)))
    else:
        fields = (*rows.hardware(wish, notes), *rows.around(resource, desired, notes, scope))
        if whose:  # it may be declared as it is, but is not changed
            return refused(Action.UPDATE, reason) if any(item.path != "owner" for item in fields) else SAME
        idle = notes["live"] is None and any(item.path in ASPECTS for item in fields)
        delta = updated(fields, "it does not run" if idle else "")
    definition = notes["domain"].definition if "domain" in notes else ""
    same = delta.action is Action.NOOP
    unkept = schedule.unkept(desired, wish.get("disks", ()), definition if same else "")
    if same:
        return refused(Action.UPDATE, unkept) if unkept else delta
    problem = hardware.objection(name, desired, scope, notes["site"]) or neighbours.objection(name, desired, scope)
    problem = problem or _untouchable(wish, notes)
    paths = {item.path.partition(".")[0] for item in delta.fields} if "domain" in notes else {*wish, "power"}
    problem = problem or preflight.objection(desired, paths, wish, notes.get("defined"), scope, notes["site"])
    problem = problem or schedule.objection(desired, delta, definition) or unkept
    return replace(delta, verdict=Verdict.REFUSED, reason=problem) if problem else delta


def _untouchable(wish: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    """Why a difference must not be mended: what somebody keeps would be lost."""
    if "domain" not in notes:
        return ""
    domain: Found = notes["domain"]
    if changed := [name for name in board.FOR_GOOD if name in wish and wish[name] != notes["defined"][name]]:
        return f"{changed[0]}: {board.STAYS['why']}; make a new machine"
    for now in filter(None, (notes["defined"], notes["live"])):
        for overlay, base in snapshots(wish.get("disks", ()), now["disks"]):
            # Without --shallow it would be merged into the image below, which other machines stand on.
            merge = f"virsh blockcommit {domain.name} {overlay} --active --shallow --pivot"
            file, own = (path.rpartition("/")[2] for path in (overlay, base))
            return f"{file} is a snapshot of {own}; merge it first, while it runs: {merge}"
    return "it crashed and is kept to be looked at; virsh destroy ends that" if domain.state == "crashed" else ""


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """What runs, then the definition, then power: at most one restart, and no power cut on the way."""
    name, desired, notes = change.address.name, change.desired, change.notes
    domain: Found | None = notes.get("domain")
    if not isinstance(desired, Spec):
        return [domain_back.removal(name, domain.active)] if domain is not None else []
    wish = hardware.wish(name, desired, scope, notes["site"], notes.get("defined"))
    owner = (scope.owner, str(change.address))
    autostart = Virt(Verb.DOMAIN_AUTOSTART, name, number=int(bool(desired.autostart)))
    start = Step(f"start {name}", (Virt(Verb.DOMAIN_START, name),))
    if domain is None:
        define = Virt(Verb.DOMAIN_DEFINE, name, xml=domain_xml.build(name, wish, owner))
        secret = desired.graphics_password is not None
        return [
            Step(f"define {name}", (define, autostart), secret=secret),
            *([start] if desired.power == "running" else []),
        ]
    paths = {item.path: item for item in change.delta.fields}
    result = list(schedule.first(change, domain.definition))
    changed = [aspect for aspect in wish if aspect in paths]
    restart = domain.active and any(item.impact is Impact.RESTART for item in paths.values())
    if domain.active and not restart:
        result += [start] if "power" in paths else []  # what is paused lets nothing go
        result += live.steps(domain.live, wish)
    if changed or {"owner", "persistent"} & paths.keys():
        xml = domain_xml.patch(domain.definition, wish, changed, owner)
        call = Virt(Verb.DOMAIN_DEFINE, name, xml=xml, part=domain.persistent)
        secret = any(item.secret for item in paths.values())
        result.append(Step(f"define {name} anew: {', '.join(changed) or 'its owner'}", (call,), secret=secret))
    if "autostart" in paths:
        result.append(Step(f"{'start' if desired.autostart else 'do not start'} {name} with its host", (autostart,)))
    if restart:
        resumed = start.calls if domain.state == "paused" else ()  # what is paused hears no power button
        down = (*resumed, Virt(Verb.DOMAIN_SHUTDOWN, name, seconds=domain_back.GRACE))
        back = Virt(Verb.DOMAIN_START, name, xml=domain.definition)
        again = (back,) if desired.power != "stopped" else ()
        result.append(Step(f"shut {name} down{' and start it' * bool(again)}", (*down, *again), Impact.RESTART))
    elif "power" in paths and not domain.active:
        result.append(start)
    return result


undo = domain_back.undo
