"""Snapshots of machines, backups of their disks and copies of volumes, as verbs on an open libvirt connection."""

import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import libvirt  # type: ignore[import-untyped]

from vinfra.model.step import BACKUP, Verb, Virt
from vinfra.transport.hotplug import Failed
from vinfra.transport.verbs import PIECE

_POLL = 0.2

Connection = Any


def do(connection: Connection, call: Virt) -> str:
    """Run one call, and what it tells. Raises libvirtError, Failed, or OSError for a file on this machine."""
    return VERBS[call.verb](connection, call) or ""


def _snapshot_create(connection: Connection, call: Virt) -> None:
    domain = connection.lookupByName(call.name)
    xml = call.xml
    if call.part:
        name = f"{call.part}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        xml = xml.replace("<domainsnapshot>", f"<domainsnapshot><name>{name}</name>", 1)
    domain.snapshotCreateXML(xml, 0)
    if call.part and call.number:
        own = re.compile(rf"{re.escape(call.part)}-\d{{8}}-\d{{6}}")
        for name in sorted(filter(own.fullmatch, domain.snapshotListNames()))[: -call.number]:
            domain.snapshotLookupByName(name).delete(0)


def _snapshot_revert(connection: Connection, call: Virt) -> None:
    domain = connection.lookupByName(call.name)
    snapshot = domain.snapshotLookupByName(call.part)
    try:
        domain.revertToSnapshot(snapshot, 0)
    except libvirt.libvirtError as error:
        # Its hardware changed since, so QEMU must be started anew: who asked for that was told that all since is lost.
        if error.get_error_code() != libvirt.VIR_ERR_SNAPSHOT_REVERT_RISKY:
            raise
        domain.revertToSnapshot(snapshot, libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE)


def _snapshot_delete(connection: Connection, call: Virt) -> None:
    try:
        connection.lookupByName(call.name).snapshotLookupByName(call.part).delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT:
            raise


def _backup(connection: Connection, call: Virt) -> str:
    """Begin with all disks at one moment, and wait until they are written. The guest goes on meanwhile."""
    domain = connection.lookupByName(call.name)
    if domain.isActive():
        _end_former(domain)
    if not call.xml:
        _thaw(domain)  # it may have been killed while the guest stood still, which would do so for ever
        return ""
    frozen = bool(call.number) and _frozen(domain)
    try:
        domain.backupBegin(call.xml, None, 0)
    finally:
        if frozen:
            domain.fsThaw()
    try:
        _wait(domain, call)
    except BaseException:
        with suppress(libvirt.libvirtError):
            domain.abortJob()
        raise
    return "frozen" if frozen else ""


def _wait(domain: Any, call: Virt) -> None:
    deadline = time.monotonic() + call.seconds
    while domain.jobStats(0).get("type", 0) != libvirt.VIR_DOMAIN_JOB_NONE:
        if time.monotonic() > deadline:
            raise Failed(f"the backup of {call.name} was not written in {call.seconds:g} s, and was given up")
        time.sleep(_POLL)
    ended = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    if ended.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED:
        said = ended.get("errmsg") or "libvirt gives no reason; its log and that of the machine may"
        raise Failed(f"the backup of {call.name} did not come to its end: {said}")


def _frozen(domain: Any) -> bool:
    """Whether its agent froze its file systems; without an agent a backup is what a power cut would leave."""
    try:
        return int(domain.fsFreeze()) >= 0
    except libvirt.libvirtError:
        _thaw(domain)  # an agent whose answer came too late may have frozen some of them
        return False


def _thaw(domain: Any) -> None:
    """Without an agent, or with nothing frozen, there is nothing to thaw."""
    with suppress(libvirt.libvirtError):
        domain.fsThaw()


def _end_former(domain: Any) -> None:
    """A run of ours that was killed may have left its backup at work. Raises Failed for one of somebody else."""
    try:
        xml = domain.backupGetXMLDesc(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_BACKUP:
            raise
        return
    if BACKUP not in xml:
        raise Failed(f"another backup of {domain.name()} is at work\nwait for its end: virsh domjobinfo")
    domain.abortJob()
    while domain.jobStats(0).get("type", 0) != libvirt.VIR_DOMAIN_JOB_NONE:
        time.sleep(_POLL)


def _export(connection: Connection, call: Virt) -> None:
    """With passwords and the like, which a connection that only reads is not told."""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    with _new(call.source) as file:
        file.write(connection.lookupByName(call.name).XMLDesc(flags).encode())


def _volume_copy(connection: Connection, call: Virt) -> None:
    source = connection.storageVolLookupByPath(call.part)
    connection.storagePoolLookupByName(call.pool).createXMLFrom(call.xml, source, 0)


def _volume_download(connection: Connection, call: Virt) -> str:
    """Piece by piece, so that a volume of any size takes no memory."""
    volume = connection.storagePoolLookupByName(call.pool).storageVolLookupByName(call.name)
    stream, digest, size = connection.newStream(0), hashlib.sha256(), 0
    with _new(call.source) as file:
        volume.download(stream, 0, 0, 0)
        try:
            while piece := stream.recv(PIECE):
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            stream.finish()
        except BaseException:
            with suppress(libvirt.libvirtError):
                stream.abort()
            raise
        file.flush()
        os.fsync(file.fileno())
    return f"{digest.hexdigest()} {size}"


def _new(path: str) -> Any:
    """A file that was not there, for nobody else to read: what is in it may be secret."""
    return os.fdopen(os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


VERBS: dict[Verb, Callable[[Connection, Virt], str | None]] = {
    Verb.DOMAIN_BACKUP: _backup,
    Verb.DOMAIN_EXPORT: _export,
    Verb.SNAPSHOT_CREATE: _snapshot_create,
    Verb.SNAPSHOT_REVERT: _snapshot_revert,
    Verb.SNAPSHOT_DELETE: _snapshot_delete,
    Verb.VOLUME_COPY: _volume_copy,
    Verb.VOLUME_DOWNLOAD: _volume_download,
}
