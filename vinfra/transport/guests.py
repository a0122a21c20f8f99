"""Waiting until a new virtual machine answers by SSH: its address, its host key from its own console, a first login."""

import re
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol
from xml.etree import ElementTree

import libvirt  # type: ignore[import-untyped]

from vinfra.errors import TransportError
from vinfra.model.inventory import Host
from vinfra.model.mark import GUEST_NAMESPACE
from vinfra.model.question import Exec, ReadFile
from vinfra.model.step import AwaitGuest, StepResult, Verb, Virt
from vinfra.model.transport import Reader
from vinfra.transport import firstboot
from vinfra.transport.hostkeys import HostKey, parsed
from vinfra.transport.libvirt import Libvirt

_POLL = 1.0
_LIMIT = 30.0
_TAIL = 1 << 18
_ABSENT = 2
_ANYTHING = Exec(("uname", "-rmn"))

# cloud-init writes the public keys to the console between these lines, once for each instance (cc_keys_to_console and
# its program write-ssh-key-fingerprints; some versions put a time and a tag before each line). A machine made anew
# appends to the log of its predecessor: the last block counts.
_BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[\w@.-]+ [A-Za-z0-9+/]+=*")

# Where libvirt learns addresses, by the order they are asked: its own DHCP server's leases; the guest's agent; the
# host's neighbours, for a machine that somebody else's DHCP server on a bridge has answered. It logs an error when it
# is asked for an agent that is not there.
_SOURCES = (
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
)
_AGENT = "devices/channel/target[@name='org.qemu.guest_agent.0'][@state='connected']"


class Hosts(Protocol):
    """The hosts of the run."""

    def join(self, host: Host) -> None:
        """Make a host known."""
        ...

    def forget(self, host: str) -> None:
        """Drop its login."""
        ...

    def reader(self, host: str) -> Reader:
        """How to ask it."""
        ...


@dataclass(frozen=True, slots=True)
class _Machine:
    """What a running domain tells of itself: where its console is logged, its addresses, the key of an earlier wait."""

    log: str
    addresses: tuple[str, ...]
    pinned: HostKey | None


class _Hopeless(Exception):
    """Waiting longer will not help."""


def wait(call: AwaitGuest, hypervisor: str, virt: Libvirt, hosts: Hosts) -> StepResult:
    """Wait until the guest answers, and join it to the hosts. Raises TransportError when its hypervisor is lost."""
    deadline = time.monotonic() + call.seconds
    machine, key, refused = _Machine("", (), None), None, None
    try:
        while True:
            machine = virt.use(lambda connection: _look(connection, call), f"looking at {call.name}", _LIMIT)
            key = _host_key(hosts.reader(hypervisor), machine.log) or machine.pinned
            for address in machine.addresses if key else ():
                login = _login(call, hypervisor, address, str(key))
                if (refused := _try(login, hosts)) is None:
                    said = firstboot.settled(hosts.reader(call.name), call.name, deadline) if call.finished else ""
                    return _keep(call, login, virt, said)
            if time.monotonic() > deadline:
                return _failed(call, hosts, _missing(call, machine, key, refused))
            time.sleep(_POLL)
    except (_Hopeless, firstboot.Unfinished) as error:
        return _failed(call, hosts, str(error))
    except libvirt.libvirtError as error:
        return _failed(call, hosts, str(error))


def _look(connection: Any, call: AwaitGuest) -> _Machine:
    domain = connection.lookupByName(call.name)
    if not domain.isActive():
        raise _Hopeless(f"{call.name} does not run: `virsh domstate --reason {call.name}` says why")
    tree = ElementTree.fromstring(domain.XMLDesc(0))  # noqa: S314  from the host's own libvirt
    log = next((item.get("file", "") for item in tree.iterfind("devices/serial/log")), "")
    if not log:
        raise _Hopeless(f"the console of {call.name} is not logged: no <log file=…/> in its <serial>")
    nics = [nic for nic in tree.iterfind("devices/interface") if call.network in ("", _of(nic, "source", "network"))]
    if not nics:
        raise _Hopeless(f"{call.name} has no network interface" + (call.network and f" in network {call.network}"))
    pinned = parsed(_of(tree, f"metadata/{{{GUEST_NAMESPACE}}}guest", "key"))
    addresses = _addresses(domain, _of(nics[0], "mac", "address"), agent=tree.find(_AGENT) is not None)
    told = (call.address,) if call.address else ()
    return _Machine(log, tuple(dict.fromkeys((*told, *addresses))), pinned)


def _of(parent: ElementTree.Element, path: str, attribute: str) -> str:
    child = parent.find(path)
    return "" if child is None else child.get(attribute, "")


def _addresses(domain: Any, mac: str, *, agent: bool) -> list[str]:
    """Those that the first source which knows any tells, IPv4 before IPv6; none that hold on one link only."""
    for source in _SOURCES:
        if source == libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT and not agent:
            continue
        found: dict[int, list[str]] = {}
        with suppress(libvirt.libvirtError):  # a libvirt that cannot ask there
            for nic in domain.interfaceAddresses(source, 0).values():
                for one in (nic["addrs"] or ()) if (nic["hwaddr"] or "").lower() == mac.lower() else ():
                    found.setdefault(one["type"], []).append(one["addr"])
        usable = [one for sort in sorted(found) for one in found[sort] if not one.startswith(("fe80:", "169.254."))]
        if usable:
            return usable
    return []


def _host_key(reader: Reader, log: str) -> HostKey | None:
    """The key by which the guest will show itself: the one of the newest sort among the last that its console shows."""
    question = ReadFile(log, _TAIL, last=True)
    said = reader.ask([question])[question]
    if said.returncode not in (0, _ABSENT):
        raise _Hopeless(f"the log of its console cannot be read: {said.err.strip()}")
    blocks = _BLOCK.findall(said.text)
    keys = list(_keys(blocks[-1])) if blocks else []
    return next((key for key in keys if key.type == "ssh-ed25519"), keys[0] if keys else None)


def _keys(block: str) -> Iterator[HostKey]:
    for text in _KEY.findall(block):
        key = parsed(text)
        if key and _whole(b64decode(key.text)):
            yield key


def _whole(blob: bytes) -> bool:
    """Whether a public key (strings after their lengths, RFC 4253, 6.6) is whole: kernel messages can cut its line."""
    position = 0
    while position < len(blob):
        position += 4 + int.from_bytes(blob[position : position + 4], "big")
    return position == len(blob)


def _login(call: AwaitGuest, hypervisor: str, address: str, key: str) -> Host:
    jump = (hypervisor,) if call.jump else ()
    return replace(call.login, connection="ssh", address=address, host_key=key, jump=jump)


def _try(login: Host, hosts: Hosts) -> TransportError | None:
    hosts.join(login)
    try:
        hosts.reader(login.name).ask([_ANYTHING])
    except TransportError as error:
        hosts.forget(login.name)  # or the failure would be remembered
        return error
    return None


def _keep(call: AwaitGuest, login: Host, virt: Libvirt, said: str) -> StepResult:
    """Note in the domain itself how to reach it."""
    known = {"address": login.address, "key": login.host_key, "user": login.user}
    element = ElementTree.tostring(ElementTree.Element(f"{{{GUEST_NAMESPACE}}}guest", known), encoding="unicode")
    kept = virt.run(Virt(Verb.DOMAIN_METADATA, call.name, xml=element), _LIMIT)
    return replace(kept, out=f"{call.name} answers at {login.address}\n{said}")


def _failed(call: AwaitGuest, hosts: Hosts, why: str) -> StepResult:
    hosts.join(call.login)
    return StepResult(1, err=why)


def _missing(call: AwaitGuest, machine: _Machine, key: HostKey | None, refused: TransportError | None) -> str:
    """Which of the three is missing, and what to look at."""
    name, console = call.name, f"look at its console: {machine.log} on the host"
    if refused:
        return f"{name} has an address and showed its host key, but no login in {call.seconds:g} s: {refused}"
    if not machine.addresses and not key:
        return f"{name} got no address and showed no host key in {call.seconds:g} s: does it boot?\n{console}"
    if not machine.addresses:
        hint = "does it ask by DHCP, and does that network answer? `virsh net-dhcp-leases` on the host says"
        return f"{name} got no address in {call.seconds:g} s: {hint}\n{console}"
    hint = "does it run cloud-init, with its console on the first serial port (`console=ttyS0`)?"
    return f"{name} showed no SSH host key on its console in {call.seconds:g} s: {hint}\n{console}"
