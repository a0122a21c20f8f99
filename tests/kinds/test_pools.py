"""What a pool's type means for its volumes and for the disks of machines; what stands for a secret."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from vinfra.kinds.kvm import domain, pool, volume
from vinfra.kinds.kvm.domains import hardware
from vinfra.kinds.kvm.domains.sources import Remote
from vinfra.kinds.kvm.reading.usage import User
from vinfra.kinds.kvm.volumes import growth, pools, secrets, storage
from vinfra.kinds.registry import KINDS
from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.model.kind import Scope
from vinfra.model.secret import Secret
from vinfra.model.values import TYPED

SAN = {"type": "iscsi", "host": "san", "target": "iqn.2003-01.org.example:store"}
SHAPES: tuple[dict[str, Any], ...] = (
    {"path": "/srv/a"},
    {"type": "logical", "volume_group": "vg0"},
    {"type": "netfs", "path": "/srv/nas", "host": "2001:db8::5", "export": "vms", "format": "cifs"},
    {**SAN, "port": "3261", "user": "u", "password": "p"},
    {"type": "rbd", "monitors": ["mon1", "[2001:db8::1]:6789"], "ceph_pool": "vms", "user": "u", "password": "p"},
)


@pytest.mark.parametrize("fields", SHAPES, ids=lambda fields: str(fields.get("type", "dir")))
def test_a_pool_is_read_as_it_was_written(fields: dict[str, Any]) -> None:
    desired = pool.Spec.model_validate(fields, context=TYPED)
    assert not pool.check("a", desired)
    xml = pools.xml("a", desired)
    assert {**dict(desired), **pools.parse(xml)} == dict(desired)
    assert pools.found_home(xml) == pools.home(desired)


@pytest.mark.parametrize(
    ("name", "home", "file"),
    [
        ("web-01/root", "/srv/a", "web-01-root.qcow2"),
        ("data.qcow2", "", "data.qcow2"),
        ("web-01/root", "/dev/vg0", "web-01-root"),
        ("web-01/root", "vms", "web-01-root"),
        ("web-01/root", "rbd vms", "web-01-root"),
    ],
)
def test_only_files_have_an_extension(name: str, home: str, file: str) -> None:
    assert storage.file_name(name, "qcow2", home) == file
    assert storage.stem(file) == storage.stem(name)


def test_how_much_is_lost_is_said_as_far_as_it_is_known() -> None:
    thin = storage.Volume("a", "/a", "qcow2", 20 << 30, 12 << 30)
    assert thin.written == "12GiB written of 20GiB"
    assert "all of it in use" in storage.Volume("a", "/dev/vg0/a", "raw", 1 << 30, 1 << 30).written


def drives(*items: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """The disks of a machine with a volume `data`, on a host where nothing is yet."""
    found = {
        f"{noun}:{name}": Resource(
            Address(f"kvm.{noun}", "h", name), KINDS[f"kvm.{noun}"].Spec.model_validate(fields, context=TYPED)
        )
        for noun, name, fields in items
    }
    scope = Scope("h", (), siblings=found, owner="b")
    spec = domain.Spec.model_validate({"memory": "1GiB", "disks": {"data": {"volume": "data"}}, "access": {}})
    wish = hardware.wish("web-01", spec, scope, hardware.site("tcg", scope, {}), None)
    return {drive.source: drive for drive in wish["disks"]}


def test_a_disk_in_a_volume_group_is_a_device() -> None:
    group = ("pool", "vg", {"type": "logical", "volume_group": "vg0"})
    lock = {"encryption": {"passphrase": "hunter22"}}
    found = drives(group, ("volume", "data", {"size": "1GiB", "format": "raw", "pool": "vg", **lock}))
    assert found["/dev/vg0/data"].secret == secrets.of_volume("/dev/vg0/data")
    assert found["/dev/vg0/data"].remote is None


def test_a_disk_in_ceph_knows_the_way_there() -> None:
    ceph = ("pool", "ceph", SHAPES[-1])
    found = drives(ceph, ("volume", "data", {"size": "1GiB", "format": "raw", "pool": "ceph"}))
    way = Remote((("mon1", ""), ("2001:db8::1", "6789")), "u", secrets.of_pool("ceph"))
    assert found["rbd vms/data"].remote == way


def test_in_whole_extents() -> None:
    group = storage.Pool("vg", "/dev/vg0", type="logical")
    assert growth.grain(group, {}) == growth.EXTENT
    assert growth.grain(storage.Pool("a", "/srv/a"), {}) == storage.GRAIN


@pytest.mark.parametrize(
    ("users", "says"),
    [
        ((), ""),
        ((User("domain", "a"), User("domain", "b")), ""),
        ((User("domain", "a", running=True),), ""),
        ((User("domain", "a", running=True), User("domain", "b", running=True)), "a, b run on it together"),
        ((User("domain", "a", running=True, below=True),), "a runs on a snapshot of it"),
    ],
)
def test_who_lets_it_grow(users: tuple[User, ...], says: str) -> None:
    told = growth.objection(users, storage.Pool("p", "/p"))
    assert told.startswith(says)
    assert bool(told) is bool(says)


@pytest.mark.parametrize(
    "value", ["hunter22", {"passphrase": "hunter22"}, {"passphrase": Secret("env:X"), "more": "x"}, ["hunter22"], {}]
)
def test_a_passphrase_is_a_reference(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"write \{") as refused:
        volume.Spec.model_validate({"size": "1GiB", "format": "raw", "encryption": value})
    assert "hunter22" not in str(refused.value)
    with pytest.raises(ValidationError, match=r"write \{"):
        pool.Spec.model_validate({**SAN, "user": "u", "password": "hunter22"})


def test_an_empty_secret_opens_nothing() -> None:
    with pytest.raises(ValidationError, match="the secret is empty"):
        volume.Spec.model_validate({"size": "1GiB", "encryption": {"passphrase": ""}}, context=TYPED)


def test_what_stands_for_a_secret_tells_nothing_of_it() -> None:
    referred = volume.Spec.model_validate({"size": "1GiB", "encryption": {"passphrase": Secret("env:X")}})
    assert referred.digest is None
    one, same, other = (
        volume.Spec.model_validate({"size": "1GiB", "encryption": {"passphrase": value}}, context=TYPED).digest
        for value in ("hunter22", "hunter22", "hunter23")
    )
    assert one == same != other
    assert "hunter" not in json.dumps(one)
