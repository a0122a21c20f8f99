"""A host's libvirt: libvirt itself with its test driver, which keeps everything in this process.

The product's own verbs run on it, and it is read as `virsh -r` would tell it. What that driver cannot do is filled in
here, and nowhere else:

- a running network's new definition, which the driver forgets: it is kept in a second connection;
- resizing a volume and uploading into it;
- flags of `undefine` that it does not know: it is called an old libvirt;
- QEMU's own objections: a machine needs its disks and its networks to start.
"""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from xml.etree import ElementTree

import libvirt

from tests.laws.disk import Failed
from vinfra.kinds.kvm.volumes import scripts
from vinfra.model.mark import GUEST_NAMESPACE
from vinfra.model.question import Raw
from vinfra.model.step import AwaitGuest, Exec, Verb, Virt
from vinfra.transport import verbs
from vinfra.transport.libvirt import message

CONFIG = """<node><cpu><mhz>3000</mhz><model>xeon</model><active>16</active><nodes>1</nodes><sockets>1</sockets>
<cores>16</cores><threads>1</threads></cpu><memory>67108864</memory></node>"""
IMAGES = "/var/lib/libvirt/images"
POOL = f"<pool type='dir'><name>default</name><target><path>{IMAGES}</path></target></pool>"
INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE
OLD = 1_002_000  # the libvirt that knows no flag of `undefine` that the test driver does not


def connection() -> Any:
    """A libvirt of its own, with nothing in it."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    file = Path(gettempdir()) / "vinfra-laws-node.xml"
    if not file.exists():
        file.write_text(CONFIG)
    return libvirt.open(f"test://{file}")


class _Old:
    """A connection that says it is an old one."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def getLibVersion(self) -> int:  # noqa: N802  libvirt's own name
        return OLD


class Node:
    """One libvirt, with the pool and the network that most hosts have."""

    def __init__(self) -> None:
        self.connection, self.kept = connection(), connection()
        self.uploads: dict[str, str] = {}
        self.virt(Virt(Verb.POOL_DEFINE, "default", xml=POOL))
        self.virt(Virt(Verb.POOL_START, "default"))
        self.virt(Virt(Verb.POOL_AUTOSTART, "default", number=1))

    def close(self) -> None:
        self.connection.close()
        self.kept.close()

    # What it does.

    def virt(self, call: Virt) -> None:
        """Raises Failed with what libvirt says."""
        try:
            self._object(call)
            if call.verb is Verb.VOLUME_RESIZE:
                self._resize(call)
            elif call.verb is Verb.VOLUME_UPLOAD:
                self._upload(call)
            else:
                verbs.do(_Old(self.connection), call)
                self._follow(call)
        except (libvirt.libvirtError, verbs.Failed) as error:
            said = message(error) if isinstance(error, libvirt.libvirtError) else str(error)
            raise Failed(said) from error

    def _object(self, call: Virt) -> None:
        """What QEMU would say of a machine whose disks or networks are not there."""
        if call.verb is not Verb.DOMAIN_START:
            return
        tree = ElementTree.fromstring(self.connection.lookupByName(call.name).XMLDesc(INACTIVE))
        for source in tree.iterfind("devices/disk/source"):
            if source.get("file") not in self.files():
                raise Failed(f"Cannot access storage file '{source.get('file')}'")
        for source in tree.iterfind("devices/interface/source"):
            network = self.connection.networkLookupByName(source.get("network"))
            if not network.isActive():
                raise Failed(f"network '{network.name()}' is not active")

    def runs(self, name: str) -> bool:
        return name in [domain.name() for domain in self.connection.listAllDomains() if domain.isActive()]

    def files(self) -> dict[str, Any]:
        pools = [pool for pool in self.connection.listAllStoragePools() if pool.isActive()]
        return {volume.path(): volume for pool in pools for volume in pool.listAllVolumes()}

    def _resize(self, call: Virt) -> None:
        pool = self.connection.storagePoolLookupByName(call.pool)
        volume = pool.storageVolLookupByName(call.name)
        tree = ElementTree.fromstring(volume.XMLDesc())
        capacity = tree.find("capacity")
        assert capacity is not None
        capacity.text = str(call.number)
        volume.delete(0)
        pool.createXML(ElementTree.tostring(tree, "unicode"), 0)

    def _upload(self, call: Virt) -> None:
        volume = self.connection.storagePoolLookupByName(call.pool).storageVolLookupByName(call.name)
        self.uploads[volume.path()] = sha256(call.content).hexdigest()

    def _follow(self, call: Virt) -> None:
        """A network's definition counts when it starts again; libvirt's own drivers see to that."""
        if call.verb is Verb.NETWORK_DEFINE:
            uuid = self.connection.networkLookupByName(call.name).UUIDString()
            tree = ElementTree.fromstring(call.xml)
            if tree.find("uuid") is None:
                ElementTree.SubElement(tree, "uuid").text = uuid
            self.kept.networkDefineXML(ElementTree.tostring(tree, "unicode"))
        elif call.verb is Verb.NETWORK_STOP:
            with suppress(libvirt.libvirtError):
                self.connection.networkDefineXML(self.kept.networkLookupByName(call.name).XMLDesc())
        elif call.verb is Verb.NETWORK_UNDEFINE:
            with suppress(libvirt.libvirtError):
                self.kept.networkLookupByName(call.name).undefine()

    def wait(self, call: AwaitGuest) -> None:
        """The guest answers, and what it told is noted."""
        domain = self.connection.lookupByName(call.name)
        if not domain.isActive():
            raise Failed(f"{call.name} does not run")
        known = f"address='10.10.0.9' key='ssh-ed25519 AAAA' user='{call.login.user}'"
        told = f"<g:guest xmlns:g='{GUEST_NAMESPACE}' {known}/>"
        self.virt(Virt(Verb.DOMAIN_METADATA, call.name, xml=told))

    def script(self, call: Exec) -> bool:
        """Of the scripts of steps those that look whether something is in use, or do what libvirt did here already."""
        texts, words = (*call.argv, call.stdin.decode()), call.argv
        running = [domain for domain in self.connection.listAllDomains() if domain.isActive()]
        if scripts.OPEN in texts:
            users = [domain.name() for domain in running if f"'{words[-1]}'" in domain.XMLDesc()]
        elif scripts.UNPLUGGED in texts:
            users = [domain.name() for domain in running if f"network='{words[-1]}'" in domain.XMLDesc()]
        else:
            return scripts.PLUG in texts
        if users:
            raise Failed(f"{words[-1]} is in use by {users[0]}")
        return True

    # What it tells.

    def virsh(self, sort: str) -> Raw:
        """A batch of virsh's answers (transport/probe.py)."""
        said = "\n".join((*getattr(self, f"_{sort}")(), "virsh > \n"))
        return Raw(0, said.encode())

    def _domains(self) -> Iterator[str]:
        domains = self.connection.listAllDomains()
        yield from _lists("list", domains)
        yield "virsh > domstats --state"
        yield from (f"Domain: '{domain.name()}'\n  state.state={domain.state()[0]}" for domain in domains)
        for domain in domains:
            yield from _dumped("dumpxml", domain, domain.XMLDesc(INACTIVE), domain.XMLDesc())

    def _networks(self) -> Iterator[str]:
        networks = self.connection.listAllNetworks()
        yield from _lists("net-list", networks)
        for network in networks:
            kept = self.kept.networkLookupByName(network.name()).XMLDesc()
            yield from _dumped("net-dumpxml", network, kept, network.XMLDesc())

    def _pools(self) -> Iterator[str]:
        pools = self.connection.listAllStoragePools()
        yield from _lists("pool-list", pools)
        for pool in pools:
            yield from _dumped("pool-dumpxml", pool, pool.XMLDesc(), pool.XMLDesc())
            for volume in pool.listAllVolumes() if pool.isActive() else ():
                yield f"virsh > vol-dumpxml {volume.path()}\n{volume.XMLDesc()}"

    def _domcapabilities(self) -> Iterator[str]:
        yield from ()

    def _capabilities(self) -> Iterator[str]:
        yield f"virsh > capabilities\n{self.connection.getCapabilities()}"

    def state(self) -> dict[str, Any]:
        """Everything that is there, by what it is called. Addresses that libvirt gave to machines count as well."""
        found: dict[str, Any] = {}
        for domain in self.connection.listAllDomains():
            whole = (domain.XMLDesc(INACTIVE), domain.XMLDesc(), domain.autostart(), domain.state())
            found[f"domain:{domain.name()}"] = whole
        for network in self.connection.listAllNetworks():
            kept = self.kept.networkLookupByName(network.name()).XMLDesc()
            found[f"network:{network.name()}"] = (kept, network.XMLDesc(), network.autostart(), network.isActive())
        for pool in self.connection.listAllStoragePools():
            shape = ElementTree.fromstring(pool.XMLDesc()).findtext("target/path")
            found[f"pool:{pool.name()}"] = (shape, pool.autostart(), pool.isActive())
            for volume in pool.listAllVolumes() if pool.isActive() else ():
                found[f"volume:{volume.path()}"] = (volume.XMLDesc(), self.uploads.get(volume.path()))
        return found


def _lists(verb: str, things: list[Any]) -> Iterator[str]:
    yield f"virsh > {verb} --all --autostart --uuid"
    yield from (thing.UUIDString() for thing in things if thing.autostart())
    yield f"virsh > {verb} --all --transient --uuid"
    yield from (thing.UUIDString() for thing in things if not thing.isPersistent())


def _dumped(verb: str, thing: Any, persistent: str, live: str) -> Iterator[str]:
    uuid = thing.UUIDString()
    yield f"virsh > {verb} --inactive {uuid}\n{persistent}"
    if thing.isActive():
        yield f"virsh > {verb} {uuid}\n{live}"
