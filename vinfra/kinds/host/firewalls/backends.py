"""The programs that can hold a firewall's rules, and which of them does on a host."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vinfra.kinds.host.firewalls import firewalld, nftables, ufw
from vinfra.kinds.host.firewalls.rules import Line
from vinfra.kinds.host.firewalls.state import State
from vinfra.kinds.host.systemd import units
from vinfra.model.answer import Unknown
from vinfra.model.change import FieldChange
from vinfra.model.kind import Answers
from vinfra.model.question import Question
from vinfra.model.step import Step

Units = Mapping[str, units.Unit | Unknown]


class Backend(Protocol):
    """One program, as a module."""

    def ask(self, answers: Answers) -> Iterable[Question]:
        """What must be read, as a kind's `ask`."""
        ...

    def read(self, answers: Answers, known: Units) -> State | Unknown:
        """What it holds of ours."""
        ...

    def wish(self, incoming: str, wanted: Sequence[Line], former: Mapping[str, str | None]) -> State | str:
        """What it is to hold, or why it cannot."""
        ...

    def put(self, wanted: State, found: State, changed: set[str]) -> Sequence[Step]:
        """From what is found to what is wanted."""
        ...

    def remove(self, found: State) -> Sequence[Step]:
        """Take away what is ours."""
        ...

    def restore(self, found: State) -> Sequence[Step]:
        """Back to what was found, from wherever."""
        ...


BACKENDS: dict[str, Backend] = {"nftables": nftables, "firewalld": firewalld, "ufw": ufw}
UNITS = ("firewalld.service", "ufw.service", "nftables.service", nftables.NAME)


@dataclass(frozen=True, slots=True)
class Found:
    """What each program holds of ours, which of them runs here ("" for none), and what others allow in it.

    `both` says that two of them run, so that nobody can tell which is meant.
    """

    states: Mapping[str, State]
    chosen: str
    both: str
    around: tuple[Line, ...]


def ask(answers: Answers) -> Iterable[Question]:
    """What all of them hold, and which of their units run."""
    yield from units.ask(UNITS)
    for backend in BACKENDS.values():
        yield from backend.ask(answers)


def read(answers: Answers) -> Found | Unknown:
    """What is known of all of them."""
    known = units.read(UNITS, answers)
    states: dict[str, State] = {}
    for name, backend in BACKENDS.items():
        state = backend.read(answers, known)
        if isinstance(state, Unknown):
            return state
        states[name] = state
    unit = known["firewalld.service"]
    if isinstance(unit, Unknown):
        return unit
    running = ["firewalld"] if unit.active in units.ON else []
    running += ["ufw"] if ufw.runs(answers) else []
    both = "firewalld and ufw both run here; say which one with backend:" if len(running) > 1 else ""
    chosen = (running or [""])[0]
    return Found(states, chosen, both, ufw.others(answers) if ufw.runs(answers) else ())


def stays(used: Sequence[str]) -> str:
    """What is not taken away."""
    return "what ufw does by default stays" if "ufw" in used else ""


def said(name: str, fields: Sequence[FieldChange]) -> str:
    """What else a change does."""
    return firewalld.RELOADS if name == "firewalld" and fields else ""
