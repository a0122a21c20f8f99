"""Where machines that can move are and go: what `place` decided, and why it could not decide."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# What of a host may be promised to machines. The defaults are those of OpenStack Nova's scheduler
# (cpu_allocation_ratio 4.0, ram_allocation_ratio 1.0, reserved_host_memory_mb 512).
CPU_RATIO = 4.0
RESERVED = 512 << 20


@dataclass(frozen=True, slots=True)
class Placement:
    """`where` is each machine's host. `moved` are machines found elsewhere than they were: old host and new one.

    `unknown` says why nobody knows where a machine is, so that nothing is planned on it; `refused` why none will do.
    """

    where: Mapping[str, str] = field(default_factory=dict)
    moved: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
