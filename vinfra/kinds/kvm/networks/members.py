"""The addresses that a network promises to this blueprint's machines, which name them for their cards."""

from collections.abc import Iterator, Mapping

from vinfra.kinds.kvm.domains import hardware, machine, ports
from vinfra.kinds.kvm.networks.parts import Lease
from vinfra.kinds.kvm.reading.virsh import DOMAINS, Found, element, found
from vinfra.model.blueprint import Resource
from vinfra.model.kind import Answers, Scope


def promised(network: str, scope: Scope, domains: Mapping[str, Found]) -> Iterator[Lease]:
    """One for each card on the network that has an address of its own. Its MAC address is known before it is there."""
    for name, desired in _machines(scope):
        cards = desired.networks or ()
        if not any(card.leased and card.network == network for card in cards):
            continue
        known = _macs(name, desired, scope, domains)
        mine = [item for item in zip(cards, known, strict=True) if item[0].leased and item[0].network == network]
        for number, (card, mac) in enumerate(mine):
            yield Lease(str(card.address), name if number == 0 else "", mac)


def fixed(network: str, scope: Scope) -> Iterator[Lease]:
    """The addresses on the network that machines have without asking for them."""
    for name, desired in _machines(scope):
        for card in desired.networks or ():
            if card.network == network and card.address and not card.leased:
                yield Lease(card.address.partition("/")[0], name)


def macs(name: str, scope: Scope, answers: Answers) -> tuple[str, ...]:
    """The MAC addresses that the cards of a machine of this blueprint have or will have."""
    desired = next((wish for machine, wish in _machines(scope) if machine == name), None)
    return () if desired is None else _macs(name, desired, scope, found(answers, DOMAINS))


def _macs(name: str, desired: machine.Spec, scope: Scope, domains: Mapping[str, Found]) -> tuple[str, ...]:
    there = domains.get(name)
    tree = None if there is None else element(there.definition)
    return ports.macs(tree, hardware.ports_of(name, desired, scope.owner))


def _machines(scope: Scope) -> Iterator[tuple[str, machine.Spec]]:
    for item in _domains(scope):
        if isinstance(item.desired, machine.Spec) and "networks" not in item.desired.deferred:
            yield item.address.name, item.desired


def _domains(scope: Scope) -> Iterator[Resource]:
    return (item for item in scope.siblings.values() if item.address.noun == "domain")


def leaving(scope: Scope, domains: Mapping[str, Found]) -> frozenset[tuple[str, str]]:
    """Name and MAC address of the cards of machines that go in this plan."""
    gone = [item.address.name for item in _domains(scope) if item.desired is None and not item.protect]
    trees = [(name, element(domains[name].definition)) for name in gone if name in domains]
    return frozenset((name, port.mac) for name, tree in trees for port in ports.ports(tree))


def kept(there: tuple[Lease, ...], members: tuple[Lease, ...], gone: frozenset[tuple[str, str]]) -> tuple[Lease, ...]:
    """What others promised stays, unless it is in the way, or was a machine's that goes."""
    stays = [one for one in there if (one.name, one.mac) not in gone and not any(map(one.clashes, members))]
    return tuple(sorted((*stays, *members)))
