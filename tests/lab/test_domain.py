"""A domain's XML on a real libvirt: what it is told it keeps, and what it made of that is patched with care."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vinfra.kinds.kvm import domain
from vinfra.kinds.kvm.domains import domain_xml, hardware
from vinfra.kinds.kvm.domains.domain_xml import ASPECTS
from vinfra.kinds.kvm.reading import virsh
from vinfra.lab import Lab, LabHost
from vinfra.model.kind import Scope

from .conftest import run_ssh

pytestmark = pytest.mark.xdist_group("kvm")

Define = Callable[[str, str], str]
SITE = hardware.Site("tcg", {"default": "/var/lib/libvirt/images"}, {}, None)
SPECS: dict[str, dict[str, Any]] = {
    "plain": {"memory": "128MiB", "image": "tiny", "networks": ["default"]},
    "bare": {"memory": "1GiB", "serial": False, "rng": False, "agent": False},
    "several": {
        "memory": "256MiB",
        "cpu": 2,
        "disks": {"root": "1GiB", "data": {"size": "2GiB", "format": "raw"}},
        "networks": ["default", "dev"],
        "cloud_init": {},
    },
    "buses": {
        "memory": "128MiB",
        "disks": {
            name: {"size": "1GiB", "bus": bus}
            for name, bus in zip("abcd", ("scsi", "sata", "scsi", "virtio"), strict=True)
        },
        "networks": [{"network": "default", "model": "e1000e", "mac": "52:54:00:AA:BB:CC"}, {"bridge": "br0"}],
    },
    "old": {"memory": "64MiB", "machine": "pc", "disks": {"a": {"size": "1GiB", "bus": "ide"}, "b": "1GiB"}},
    "exact": {"memory": "64MiB", "machine": "pc-q35-7.1", "cpu": 4, "cpu_model": "Nehalem"},
    "as-the-host": {"memory": "64MiB", "cpu_model": "host-model"},
    "all-there-is": {"memory": "64MiB", "cpu_model": "maximum"},
    "limited": {
        "memory": "64MiB",
        "memory_max": "128MiB",
        "cpu_max": 4,
        "disks": {
            "a": {"size": "1GiB", "boot": 2, "cache": "none", "io": "native", "discard": "unmap", "serial": "A-1"},
            "b": {"size": "1GiB", "format": "raw", "shared": True, "iotune": {"read_bytes_sec": "1MiB"}},
            "c": {"size": "1GiB", "readonly": True, "iotune": {"total_iops_sec": 300, "total_iops_sec_max": 600}},
        },
        "cdroms": {"install": {"medium": "/srv/a.iso", "boot": 1}, "tools": {"bus": "scsi"}},
        "networks": [
            {"network": "default", "portgroup": "slow", "boot": 3, "queues": 2, "mtu": 1400, "link": "down"},
            {
                "network": "default",
                "bandwidth": {
                    "inbound": {"average": "10MiB", "peak": "20MiB", "burst": "1MiB"},
                    "outbound": {"average": "5MiB"},
                },
            },
        ],
        "graphics": {"type": "vnc", "listen": "0.0.0.0", "port": 5901},
        "graphics_password": "first",
    },
    "screen": {"memory": "64MiB", "graphics": "spice", "graphics_password": "as-long-as-you-like"},
    "many": {"memory": "4GiB", "disks": {f"d{number}": "1GiB" for number in range(28)}, "networks": ["default"] * 6},
}
# Added by hand to a definition of ours; libvirt must still have it after each change.
BY_HAND = {
    "</metadata>": '<app:tag xmlns:app="http://app.example/1">kept</app:tag></metadata>',
    "<clock ": "<cputune><shares>512</shares></cputune><clock ",
    "<driver name='qemu' type='qcow2'/>": "<driver name='qemu' type='qcow2' cache='none'/><iotune><total_iops_sec>"
    "500</total_iops_sec></iotune>",
    "<devices>": "<devices><watchdog model='i6300esb' action='reset'/><graphics type='vnc' port='-1'/>"
    "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>",
}
KEPT = ("app.example", "<shares>512", "cache='none'", "<total_iops_sec>500", "i6300esb", "type='vnc'", "device='cdrom'")


@pytest.fixture
def define(kvm_lab: Lab, kvm_host: LabHost) -> Iterator[Define]:
    """Define a domain, checked against libvirt's schema, and give back what libvirt has then."""
    names = set()

    def run(name: str, xml: str) -> str:
        names.add(name)
        command = f"cat >/run/x.xml && virsh -q define --validate /run/x.xml >&2 && virsh dumpxml --inactive {name}"
        done = run_ssh(kvm_lab, kvm_host, command, stdin=xml)
        assert done.returncode == 0, done.stderr + xml
        return done.stdout

    yield run
    run_ssh(kvm_lab, kvm_host, "".join(f"virsh undefine {name};" for name in names))


def wished(name: str, there: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    spec = domain.Spec.model_validate({**SPECS[name], **changes})
    assert not domain.check(name, spec)
    return hardware.wish(name, spec, Scope("h", (), owner="b"), SITE, there)


def unfit(wish: dict[str, Any], xml: str) -> list[str]:
    found = domain_xml.parse(xml)
    return [name for name, value in wish.items() if not ASPECTS[name].fits(value, found[name])]


@pytest.mark.parametrize("name", SPECS)
def test_libvirt_keeps_what_it_is_told(define: Define, name: str) -> None:
    wish = wished(name)
    xml = define(name, domain_xml.build(name, wish, ("b", name)))
    assert not unfit(wish, xml)
    assert not unfit(wished(name, domain_xml.parse(xml)), xml)


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": "512MiB", "cpu": 3, "cpu_model": "Nehalem"},
        {"disks": {"root": "1GiB"}},
        {"disks": {"root": "1GiB", "data": {"size": "2GiB", "format": "raw", "bus": "scsi"}, "log": "1GiB"}},
        {"networks": ["dev"]},
        {"networks": ["new", "dev", {"bridge": "br7"}, "default"]},
        {"serial": False, "rng": False, "agent": False},
        {"machine": "pc"},
    ],
    ids=", ".join,
)
def test_libvirt_takes_what_is_patched_and_keeps_the_rest(define: Define, changes: dict[str, Any]) -> None:
    before = define("several", domain_xml.build("several", wished("several"), ("b", "several")))
    for old, new in BY_HAND.items():
        before = before.replace(old, new, 1)
    before = define("several", before)
    wish = wished("several", domain_xml.parse(before), **changes)
    after = define("several", domain_xml.patch(before, wish, unfit(wish, before), ("b", "several")))
    assert not unfit(wish, after)
    assert [part for part in KEPT if part not in after] == []
    assert virsh.element(after).findtext("uuid") == virsh.element(before).findtext("uuid")
    if "machine" not in changes:
        assert moved(before, after) == []


def moved(before: str, after: str) -> list[str]:
    """The devices that stayed and are not where they were."""
    old, new = places(before), places(after)
    return [name for name in old.keys() & new.keys() if old[name] != new[name]]


def places(xml: str) -> dict[str, dict[str, str]]:
    """Where each device is, by what tells it apart: its file and bus, its MAC address, its model."""
    found = {}
    for item in virsh.element(xml).iterfind("devices/*"):
        address, own = item.find("address"), [item.get("type"), item.get("model"), item.get("index")]
        own += [
            child.get("file") or child.get("address") or child.get("bus")
            for child in item
            if child.tag in ("source", "mac", "target")
        ]
        if address is not None:
            found[f"{item.tag} {own}"] = address.attrib
    return found
