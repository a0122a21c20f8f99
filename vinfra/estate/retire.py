"""A host leaves the inventory: what blueprints own there is released, and nothing of it is deleted."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from vinfra.errors import LeaseLost, RefusedError, TransportError
from vinfra.kinds.kvm.reading import census
from vinfra.model.claim import now
from vinfra.model.estate import Estate
from vinfra.model.machine import DOMAIN
from vinfra.model.mark import Mark, State, parse, path_of
from vinfra.model.question import ReadMarks
from vinfra.model.step import Append, Step
from vinfra.process import who
from vinfra.transport.leases import Leases, holder
from vinfra.transport.reach import Connections


@dataclass(frozen=True, slots=True)
class Retirement:
    """A host, what is owned there, and the machines of ours that are still on it: each with its blueprint."""

    estate: Estate
    machines: tuple[tuple[str, str], ...] = ()

    @property
    def host(self) -> str:
        return self.estate.host


def machines(connections: Connections, estate: Estate) -> tuple[tuple[str, str], ...]:
    """The machines that a blueprint owns, by its mark here or by their own, as far as they are still there.

    While libvirt does not tell, every one that has a mark counts as there.
    """
    answers = connections.reader(estate.host).ask(census.QUESTIONS)
    there = census.machines(estate.host, answers)
    marked = {mark.name: mark.blueprint for mark in estate.marks if mark.kind == DOMAIN}
    if census.absence(answers):
        return tuple(sorted(marked.items()))
    owned = ((one.name, one.blueprint or marked.get(one.name, "")) for one in there)
    return tuple((name, owner) for name, owner in owned if owner)


def retire(
    connections: Connections, found: Retirement, agree: Callable[[Retirement], bool], run: str, *, leave: bool
) -> int:
    """Release every mark on the host, under its lease; returns how many. Raises RefusedError.

    With `leave`, machines may be there still. What libvirt keeps on themselves of whose they are stays.
    """
    if found.estate.complaints:
        raise RefusedError(f"{found.host}: {found.estate.complaints[0]}", "mend that line first")
    if found.machines and not leave:
        names = ", ".join(f"{name} ({owner})" for name, owner in found.machines)
        raise RefusedError(
            f"{found.host} still holds machines: {names}; those of fleets would be made again elsewhere",
            "move or remove them first, or say --leave-machines",
        )
    if not found.estate.marks:
        return 0
    if not agree(found):
        raise RefusedError("not confirmed, nothing was touched")
    with Leases(connections, holder(run)) as leases:
        try:
            leases.fence(found.host)  # nobody marks anything from here on
        except LeaseLost as busy:
            raise RefusedError(f"nothing was touched: {busy.message}", busy.hint) from busy
        marks = tuple(parse(connections.reader(found.host).ask((ReadMarks(),))[ReadMarks()].text)[0].values())
        result = leases.writer(found.host).run(Step("release all marks", tuple(_releases(marks, run))))
    if result.returncode:
        raise TransportError(f"{found.host}: its marks could not be released: {result.err.strip()}")
    return len(marks)


def _releases(marks: Iterable[Mark], run: str) -> Iterator[Append]:
    for mark in marks:
        yield Append(
            path_of(mark.blueprint), replace(mark, state=State.RELEASED, run=run, time=now(), who=who()).line()
        )
