"""A virtual machine as a host: it answers by SSH, with the host key that its own console showed.

Its address and key are kept in the domain's metadata, so that later runs know them; from then on the key is pinned.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from xml.etree import ElementTree

from vinfra.kinds.compare import SAME, created, no_check, own_identity
from vinfra.kinds.kvm.reading import virsh
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, Undo
from vinfra.model.inventory import Host
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.mark import GUEST_NAMESPACE
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import AwaitGuest, Step
from vinfra.model.values import Seconds, Text

NAME = "kvm.guest"
SECTION = "guests"
SHORTHAND = ""
ORDER = 150
SHARED = False
REMOVAL = Removal(Impact.NONE, when="nothing is done")
TRAITS = frozenset({Trait.WAITS})


class Spec(shape.Spec):
    """How vinfra logs in to a virtual machine."""

    user: Text = field("Who logs in.", default="root")
    key_file: Text | None = field("The private key; without it the agent's and ssh_config's.", compared=False)
    via: Literal["jump", "direct"] = field(
        "By way of its hypervisor, or straight to its address.", default="jump", compared=False
    )
    network: Text | None = field("The libvirt network whose lease tells its address; its first one.", compared=False)
    address: Text | None = field(
        "Its address, where a blueprint says it; its lease or its agent tells it without.", compared=False
    )
    ready: Literal["cloud-init", "ssh"] = field(
        "When it counts as ready: once it answers and cloud-init, if it has one, ended without error; or at once.",
        default="cloud-init",
        compared=False,
    )
    timeout: Seconds = field("How long it may take until it answers.", default=300.0, compared=False)


check = no_check
identity = own_identity


def references(name: str, _desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Its domain."""
    return frozenset(), frozenset({f"domain:{name}"})


def ask(_scope: Scope, _answers: Answers) -> Iterable[Question]:
    """The domains with their metadata, and the leases of the networks."""
    return (virsh.DOMAINS, virsh.NETWORKS)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when its domain runs and has told its address and key; the login is among the notes."""
    unread = virsh.missing(answers, virsh.DOMAINS, scope)
    return {item.address.name: unread or _one(item, scope, answers) for item in scope.wanted}


def _one(item: Resource, scope: Scope, answers: Answers) -> Answer:
    name, desired = item.address.name, item.desired
    domain = virsh.found(answers, virsh.DOMAINS).get(name)
    known = known_guest(domain) if domain else {}
    if domain is None or not known or not domain.active:
        return Absent()
    network = (desired.network or "") if isinstance(desired, Spec) else ""
    said = (desired.address or "") if isinstance(desired, Spec) else ""
    address = leased(domain.live, answers, network) or said or known.get("address", "")
    actual = Spec.model_construct(user=known.get("user", ""))
    if not isinstance(desired, Spec):
        return Present(actual)
    login = _login(name, desired, scope.host, address=address, host_key=known.get("key", ""))
    return Present(actual, {"login": login, "address": address})


def known_guest(domain: virsh.Found) -> Mapping[str, str]:
    """The user, address and key under which the domain once answered; empty when it never did."""
    element = virsh.element(domain.definition).find(f"metadata/{{{GUEST_NAMESPACE}}}guest")
    return {} if element is None else element.attrib


def leased(live: str, answers: Answers, only: str = "") -> str:
    """The address of the first interface that has a lease: it may be another one than last time."""
    networks = virsh.found(answers, virsh.NETWORKS)
    for interface in virsh.element(live).iterfind("devices/interface"):
        name = _attribute(interface.find("source"), "network")
        network = networks.get(name) if not only or name == only else None
        mac = _attribute(interface.find("mac"), "address")
        if network and mac in network.leases:
            return network.leases[mac]
    return ""


def _attribute(element: ElementTree.Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "")


def _login(name: str, desired: Spec, hypervisor: str, address: str = "", host_key: str = "strict") -> Host:
    return Host(
        name,
        connection="ssh" if address else "guest",
        address=address,
        user=desired.user,
        key_file=desired.key_file,
        jump=(hypervisor,) if desired.via == "jump" else (),
        host_key=host_key,
    )


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Only whether it answers; there is nothing to take away, and nothing to wait for when it is to be off."""
    domain = scope.siblings.get(f"domain:{resource.address.name}")
    off = domain is not None and getattr(domain.desired, "power", "running") == "stopped"
    if resource.desired is None or off:
        return SAME
    assert isinstance(resource.desired, Spec)
    if not isinstance(answer, Present):
        where = f" at {resource.desired.address}" if resource.desired.address else ""
        first = " and cloud-init is done" if resource.desired.ready == "cloud-init" else ""
        return created((), f"until it answers by SSH{where}{first}")
    name = resource.address.name
    if {f"domain:{name}", f"seed:{name}/seed"} & scope.restarting:
        return Delta(Action.CHECK, reason="until it answers again")
    if getattr(answer.actual, "user", "") != resource.desired.user:
        return Delta(Action.UPDATE, reason=f"until it answers {resource.desired.user} by SSH")
    return SAME


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """Wait."""
    desired, name = change.desired, change.address.name
    if not isinstance(desired, Spec):
        return ()
    login = _login(name, desired, scope.host)
    whole = desired.ready == "cloud-init"
    jump, address = desired.via == "jump", desired.address or ""
    call = AwaitGuest(name, login, desired.network or "", jump, desired.timeout, address, finished=whole)
    until = "answers by SSH" + " and cloud-init is done" * whole
    return [Step(f"wait until {name} {until}", (call,), timeout=desired.timeout)]


def undo(change: Change, scope: Scope) -> Undo:
    """It is waited for again once its machine is what it was; a new one goes with its machine."""
    return Undo() if change.delta.action is Action.CREATE else Undo(tuple(steps(change, scope)))
