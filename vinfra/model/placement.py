"""Where machines that can move are and go: what `place` decided, and why it could not decide."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Promise:
    """What of a host may be promised to its machines: so many virtual CPUs and bytes of memory for each real one.

    The defaults are those of OpenStack Nova's scheduler (cpu_allocation_ratio 4.0, ram_allocation_ratio 1.0,
    reserved_host_memory_mb 512). `disk` is the same for the pools, None to warn of more than there is and refuse
    nothing: disks are written as they fill.
    """

    cpu: float = 4.0
    memory: float = 1.0
    disk: float | None = None
    reserved: int = 512 << 20


@dataclass(frozen=True, slots=True)
class Placement:
    """`where` is each machine's host. `moved` are machines found elsewhere than they were: old host and new one.

    `moving` are machines that are on the first host and are to go to the second one; `where` still says the first.
    `unknown` says why nobody knows where a machine is, so that nothing is planned on it; `refused` why none will do,
    and `stuck` why one that is to leave its host stays there. `warnings` are lines worth reading that stop nothing.
    """

    where: Mapping[str, str] = field(default_factory=dict)
    moved: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    moving: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    stuck: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
