"""Virtual networks of libvirt: a bridge on the host with NAT, with routing or with neither; or by what the host has."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import because, compare, created, deleted, later, own_identity, refused
from vinfra.kinds.kvm.networks import declared, network_room, network_xml, problems, wishes
from vinfra.kinds.kvm.networks.declared import BORROWED
from vinfra.kinds.kvm.reading import listing as everything
from vinfra.kinds.kvm.reading import ownership, usage
from vinfra.kinds.kvm.reading.virsh import DOMAINS, HYPERVISOR, NETWORKS, Found, found, missing
from vinfra.kinds.kvm.volumes import scripts
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.question import Question
from vinfra.model.step import Call, Exec, Step, Verb, Virt

NAME = "kvm.network"
SECTION = "networks"
SHORTHAND = ""
ORDER = 110
SHARED = False
REMOVAL = Removal(when="refused while a machine is plugged into it")
TRAITS = frozenset({Trait.TOP})

RESTART = Impact.RESTART
Spec = declared.Spec


def check(name: str, desired: shape.Spec | None) -> str:
    """Names that libvirt and the kernel take, and fields that make sense in this mode."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        return "write letters, digits, '.', '_' and '-', such as dev"
    if not isinstance(desired, Spec) or desired.deferred:
        return ""
    return problems.problem(desired)


identity = own_identity
ask_all = everything.ask_networks
listing = everything.networks
carried = ownership.carried
own = network_xml.own


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """After the hypervisor, and after the host's interface that it leads out by."""
    leads = getattr(desired, BORROWED.get(getattr(desired, "mode", ""), ""), None)
    return frozenset(), frozenset({HYPERVISOR, *((f"interface:{leads}",) if isinstance(leads, str) else ())})


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All networks, the domains that may be plugged into them, and Open vSwitch where one is wished for."""
    yield from (NETWORKS, DOMAINS)
    if any(getattr(item.desired, "mode", "") == "openvswitch" for item in scope.wanted):
        yield network_room.OPEN_VSWITCH


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each as it is defined; among the notes how it runs, who uses it, and what else is here."""
    why = missing(answers, NETWORKS, scope) or missing(answers, DOMAINS, scope)
    known, using = found(answers, NETWORKS), network_room.plugged(answers)
    around = {"domains": found(answers, DOMAINS), "switching": network_room.switching(answers)}
    return {item.address.name: why or _one(item.address.name, known, using, around) for item in scope.wanted}


def _one(
    name: str, known: Mapping[str, Found], using: Mapping[str, tuple[usage.User, ...]], around: Mapping[str, Any]
) -> Answer:
    one = known.get(name)
    others = [other for other in known.values() if other is not one]
    notes: dict[str, Any] = {**around, "using": using.get(name, ()), "others": others}
    if one is None:
        return Absent(notes)
    actual = Spec.model_construct(**network_xml.parse(one.definition), autostart=one.autostart)
    return Present(actual, {**notes, "found": one})


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """What libvirt can only do to a network that starts costs a restart where it runs; all else costs nothing."""
    name, desired = resource.address.name, resource.desired
    notes = answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(resource, answer, notes, scope)
    one: Found | None = notes.get("found")
    if one is None:
        return _new(name, desired, scope, notes)
    assert isinstance(answer, Present)
    wish = wishes.of(name, desired, scope, notes, one.definition)
    fields = tuple(_defined(name, desired, scope, notes))
    if (former := ownership.owner(one.definition)[0]) in scope.formerly:
        fields += (FieldChange("owner", former, scope.owner),)
    owner = ownership.former(one, scope)
    if owner and not fields and not one.persistent:
        return Delta(Action.NOOP)
    if owner and fields:
        return refused(Action.UPDATE, f"{owner}; declare it as it is, or give yours another name", fields)
    moved = any(item.path in ("mode", "cidr", "bridge", "interface") for item in fields)
    reason = moved and network_room.clash(name, dict(wish), notes, one, scope)
    reason = reason or _stuck(fields, one, wish, notes["using"])
    if reason := reason or wishes.problem(name, desired, scope, notes):
        return refused(Action.UPDATE, reason, fields)
    if one.autostart != wish.autostart:
        fields += (FieldChange("autostart", one.autostart, wish.autostart),)
    return _mended(fields, one, notes["using"])


def _new(name: str, desired: Spec, scope: Scope, notes: Mapping[str, Any]) -> Delta:
    wish = wishes.of(name, desired, scope, notes)
    fields = compare(None, wish.model_copy(update={"dhcp": desired.dhcp, "stp": desired.stp}))
    if brings := network_room.bringers_of(dict(wish), scope, notes):
        return later(Action.CREATE, brings, fields)
    reason = wishes.problem(name, desired, scope, notes) or network_room.clash(name, dict(wish), notes, None, scope)
    return refused(Action.CREATE, reason, fields) if reason else created(fields)


def _stuck(fields: Iterable[FieldChange], one: Found, wish: Spec, using: Iterable[usage.User]) -> str:
    """Who runs with a card on a switch that is not a bridge of the kernel: nothing here plugs it in elsewhere."""
    modes = {wish.mode, network_xml.parse(one.live)["mode"] if one.active else wish.mode}
    moved = any(item.path in ("mode", "bridge", "interface") for item in fields)
    plugged = [user.name for user in using if user.running]
    if not moved or not plugged or not modes & {"openvswitch", "direct"}:
        return ""
    return f"{', '.join(plugged)} would be cut off until it is plugged in again; stop it first"


def _mended(fields: tuple[FieldChange, ...], one: Found, using: Iterable[usage.User]) -> Delta:
    impact = max((Impact.LIVE, *(item.impact for item in fields)))
    cut = ", ".join(user.name for user in using if user.running) if impact is RESTART else ""
    said = (
        "" if one.active else "it does not run",
        "" if one.persistent else "libvirt forgets it when it stops",
        f"in use: {cut} cut off meanwhile" if cut else "",
    )
    reason = because(fields, *said)
    return Delta(Action.UPDATE, fields, impact, reason=reason) if fields or reason else Delta(Action.NOOP)


def _gone(resource: Resource, answer: Answer, notes: Mapping[str, Any], scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    if users := usage.staying(resource, notes["using"], scope):
        return refused(Action.DELETE, f"network in use by {', '.join(users)}")
    return deleted()


def _defined(name: str, desired: Spec, scope: Scope, notes: Mapping[str, Any]) -> Iterator[FieldChange]:
    """What differs in what runs, and what differs in the definition alone, which needs no restart."""
    one: Found = notes["found"]
    running: dict[str, FieldChange] = {}
    if one.active:
        live = Spec.model_construct(**network_xml.parse(one.live))
        wish = wishes.of(name, desired, scope, notes, one.live)
        running = {item.path: item for item in compare(live, wish, skip=("autostart",))}
    yield from running.values()
    actual = Spec.model_construct(**network_xml.parse(one.definition))
    for item in compare(actual, wishes.of(name, desired, scope, notes, one.definition), skip=("autostart",)):
        if item.path not in running:
            yield replace(item, impact=Impact.LIVE, why="")


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """Define; tell what runs, or start it anew and plug in again what was plugged in; then autostart."""
    name, desired, notes = change.address.name, change.desired, change.notes
    if not isinstance(desired, Spec):
        bare = getattr(change.actual, "mode", "") in BORROWED
        look = () if bare else (Exec(("sh", "-c", scripts.UNPLUGGED, "sh", name)),)
        calls = (*look, Virt(Verb.NETWORK_STOP, name), Virt(Verb.NETWORK_UNDEFINE, name))
        return [Step(f"remove network {name}", calls, change.delta.impact)]
    one, changed = notes.get("found"), {item.path for item in change.delta.fields}
    wish = dict(wishes.of(name, desired, scope, notes, "" if one is None else one.definition))
    defined = changed - {"autostart"}
    steps: list[Step] = []
    if one is None:
        xml = network_xml.build(name, wish, scope.owner)
        steps.append(Step(f"define network {name}", (Virt(Verb.NETWORK_DEFINE, name, xml=xml),)))
    elif defined or not one.persistent:
        xml = network_xml.patch(one.definition, name, wish, defined, scope.owner)
        steps.append(Step(f"define network {name} anew", (Virt(Verb.NETWORK_DEFINE, name, xml=xml),)))
    back = one.definition if one is not None else ""
    start: tuple[Call, ...] = (Virt(Verb.NETWORK_START, name, xml=back), *_plugged(name, desired, notes["using"]))
    if change.delta.impact is RESTART:
        steps.append(Step(f"restart network {name}", (Virt(Verb.NETWORK_STOP, name), *start), RESTART))
    elif one is None or not one.active:
        steps.append(Step(f"start network {name}", start))
    elif told := tuple(_told(name, desired, scope, notes, defined)):
        steps.append(Step(f"tell network {name} as it runs: {', '.join(sorted(defined))}", told))
    if "autostart" in changed:
        call = Virt(Verb.NETWORK_AUTOSTART, name, number=int(desired.autostart))
        steps.append(Step(f"{'start' if desired.autostart else 'do not start'} network {name} with the host", (call,)))
    return steps


def _told(name: str, desired: Spec, scope: Scope, notes: Mapping[str, Any], changed: Iterable[str]) -> Iterator[Virt]:
    live = notes["found"].live
    for coming, xml in network_xml.live(live, dict(wishes.of(name, desired, scope, notes, live)), changed):
        yield Virt(Verb.NETWORK_UPDATE, name, xml=xml, number=int(coming))


def _plugged(name: str, desired: Spec, using: Iterable[usage.User]) -> tuple[Exec, ...]:
    """A bridge that was taken away took no machine's tap with it, but libvirt does not put them on the new one.

    An Open vSwitch and an interface are not taken away.
    """
    taps = [tap for user in using for tap in user.taps if desired.mode not in ("openvswitch", "direct")]
    return (Exec(("sh", "-c", scripts.PLUG, "sh", name, *taps)),) if taps else ()
