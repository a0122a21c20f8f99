"""What a domain brings along, what it waits for, what it takes of a host, and how its fields are written."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vinfra.kinds.kvm import domain
from vinfra.kinds.kvm.reading import virsh
from vinfra.kinds.registry import KINDS
from vinfra.model.kind import Part, Tenant
from vinfra.model.question import Raw
from vinfra.model.spec import Deferred
from vinfra.model.values import TYPED, Plain
from vinfra.text.fields import Fault, build

GIB = 1 << 30
RECORDED = Path(__file__).parents[1] / "cases" / "libvirt"


def spec(**fields: Any) -> Any:
    return domain.Spec.model_validate({"memory": "1GiB", **fields})


def parts(**fields: Any) -> list[Part]:
    found = list(domain.parts("web-01", spec(**fields)))
    for part in found:
        made = KINDS[part.kind].Spec.model_validate(dict(part.fields), context=TYPED)
        assert not KINDS[part.kind].check(part.name, made)
    return found


def test_each_disk_of_its_own_is_a_volume() -> None:
    disks = {"root": "20GiB", "data": {"size": "1GiB", "pool": "fast", "format": "raw"}, "old": {"volume": "kept"}}
    assert parts(image="debian-12", disks=disks, pool="big") == [
        Part("kvm.volume", "web-01/root", {"pool": "big", "size": 20 * GIB, "image": "debian-12"}),
        Part("kvm.volume", "web-01/data", {"pool": "fast", "size": GIB, "format": "raw"}),
    ]


def test_an_image_alone_makes_a_root_disk() -> None:
    root = {"pool": "default", "image": "debian-12"}
    assert parts(image="debian-12") == [Part("kvm.volume", "web-01/root", root)]
    assert parts() == []


def test_a_first_boot_takes_a_seed_and_access_a_wait() -> None:
    access = {"user": "ops", "key_file": "/k", "public_key": "ssh-ed25519 AAAA me", "via": "direct", "timeout": "90s"}
    data = {"user_data": {"packages": ["nginx"]}, "network_config": {"version": Plain("2")}, "on_change": "reseed"}
    assert parts(access=access, cloud_init=data) == [
        Part(
            "kvm.seed",
            "web-01/seed",
            {"pool": "default", "hostname": "web-01", "user": "ops", "public_key": "ssh-ed25519 AAAA me", **data},
        ),
        Part("kvm.guest", "web-01", {"user": "ops", "key_file": "/k", "via": "direct", "timeout": 90.0}),
    ]


def test_it_waits_for_what_it_is_made_of_and_plugged_into() -> None:
    disks = {"root": {"size": "1GiB", "pool": "fast"}, "data": {"volume": "kept"}}
    needs, after = domain.references("web-01", spec(disks=disks, networks=["dev", {"bridge": "br0"}], cloud_init={}))
    assert needs == {"volume:web-01/root", "volume:kept", "seed:web-01/seed"}
    assert after == {"hypervisor:kvm", "network:dev", "pool:fast", "pool:default"}


def test_what_it_takes_of_a_host() -> None:
    """One that neither runs nor starts with its host takes nothing."""
    assert domain.demand(spec(cpu=3)) == (3, GIB)
    answers = {virsh.DOMAINS: Raw(0, (RECORDED / "machines.txt").read_bytes())}
    mib = 1 << 20
    assert sorted(domain.tenants(answers), key=lambda tenant: tenant.name) == [
        Tenant("db-01", 0, 0, "b"),
        Tenant("job-01", 1, 64 * mib, "b"),
        Tenant("web-01", 1, 128 * mib, "b"),
        Tenant("web-02", 0, 0, "other"),
    ]


def test_what_a_domain_may_take_counts_not_what_it_takes_now() -> None:
    answers = {virsh.DOMAINS: Raw(0, (RECORDED / "virt-install.txt").read_bytes())}
    assert list(domain.tenants(answers)) == [Tenant("legacy", 4, 512 << 20)]


def test_what_decides_its_place_cannot_wait_for_a_host() -> None:
    made = spec(cpu=Deferred("{{ facts.cpu.count }}"), machine=Deferred("{{ facts.x }}"))
    assert domain.check("web-01", made) == "cpu cannot depend on facts: it is needed before any host is asked"


@pytest.mark.parametrize(
    ("fields", "pointer", "said"),
    [
        ({"disks": {"root": "20"}}, ("disks", "root"), "a bare number has no unit"),
        ({"disks": {"root": {"sise": "1GiB"}}}, ("disks", "root", "sise"), "unknown field"),
        ({"disks": {"a": {"volume": "v", "size": "1GiB"}}}, ("disks", "a"), "size: say that where the volume"),
        ({"networks": [{"network": "a", "bridge": "b"}]}, ("networks", 0), "either a network or a bridge"),
        ({"networks": ["a", {"network": "b", "mac": "33:33:00:00:00:01"}]}, ("networks", 1, "mac"), "unicast MAC"),
        ({"cloud_init": {"user_data": "echo"}}, ("cloud_init", "user_data"), "begin with #cloud-config"),
        (
            {"cloud_init": {"user_data": {"pakcages": []}}},
            ("cloud_init", "user_data", "pakcages"),
            "did you mean packages?",
        ),
        (
            {"cloud_init": {"vendor_data": {"write_files": [{"path": "/a"}, {"contents": "b"}]}}},
            ("cloud_init", "vendor_data", "write_files", 1),
            "say its path",
        ),
        (
            {"cloud_init": {"network_config": {"version": "3"}}},
            ("cloud_init", "network_config", "version"),
            "version: 2",
        ),
        ({"networks": [{"network": "a", "address": "10.0.0"}]}, ("networks", 0, "address"), "is no address"),
        ({"networks": [{"bridge": "a", "address": "10.0.0.5"}]}, ("networks", 0), "write it with its prefix"),
        (
            {"networks": [{"network": "a", "address": "10.0.0.5", "gateway": "10.0.0.1"}]},
            ("networks", 0),
            "gateway: DHCP tells that",
        ),
        (
            {"networks": [{"network": "a", "address": "10.0.0.5/24", "gateway": "10.0.1.1"}]},
            ("networks", 0),
            "is not in the network of 10.0.0.5/24",
        ),
        ({"networks": [{"network": "a", "nameservers": ["x"]}]}, ("networks", 0, "nameservers", 0), "is no IPv4"),
        ({"cloud_init": {"on_change": "redo"}}, ("cloud_init", "on_change"), "allowed: ignore, reseed, replace"),
        ({"access": {"via": "agent"}}, ("access", "via"), "allowed: jump, direct"),
        ({"power": "on"}, ("power",), "allowed: running, stopped"),
    ],
)
def test_a_wrong_field_is_told_where_it_stands(fields: dict[str, Any], pointer: Any, said: str) -> None:
    faults = build(domain.Spec, {"memory": Plain("1GiB"), **fields}, Path())
    assert isinstance(faults, list), faults
    assert [fault.pointer for fault in faults if isinstance(fault, Fault)] == [pointer]
    assert said in faults[0].message


def test_a_spec_is_still_one_when_it_is_made_again() -> None:
    access = {"public_key": "ssh-ed25519 AAAA", "timeout": "9s"}
    made = spec(image="a", disks={"root": "1GiB"}, networks=["dev"], access=access)
    assert made.replaced() == made
    with pytest.raises(ValidationError):
        made.replaced(cpu="many")
