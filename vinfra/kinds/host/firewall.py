"""A host's firewall: what may come in, held by nftables, firewalld or ufw, each with something of its own for us."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from vinfra.kinds.compare import bringers, created, deleted, later, own_identity, refused, updated
from vinfra.kinds.host.firewalls import backends
from vinfra.kinds.host.firewalls.backends import BACKENDS
from vinfra.kinds.host.firewalls.rules import Fate, Line, Login, OwnRule, joined, lines, login, shut_out
from vinfra.kinds.host.firewalls.state import State
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.question import Question, ReadLogin
from vinfra.model.spec import field
from vinfra.model.step import Step
from vinfra.model.values import Flag

NAME = "host.firewall"
SECTION = "firewall"
SHORTHAND = "incoming"
ORDER = 46
SHARED = False
TRAITS = frozenset({Trait.SINGLE})
REMOVAL = Removal(when="only what is ours goes; with ufw what it does by default stays")

OBJECT = "host"


class Spec(shape.Spec):
    """What may come in. Answers to what went out, the loopback, IPv6's neighbour discovery and DHCP always may."""

    FOLLOWS = ("persisted", "enabled")

    incoming: Fate = field("What becomes of what no rule is about.", default="drop")
    rules: tuple[OwnRule, ...] | None = field(
        "Of what comes in: `service` or `ports` and `protocol` (tcp, udp, icmp), `from` (networks), `interface`, "
        "`action` (allow, drop, reject) and `comment`. The first one that is about something decides.",
        examples=(["ssh", "443/tcp", {"ports": 5432, "from": "10.0.0.0/8"}],),
    )
    backend: Literal["nftables", "firewalld", "ufw"] | None = field(
        "Which program holds them. Without it: firewalld or ufw where that runs, nftables anywhere else.",
        examples=("nftables",),
    )
    may_cut_off: Flag = field(
        "Do not refuse rules that would turn away a new login by the way this run comes in. "
        "The host takes them back all the same, if they do.",
        default=False,
        compared=False,
    )


def check(name: str, desired: shape.Spec | None) -> str:
    """A host has one; a program that is named can hold these rules."""
    if name != OBJECT:
        return f"a host has one firewall, and it is called {OBJECT}"
    if not isinstance(desired, Spec) or {"rules", "backend"} & desired.deferred:
        return ""
    if desired.backend is not None:
        made = BACKENDS[desired.backend].wish(desired.incoming, lines(desired.rules or ()), {})
        return made if isinstance(made, str) else ""
    return ""


identity = own_identity


def references(_name: str, _desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """The programs come first, and so do their units: the start of nftables.service empties everything."""
    return frozenset(), frozenset(f"{sort}:{name}" for name in BACKENDS for sort in ("package", "service"))


def ask(_scope: Scope, answers: Answers) -> Iterable[Question]:
    """What each program holds of ours, which of them runs, and by which way we are here."""
    yield ReadLogin()
    yield from backends.ask(answers)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when one of them holds something of ours; all that was found is in the notes."""
    answer = _read(scope, answers)
    return {item.address.name: answer for item in scope.wanted}


def _read(scope: Scope, answers: Answers) -> Answer:
    found = backends.read(answers)
    if isinstance(found, Unknown):
        return found
    raw = answers[ReadLogin()]
    wish = next((item.desired.backend for item in scope.wanted if isinstance(item.desired, Spec)), None)
    used = [name for name, state in found.states.items() if state.ours]
    chosen = wish or found.chosen or (used or ["nftables"])[0]
    notes: dict[str, Any] = {
        "states": found.states,
        "backend": chosen,
        "used": used,
        "both": "" if wish else found.both,
    }
    notes |= {"came": login(raw.text) if raw.ok else None, "around": found.around}
    if not used:
        return Absent(notes)
    state = found.states[chosen if chosen in used else used[0]]
    actual = Spec.model_construct(
        incoming=state.incoming, rules=state.rules, backend=chosen if chosen in used else used[0]
    )
    return Present(actual, notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """What runs, and what is loaded at boot, each against what is declared; and that we do not shut ourselves out."""
    desired = resource.desired
    if not isinstance(desired, Spec):
        if not isinstance(answer, Present):
            return Delta(Action.NOOP)
        if why := _left_out(answer.notes, answer.notes["used"], scope):
            return refused(Action.DELETE, why)
        return deleted(REMOVAL, backends.stays(answer.notes["used"]))
    assert isinstance(answer, Present | Absent)
    notes, action = answer.notes, Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    if notes["both"]:
        return refused(action, notes["both"])
    state: State = notes["states"][notes["backend"]]
    wanted = _wanted(desired, notes, scope)
    if isinstance(wanted, str):
        return refused(action, wanted)
    fields = tuple(_fields(state, wanted, notes))
    if state.missing:
        found = bringers(scope, *state.brings)
        if found:
            return later(action, f"{state.missing}; {found[0]} may bring it", fields)
        return refused(action, f"{state.missing}; declare {' and '.join(state.brings)}", fields)
    if not fields:
        return Delta(Action.NOOP)
    leaving = [name for name in notes["used"] if name != notes["backend"]]
    if why := state.hinders or _cut_off(desired, notes, scope) or _left_out(notes, leaving, scope):
        return refused(action, why, fields)
    said = backends.said(notes["backend"], fields)
    return updated(fields, said) if action is Action.UPDATE else created(fields, said, Impact.LIVE)


def _wanted(desired: Spec, notes: Mapping[str, Any], scope: Scope) -> State | str:
    name = str(notes["backend"])
    states: Mapping[str, State] = notes["states"]
    wanted = [*_bridges(scope), *lines(desired.rules or ())]
    hypervisor = {"libvirt": "declared"} if "hypervisor:kvm" in scope.siblings else {}
    return BACKENDS[name].wish(desired.incoming, wanted, {**states[name].former, **hypervisor})


def _bridges(scope: Scope) -> Iterable[Line]:
    """Machines ask the host for addresses and names, on bridges that a blueprint has named as well."""
    wishes = (item.desired for ref, item in sorted(scope.siblings.items()) if ref.startswith("network:"))
    names = {str(getattr(wish, "bridge", None) or "") for wish in wishes if getattr(wish, "cidr", None)}
    for name in sorted(name for name in names if name and not name.startswith("virbr")):
        yield Line("allow", "udp", joined(["53", "67", "547"]), interface=name)
        yield Line("allow", "tcp", joined(["53"]), interface=name)


def _fields(state: State, wanted: State, notes: Mapping[str, Any]) -> Iterable[FieldChange]:
    if state.incoming != wanted.incoming:
        yield FieldChange("incoming", state.incoming, wanted.incoming)
    if state.rules != wanted.rules:
        lost = tuple(rule for rule in state.rules if rule not in wanted.rules)
        come = tuple(rule for rule in wanted.rules if rule not in state.rules)
        yield FieldChange("rules", *((lost, come) if lost or come else (state.rules, wanted.rules)))
    if state.persisted != wanted.persisted:
        yield FieldChange("persisted", None if state.persisted is None else "something else", "as declared")
    if wanted.enabled and not state.enabled:
        yield FieldChange("enabled", False, True)
    if others := [name for name in notes["used"] if name != notes["backend"]]:
        yield FieldChange("backend", others[0], notes["backend"])


def _cut_off(desired: Spec, notes: Mapping[str, Any], scope: Scope) -> str:
    """Why we would not come in again; "" where we would, or where nobody knows by which way we are here."""
    came, around = notes["came"], notes["around"]
    if not isinstance(came, Login) or desired.may_cut_off:
        return ""
    if not shut_out(came, (*lines(desired.rules or ()), *around), desired.incoming, scope.facts):
        return ""
    return f"a new login to {came}, by which we are here, would be turned away; allow it, or say may_cut_off: true"


def _left_out(notes: Mapping[str, Any], leaving: Sequence[str], scope: Scope) -> str:
    """Why we would not come in once our rules have left ufw, which stays as strict as it is; "" if we would."""
    ufw: State = notes["states"]["ufw"]
    if "ufw" not in leaving or ufw.incoming is None or not isinstance(notes["came"], Login):
        return ""
    if not shut_out(notes["came"], notes["around"], ufw.incoming, scope.facts):
        return ""
    return f"without our rules ufw would turn away a new login to {notes['came']}; allow it there by hand first"


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """The new ones first, then what another program still holds of ours."""
    notes = change.notes
    states: Mapping[str, State] = notes["states"]
    desired, name = change.desired, notes["backend"]
    if not isinstance(desired, Spec):
        return [step for used in notes["used"] for step in BACKENDS[used].remove(states[used])]
    wanted = _wanted(desired, notes, _scope)
    assert isinstance(wanted, State)
    paths = {item.path for item in change.delta.fields}
    found = list(BACKENDS[name].put(wanted, states[name], paths))
    others = [other for other in notes["used"] if other != name]
    return [*found, *(step for other in others for step in BACKENDS[other].remove(states[other]))]


def undo(change: Change, _scope: Scope) -> Undo:
    """What ran and what was loaded at boot, as it was found."""
    states: Mapping[str, State] = change.notes["states"]
    names = dict.fromkeys((change.notes["backend"], *change.notes["used"]))
    found = [step for name in names for step in BACKENDS[name].restore(states[name])]
    return Undo(tuple(found), early=change.delta.action is Action.CREATE)
