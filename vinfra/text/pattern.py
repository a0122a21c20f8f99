"""Host patterns: `web`, `a:b`, `all:!web1`, `web*`, `hv[01:40]`, `fleets.web`.

`all` are the machines of the inventory; the virtual machines of a blueprint are in no pattern that does not name them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product

from vinfra.model.inventory import Inventory
from vinfra.text.complaint import near

ALL = "all"
LOCALHOST = "localhost"
INCLUDED = "included"
MAX_RANGE = 10_000
_RANGE = re.compile(r"\[([0-9]+):([0-9]+)\]")
_SEPARATOR = re.compile(r":(?![0-9]+\])")


@dataclass(frozen=True, slots=True)
class Selection:
    """The hosts a pattern names, in inventory order; `complaint` is what is wrong with it, `warning` what is odd."""

    hosts: tuple[str, ...] = ()
    complaint: str = ""
    warning: str = ""


def numbered(text: str) -> list[str]:
    """The names that `hv[01:40]` stands for; the text alone when it has no range. Raises ValueError."""
    parts = _RANGE.split(text)
    if len(parts) == 1:
        if "[" in text or "]" in text:
            raise ValueError("a range is written [01:40]")
        return [text]
    if any("[" in part or "]" in part for part in parts[::3]):
        raise ValueError("a range is written [01:40]")
    ranges = [_counted(first, last) for first, last in zip(parts[1::3], parts[2::3], strict=True)]
    size = 1
    for numbers in ranges:
        size *= len(numbers)
    if size > MAX_RANGE:
        raise ValueError(f"a range of {size} names; at most {MAX_RANGE}")
    fixed = parts[::3]
    return [
        fixed[0] + "".join(number + rest for number, rest in zip(chosen, fixed[1:], strict=True))
        for chosen in product(*ranges)
    ]


def _counted(first: str, last: str) -> list[str]:
    low, high = int(first), int(last)
    if high < low:
        raise ValueError(f"the range [{first}:{last}] runs backwards")
    if high - low >= MAX_RANGE:
        raise ValueError(f"a range of {high - low + 1} names; at most {MAX_RANGE}")
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    return [str(number).zfill(width) for number in range(low, high + 1)]


def select(pattern: str, inventory: Inventory) -> Selection:
    """The hosts that a pattern names: all its terms together, without those of the terms that begin with `!`."""
    everyone = tuple(name for name, host in inventory.hosts.items() if host.connection != "guest")
    groups = {**inventory.groups, ALL: everyone}
    chosen: set[str] = set()
    dropped: set[str] = set()
    terms = [term.strip() for term in _SEPARATOR.split(pattern)]
    if all(term.startswith("!") for term in terms):
        chosen.update(everyone)
    for term in terms:
        excluded = term.startswith("!")
        name = term.removeprefix("!").strip()
        found = _term(name, inventory.hosts, groups)
        if isinstance(found, str):
            return Selection(complaint=found)
        (dropped if excluded else chosen).update(found)
    hosts = tuple(host for host in inventory.hosts if host in chosen and host not in dropped)
    if hosts:
        return Selection(hosts)
    if not chosen:
        return Selection(warning=f"no host is in {pattern}")
    return Selection(complaint=f"the pattern {pattern!r} leaves no host")


def _term(name: str, hosts: Mapping[str, object], groups: Mapping[str, tuple[str, ...]]) -> Iterable[str] | str:
    """The hosts of one term, or what is wrong with it."""
    if name in hosts:
        return (name,)
    if name in groups:
        return groups[name]
    if not name:
        return "an empty name; write HOST, GROUP, a:b, !x, web* or hv[01:40]"
    if "*" in name or "?" in name:
        found = [host for host in hosts if fnmatchcase(host, name)]
        for group in (group for group in groups if group != ALL and fnmatchcase(group, name)):
            found += groups[group]
        return found or f"no host or group matches {name!r}"
    try:
        names = numbered(name)
    except ValueError as error:
        return f"{name!r}: {error}"
    missing = next((item for item in names if item not in hosts), "")
    if missing and list(hosts) == [LOCALHOST]:
        return f"unknown host or group {missing!r}; no inventory was given (-i FILE), so there is only {LOCALHOST}"
    return f"unknown host or group {missing!r}{near(missing, [*groups, *hosts])}" if missing else names


def within_include(pattern: str, included: str) -> str | None:
    """A pattern of an included file with `included` replaced; None when it is used in a way that has no meaning."""
    terms = [term.strip() for term in _SEPARATOR.split(pattern)]
    if INCLUDED not in (term.removeprefix("!").strip() for term in terms):
        return pattern
    if terms[0] != INCLUDED or not all(term.startswith("!") and term[1:].strip() != INCLUDED for term in terms[1:]):
        return None
    return ":".join([included, *terms[1:]])
