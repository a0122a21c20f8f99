"""What a host still has for machines, and what speaks against one more there. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from vinfra.model.blueprint import Demand
from vinfra.model.placement import Promise

GIB = 1 << 30
HOST = "host"
UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a machine cannot be on a host. `what` is the resource of which there is too little ("" for other reasons),
    `told` the whole of it after the host's name, `left` how much there is, `needed` how much there would have to be.
    """

    told: str
    what: str = ""
    left: str = ""
    needed: str = ""


@dataclass
class Room:
    """One host while machines get their places: what is left of it, and who is there.

    `disk` is what may still be promised of each pool, for those that said. `apart` are the machines that keep others
    away: group, over what, and the value of that here.
    """

    host: str
    labels: Mapping[str, Any]
    promise: Promise = field(default_factory=Promise)
    error: str = ""
    cpu: float = UNLIMITED
    memory: float = UNLIMITED
    disk: dict[str, float] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    apart: list[Demand] = field(default_factory=list)

    def label(self, over: str) -> str | None:
        """The value of a label here; a host is its own. None when it has no such label."""
        if over == HOST:
            return self.host
        return str(self.labels[over]) if self.labels.get(over) is not None else None

    def take(self, demand: Demand) -> None:
        """One more machine is here."""
        self.cpu -= demand.cpu
        self.memory -= demand.memory
        for pool, size in demand.disk:
            if pool in self.disk:
                self.disk[pool] -= size
        if demand.apart:
            self.apart.append(demand)

    def lack(self, demand: Demand, others: Sequence["Room"]) -> Lack | None:
        """Why a machine cannot come here; None when it can. `others` are all hosts, this one among them."""
        if self.error:
            return Lack("cannot be read")
        if demand.member in self.names:
            return Lack(f"has a domain {demand.member} that is not of this blueprint")
        return self._company(demand, others) or self._shortage(demand)

    def _company(self, demand: Demand, others: Sequence["Room"]) -> Lack | None:
        if not demand.apart:
            return None
        if self.label(demand.over) is None:
            return Lack(f"has no variable {demand.over!r}, which anti_affinity is over")
        for room in others:
            for other in room.apart:
                if other.apart != demand.apart or other.member == demand.member:
                    continue
                for over in dict.fromkeys((demand.over, other.over)):
                    if (mine := self.label(over)) is not None and room.label(over) == mine:
                        where = "" if over == HOST else f" in {over} {mine}"
                        return Lack(f"has another machine of {demand.apart!r}{where} (anti_affinity)")
        return None

    def _shortage(self, demand: Demand) -> Lack | None:
        if demand.memory > max(0.0, self.memory):
            left, needed = gib(self.memory), gib(demand.memory, up=True)
            return Lack(f"has {left} of memory left, {needed} are needed", "memory", left, needed)
        if demand.cpu > max(0.0, self.cpu):
            left, ratio = f"{int(max(0.0, self.cpu))}", f"{self.promise.cpu:g} for each of its own"
            told = f"has {left} virtual CPUs left ({ratio}), {demand.cpu} are needed"
            return Lack(told, "virtual CPUs", left, str(demand.cpu))
        for pool, size in demand.disk:
            if self.promise.disk is not None and size > self.disk.get(pool, UNLIMITED):
                left, needed = gib(self.disk[pool]), gib(size, up=True)
                told = f"has {left} left in pool {pool}, {needed} are needed"
                return Lack(told, f"pool {pool}", left, needed)
        return None

    def overdrawn(self) -> str:
        """What of its pools is promised more than once, in a sentence; "" for nothing."""
        over = [f"pool {pool} has {gib(-left, up=True)} less" for pool, left in self.disk.items() if left < 0]
        told = f"{', '.join(over)} than its disks may grow to, those of this plan included"
        return f"{self.host}: {told}" if over and self.promise.disk is None else ""


def gib(size: float, *, up: bool = False) -> str:
    """Bytes for a sentence about room: what is there rounded down, what is needed rounded `up`."""
    tenths = max(0.0, size) * 10 / GIB
    return f"{(ceil(tenths) if up else int(tenths)) / 10:.1f}GiB"


def told(lacks: Mapping[str, Lack | None]) -> str:
    """What all hosts lack, in a sentence: `no host has 64.0GiB of memory left: hv1 12.0GiB, hv2 30.5GiB`."""
    reasons = {host: lack for host, lack in lacks.items() if lack}
    if not reasons:
        return "no host is named by `on:`"
    short = {lack.what for lack in reasons.values()}
    if len(reasons) > 1 and len(short) == 1 and "" not in short:
        [what], needed = short, next(iter(reasons.values())).needed
        of = {"memory": f"{needed} of memory", "virtual CPUs": f"{needed} virtual CPUs"}.get(
            what, f"{needed} in {what}"
        )
        return f"no host has {of} left: {', '.join(f'{host} {lack.left}' for host, lack in reasons.items())}"
    return "; ".join(f"{host} {lack.told}" for host, lack in reasons.items())
