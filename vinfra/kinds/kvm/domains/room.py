"""What the disks of a machine take, and what the pools of a host hold."""

from collections import Counter
from collections.abc import Mapping

from vinfra.kinds.kvm.domains import machine
from vinfra.kinds.kvm.reading.virsh import POOLS, element, found
from vinfra.kinds.kvm.volumes import storage as pools
from vinfra.model import spec as shape
from vinfra.model.kind import Answers, Store


def storage(desired: shape.Spec) -> Mapping[str, int]:
    """What its own volumes may grow to, by pool. One without a size is as large as its image: not known yet."""
    assert isinstance(desired, machine.Spec)
    sizes: Counter[str] = Counter()
    for disk in machine.disks(desired).values():
        if disk.size is not None:
            sizes[disk.pool or desired.pool] += disk.size
    return dict(sizes)


def stores(answers: Answers) -> Mapping[str, Store]:
    """Each pool that runs: what its volumes have and what is free, and what they may grow to."""
    volumes, result = pools.volumes(answers), {}
    for name, pool in found(answers, POOLS).items():
        if pool.active:
            there = volumes.get(name, {}).values()
            free = int(element(pool.live).findtext("available", "0"))
            result[name] = Store(
                free + sum(one.allocation for one in there), sum(max(one.capacity, one.allocation) for one in there)
            )
    return result
