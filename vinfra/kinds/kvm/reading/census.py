"""Every domain of a host at a glance, ours or not: for `vinfra status` and for finding one by its name."""

from vinfra.kinds.kvm.guest import known_guest, leased
from vinfra.kinds.kvm.reading import ownership, virsh
from vinfra.kinds.kvm.reading.virsh import Found
from vinfra.model.kind import Answers
from vinfra.model.machine import Machine

QUESTIONS = (virsh.DOMAINS, virsh.NETWORKS)


def machines(host: str, answers: Answers) -> tuple[Machine, ...]:
    """The domains by name."""
    found = virsh.found(answers, virsh.DOMAINS)
    return tuple(_machine(host, found[name], answers) for name in sorted(found))


def absence(answers: Answers) -> str:
    """Why nothing is known of domains; "" when it is."""
    raw = answers.get(virsh.DOMAINS)
    return "" if raw is not None and raw.ok else virsh.failure(raw)


def _machine(host: str, domain: Found, answers: Answers) -> Machine:
    xml = domain.live or domain.persistent
    tree = virsh.element(xml)
    guest = known_guest(domain)
    blueprint, _ = ownership.owner(domain.definition)
    memory = tree.findtext("currentMemory") or tree.findtext("memory") or "0"
    return Machine(
        name=domain.name,
        host=host,
        state=domain.state,
        cpu=int(tree.findtext("vcpu") or 0),
        memory=int(memory) * 1024,
        address=(leased(domain.live, answers) if domain.active else "") or guest.get("address", ""),
        autostart=domain.autostart,
        blueprint=blueprint,
        user=guest.get("user", ""),
        key=guest.get("key", ""),
    )
