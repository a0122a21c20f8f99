"""Verbs of storage that are more than one call: a disk that grows under a running domain, secrets of libvirt."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import libvirt  # type: ignore[import-untyped]

from vinfra.model.step import Verb, Virt
from vinfra.transport.fetching import fetched

Connection = Any


# qemu-img measures how fast it computes a key, and where processors' time is counted coarsely that fails by chance.
_BY_CHANCE = "Unable to get accurate CPU usage"
_TIMES = 20


def create(pool: Any, call: Virt) -> None:
    """Make a volume, again where qemu-img failed by chance."""
    for left in reversed(range(_TIMES)):
        try:
            pool.createXML(call.xml, 0)
        except libvirt.libvirtError as error:
            if not left or _BY_CHANCE not in str(error.get_error_message()):
                raise
        else:
            return


def content(call: Virt) -> IO[bytes]:
    """What is to be uploaded: the call's own bytes, a file on this machine, or one that this machine fetches."""
    if not call.source:
        return BytesIO(call.content)
    fetch = call.source.startswith(("http://", "https://"))
    return (fetched(call.source, call.sha256) if fetch else Path(call.source)).open("rb")


def _grow(connection: Connection, call: Virt) -> None:
    """By the domain that runs on it, so that its system sees it too; by libvirt's storage when it runs no more."""
    volume = connection.storagePoolLookupByName(call.pool).storageVolLookupByName(call.name)
    try:
        domain = connection.lookupByName(call.domain)
        domain.blockResize(volume.path(), call.number, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    except libvirt.libvirtError as error:
        gone = error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
        if not gone or _runs(connection, call.domain):
            raise
        if volume.info()[1] < call.number:
            volume.resize(call.number, 0)


def _runs(connection: Connection, name: str) -> bool:
    return any(domain.name() == name for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE))


def _secret_define(connection: Connection, call: Virt) -> None:
    connection.secretDefineXML(call.xml, 0)


def _secret_set(connection: Connection, call: Virt) -> None:
    connection.secretLookupByUUIDString(call.name).setValue(call.content, 0)


def _secret_undefine(connection: Connection, call: Virt) -> None:
    try:
        connection.secretLookupByUUIDString(call.name).undefine()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise


VERBS: dict[Verb, Callable[[Connection, Virt], None]] = {
    Verb.VOLUME_GROW: _grow,
    Verb.SECRET_DEFINE: _secret_define,
    Verb.SECRET_SET: _secret_set,
    Verb.SECRET_UNDEFINE: _secret_undefine,
}
