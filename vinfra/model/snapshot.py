"""A machine as it once was, kept by libvirt in its disks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot. `state` is the machine's at that moment, `time` in seconds since 1970.

    `memory` says whether what ran is in it, so that going back goes on from there; `external` whether it is kept in
    files of their own, which vinfra does not make.
    """

    name: str
    machine: str
    time: int
    state: str = ""
    memory: bool = False
    external: bool = False
    parent: str = ""
    current: bool = False
