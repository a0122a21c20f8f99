"""What journals tell of a host that does not answer any more: what was done there, and which machines it held."""

from collections.abc import Iterable
from dataclasses import dataclass

from vinfra.model.machine import DOMAIN
from vinfra.report.runs import Run

MACHINE = f"{DOMAIN}:"


@dataclass(frozen=True, slots=True)
class LastKnown:
    """A machine that was last seen to on a host: by which run, and when."""

    machine: str
    run: str
    time: str


def knows(runs: Iterable[Run], host: str) -> bool:
    """Whether any run had to do with a host of that name."""
    return any(event.get("host") == host or host in event.get("hosts", ()) for run in runs for event in run.events)


def last_known(runs: Iterable[Run], host: str) -> list[LastKnown]:
    """The machines whose last change, as far as this controller knows, was made on that host, and did not remove them.

    `runs` come newest first. Other controllers, and what people do by hand, are not known here.
    """
    seen: dict[str, LastKnown | None] = {}
    for run in runs:
        done = {event.get("address") for event in run.events if event.get("status") in ("done", "already")}
        for event in reversed(run.events):
            address = str(event.get("address", ""))
            if event.get("event") != "change" or not address.startswith(MACHINE) or address in seen:
                continue
            if address in done:
                here = event.get("host") == host and event.get("action") != "delete"
                name = address.removeprefix(MACHINE).removeprefix(f"{host}/")
                seen[address] = LastKnown(name, run.id, str(event.get("time", ""))) if here else None
    return sorted(filter(None, seen.values()), key=lambda known: known.machine)
