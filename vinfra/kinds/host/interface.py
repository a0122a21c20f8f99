"""Network interfaces of a host: what runs, and the file of whoever manages networks there, which brings it at boot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import because, bringers, changed, created, deleted, later, own_identity, refused, updated
from vinfra.kinds.host.networking import backends, differences, fields, making, sense
from vinfra.kinds.host.networking.backends import MANAGERS, Host
from vinfra.kinds.host.networking.making import Site
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question, ReadFile
from vinfra.model.step import Step

NAME = "host.interface"
SECTION = "interfaces"
SHORTHAND = ""
ORDER = 44
SHARED = False
REMOVAL = Removal(
    Impact.RESTART,
    "it goes, and what is plugged into it is cut off",
    "live for a network card, which runs as it is until the next boot",
)

Spec = fields.Spec
NO_SUCH_FILE = 2


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is one of the kernel's; the fields make sense together."""
    if not fields.IFNAME.fullmatch(name):
        return (
            "write a name as the kernel has it: at most 15 letters, digits, '.', '_' and '-', such as br0 or eth0.110"
        )
    if name == "lo":
        return "lo is the host's own; put further addresses on an interface"
    if not isinstance(desired, Spec) or desired.deferred:
        return ""
    return sense.problem(name, desired)


identity = own_identity


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """After what it stands on, and after what brings a manager of networks."""
    if not isinstance(desired, Spec) or desired.deferred:
        return frozenset(), frozenset()
    below = (*fields.ports(desired), *((desired.vlan.parent,) if desired.vlan else ()))
    modules = {"bridge": "bridge", "vlan": "8021q", "bond": "bonding"}
    module = modules.get(fields.sort(desired))
    kernel = (f"kernel_module:{module}",) if module else ()
    return frozenset(), frozenset((*(f"interface:{name}" for name in below), *backends.BRINGERS, *kernel))


def ask(scope: Scope, answers: Answers) -> Iterable[Question]:
    """What runs, every manager's files, and our own as they are; what is to be taken over is read in full."""
    yield from backends.ask()
    names = {name for item in scope.wanted for name in (item.address.name, *fields.ports(item.desired))}
    yield from (ReadFile(path) for name in sorted(names) for path in _paths(name))
    host = backends.read(answers)
    if isinstance(host, Unknown):
        return
    for item in scope.wanted:
        yield from map(ReadFile, _asked_later(item, host))


def _paths(name: str) -> Iterable[str]:
    return (path for module in MANAGERS.values() for path in module.paths(name))


def _asked_later(item: Resource, host: Host) -> Iterable[str]:
    """Files that only those of others name: a VLAN's addition to its parent's, and what is taken over."""
    desired = item.desired
    name = item.address.name
    yield from (path for path in host.lines if path.endswith(f".network.d/vinfra-{name}.conf"))
    if isinstance(desired, Spec) and desired.takeover:
        yield from (claim.line.path for key in (name, *fields.ports(desired)) for claim in backends.claims(key, host))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when a file of ours says something of it; what runs is among the notes."""
    host = backends.read(answers)
    if isinstance(host, Unknown):
        return {item.address.name: host for item in scope.wanted}
    return {item.address.name: _one(item, host, answers) for item in scope.wanted}


def _one(item: Resource, host: Host, answers: Answers) -> Answer:
    name, desired = item.address.name, item.desired
    names = (name, *fields.ports(desired))
    texts: dict[str, str | None] = {}
    for path in (*(path for key in names for path in _paths(key)), *_asked_later(item, host)):
        raw = answers.get(ReadFile(path))
        if raw is None or raw.returncode not in (0, NO_SUCH_FILE):
            return Unknown(f"cannot read {path}: {raw.err.strip() if raw else 'no answer'}")
        texts[path] = raw.text if raw.ok else None
    notes: dict[str, Any] = {"host": host, "texts": texts}
    if not any(texts[path] is not None for path in _paths(name)):
        return Absent(notes)
    return Present(differences.actual(host.links.get(name), host.links, desired), notes)


def _site(resource: Resource | Change, notes: Mapping[str, Any], scope: Scope) -> Site | str:
    """The interface on its host; or why nobody can be told to manage it."""
    name, desired, host = resource.address.name, resource.desired, notes["host"]
    wish = desired if isinstance(desired, Spec) else None
    module = backends.choose(name, wish, host)
    if isinstance(module, str):
        own = list(host.mine(name).values())
        if wish is not None or not own:
            return module
        module = own[0]
    specs = {
        item.address.name: backends.settled(module, item.desired, host)
        for item in scope.siblings.values()
        if item.address.kind == NAME and isinstance(item.desired, Spec) and not item.desired.deferred
    }
    if wish is not None:
        specs[name] = wish = backends.settled(module, wish, host)
    claimed = _claims(name, wish, specs, host) if wish is not None else ()
    former = {claim.line.path: notes["texts"].get(claim.line.path) or "" for claim in claimed}
    return Site(name, host, module, specs, notes["texts"], claimed, former)


def _claims(name: str, desired: Spec, specs: Mapping[str, Spec], host: Host) -> tuple[backends.Claim, ...]:
    """What others' files say of it; of a port that waits for its bridge or bond, that one answers."""
    above = making.master(name, specs)
    own = () if above and not fields.sort(desired) else backends.claims(name, host)
    return (*own, *(claim for port in fields.ports(desired) for claim in backends.claims(port, host)))


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """What runs otherwise than declared, field by field, and the file at boot as one more."""
    desired, notes = resource.desired, answer.notes if isinstance(answer, Present | Absent) else {}
    if not isinstance(desired, Spec):
        return _gone(resource, answer, notes, scope)
    action = Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    site = _site(resource, notes, scope)
    if isinstance(site, str):
        found = bringers(scope, *backends.BRINGERS, "operation:")
        if found:
            return later(action, f"{site}; {found[0]} may bring it", _most(desired))
        return refused(action, site)
    desired = site.specs[site.name]
    changes = tuple(differences.found(site, desired))
    if reason := differences.clash(site, desired):
        return refused(action, reason, changes)
    if not changes and not site.claims:
        return Delta(Action.NOOP)
    if site.link is None and not fields.sort(desired):
        found = bringers(scope, "kernel_module:", "package:", "operation:")
        if found:
            return later(action, f"there is no {site.name} yet; {found[0]} may bring it", _most(desired))
        return refused(action, f"there is no {site.name} on this host", changes)
    reason = differences.objection(site, desired) or _claimed(site, desired) or _unread(site, desired)
    if reason:
        return refused(action, reason, changes)
    said = tuple(filter(None, (differences.lost(site, desired), _hit(site, desired, changes))))
    if isinstance(answer, Present):
        return updated(changes, "; ".join(said))
    impact = max(Impact.LIVE, *(item.impact for item in changes))
    if site.link is None and impact is Impact.LIVE:
        return created(changes, "; ".join(said))
    return Delta(Action.CREATE, changes, impact, reason=because(changes, *said))


def _most(desired: Spec) -> Iterable[FieldChange]:
    """All that may come of it, once it is known who manages it and what there is."""
    for key, value in desired:
        if value is None or key in ("exclusive", "manager", "takeover"):
            continue
        if key not in ("bridge", "vlan", "bond"):
            yield changed(Spec, key, None, value)
            continue
        why = changed(Spec, key, None, None)
        yield from (replace(why, path=f"{key}.{name}", after=after) for name, after in value)
    yield FieldChange("at boot", None, None)


def _hit(site: Site, desired: Spec, changes: Iterable[FieldChange]) -> str:
    return differences.hanging(site, desired) if any(item.impact is Impact.RESTART for item in changes) else ""


def _claimed(site: Site, desired: Spec) -> str:
    """Why what others' files say keeps us from saying anything."""
    if not site.claims:
        return ""
    line = site.claims[0].line
    if not desired.takeover:
        again = "; cloud-init writes it at each boot" if "cloud-init" in line.path else ""
        return f"{line} configures it already ({line.text.strip()}){again}: take it out there, or say takeover: true"
    odd = [path for path, text in making.taken_over(site).items() if not text]
    return f"{odd[0]} is of other interfaces as well; narrow it to those first" if odd else ""


def _unread(site: Site, desired: Spec) -> str:
    """Why a file of ours would not count."""
    module: Any = site.manager
    if module.NAME != "ifupdown":
        return ""
    if desired.dns and not {"/sbin/resolvconf", "/usr/sbin/resolvconf"} & site.host.programs:
        return "ifupdown hands name servers to resolvconf, which is not installed; leave dns out, or install it"
    return str(module.unread(site.name, site.host.lines))


def _gone(resource: Resource, answer: Answer, notes: Mapping[str, Any], scope: Scope) -> Delta:
    if not isinstance(answer, Present):
        return Delta(Action.NOOP)
    site = _site(resource, notes, scope)
    if isinstance(site, str):
        return refused(Action.DELETE, site)
    above = making.master(site.name, site.specs)
    if above:
        return Delta(Action.NOOP, reason=f"its file is {above}'s by now")
    users = [name for name, spec in site.specs.items() if spec.vlan and spec.vlan.parent == site.name]
    if users:
        return refused(Action.DELETE, f"{users[0]} is a VLAN of it")
    if site.link is None or not site.link.sort:
        return deleted(reason="it runs as it is until the next boot")
    return deleted(REMOVAL, differences.hanging(site))


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """One step, which the host takes back as a whole unless a new login confirms it."""
    site = _site(change, change.notes, scope)
    assert isinstance(site, Site)
    if not isinstance(change.desired, Spec):
        return [making.removal(site, change.delta.impact)]
    return [making.step(site, site.specs[site.name], change.delta.impact)]


def undo(change: Change, scope: Scope) -> Undo:
    """The former files, and everything that it touched as it ran; what was made goes before what it stands on."""
    site = _site(change, change.notes, scope)
    assert isinstance(site, Site)
    return Undo((making.undo(site, site.specs[site.name]),), early=site.link is None)
