"""Virtual networks of libvirt: a bridge on the host with NAT, with routing or with neither; or a bridge it has."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from vinfra.kinds.compare import because, compare, created, deleted, later, own_identity, refused
from vinfra.kinds.kvm.networks import network_room, network_xml
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
from vinfra.model.spec import field
from vinfra.model.step import Call, Exec, Step, Verb, Virt
from vinfra.model.values import Flag, Text, Whole

NAME = "kvm.network"
SECTION = "networks"
SHORTHAND = ""
ORDER = 110
SHARED = False
REMOVAL = Removal(when="refused while a machine is plugged into it")
TRAITS = frozenset({Trait.TOP})

RESTART = Impact.RESTART
DOWN: dict[str, Any] = {"impact": RESTART, "why": "it goes down and up again", "when": "live while it does not run"}
NEED_ADDRESSES = ("dhcp", "domain", "dnsmasq")


def _dhcp(value: Any) -> bool | str:
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    first, dash, last = str(value).partition("-")
    if not dash:
        raise ValueError("write true, false or a range such as 10.10.0.100-10.10.0.199")
    return f"{first.strip()}-{last.strip()}"


def _option(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]*(=[^\x00-\x1f]*)?", value):
        raise ValueError("write an option as dnsmasq's configuration file has it, such as no-ping")
    return value


Dhcp = Annotated[bool | str, BeforeValidator(_dhcp), WithJsonSchema({"type": ["boolean", "string"]})]


class Spec(shape.Spec):
    """A network that virtual machines are plugged into. It always runs."""

    mode: Literal["nat", "isolated", "routed", "bridge"] = field(
        "How it leads out: by the host's own address, not at all, by routes to it, or as part of a bridge it has.",
        default="nat",
        **DOWN,
    )
    cidr: Text | None = field("Its addresses, of which the host takes the first.", **DOWN, examples=("10.10.0.0/24",))
    dhcp: Dhcp | None = field(
        "Whether libvirt gives out its addresses, or which of them; all where there is a cidr and nothing is said.",
        **DOWN,
        examples=(False, "10.10.0.100-10.10.0.199"),
    )
    bridge: Text | None = field(
        "The host's bridge (mode bridge), or what the one that libvirt makes is called.", **DOWN
    )
    domain: Text | None = field("The DNS suffix of its machines.", **DOWN, examples=("dev.example.net",))
    stp: Flag = field("Spanning tree on its bridge, which costs each machine seconds.", default=False, **DOWN)
    dnsmasq: tuple[Annotated[Text, AfterValidator(_option)], ...] | None = field(
        "Options for the dnsmasq that serves it, as its configuration file has them.",
        **DOWN,
        examples=(["no-ping"],),
    )
    mtu: Whole | None = field("The largest packet, in bytes.", **DOWN)
    autostart: Flag = field("Start it with the host.", default=True)


def check(name: str, desired: shape.Spec | None) -> str:
    """Names that libvirt and the kernel take, and fields that make sense in this mode."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        return "write letters, digits, '.', '_' and '-', such as dev"
    if not isinstance(desired, Spec) or desired.deferred:
        return ""
    if desired.bridge is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,15}", desired.bridge):
        return "bridge: the kernel takes at most 15 letters, digits, '.', '_' and '-'"
    if desired.mode == "bridge":
        own = [key for key in ("cidr", *NEED_ADDRESSES, "mtu", "stp") if getattr(desired, key) not in (None, False)]
        if own:
            return f"mode bridge: {', '.join(own)} belong{'' if own[1:] else 's'} to whoever made the bridge"
        return "" if desired.bridge else "mode bridge: say which bridge of the host"
    if desired.cidr is None:
        own = [key for key in NEED_ADDRESSES if getattr(desired, key) not in (None, False)]
        needy = f"mode {desired.mode}" if desired.mode != "isolated" else " and ".join(own)
        return f"{needy} needs a cidr, such as 10.10.0.0/24" if needy else ""
    if desired.mtu is not None and not 576 <= desired.mtu <= 65535:
        return "mtu: write a number of bytes from 576 to 65535"
    return network_room.problem(desired.cidr, desired.dhcp)


identity = own_identity
ask_all = everything.ask_networks
listing = everything.networks
carried = ownership.carried
own = network_xml.own


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """After the hypervisor, and after the host's bridge that it leads out by."""
    bridge = desired.bridge if isinstance(desired, Spec) and desired.mode == "bridge" else None
    return frozenset(), frozenset({HYPERVISOR, *((f"interface:{bridge}",) if isinstance(bridge, str) else ())})


def ask(_scope: Scope, _answers: Answers) -> Iterable[Question]:
    """All networks, and the domains that may be plugged into them."""
    return (NETWORKS, DOMAINS)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each as it is defined; among the notes how it runs, who uses it, and the other networks here."""
    why = missing(answers, NETWORKS, scope) or missing(answers, DOMAINS, scope)
    known = found(answers, NETWORKS)
    using = network_room.plugged(answers)
    return {item.address.name: why or _one(item.address.name, known, using) for item in scope.wanted}


def _one(name: str, known: Mapping[str, Found], using: Mapping[str, tuple[usage.User, ...]]) -> Answer:
    one = known.get(name)
    notes: dict[str, Any] = {
        "using": using.get(name, ()),
        "others": [other for other in known.values() if other is not one],
    }
    if one is None:
        return Absent(notes)
    actual = Spec.model_construct(**network_xml.parse(one.definition), autostart=one.autostart)
    return Present(actual, {**notes, "found": one})


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """What the definition says costs a restart of the network where it runs; starting it and autostart cost nothing."""
    name, desired = resource.address.name, resource.desired
    notes = answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(resource, answer, notes, scope)
    wish = _settled(desired)
    one: Found | None = notes.get("found")
    if one is None:
        fields = compare(None, desired)
        if wish.mode == "bridge" and (brings := network_room.bringers_of(wish.bridge, scope)):
            return later(Action.CREATE, f"there is no bridge {wish.bridge} yet; {brings[0]} may bring it", fields)
        reason = network_room.clash(name, dict(wish), notes["others"], None, scope)
        return refused(Action.CREATE, reason, fields) if reason else created(fields)
    assert isinstance(answer, Present)
    fields = tuple(_defined(answer.actual, wish, one))
    if (former := ownership.owner(one.definition)[0]) in scope.formerly:
        fields += (FieldChange("owner", former, scope.owner),)
    owner = ownership.former(one, scope)
    if owner and not fields and not one.persistent:
        return Delta(Action.NOOP)
    if owner and fields:
        return refused(Action.UPDATE, f"{owner}; declare it as it is, or give yours another name", fields)
    moved = any(item.path in ("mode", "cidr", "bridge") for item in fields)
    if moved and (reason := network_room.clash(name, dict(wish), notes["others"], one, scope)):
        return refused(Action.UPDATE, reason, fields)
    if one.autostart != wish.autostart:
        fields += (FieldChange("autostart", one.autostart, wish.autostart),)
    return _mended(fields, one, notes["using"])


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


def _settled(desired: Spec) -> Spec:
    """What is left out is said: addresses are given out, and a bridge that is not libvirt's is not its to set up."""
    if desired.mode == "bridge":
        return desired.model_copy(update={"stp": None, "dhcp": None})
    if desired.cidr is None:
        return desired
    dhcp = desired.dhcp
    every = dhcp is None or dhcp == network_xml.whole(IPv4Network(desired.cidr))
    return desired.model_copy(update={"dhcp": True if every else dhcp})


def _defined(actual: shape.Spec, wish: Spec, one: Found) -> Iterator[FieldChange]:
    """What differs in what runs, and what differs in the definition alone, which needs no restart."""
    live = Spec.model_construct(**network_xml.parse(one.live)) if one.active else wish
    running = {item.path: item for item in compare(live, wish, skip=("autostart",))}
    yield from running.values()
    for item in compare(actual, wish, skip=("autostart",)):
        if item.path not in running:
            yield replace(item, impact=Impact.LIVE, why="")


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """Define; start or restart, and plug in again what was plugged in; then autostart."""
    name, desired, notes = change.address.name, change.desired, change.notes
    if not isinstance(desired, Spec):
        bare = getattr(change.actual, "mode", "") == "bridge"
        look = () if bare else (Exec(("sh", "-c", scripts.UNPLUGGED, "sh", name)),)
        calls = (*look, Virt(Verb.NETWORK_STOP, name), Virt(Verb.NETWORK_UNDEFINE, name))
        return [Step(f"remove network {name}", calls, change.delta.impact)]
    wish, one, changed = _settled(desired), notes.get("found"), {item.path for item in change.delta.fields}
    defined = changed - {"autostart"}
    steps: list[Step] = []
    if one is None:
        xml = network_xml.build(name, dict(wish), scope.owner)
        steps.append(Step(f"define network {name}", (Virt(Verb.NETWORK_DEFINE, name, xml=xml),)))
    elif defined or not one.persistent:
        xml = network_xml.patch(one.definition, name, dict(wish), defined, scope.owner)
        steps.append(Step(f"define network {name} anew", (Virt(Verb.NETWORK_DEFINE, name, xml=xml),)))
    back = one.definition if one is not None else ""
    start: tuple[Call, ...] = (Virt(Verb.NETWORK_START, name, xml=back), *_plugged(name, notes["using"]))
    if change.delta.impact is RESTART:
        steps.append(Step(f"restart network {name}", (Virt(Verb.NETWORK_STOP, name), *start), RESTART))
    elif one is None or not one.active:
        steps.append(Step(f"start network {name}", start))
    if "autostart" in changed:
        call = Virt(Verb.NETWORK_AUTOSTART, name, number=int(wish.autostart))
        steps.append(Step(f"{'start' if wish.autostart else 'do not start'} network {name} with the host", (call,)))
    return steps


def _plugged(name: str, using: Iterable[usage.User]) -> tuple[Exec, ...]:
    """A bridge that was taken away took no machine's tap with it, but libvirt does not put them on the new one."""
    taps = [tap for user in using for tap in user.taps]
    return (Exec(("sh", "-c", scripts.PLUG, "sh", name, *taps)),) if taps else ()
