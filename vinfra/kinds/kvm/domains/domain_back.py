"""How a domain goes: for good, or back to the definition that it had before it was changed."""

from collections.abc import Iterator

from vinfra.kinds.kvm.domains import hardware, live
from vinfra.kinds.kvm.domains.machine import Spec
from vinfra.kinds.kvm.reading.virsh import Found
from vinfra.model.action import Impact
from vinfra.model.change import Change, Undo
from vinfra.model.kind import Scope
from vinfra.model.step import Step, Verb, Virt

# Seconds that a system may take to shut down before that counts as failed.
GRACE = 120.0


def removal(name: str, running: bool) -> Step:
    """What goes need not be asked for ever: after its time its power is cut, which is said before."""
    undefine = Virt(Verb.DOMAIN_UNDEFINE, name)
    if not running:
        return Step(f"undefine {name}", (undefine,), Impact.REPLACE)
    down = Virt(Verb.DOMAIN_SHUTDOWN, name, number=1, seconds=GRACE)
    said = f"shut {name} down, or cut its power after {GRACE:g} s, and undefine it"
    return Step(said, (down, undefine), Impact.REPLACE)


def undo(change: Change, scope: Scope) -> Undo | str:
    """The former definition, and what runs of it; a new machine goes."""
    domain: Found | None = change.notes.get("domain")
    if domain is None:
        return Undo((removal(change.address.name, running=True),), early=True)
    if not domain.persistent:
        return "it was not defined before, it only ran"
    if domain.state == "paused":
        return "it was paused, and nothing here pauses it again"
    if any(item.secret for item in change.delta.fields):
        return "the password that its screen had before cannot be read back"
    if any(item.path.endswith(".running") and item.impact is Impact.RESTART for item in change.delta.fields):
        return "what runs is not what is defined, so no restart would bring it back"
    return Undo(tuple(_back(change, domain, scope)))


def _back(change: Change, domain: Found, scope: Scope) -> Iterator[Step]:
    name, desired, paths = change.address.name, change.desired, {item.path for item in change.delta.fields}
    assert isinstance(desired, Spec)
    restarted = domain.active and any(item.impact is Impact.RESTART for item in change.delta.fields)
    define = Virt(Verb.DOMAIN_DEFINE, name, xml=domain.definition)
    autostart = Virt(Verb.DOMAIN_AUTOSTART, name, number=int(domain.autostart))
    yield Step(f"define {name} as it was", (define, autostart))
    down, start = Virt(Verb.DOMAIN_SHUTDOWN, name, seconds=GRACE), Virt(Verb.DOMAIN_START, name)
    if restarted:
        yield Step(f"shut {name} down and start it", (down, start), Impact.RESTART)
    elif domain.active:
        wish = hardware.wish(name, desired, scope, change.notes["site"], change.notes["defined"])
        yield from live.back(domain.live, wish)
    elif "power" in paths:
        yield Step(f"shut {name} down", (down,), Impact.RESTART)
