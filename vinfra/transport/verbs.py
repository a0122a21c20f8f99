"""What each verb of `model.step.Verb` does on an open libvirt connection.

What already runs, is stopped or is gone is no error. What is to be made and is there already is one: it appeared since
the plan was made. A definition that replaces another one carries its uuid.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from xml.etree import ElementTree

import libvirt  # type: ignore[import-untyped]

from vinfra.model.step import Verb, Virt
from vinfra.transport import hotplug, storage
from vinfra.transport.hotplug import Failed

_PRESS_AGAIN = 5.0  # a guest that boots does not hear the power button yet
_POLL = 0.3
PIECE = 262120  # what fits into one message of libvirt's protocol: virStorageVol.streamBufSize

# What goes with a domain, and the libvirt since which its daemon knows that flag (an older one refuses it).
_UNDEFINE = {
    "VIR_DOMAIN_UNDEFINE_MANAGED_SAVE": 9004,
    "VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA": 9005,
    "VIR_DOMAIN_UNDEFINE_NVRAM": 1002009,
    "VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA": 5006000,
    "VIR_DOMAIN_UNDEFINE_TPM": 8009000,
}

Connection = Any


def do(connection: Connection, call: Virt) -> None:
    """Run one call. Raises libvirtError, Failed, or OSError for a file on this machine."""
    _VERBS[call.verb](connection, call)


@contextmanager
def _unless(*codes: int) -> Iterator[None]:
    """What is gone already needs no undoing."""
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in codes:
            raise


def _network(connection: Connection, call: Virt) -> Any:
    return connection.networkLookupByName(call.name)


def _pool(connection: Connection, call: Virt) -> Any:
    return connection.storagePoolLookupByName(call.name)


def _domain(connection: Connection, call: Virt) -> Any:
    return connection.lookupByName(call.name)


_Find = Callable[[Connection, Virt], Any]
_GONE: dict[_Find, int] = {
    _network: libvirt.VIR_ERR_NO_NETWORK,
    _pool: libvirt.VIR_ERR_NO_STORAGE_POOL,
    _domain: libvirt.VIR_ERR_NO_DOMAIN,
}


def _start(find: _Find, connection: Connection, call: Virt) -> None:
    """With an `xml`: when it does not start as it is defined now, it goes back to that definition, and starts."""
    found = find(connection, call)
    if found.isActive():
        return
    try:
        found.create()
    except libvirt.libvirtError as error:
        if not call.xml:
            raise
        _DEFINE[find](connection, call)
        find(connection, call).create()
        raise Failed(f"{error.get_error_message()}\n{call.name} runs again as it was defined before") from error


def _stop(find: _Find, connection: Connection, call: Virt) -> None:
    with _unless(_GONE[find]):
        found = find(connection, call)
        if found.isActive():
            found.destroy()


def _undefine(find: _Find, connection: Connection, call: Virt) -> None:
    with _unless(_GONE[find]):
        find(connection, call).undefine()


def _autostart(find: _Find, connection: Connection, call: Virt) -> None:
    find(connection, call).setAutostart(call.number)


def _network_define(connection: Connection, call: Virt) -> None:
    connection.networkDefineXML(call.xml)


# The section of a network in which libvirt looks for an element of this tag, with this attribute.
_SECTIONS = {
    ("range", "start"): libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE,
    ("host", "mac"): libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
    ("host", "name"): libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
    ("host", "ip"): libvirt.VIR_NETWORK_SECTION_DNS_HOST,
    ("txt", "name"): libvirt.VIR_NETWORK_SECTION_DNS_TXT,
    ("srv", "service"): libvirt.VIR_NETWORK_SECTION_DNS_SRV,
    ("portgroup", "name"): libvirt.VIR_NETWORK_SECTION_PORTGROUP,
}


def _network_update(connection: Connection, call: Virt) -> None:
    """Tell a running network of one element more or less."""
    network = _network(connection, call)
    if not network.isActive():
        return
    wish = ElementTree.fromstring(call.xml)  # noqa: S314  made by a kind
    running = ElementTree.fromstring(network.XMLDesc(0))  # noqa: S314  from the host's own libvirt
    if any(_alike(wish, item) for item in running.iter(wish.tag)) is bool(call.number):
        return
    section = next(number for (tag, key), number in _SECTIONS.items() if tag == wish.tag and key in wish.attrib)
    command = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST if call.number else libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
    network.update(command, section, -1, call.xml, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE)


def _alike(one: ElementTree.Element, other: ElementTree.Element) -> bool:
    same = (one.tag, one.attrib, (one.text or "").strip()) == (other.tag, other.attrib, (other.text or "").strip())
    return same and len(one) == len(other) and all(map(_alike, one, other))


def _pool_define(connection: Connection, call: Virt) -> None:
    connection.storagePoolDefineXML(call.xml, 0)


def _pool_build(connection: Connection, call: Virt) -> None:
    pool = _pool(connection, call)
    if not pool.isActive():
        pool.build(0)


def _pool_refresh(connection: Connection, call: Virt) -> None:
    _pool(connection, call).refresh(0)


def _volume(connection: Connection, call: Virt) -> Any:
    return connection.storagePoolLookupByName(call.pool).storageVolLookupByName(call.name)


def _volume_create(connection: Connection, call: Virt) -> None:
    storage.create(connection.storagePoolLookupByName(call.pool), call)


def _volume_upload(connection: Connection, call: Virt) -> None:
    """Piece by piece, so that a file of any size takes no memory. What arrived only in part is removed again."""
    with storage.content(call) as source:
        length = source.seek(0, 2)
        source.seek(0)
        volume = _volume(connection, call)
        _make_sure_of_room(connection, call, volume, length)
        stream = connection.newStream(0)
        volume.upload(stream, 0, length, 0)
        try:
            while piece := source.read(PIECE):
                while piece:
                    piece = piece[stream.send(piece) :]
            stream.finish()
        except BaseException:
            with suppress(libvirt.libvirtError):
                stream.abort()
            with suppress(libvirt.libvirtError):
                volume.delete(0)
            raise


def _make_sure_of_room(connection: Connection, call: Virt, volume: Any, length: int) -> None:
    """Fail before the disk is full: libvirtd 11.3 (Debian 13) crashes when it meets that in an upload."""
    pool = connection.storagePoolLookupByName(call.pool)
    with suppress(libvirt.libvirtError):  # it knows what is free since its last look, and has none during an upload
        pool.refresh(0)
    missing = length - volume.info()[2] - pool.info()[3]
    if missing > 0:
        raise Failed(
            f"no space left in pool {call.pool}: {call.name} needs {missing >> 20} MiB more\n`df` there says where"
        )


def _volume_resize(connection: Connection, call: Virt) -> None:
    volume = _volume(connection, call)
    if volume.info()[1] != call.number:
        volume.resize(call.number, 0)


def _volume_delete(connection: Connection, call: Virt) -> None:
    with _unless(libvirt.VIR_ERR_NO_STORAGE_VOL):
        _volume(connection, call).delete(0)


def _domain_define(connection: Connection, call: Virt) -> None:
    xml = call.xml
    with _unless(*(() if call.part else (libvirt.VIR_ERR_NO_DOMAIN,))):
        domain = _domain(connection, call)
        if call.part and _plain(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) != _plain(call.part):
            raise Failed(
                f"somebody changed the definition of {call.name} since it was read, and would lose that\nplan again"
            )
        xml = hotplug.with_passwords(domain, xml)
    connection.defineXML(xml)


def _plain(xml: str) -> str:
    return ElementTree.canonicalize(xml, strip_text=True)


def _domain_start(connection: Connection, call: Virt) -> None:
    domain = _domain(connection, call)
    match domain.state(0)[0]:
        case libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        case libvirt.VIR_DOMAIN_PMSUSPENDED:
            domain.pMWakeup(0)
        case libvirt.VIR_DOMAIN_SHUTOFF:
            _start(_domain, connection, call)


def _domain_shutdown(connection: Connection, call: Virt) -> None:
    """Ask the guest's agent, else press its power button, again and again; it is switched off only when so told."""
    with _unless(libvirt.VIR_ERR_NO_DOMAIN):  # a transient one is gone when it is down
        domain = _domain(connection, call)
        deadline = time.monotonic() + call.seconds
        pressed = 0.0
        if call.number and domain.state(0)[0] == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()  # what is paused hears no power button
        while domain.isActive():
            now = time.monotonic()
            if now > deadline and call.number:
                domain.destroy()
                return
            if now > deadline:
                raise Failed(
                    f"{call.name} did not shut down in {call.seconds:g} s, and was not switched off\n"
                    f"look at its console: does its system run, and does it listen to ACPI or to the guest agent?"
                )
            if now > pressed + _PRESS_AGAIN:
                pressed = now
                _press(domain)
            time.sleep(_POLL)


def _domain_press(connection: Connection, call: Virt) -> None:
    with _unless(libvirt.VIR_ERR_NO_DOMAIN):
        domain = _domain(connection, call)
        if domain.isActive():
            _press(domain)


def _press(domain: Any) -> None:
    try:
        domain.shutdownFlags(0)
    except libvirt.libvirtError:
        if domain.isActive():  # else it went down at this very moment
            raise


def _domain_reboot(connection: Connection, call: Virt) -> None:
    """Down and up again, and so with what its definition says by now: a warm reset would keep the old machine."""
    domain = _domain(connection, call)
    if not domain.isPersistent():
        raise Failed(
            f"{call.name} is transient: once down, it would be gone\ndefine it first, or reboot it from within"
        )
    _domain_shutdown(connection, call)
    _start(_domain, connection, call)


def _domain_undefine(connection: Connection, call: Virt) -> None:
    with _unless(libvirt.VIR_ERR_NO_DOMAIN):
        version = connection.getLibVersion()
        known = (getattr(libvirt, name, 0) for name, since in _UNDEFINE.items() if version >= since)
        _domain(connection, call).undefineFlags(sum(known))


def _running(change: Callable[[Any, Virt], None], connection: Connection, call: Virt) -> None:
    """What does not run has nothing to change; its definition says what it starts with."""
    domain = _domain(connection, call)
    if domain.isActive():
        change(domain, call)


def _domain_metadata(connection: Connection, call: Virt) -> None:
    """Put an element into the metadata in place of the one of the same namespace; others stay."""
    element = ElementTree.fromstring(call.xml)  # noqa: S314  made by a kind
    uri, _, element.tag = element.tag.removeprefix("{").rpartition("}")
    if not uri:
        raise Failed(f"metadata of {call.name} needs a namespace: {call.xml}")
    domain = _domain(connection, call)
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() and not call.number else 0
    flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0
    text = ElementTree.tostring(element, encoding="unicode")
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "vinfra", uri, flags)


_DEFINE: dict[_Find, Callable[[Connection, Virt], None]] = {
    _network: _network_define,
    _pool: _pool_define,
    _domain: _domain_define,
}
_VERBS: dict[Verb, Callable[[Connection, Virt], None]] = {
    Verb.NETWORK_DEFINE: _network_define,
    Verb.NETWORK_START: partial(_start, _network),
    Verb.NETWORK_STOP: partial(_stop, _network),
    Verb.NETWORK_UNDEFINE: partial(_undefine, _network),
    Verb.NETWORK_AUTOSTART: partial(_autostart, _network),
    Verb.NETWORK_UPDATE: _network_update,
    Verb.POOL_DEFINE: _pool_define,
    Verb.POOL_BUILD: _pool_build,
    Verb.POOL_START: partial(_start, _pool),
    Verb.POOL_STOP: partial(_stop, _pool),
    Verb.POOL_UNDEFINE: partial(_undefine, _pool),
    Verb.POOL_AUTOSTART: partial(_autostart, _pool),
    Verb.POOL_REFRESH: _pool_refresh,
    Verb.VOLUME_CREATE: _volume_create,
    Verb.VOLUME_UPLOAD: _volume_upload,
    Verb.VOLUME_RESIZE: _volume_resize,
    Verb.VOLUME_DELETE: _volume_delete,
    **storage.VERBS,
    Verb.DOMAIN_DEFINE: _domain_define,
    Verb.DOMAIN_START: _domain_start,
    Verb.DOMAIN_PRESS: _domain_press,
    Verb.DOMAIN_SHUTDOWN: _domain_shutdown,
    Verb.DOMAIN_DESTROY: partial(_stop, _domain),
    Verb.DOMAIN_REBOOT: _domain_reboot,
    Verb.DOMAIN_UNDEFINE: _domain_undefine,
    Verb.DOMAIN_AUTOSTART: partial(_autostart, _domain),
    Verb.DOMAIN_MEMORY: partial(_running, hotplug.memory),
    Verb.DOMAIN_VCPUS: partial(_running, hotplug.vcpus),
    Verb.DEVICE_ATTACH: partial(_running, hotplug.attach),
    Verb.DEVICE_DETACH: partial(_running, hotplug.detach),
    Verb.DEVICE_UPDATE: partial(_running, hotplug.update),
    Verb.DISK_LIMIT: partial(_running, hotplug.limit),
    Verb.DOMAIN_METADATA: _domain_metadata,
}
