"""A Linux host as a hypervisor: libvirt's daemon, KVM, and the proof that guests really run with it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vinfra.kinds.compare import SAME, bringers, deleted, later, own_identity, refused, updated
from vinfra.kinds.host.facts import virtualization
from vinfra.kinds.kvm.hypervisors import acceleration, daemon, needs, nesting, overcommit
from vinfra.kinds.kvm.reading.virsh import CAPABILITIES, DOMAINS, NO_SUCH_PROGRAM, found
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Answers, Part, Removal, Scope, Trait
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step
from vinfra.model.values import Flag, Text

NAME = "kvm.hypervisor"
SECTION = "hypervisor"
SHORTHAND = ""
ORDER = 100
SHARED = True
REMOVAL = Removal(when="refused while there are machines; its packages have rows of their own")
TRAITS = frozenset({Trait.SINGLE})

OBJECT = "kvm"
PACKAGE, CURL = "kvm", "kvm-curl"
GROUPS = ("libvirt", "kvm")
DEVICE = Ask(("test", "-e", virtualization.DEVICE))


class Spec(overcommit.Promising):
    """What makes a host a hypervisor: packages, a daemon that runs, and guests that were seen to run."""

    kind: Literal["kvm"] = field("Which hypervisor.", default=..., compared=False)
    acceleration: Literal["required", "preferred", "off"] = field(
        "Whether KVM must work, which a guest finds out. `preferred` falls back to slow emulation, `off` wants it.",
        default="required",
    )
    nested: Flag | None = field("Whether guests may themselves run guests with KVM.", when="refused while machines run")
    requires: tuple[needs.Need, ...] | None = field(
        f"What its hardware must have for machines: {', '.join(needs.NEEDS)}.", compared=False, examples=(["iommu"],)
    )
    users: tuple[Text, ...] | None = field(
        "Logins that are to manage machines without being root; they join the groups libvirt and kvm.",
        compared=False,
        examples=(["ops"],),
    )


def check(name: str, desired: shape.Spec | None) -> str:
    """A host has one; who uses it is known before the host is asked; nothing nests without KVM."""
    if name != OBJECT:
        return f"a host has one hypervisor, and it is called {OBJECT}"
    if not isinstance(desired, Spec):
        return ""
    if waiting := sorted({"users", "overcommit"} & desired.deferred):
        return f"{', '.join(waiting)} cannot depend on facts: needed before a host is asked"
    if desired.acceleration == "off" and desired.nested is True:
        return "nested machines need KVM, and acceleration is off"
    if desired.acceleration == "off" and "requires" not in desired.deferred and "kvm" in (desired.requires or ()):
        return "requires: kvm, and acceleration is off; leave one of the two out"
    return ""


identity = own_identity
promise = overcommit.promise


def references(_name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Its packages, which are declared with it."""
    own = frozenset({f"package:{PACKAGE}", f"package:{CURL}"})
    return (own, frozenset()) if desired is not None else (frozenset(), own)


def parts(_name: str, desired: shape.Spec) -> Iterator[Part]:
    """The packages, curl to fetch images with (it may have been there before), and the groups of those who use it."""
    assert isinstance(desired, Spec)
    yield Part("host.package", PACKAGE, {"role": "kvm"})
    yield Part("host.package", CURL, {"role": "curl"})
    for user in desired.users or ():
        yield Part("host.user", user, {"groups": GROUPS})


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """Units, device, module, libvirt's version, what was proved; and what runs, where that could be in the way."""
    yield from daemon.ask()
    yield from nesting.ask()
    yield from (acceleration.ACCELERATOR, DEVICE, CAPABILITIES)
    if any(item.desired is None or getattr(item.desired, "nested", None) is not None for item in scope.wanted):
        yield DOMAINS


@dataclass(frozen=True, slots=True)
class State:
    """A hypervisor as it is; `running` are its machines that run.

    `proof` is what the last check noted, `seen` what of that can be seen without one, as far as it is known.
    """

    daemons: daemon.Daemons | None
    proof: Mapping[str, str]
    seen: Mapping[str, str]
    module: nesting.Module
    running: tuple[str, ...]


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when there is a daemon of libvirt; all that was found is in the notes, as `state`."""
    answer = _read(scope, answers)
    return {item.address.name: answer for item in scope.wanted}


def _read(scope: Scope, answers: Answers) -> Answer:
    daemons = daemon.read(answers)
    if isinstance(daemons, Unknown):
        return daemons
    seen = _seen(scope, answers)
    module = nesting.read(answers, seen.get("flags", ""))
    if isinstance(module, Unknown):
        return module
    proof = acceleration.proof(answers)
    if isinstance(proof, Unknown):
        return proof
    running = tuple(sorted(name for name, domain in found(answers, DOMAINS).items() if domain.active))
    state = State(daemons, proof, seen, module, running)
    raw = answers.get(DOMAINS)
    unread = raw is not None and raw.returncode not in (0, NO_SUCH_PROGRAM)
    notes = {"state": state, "domains": None if unread else tuple(found(answers, DOMAINS))}
    return Absent(notes) if daemons is None else Present(Spec.model_construct(kind="kvm"), notes)


def _seen(scope: Scope, answers: Answers) -> dict[str, str]:
    """What a check notes as well; only what is known. libvirt tells QEMU's version while it answers."""
    seen = {"device": "yes" if answers[DEVICE].ok else "no"}
    flags = (scope.facts.get("cpu") or {}).get("flags")
    if flags is not None:
        seen["flags"] = virtualization.flag_of(flags)
    if kernel := scope.facts.get("kernel"):
        seen["kernel"] = str(kernel)
    version = re.search(r"^Running hypervisor: QEMU ([0-9.]+)", _text(CAPABILITIES, answers), re.MULTILINE)
    return seen | ({"qemu": version[1]} if version else {})


def _text(question: Question, answers: Answers) -> str:
    raw = answers.get(question)
    return raw.text if raw is not None and raw.ok else ""


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """The daemon, nesting, and whether what was proved still holds; only a guest can prove it, so that is a CHECK."""
    assert isinstance(answer, Present | Absent)
    desired, state = resource.desired, answer.notes["state"]
    if not isinstance(desired, Spec):
        domains = answer.notes["domains"]
        if domains is None:
            return refused(Action.DELETE, "libvirt does not answer, so nobody knows which machines need it")
        if staying := [name for name in domains if not _goes(f"domain:{name}", scope)]:
            return refused(Action.DELETE, f"{', '.join(staying[:3])} of this host {_need(staying)} it")
        return deleted(reason="what was proved of it") if state.proof or state.module.options else SAME
    fields = [*_daemon(state), *_nested(desired, state.module)]
    why = _unproved(desired, state, scope)
    if why or state.daemons is None:
        fields.append(FieldChange("accelerator", state.proof.get("accelerator"), "proved", Impact.NONE))
    if desired.acceleration == "required" and _hopeless(state, scope):
        return refused(Action.CHECK, acceleration.HOPELESS, fields)
    if lacking := needs.lacking(desired.requires or (), scope):
        return refused(Action.CHECK, lacking, fields)
    if state.daemons is None:
        brought = bringers(scope, "package:", "operation:")
        if brought:
            return later(Action.CREATE, f"{brought[0]} brings libvirt", fields)
        return refused(Action.CREATE, "neither libvirtd nor virtqemud is here, and this blueprint brings none", fields)
    if state.daemons.masked:
        names = ", ".join(state.daemons.masked)
        return refused(Action.UPDATE, f"masked: {names}; `systemctl unmask` lifts that", fields)
    if state.running and any(item.path == "nested" and item.before is not None for item in fields):
        reason = f"{state.module.name} must be loaded anew, and {', '.join(state.running)} runs; shut it down first"
        return refused(Action.UPDATE, reason, fields)
    if [item.path for item in fields] == ["accelerator"]:
        return Delta(Action.CHECK, tuple(fields), reason=why)
    return updated(fields, why)


def _goes(reference: str, scope: Scope) -> bool:
    return reference in scope.siblings and scope.siblings[reference].desired is None


def _need(names: list[str]) -> str:
    more = f"and {len(names) - 3} more " if len(names) > 3 else ""
    return f"{more}need{'s' * (len(names) == 1)}"


def _hopeless(state: State, scope: Scope) -> bool:
    return acceleration.hopeless(scope.facts, state.seen)


def _daemon(state: State) -> Iterator[FieldChange]:
    if state.daemons is None or state.daemons.stopped:
        yield FieldChange("daemon", None if state.daemons is None else "stopped", "running")
    if state.daemons is None or state.daemons.disabled:
        yield FieldChange("boot", None if state.daemons is None else "disabled", "enabled")


def _nested(desired: Spec, module: nesting.Module) -> Iterator[FieldChange]:
    """A module that is not loaded yet is loaded by the check."""
    wish = desired.nested
    if wish is None or not module.name or (module.nests is None and desired.acceleration == "off"):
        return
    if module.differs(wish):
        yield FieldChange("nested", module.nests, wish)


def _unproved(desired: Spec, state: State, scope: Scope) -> str:
    """Why it must be proved, again or for the first time; "" when what was proved holds."""
    told = {"kernel": "the kernel", "qemu": "QEMU", "flags": "the CPU's flag", "device": "/dev/kvm"}
    before, now = state.proof, state.seen
    changed = [
        f"{what} was {before.get(key) or 'none'} and is {now[key] or 'none'}"
        for key, what in told.items()
        if key in now and before.get(key, "") != now[key]
    ]
    if not before.get("accelerator"):
        why = "not proved yet"
    elif before.get("wish") != desired.acceleration:
        why = f"it was proved for acceleration {before.get('wish')}"
    elif changed:
        why = f"since it was proved, {'; '.join(changed)}"
    elif f"package:{PACKAGE}" in scope.changing:
        why = f"package:{PACKAGE} changes"
    else:
        return ""
    if desired.acceleration == "preferred" and _hopeless(state, scope):
        why += "; no vmx, no svm, no /dev/kvm: guests will be emulated"
    if desired.nested and not state.module.name:
        why += "; nested has no meaning without kvm_intel or kvm_amd"
    return why


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """The daemon, then the module, then a guest."""
    desired, state = change.desired, change.notes["state"]
    if not isinstance(desired, Spec):
        files = (acceleration.ACCELERATOR.path, nesting.OPTIONS.path)
        return [Step("forget what was proved of KVM", (Exec(("rm", "-f", "--", *files)),))]
    changed = {item.path: item.after for item in change.delta.fields}
    result: list[Step] = []
    if changed.keys() & {"daemon", "boot"}:
        result.append(daemon.mend(state.daemons))
    if "nested" in changed:
        result += nesting.steps(state.module, changed["nested"])
    if "accelerator" in changed:
        result.append(acceleration.prove(desired.acceleration))
    return result
