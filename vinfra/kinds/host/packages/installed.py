"""Which packages are installed: dpkg and rpm are both asked, for the distribution may not be known yet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec, Raw

MISSING_PROGRAM = 127
STATUS = "${db:Status-Want} ${db:Status-Eflag} ${db:Status-Status}"
DPKG = rf"${{binary:Package}}\t${{Version}}\t{STATUS}\t${{db-fsys:Last-Modified}}\n"
RPM = r"%{NAME}\t%{VERSION}-%{RELEASE}\tinstall ok installed\t%{INSTALLTIME}\n"
# dpkg(1): states in which the files are there; those not settled need `dpkg --configure`.
SETTLED = ("installed", "triggers-pending", "triggers-awaited")
UNSETTLED = ("unpacked", "half-configured", "half-installed")


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed package. `unfinished` is the state in which dpkg was interrupted; `since` in seconds since 1970."""

    version: str
    held: bool = False
    unfinished: str = ""
    since: float = 0.0


def ask(names: Iterable[str]) -> list[Exec]:
    """One question per package database for all these names."""
    known = sorted(set(names))
    return [_dpkg(known), _rpm(known)] if known else []


def _dpkg(names: list[str]) -> Exec:
    return Exec(("dpkg-query", "-W", "-f", DPKG, "--", *names))


def _rpm(names: list[str]) -> Exec:
    return Exec(("rpm", "-q", "--qf", RPM, *names))


def read(names: Iterable[str], answers: Answers, facts: Mapping[str, Any]) -> dict[str, Installed | Unknown | None]:
    """Each package, None when it is not installed."""
    known = sorted(set(names))
    if not known:
        return {}
    family = (facts.get("os") or {}).get("family")
    dpkg, rpm = answers.get(_dpkg(known)), answers.get(_rpm(known))
    by_rpm = family in ("redhat", "suse") or (family != "debian" and _gone(dpkg) and not _gone(rpm))
    raw, program = (rpm, "rpm") if by_rpm else (dpkg, "dpkg-query")
    # Both give 1 when a name is not installed; rpm counts them.
    if raw is None or _gone(raw) or (not by_rpm and raw.returncode not in (0, 1)):
        said = raw.err.strip() if raw else "not asked yet"
        return dict.fromkeys(known, Unknown(f"{program}: {said or 'no such program on this host'}"))
    found = _lines(raw.text)
    told = {line.split(" ")[1] for line in raw.text.splitlines() if line.endswith("is not installed")}
    if by_rpm and (silent := [name for name in known if name not in found and name not in told]):
        return dict.fromkeys(known, Unknown(f"rpm: {raw.err.strip() or f'said nothing about {silent[0]}'}"))
    return {name: found.get(name) for name in known}


def _gone(raw: Raw | None) -> bool:
    return raw is None or raw.returncode == MISSING_PROGRAM


def _lines(text: str) -> dict[str, Installed]:
    found: dict[str, Installed] = {}
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) != 4:
            continue
        full, version, status, since = parts
        want, _, state = status.partition(" ")
        state = state.rpartition(" ")[2]
        if state not in (*SETTLED, *UNSETTLED):
            continue
        item = Installed(version, want == "hold", "" if state in SETTLED else state, float(since or 0))
        found[full] = item
        found.setdefault(full.partition(":")[0], item)
    return found
