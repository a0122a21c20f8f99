"""What people do to a host by hand, and what happens to it: an edit each, nothing where it makes no sense."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import libvirt

from tests.laws.disk import Entry
from tests.laws.linux import PACKAGES, Unit, User
from tests.laws.world import Host
from vinfra.kinds.kvm.volumes import storage
from vinfra.model import mark
from vinfra.model.step import Verb, Virt

# A host, and a number that chooses among what is there.
Edit = Callable[[Host, int], None]
OURS = (
    "/etc/motd",
    "/etc/ssh/x.conf",
    "/etc/systemd/system/app.service",
    "/srv/app",
    "/srv/app/a.conf",
    "/srv/app/deep",
)
OURS += ("/srv/app/deep/b.conf", "/etc/sysctl.d/90-vinfra-vm.swappiness.conf")


def _there(host: Host, number: int) -> str:
    """One of the paths that a blueprint may name and that is there, "" for none."""
    known = [path for path in OURS if path in host.linux.disk.entries]
    return known[number % len(known)] if known else ""


def delete_path(host: Host, number: int) -> None:
    if path := _there(host, number):
        disk = host.linux.disk
        disk.entries = {name: entry for name, entry in disk.entries.items() if not f"{name}/".startswith(f"{path}/")}


def rewrite_file(host: Host, number: int) -> None:
    path = _there(host, number)
    if path and host.linux.disk.entries[path].sort == "file":
        host.linux.disk.put(path, Entry(content=b"by hand\n"))


def change_mode(host: Host, number: int) -> None:
    if path := _there(host, number):
        host.linux.disk.change(path, mode=0o600)


def make_file(host: Host, number: int) -> None:
    """One that a blueprint may want as well, or one that it finds in its directory."""
    path = ("/etc/motd", "/srv/app/a.conf", "/srv/app/theirs", "/srv/theirs", "/etc/ssh/x.conf")[number % 5]
    if path not in host.linux.disk.entries:
        host.linux.disk.put(path, Entry(content=b"theirs\n"))


def make_link(host: Host, number: int) -> None:
    """What was a file is a link to it."""
    path, disk = _there(host, number), host.linux.disk
    if path and disk.entries[path].sort == "file" and "/srv/real" not in disk.entries:
        disk.put("/srv/real", disk.entries[path])
        disk.put(path, Entry("link", b"/srv/real", 0o777))


def add_user(host: Host, number: int) -> None:
    name = ("ops", "dev", "guest")[number % 3]
    if name not in host.linux.users:
        host.linux.users[name] = User(3000 + number % 3, f"/home/{name}")
        host.linux.disk.names[name] = 3000 + number % 3


def remove_user(host: Host, number: int) -> None:
    if known := sorted(host.linux.users):
        del host.linux.users[name := known[number % len(known)]]
        del host.linux.disk.names[name]


def change_shell(host: Host, number: int) -> None:
    for user in host.linux.users.values():
        user.shell = "/bin/false"


def flip_unit(host: Host, number: int) -> None:
    units = host.linux.units
    if units:
        unit: Unit = units[sorted(units)[number % len(units)]]
        unit.active = not unit.active
        unit.started = host.linux.disk.tick()
        unit.enabled ^= bool(number & 8)


def install(host: Host, number: int) -> None:
    host.linux.install(sorted(PACKAGES)[number % 2])


def uninstall(host: Host, number: int) -> None:
    host.linux.uninstall(sorted(PACKAGES)[number % 2])


def set_sysctl(host: Host, number: int) -> None:
    host.linux.disk.put("/proc/sys/vm/swappiness", Entry(content=f"{number % 100}\n".encode()))


# Marks.


def _mark_file(host: Host, number: int) -> str:
    known = [path for path in host.linux.disk.entries if host.is_mark(path)]
    return known[number % len(known)] if known else ""


def lose_marks(host: Host, number: int) -> None:
    host.linux.disk.entries.pop(_mark_file(host, number), None)


def cut_mark(host: Host, number: int) -> None:
    """The last line is cut short, as on a disk that was full."""
    if path := _mark_file(host, number):
        content = host.linux.disk.entries[path].content
        host.linux.disk.put(path, replace(host.linux.disk.entries[path], content=content[: -2 - number % 40]))


def spoil_marks(host: Host, number: int) -> None:
    if path := _mark_file(host, number):
        entry = host.linux.disk.entries[path]
        host.linux.disk.put(path, replace(entry, content=entry.content + b"<<<<<<< what is this\n"))


def mend_marks(host: Host) -> None:
    """The lines that cannot be read are deleted, as the warning says."""
    for path in [path for path in host.linux.disk.entries if host.is_mark(path)]:
        entry = host.linux.disk.entries[path]
        good = [line for line in entry.content.decode().splitlines() if not mark.parse(line)[1]]
        host.linux.disk.put(path, replace(entry, content="".join(f"{line}\n" for line in good).encode()))


# libvirt.

_DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>512</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""
_NETWORK = """<network><name>{name}</name><bridge name='virbr9'/><ip address='10.9.0.1' prefix='24'/></network>"""


def _some(things: list[libvirt.virDomain], number: int) -> libvirt.virDomain | None:
    known = sorted(things, key=lambda thing: thing.name())
    return known[number % len(known)] if known else None


def flip_domain(host: Host, number: int) -> None:
    if host.node and (domain := _some(host.node.connection.listAllDomains(), number)):
        host.node.virt(Virt(Verb.DOMAIN_DESTROY if domain.isActive() else Verb.DOMAIN_START, domain.name()))


def pause_domain(host: Host, number: int) -> None:
    domain = _some(host.node.connection.listAllDomains(), number) if host.node else None
    if domain and domain.isActive():
        domain.suspend()


def remove_domain(host: Host, number: int) -> None:
    if host.node and (domain := _some(host.node.connection.listAllDomains(), number)):
        host.node.virt(Virt(Verb.DOMAIN_DESTROY, domain.name()))
        host.node.virt(Virt(Verb.DOMAIN_UNDEFINE, domain.name()))


def set_memory(host: Host, number: int) -> None:
    """Of what runs, or of the definition."""
    if host.node and (domain := _some(host.node.connection.listAllDomains(), number)):
        if domain.isActive() and number % 2:
            domain.setMemoryFlags(256 << 10, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        else:
            xml = re.sub(r"(<currentMemory[^>]*>)\d+", r"\g<1>131072", domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            host.node.virt(Virt(Verb.DOMAIN_DEFINE, domain.name(), xml=xml))


def make_domain(host: Host, number: int) -> None:
    name = ("db", "cache", "theirs", "web-01", "web-02")[number % 5]
    if host.node and name not in [domain.name() for domain in host.node.connection.listAllDomains()]:
        host.node.virt(Virt(Verb.DOMAIN_DEFINE, name, xml=_DOMAIN.format(name=name)))


def flip_network(host: Host, number: int) -> None:
    if host.node and (network := _some(host.node.connection.listAllNetworks(), number)):
        host.node.virt(Virt(Verb.NETWORK_STOP if network.isActive() else Verb.NETWORK_START, network.name()))


def remove_network(host: Host, number: int) -> None:
    if host.node and (network := _some(host.node.connection.listAllNetworks(), number)):
        host.node.virt(Virt(Verb.NETWORK_STOP, network.name()))
        host.node.virt(Virt(Verb.NETWORK_UNDEFINE, network.name()))


def make_network(host: Host, number: int) -> None:
    name = ("lan", "theirs")[number % 2]
    known = [network.name() for network in host.node.connection.listAllNetworks()] if host.node else [name]
    if host.node and name not in known:
        host.node.virt(Virt(Verb.NETWORK_DEFINE, name, xml=_NETWORK.format(name=name)))
        host.node.virt(Virt(Verb.NETWORK_START, name))


def make_volume(host: Host, number: int) -> None:
    file = ("data.qcow2", "theirs.qcow2", "web-01-root.qcow2")[number % 3]
    if host.node:
        with suppress(Exception):
            host.node.virt(Virt(Verb.VOLUME_CREATE, file, "default", xml=storage.xml(file, "qcow2", 1 << 30)))


def remove_volume(host: Host, number: int) -> None:
    if host.node and (known := sorted(host.node.files().items())):
        known[number % len(known)][1].delete(0)


def stop_pool(host: Host, number: int) -> None:
    if host.node and (pool := _some(host.node.connection.listAllStoragePools(), number)):
        host.node.virt(Virt(Verb.POOL_STOP, pool.name()))


def autostart(host: Host, number: int) -> None:
    if not host.node:
        return
    connection = host.node.connection
    if thing := _some([*connection.listAllDomains(), *connection.listAllNetworks()], number):
        thing.setAutostart(not thing.autostart())


EDITS: dict[str, Edit] = {
    edit.__name__: edit
    for edit in (
        *(delete_path, rewrite_file, change_mode, make_file, make_link, add_user, remove_user, change_shell),
        *(flip_unit, install, uninstall, set_sysctl, lose_marks, cut_mark, spoil_marks),
        *(flip_domain, pause_domain, remove_domain, set_memory, make_domain, flip_network, remove_network),
        *(make_network, make_volume, remove_volume, stop_pool, autostart),
    )
}
MARKS = {"lose_marks", "cut_mark", "spoil_marks"}
