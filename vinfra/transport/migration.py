"""Carry a domain from one host to another, over our connections to the libvirt of both.

libvirt calls this managed direct migration: we tell both sides what to do, and what is in the machine goes from QEMU to
QEMU. By `relay` it takes the way through our two logins: QEMU on the source connects to a port of its own loopback,
which comes back through the login there and goes out on the loopback of the target, where QEMU listens. So no port is
open to the network, and nothing is readable on the way.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import libvirt  # type: ignore[import-untyped]

from vinfra.errors import TransportError
from vinfra.model.step import Migrate, Path, StepResult, Verb, Virt
from vinfra.transport import verbs
from vinfra.transport.dialogue import TimeIsUp
from vinfra.transport.forward import Duplex
from vinfra.transport.hotplug import Failed
from vinfra.transport.libvirt import Libvirt, hint, message
from vinfra.transport.session import Session

LOOPBACK = "127.0.0.1"
_PORTS = range(61100, 65000)  # above what Linux gives out by itself, beside what libvirt gives out
_TRIES = 5
_DIAL = 20.0
_HOUR = 3600.0

End = tuple[Session, Libvirt]
Connection = Any


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of the domain that is a volume of a pool. `target` is its name in the domain (`vda`)."""

    target: str
    volume: Any
    pool: str
    readonly: bool


def migrate(call: Migrate, here: End, there: End, address: str, limit: float) -> StepResult:
    """One call of a step. `address` is where the other host is reached. Raises TransportError if its end is unknown."""

    def run(old: Connection) -> None:
        there[1].use(lambda new: _carry(call, old, new, here[0], there[0], address), f"{call.name} comes", limit)

    try:
        here[1].use(run, f"migrate {call.name}", limit)
    except libvirt.libvirtError as error:
        return StepResult(1, err="\n".join(filter(None, (message(error), hint(error)))))
    except Failed as error:
        return StepResult(1, err=str(error))
    return StepResult(0)


def _carry(call: Migrate, old: Connection, new: Connection, here: Session, there: Session, address: str) -> None:
    domain = old.lookupByName(call.name)
    runs, autostart = bool(domain.isActive()), domain.autostart()
    disks = [disk for disk in _disks(old, domain) if disk.pool not in call.shared]
    _make_sure_of_room(new, disks)
    with _volumes(new, disks) as made:
        for disk, volume in zip(disks, made, strict=True):
            if disk.readonly or not runs:
                _copy(old, disk.volume, new, volume)
        if runs:
            _live(call, domain, new, [disk.target for disk in disks if not disk.readonly], here, there, address)
        else:
            new.defineXML(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
    if autostart:
        new.lookupByName(call.name).setAutostart(1)
    if not runs:
        verbs.do(old, Virt(Verb.DOMAIN_UNDEFINE, call.name))
    for disk in disks:
        disk.volume.delete(0)


def _live(
    call: Migrate, domain: Any, new: Connection, copied: list[str], here: Session, there: Session, address: str
) -> None:
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
    given: dict[str, Any] = {}
    if copied:
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC  # a disk on an image: the image is there already
        given[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = copied
    if call.path is Path.RELAY:
        with _relay(here, there) as (memory, files):
            given |= {
                libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{LOOPBACK}:{memory}",
                libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: LOOPBACK,
                libvirt.VIR_MIGRATE_PARAM_DISKS_PORT: files,
            }
            domain.migrate3(new, given, flags)
        return
    flags |= libvirt.VIR_MIGRATE_TLS if call.path is Path.TLS else 0
    shown = f"[{address}]" if ":" in address else address
    domain.migrate3(new, given | {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{shown}"}, flags)


def _disks(connection: Connection, domain: Any) -> Iterator[Disk]:
    """Every disk with a file or a device behind it. Raises Failed for one that lies in no pool."""
    tree = ElementTree.fromstring(domain.XMLDesc(0))  # noqa: S314  from the host's own libvirt
    for item in tree.iterfind("devices/disk"):
        source, target = item.find("source"), item.find("target")
        if source is None or target is None:
            continue
        name, path = target.get("dev", ""), source.get("file") or source.get("dev")
        try:
            if source.get("pool"):
                pool = connection.storagePoolLookupByName(source.get("pool"))
                volume = pool.storageVolLookupByName(source.get("volume"))
            elif path:
                volume = connection.storageVolLookupByPath(path)
                pool = volume.storagePoolLookupByVolume()
            else:
                raise Failed(f"{domain.name()}: its disk {name} is on the network, and vinfra does not move such ones")
        except libvirt.libvirtError as error:
            raise Failed(f"{domain.name()}: its disk {name} lies in no pool that runs: {path}") from error
        yield Disk(name, volume, pool.name(), item.find("readonly") is not None)


def _make_sure_of_room(new: Connection, disks: list[Disk]) -> None:
    for name in dict.fromkeys(disk.pool for disk in disks):
        pool = new.storagePoolLookupByName(name)
        with suppress(libvirt.libvirtError):  # it knows what is free since its last look, and has none during an upload
            pool.refresh(0)
        needed, free = sum(disk.volume.info()[2] for disk in disks if disk.pool == name), pool.info()[3]
        if needed > free:
            raise Failed(f"pool {name} there has {free >> 20} MiB left, and {needed >> 20} MiB are to come")


@contextmanager
def _volumes(new: Connection, disks: list[Disk]) -> Iterator[list[Any]]:
    """An empty volume for each disk, in the same place. They go again when what follows does not succeed."""
    made: list[Any] = []
    try:
        for disk in disks:
            pool = new.storagePoolLookupByName(disk.pool)
            made.append(pool.createXML(_described(disk.volume.XMLDesc(0)), 0))
            if made[-1].path() != disk.volume.path():
                raise Failed(f"pool {disk.pool} is in another folder there: {made[-1].path()}")
        yield made
    except BaseException:
        for volume in made:
            with suppress(libvirt.libvirtError):
                volume.delete(0)
        raise


def _described(xml: str) -> str:
    """A volume's XML without what only holds where it is."""
    tree = ElementTree.fromstring(xml)  # noqa: S314  from the host's own libvirt
    for path in ("key", "physical", "target/path", "target/timestamps", "target/permissions"):
        parent = tree if "/" not in path else tree.find(path.partition("/")[0])
        if parent is not None and (child := parent.find(path.rpartition("/")[2])) is not None:
            parent.remove(child)
    below = tree.find("backingStore")
    if below is not None and not below.findtext("path"):
        tree.remove(below)
    if (allocation := tree.find("allocation")) is not None:
        allocation.text = "0"
    return ElementTree.tostring(tree, "unicode")


def _copy(old: Connection, source: Any, new: Connection, target: Any) -> None:
    """A volume's bytes as they are, holes left out, through here."""
    down, up = old.newStream(0), new.newStream(0)
    source.download(down, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
    target.upload(up, 0, 0, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)

    def take(_stream: Any, data: bytes, _: object) -> int:
        rest = data
        while rest:
            rest = rest[up.send(rest) :]
        return len(data)

    def skip(_stream: Any, length: int, _: object) -> int:
        up.sendHole(length, 0)
        return 0

    try:
        down.sparseRecvAll(take, skip, None)
        down.finish()
        up.finish()
    except BaseException:
        for stream in (down, up):
            with suppress(libvirt.libvirtError):
                stream.abort()
        raise


@contextmanager
def _relay(here: Session, there: Session) -> Iterator[tuple[int, int]]:
    """Two ports on the loopback of `here` that lead to the same two of `there`."""
    with ExitStack() as stack:
        ports = [_listening(here, there, stack.callback) for _ in range(2)]
        yield ports[0], ports[1]


def _listening(here: Session, there: Session, later: Callable[[Callable[[], None]], Any]) -> int:
    for attempt in range(1, _TRIES + 1):
        port = random.choice(_PORTS)  # noqa: S311  no secret
        try:
            stop = here.listen(port, lambda near, port=port: _connect(near, there, port))  # type: ignore[misc]
        except TransportError as error:
            if attempt == _TRIES:
                raise Failed(f"{error.message}\n{error.hint}, or say `migration: {{path: tls}}`") from error
            continue
        if stop is None:
            break
        later(stop)
        return port
    raise Failed(f"{here.host} is this machine itself, with no login to relay through\nsay `migration: {{path: tcp}}`")


def _connect(near: Duplex, there: Session, port: int) -> None:
    """Join a connection that came with one that the other host makes to the same port of its own."""
    try:
        far = there.dial(LOOPBACK, port, _DIAL)
    except TransportError:
        far = None
    if far is None:  # QEMU reads the end of it as a connection that was refused, and says so
        near.cut()
        return
    back = threading.Thread(target=_pump, args=(far, near), daemon=True)
    back.start()
    _pump(near, far)
    back.join()
    for stream in (near, far):
        stream.stop()


def _pump(source: Duplex, sink: Duplex) -> None:
    """All bytes one way, then the end of them."""
    with suppress(TransportError):
        while True:
            try:
                news = source.hear(time.monotonic() + _HOUR)
            except TimeIsUp:
                continue
            if news is None:
                break
            sink.feed(news[0])
    sink.finish()
