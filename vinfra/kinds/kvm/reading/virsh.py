"""What a host's libvirt has, from the answers to `ReadLibvirt`: names, states and XML, not yet what they mean.

Reading is lenient: what a newer libvirt says that we do not know is kept in the XML and disturbs nobody.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from xml.etree import ElementTree

from vinfra.model.answer import Later, Unknown
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Raw, ReadLibvirt

DOMAINS = ReadLibvirt("domains")
NETWORKS = ReadLibvirt("networks")
POOLS = ReadLibvirt("pools")
CAPABILITIES = ReadLibvirt("capabilities")
BACKENDS = ReadLibvirt("backends")
SECRETS = ReadLibvirt("secrets")
HYPERVISOR = "hypervisor:kvm"
NO_SUCH_PROGRAM = 127

# virDomainState of libvirt-domain.h, in the words of `virsh list`.
STATES = ("no state", "running", "idle", "paused", "in shutdown", "shut off", "crashed", "pmsuspended")


@dataclass(frozen=True, slots=True)
class Found:
    """One object as libvirt has it. `persistent` is its definition ("" for a transient one), `live` the running one.

    `state` is a domain's, in virsh's words. `leases` are a network's, address by MAC; `volumes` a pool's, XML by name;
    `snapshots` is how many a domain has.
    """

    name: str
    uuid: str
    persistent: str = ""
    live: str = ""
    autostart: bool = False
    state: str = ""
    leases: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    snapshots: int = 0

    @property
    def active(self) -> bool:
        """Whether it runs."""
        return bool(self.live)

    @property
    def definition(self) -> str:
        """The persistent definition; of a transient object the live one."""
        return self.persistent or self.live


def found(answers: Answers, question: ReadLibvirt) -> Mapping[str, Found]:
    """All objects of a sort by name; none when the question failed (`missing` says so)."""
    raw = answers.get(question)
    return _parsed(raw) if raw is not None and raw.ok else {}


def missing(answers: Answers, question: ReadLibvirt, scope: Scope) -> Unknown | Later | None:
    """Why nothing is known of that sort: Later when this blueprint makes the host a hypervisor, else Unknown."""
    raw = answers.get(question)
    if raw is not None and raw.ok:
        return None
    reason = failure(raw)
    if HYPERVISOR in scope.siblings and scope.siblings[HYPERVISOR].desired is not None:
        return Later(reason, HYPERVISOR, bare=raw is not None and raw.returncode == NO_SUCH_PROGRAM)
    hint = "declare `hypervisor: {kind: kvm}` for this host" if raw and raw.returncode == NO_SUCH_PROGRAM else ""
    return Unknown(f"{reason}; {hint}" if hint else reason)


def failure(raw: Raw | None) -> str:
    """What a question that failed came to."""
    if raw is None:
        return "libvirt was not asked"
    if raw.returncode == NO_SUCH_PROGRAM:
        return "libvirt is not there yet"
    said = [line.removeprefix("error: ") for line in raw.err.splitlines() if line.strip()]
    told = next((line for line in said if "failed to connect" not in line), said[-1] if said else "no reason given")
    if "No such file or directory" in told or "Connection refused" in told:
        return "libvirt's daemon does not run"
    return f"libvirt does not answer: {told}"


@lru_cache(maxsize=8192)
def element(xml: str) -> ElementTree.Element:
    """The XML as a tree, which is shared: copy it before changing it."""
    return ElementTree.fromstring(xml)  # noqa: S314  from the host's own libvirt, which root there controls


@lru_cache(maxsize=256)
def _parsed(raw: Raw) -> Mapping[str, Found]:
    objects: dict[str, dict[str, str]] = {}
    leases: dict[str, dict[str, str]] = {}
    volumes: dict[str, dict[str, str]] = {}
    autostart: set[str] = set()
    states: dict[str, str] = {}
    snapshots: dict[str, int] = {}
    last = ""
    for command, said in _commands(raw.text):
        verb, *words = command.split()
        if "--autostart" in words:
            autostart |= set(said.split())
        elif verb == "domstats":
            states = dict(_states(said))
        elif said.startswith("<volume"):  # a long command is not echoed whole; its pool is the one before
            volumes.setdefault(last, {})[element(said).findtext("name", "")] = said
        elif verb == "snapshot-list":
            snapshots[words[0]] = len(said.splitlines())
        elif verb == "net-dhcp-leases":
            leases[words[0]] = dict(_leases(said))
        elif verb.endswith("dumpxml") and said:
            last = words[-1]
            objects.setdefault(last, {})["persistent" if "--inactive" in words else "live"] = said
    transient = {uuid for command, said in _commands(raw.text) if "--transient" in command for uuid in said.split()}
    result = {}
    for uuid, xmls in objects.items():
        name = element(xmls.get("live") or xmls["persistent"]).findtext("name", "")
        result[name] = Found(
            name=name,
            uuid=uuid,
            persistent="" if uuid in transient else xmls.get("persistent", ""),
            live=xmls.get("live", ""),
            autostart=uuid in autostart,
            state=states.get(name, ""),
            leases=leases.get(uuid, {}),
            volumes=volumes.get(uuid, {}),
            snapshots=snapshots.get(uuid, 0),
        )
    return result


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of the batch with its answer. `>` is escaped in XML, so no answer can look like a prompt."""
    parts = re.split(r"^virsh > ?(.*)$", text, flags=re.MULTILINE)
    for command, said in zip(parts[1::2], parts[2::2], strict=True):
        if command.strip():
            yield command.strip(), said.strip()


def _states(said: str) -> Iterator[tuple[str, str]]:
    for name, number in re.findall(r"^Domain: '(.*)'\n\s+state\.state=(\d+)", said, re.MULTILINE):
        yield name, STATES[int(number)] if int(number) < len(STATES) else number


def _leases(said: str) -> Iterator[tuple[str, str]]:
    """The table of net-dhcp-leases: expiry date and time, MAC, protocol, address/prefix, host name, client id."""
    for line in said.splitlines():
        match = re.search(r"(?P<mac>[0-9a-f:]{17})\s+ipv4\s+(?P<address>[0-9.]+)/", line)
        if match:
            yield match["mac"], match["address"]
