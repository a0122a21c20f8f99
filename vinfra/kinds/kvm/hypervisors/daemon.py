"""libvirt's daemons as units of systemd: one for all drivers, or one for each (https://libvirt.org/daemons.html).

Debian 12 and 13 have the one, RHEL 9 and later and their kin the others; some have the units of both. All but old ones
are started by their sockets and end when idle, so a service that does not run while its sockets listen is well.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vinfra.kinds.host.systemd import units
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec as Ask
from vinfra.model.step import Exec, Step

MONOLITHIC = ("libvirtd",)
MODULAR = ("virtqemud", "virtnetworkd", "virtstoraged")
ON = ("active", "activating", "reloading")
# Reading goes through the -ro socket, as `virsh -r` does.
_SUFFIXES = (".service", ".socket", "-ro.socket")
_ALL = tuple(f"{name}{suffix}" for name in (*MONOLITHIC, *MODULAR) for suffix in _SUFFIXES)


@dataclass(frozen=True, slots=True)
class Daemons:
    """The daemons that this host has; units to be started, services to be enabled, and what stands in the way."""

    names: tuple[str, ...]
    stopped: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()


def ask() -> Iterable[Ask]:
    """All units that a host may have, in one question."""
    return units.ask(_ALL)


def read(answers: Answers) -> Daemons | Unknown | None:
    """The daemons as they are, None when the host has none. Where it has both, those count that are in use."""
    found: dict[str, units.Unit] = {}
    for name, unit in units.read(_ALL, answers).items():
        if isinstance(unit, Unknown):
            return unit
        if unit.load != "not-found":
            found[name] = unit
    sets = [names for names in (MONOLITHIC, MODULAR) if f"{names[0]}.service" in found]
    if not sets:
        return None
    names = next((names for names in sets if any(_used(unit) for unit in _of(names, found).values())), sets[0])
    stopped = tuple(unit for name in names for unit in _stopped(name, found))
    services = [f"{name}.service" for name in names if f"{name}.service" in found]
    disabled = tuple(name for name in services if found[name].file_state in ("disabled", "masked"))
    masked = tuple(name for name in dict.fromkeys((*stopped, *disabled)) if found[name].load == "masked")
    return Daemons(names, stopped, disabled, masked)


def _of(names: Iterable[str], found: dict[str, units.Unit]) -> dict[str, units.Unit]:
    every = (f"{name}{suffix}" for name in names for suffix in _SUFFIXES)
    return {name: found[name] for name in every if name in found}


def _used(unit: units.Unit) -> bool:
    return unit.active in ON or unit.file_state == "enabled"


def _stopped(name: str, found: dict[str, units.Unit]) -> list[str]:
    """The sockets that do not listen, or the service where there are none. One that runs needs no more."""
    service, *sockets = (unit for unit in _of([name], found))
    if found[service].active in ON:
        return []
    return [unit for unit in (sockets or [service]) if found[unit].active not in ON]


def mend(daemons: Daemons) -> Step:
    """Enable and start what is not, and see libvirt answer."""
    calls = []
    if daemons.disabled:
        calls.append(Exec(("systemctl", "enable", "--", *daemons.disabled)))
    if daemons.stopped:
        calls.append(Exec(("systemctl", "start", "--", *daemons.stopped)))
    calls.append(Exec(("timeout", "30", "virsh", "-r", "-c", "qemu:///system", "uri")))
    verbs = [verb for verb, units in (("enable", daemons.disabled), ("start", daemons.stopped)) if units]
    return Step(f"{' and '.join(verbs)} {', '.join(daemons.names)}, and see libvirt answer", tuple(calls))
