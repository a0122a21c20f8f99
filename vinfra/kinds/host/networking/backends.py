"""Who manages the networks of a host: exactly one of four, and why none of them can be told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from vinfra.kinds.host.networking import fields, files, ifupdown, netplan, networkd, networkmanager, running
from vinfra.kinds.host.networking.files import Line, Lines
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec, Question
from vinfra.model.step import Exec as Run


class Manager(Protocol):
    """What each of the four modules offers.

    `specs` are all interfaces declared here, `was` is what our former file asked for by DHCP, `ports` are those whose
    files change with it.
    """

    NAME: str
    UNIT: str
    MODE: str

    def paths(self, name: str) -> tuple[str, ...]: ...
    def render(
        self, name: str, desired: fields.Spec, specs: fields.Specs, plug: fields.Plug | None = None
    ) -> Mapping[str, str]: ...
    def dhcp(self, texts: Mapping[str, str]) -> str | None: ...
    def before(self, name: str, desired: fields.Spec, was: str | None) -> tuple[Run, ...]: ...
    def count(
        self, name: str, desired: fields.Spec, was: str | None, ports: tuple[str, ...] = ()
    ) -> tuple[Run, ...]: ...
    def recall(self, name: str, was: str | None, ports: tuple[str, ...]) -> tuple[tuple[str, ...], ...]: ...
    def leave(self, name: str, virtual: bool) -> tuple[Run, ...]: ...
    def left(self, name: str) -> tuple[Run, ...]: ...
    def claims(self, name: str, link: running.Link | None, lines: Lines) -> Iterable[Line]: ...
    def without(self, name: str, line: Line, text: str) -> str: ...


MANAGERS: Mapping[str, Manager] = {
    "ifupdown": ifupdown,
    "networkd": networkd,
    "netplan": netplan,
    "networkmanager": networkmanager,
}
UNITS = {module.UNIT: name for name, module in MANAGERS.items() if module.UNIT}
SERVICES = Exec(("systemctl", "show", "-p", "Id,LoadState,ActiveState,UnitFileState", "--", *UNITS))
PROGRAMS = Exec(("ls", "-1", "--", "/usr/sbin/netplan", "/sbin/resolvconf", "/usr/sbin/resolvconf"))
# What may bring one, and comes first if it is declared.
BRINGERS = (
    *(f"package:{name}" for name in ("ifupdown", "netplan.io", "network-manager", "resolvconf")),
    *(f"service:{name}" for name in ("networking", "systemd-networkd", "NetworkManager")),
)


@dataclass(frozen=True, slots=True)
class Host:
    """What there is on a host: which units run, which programs there are, every file's lines, what runs."""

    units: Mapping[str, str]  # a manager's name: "active", "enabled", or "" for neither
    programs: frozenset[str]
    lines: Lines
    links: running.Links
    connections: Mapping[str, str]

    def mine(self, name: str) -> Mapping[str, Manager]:
        """Whose files of ours there are for an interface, by path."""
        return {path: module for module in MANAGERS.values() for path in module.paths(name) if path in self.lines}


def ask() -> Iterable[Question]:
    """Units, programs, files, links: all in one round."""
    return (SERVICES, PROGRAMS, *files.ask(), *running.ask(), networkmanager.ACTIVE)


def read(answers: Answers) -> Host | Unknown:
    """The host as the kind needs it."""
    links, lines, raw = running.read(answers), files.read(answers), answers.get(SERVICES)
    if isinstance(links, Unknown):
        return links
    if isinstance(lines, Unknown):
        return lines
    if raw is None or not raw.ok:
        return Unknown(
            f"cannot tell who manages networks here: {raw.err.strip() if raw else 'no answer from systemctl'}"
        )
    units = {}
    for block in raw.text.split("\n\n"):
        told = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        state = "active" if told.get("ActiveState") in ("active", "reloading", "activating") else ""
        enabled = "enabled" if told.get("UnitFileState", "").startswith("enabled") else ""
        if told.get("Id") in UNITS and told.get("LoadState") == "loaded":
            units[UNITS[told["Id"]]] = state or enabled
    programs = answers.get(PROGRAMS)
    known = frozenset((programs.text if programs else "").split())
    return Host(units, known, lines, links, networkmanager.active(answers))


def choose(name: str, desired: fields.Spec | None, host: Host) -> Manager | str:
    """The one that manages this interface, or in a sentence why that cannot be told."""
    there = tuple(_there(host))
    wish = desired.manager if desired is not None else None
    if wish is not None:
        return MANAGERS[wish] if wish in there else f"{wish} does not manage networks here{_known(there)}"
    claiming = {key for key in there if any(MANAGERS[key].claims(name, host.links.get(name), host.lines))}
    found = tuple(key for key in there if key in claiming) or there
    if "netplan" in found:
        return netplan
    if len(found) > 1 and "ifupdown" in found:
        # Debian installs it with whatever else is chosen later, and then it has nothing but lo.
        found = tuple(key for key in found if key != "ifupdown")
    if len(found) > 1:
        return f"{' and '.join(found)} both run here; say `manager:` for {name}"
    if not found:
        return "nothing here manages networks; install ifupdown, or enable systemd-networkd or NetworkManager"
    return MANAGERS[found[0]]


def _there(host: Host) -> Iterable[str]:
    """netplan where it has a file; daemons that run; ifupdown where it starts at boot."""
    yaml = any(path.startswith("/etc/netplan/") and path.endswith(".yaml") for path in host.lines)
    if yaml and "/usr/sbin/netplan" in host.programs:
        yield "netplan"
    yield from (key for key in ("networkd", "networkmanager") if host.units.get(key) == "active")
    if host.units.get("ifupdown"):
        yield "ifupdown"


def _known(there: tuple[str, ...]) -> str:
    return f"; {', '.join(there)} does" if there else ""


class Claim(NamedTuple):
    """Where a file that is not ours says something of an interface."""

    manager: Manager
    line: Line
    name: str


def claims(name: str, host: Host) -> tuple[Claim, ...]:
    """The first such line of each file, among those of the managers that are there."""
    firsts: dict[str, Claim] = {}
    for key in _there(host):
        for line in MANAGERS[key].claims(name, host.links.get(name), host.lines):
            firsts.setdefault(line.path, Claim(MANAGERS[key], line, name))
    return tuple(firsts.values())


def settled(module: Manager, desired: fields.Spec, host: Host) -> fields.Spec:
    """What nobody said, as it will be: NetworkManager keeps no forwarding delay below two seconds."""
    bridge = desired.bridge
    if bridge is None or bridge.stp or bridge.forward_delay is not None or not _slow(module, host):
        return desired
    return desired.model_copy(update={"bridge": bridge.model_copy(update={"forward_delay": 2.0})})


def hasty(module: Manager, desired: fields.Spec, host: Host) -> bool:
    """Whether a bridge is to forward sooner than its manager can have it."""
    return desired.bridge is not None and desired.bridge.delay < 2 and _slow(module, host)


def _slow(module: Manager, host: Host) -> bool:
    renders = ("renderer: NetworkManager" in line.text for lines in host.lines.values() for line in lines)
    return module is networkmanager or (module is netplan and any(renders))
