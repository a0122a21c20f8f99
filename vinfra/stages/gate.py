"""Watch the units of a batch until they are well, and then for as long as they must stay so. Asks; changes nothing."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from vinfra.model.rollout import Check, Gate

# Asks one thing of a unit, within so many seconds: what is wrong, "" for nothing.
Ask = Callable[[str, Check, float], str]
MOST = 32  # units that are asked at a time
_BLINK = 0.2


def watch(gate: Gate, stop: threading.Event, ask: Ask) -> dict[str, str]:
    """The units that are not well, each with the reason. Comes to an end early when `stop` is set."""
    if gate.bearable < 0 or not gate.ask:
        return {}
    watching = _Watch(gate, stop, ask)
    with ThreadPoolExecutor(min(MOST, len(gate.ask)), thread_name_prefix="gate") as pool:
        found = dict(zip(gate.ask, pool.map(watching.unit, gate.ask), strict=True))
    if 0 < gate.number < gate.of and len(watching.unwell) <= gate.bearable:
        watching.pause(gate.roll.terms.delay)
    return {unit: reason for unit, reason in found.items() if reason}


@dataclass
class _Watch:
    """One gate. Once more units failed than may, nobody waits for the others."""

    gate: Gate
    stop: threading.Event
    ask: Ask
    unwell: list[str] = field(default_factory=list)

    def unit(self, unit: str) -> str:
        """Why a unit is not well, "" if it is."""
        reason = self._looked(unit)
        if reason:
            self.unwell.append(unit)
        return reason

    def _looked(self, unit: str) -> str:
        terms = self.gate.roll.terms
        reason = self._wrong(unit)
        for _ in range(terms.retries if reason else 0):
            if self.pause(terms.interval):
                break
            if not (reason := self._wrong(unit)):
                break
        if reason or not self.gate.number:
            return reason
        began = time.monotonic()
        while (left := began + terms.monitor - time.monotonic()) > 0:
            if self.pause(min(terms.interval, left)):
                return ""
            if reason := self._wrong(unit):
                return f"{reason} (after {time.monotonic() - began:.0f} s of health)"
        return ""

    def _wrong(self, unit: str) -> str:
        for check in self.gate.roll.health:
            if self.over:
                return ""
            if reason := self._asked(unit, check):
                return f"{check}: {reason}"
        return ""

    def _asked(self, unit: str, check: Check) -> str:
        try:
            return self.ask(unit, check, self.gate.roll.terms.timeout)
        except Exception as error:  # a bug in a check is no health, and does not end the run
            return f"vinfra failed: {type(error).__name__}: {error}"

    def pause(self, seconds: float) -> bool:
        """Wait; whether there is no use in going on."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.over:
            self.stop.wait(min(left, _BLINK))
        return self.over

    @property
    def over(self) -> bool:
        return self.stop.is_set() or len(self.unwell) > self.gate.bearable
