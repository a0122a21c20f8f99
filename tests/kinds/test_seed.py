"""What a seed holds, byte for byte; and how a kill between its volume and its content is seen."""

import time
from io import BytesIO
from typing import Any

import pytest
import yaml
from pycdlib import PyCdlib
from pydantic import ValidationError

from vinfra.kinds.kvm import seed
from vinfra.kinds.kvm.seeds import nocloud
from vinfra.kinds.kvm.volumes import storage
from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Absent, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change
from vinfra.model.kind import Scope
from vinfra.model.mark import Birth, Mark, State
from vinfra.model.secret import Secret
from vinfra.model.spec import Deferred, declared
from vinfra.model.step import Verb, Virt
from vinfra.model.values import Plain

KEY = "ssh-ed25519 AAAAC3Nz ops@example"
FILES = {"meta-data": b"instance-id: a\n", "user-data": b"#cloud-config\n{}\n", "network-config": b"version: 2\n"}


def spec(**fields: Any) -> seed.Spec:
    return seed.Spec.model_validate(fields)


def resource(desired: seed.Spec) -> Resource:
    return Resource(Address("kvm.seed", "h", "web-01/seed"), desired)


def notes(state: State | None, digest: str | None, size: int = seed.ROOM) -> dict[str, Any]:
    identity = {"pool": "default", "digest": str(digest)}
    mark = Mark("b", "kvm.seed", "web-01/seed", state, Birth.CREATED, identity=identity, run="R7") if state else None
    pool = storage.Pool("default", "/var/lib/libvirt/images")
    return {"mark": mark, "file": "web-01-seed.iso", "pool": pool, "size": size, "using": ()}


SCOPE = Scope("h", (), owner="b")


def test_a_claim_that_was_not_confirmed_is_written_again() -> None:
    desired = spec(user_data={"a": "b"}, on_change="ignore")
    told = notes(State.CLAIMED, desired.digest)
    delta = seed.diff(resource(desired), Present(seed.Spec.model_construct(pool="default"), told), SCOPE)
    assert (delta.action, delta.verdict) == (Action.UPDATE, Verdict.OK)
    assert "R7" in delta.reason
    del told["size"]
    assert seed.diff(resource(desired), Absent(told), SCOPE).action is Action.CREATE


def calls(desired: seed.Spec, there: int | None) -> list[Virt]:
    told = notes(State.OWNED, desired.digest)
    told["size"] = there
    change = Change(Address("kvm.seed", "h", "web-01/seed"), seed.created(()), desired, None, notes=told)
    (step,) = seed.steps(change, SCOPE)
    assert step.secret
    return [call for call in step.calls if isinstance(call, Virt)]


def test_of_an_older_and_longer_content_nothing_is_left() -> None:
    long = "#!/bin/sh\n" + "x" * 300_000
    create, upload = calls(spec(user_data=long), None)
    assert f">{2 * seed.ROOM}<" in create.xml
    assert len(upload.content) == 2 * seed.ROOM
    (upload,) = calls(spec(user_data="#!/bin/sh\n"), 2 * seed.ROOM)
    assert len(upload.content) == 2 * seed.ROOM
    assert b"xxx" not in upload.content
    assert [call.verb for call in calls(spec(user_data=long), seed.ROOM)] == [
        Verb.VOLUME_DELETE,
        Verb.VOLUME_CREATE,
        Verb.VOLUME_UPLOAD,
    ]


def read_back(image: bytes, **path: str) -> bytes:
    iso = PyCdlib()
    iso.open_fp(BytesIO(image))
    found = BytesIO()
    iso.get_file_from_iso_fp(found, **path)
    iso.close()
    return found.getvalue()


def test_the_image_is_what_nocloud_looks_for() -> None:
    image = nocloud.image(FILES)
    assert image[32808:32814] == b"cidata"  # the label of ISO 9660, where blkid and ds-identify look
    for name, data in FILES.items():
        assert read_back(image, rr_path=f"/{name}") == data
        assert read_back(image, joliet_path=f"/{name}") == data
    iso = PyCdlib()
    iso.open_fp(BytesIO(image))
    assert {iso.get_record(rr_path=f"/{name}").rock_ridge.get_file_mode() for name in FILES} == {0o100400}


def test_the_same_files_make_the_same_image(monkeypatch: pytest.MonkeyPatch) -> None:
    first = nocloud.image(FILES)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1_000_000_000.5)
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        second = nocloud.image(FILES)
    time.tzset()
    assert second == first


def test_data_goes_out_as_its_author_wrote_it() -> None:
    long = "x " * 200
    data = {
        "mode": Plain("0644"),
        "quoted": "0644",
        "flag": Plain("true"),
        "text": "true",
        "long": long,
        "n": Plain("~"),
    }
    told = nocloud.user_data(data | {"script": "a\n  b\n", "list": (Plain("1"), "two")}, None, None)
    lines = told.splitlines()
    assert lines[0] == "#cloud-config"
    assert {"mode: 0644", "quoted: '0644'", "flag: true", "text: 'true'", "n: ~"} <= set(lines)
    assert yaml.safe_load(told)["long"] == long
    assert yaml.safe_load(told)["script"] == "a\n  b\n"
    assert yaml.safe_load(told)["list"] == [1, "two"]
    assert max(map(len, lines)) > len(long)


def users(given: Any, user: str) -> Any:
    return yaml.safe_load(nocloud.user_data(given, user, KEY))


SUDO = {"sudo": "ALL=(ALL) NOPASSWD:ALL"}


@pytest.mark.parametrize(
    ("given", "user", "found"),
    [
        (None, "ops", {"users": ["default", {"name": "ops", **SUDO, "ssh_authorized_keys": [KEY]}]}),
        (
            {"users": ["default", {"name": "ops", "groups": "adm", "ssh_authorized_keys": "ssh-rsa AAAA"}]},
            "ops",
            {"users": ["default", {"name": "ops", "groups": "adm", "ssh_authorized_keys": ["ssh-rsa AAAA", KEY]}]},
        ),
        (
            {"users": [{"name": "ops", "ssh_authorized_keys": [KEY]}]},
            "ops",
            {"users": [{"name": "ops", "ssh_authorized_keys": [KEY]}]},
        ),
        ("#cloud-config\nusers: []\n", "ops", {"users": [{"name": "ops", **SUDO, "ssh_authorized_keys": [KEY]}]}),
        (None, "root", {"disable_root": False, "users": ["default", {"name": "root", "ssh_authorized_keys": [KEY]}]}),
    ],
)
def test_a_login_is_merged_in(given: Any, user: str, found: dict[str, Any]) -> None:
    assert users(given, user) == found


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"user": "ops"}, "go together"),
        ({"user": "ops", "public_key": KEY, "user_data": "#!/bin/sh\nhunter2\n"}, "begins with #cloud-config"),
        (
            {"user": "ops", "public_key": KEY, "user_data": "#cloud-config\na: hunter2: b\n"},
            "line 2: no YAML: ",
        ),
        ({"user": "ops", "public_key": KEY, "user_data": "#cloud-config\n- hunter2\n"}, "write a mapping"),
        ({"user": "ops", "public_key": KEY, "user_data": {"users": {"a": "hunter2"}}}, "users as a list"),
        ({"user": "root", "public_key": KEY, "user_data": {"disable_root": Plain("true")}}, "keeps the user root out"),
        ({"user_data": ["hunter2"]}, "write a mapping, or text"),
        ({"network_config": "hunter2"}, "write a mapping"),
    ],
)
def test_what_cannot_be_is_said_without_what_is_in_it(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as error:
        spec(**fields)
    assert all("hunter2" not in item["msg"] for item in error.value.errors())


def test_what_is_not_known_yet_has_no_digest() -> None:
    assert spec(user_data=Deferred("{{ facts.hostname }}")).digest is None
    waiting = spec(user_data={"runcmd": [Secret("env:PW")]})
    assert waiting.digest is None
    delta = seed.diff(resource(waiting), Absent(notes(None, None)), SCOPE)
    assert delta.verdict is Verdict.UNKNOWN
    known = waiting.replaced(user_data={"runcmd": ["hunter2"]})
    assert known.digest
    assert known.digest != waiting.replaced(user_data={"runcmd": ["hunter3"]}).digest


def test_every_part_of_the_content_is_in_the_digest() -> None:
    full = {
        "user_data": {"a": "1"},
        "hostname": "web",
        "network_config": {"version": "2"},
        "vendor_data": {"b": "1"},
        "user": "ops",
        "public_key": KEY,
    }
    changes: list[dict[str, Any]] = [
        {"user_data": {"a": Plain("1")}},
        {"hostname": "db"},
        {"network_config": {"version": "2", "renderer": "networkd"}},
        {"vendor_data": {"b": "2"}},
        {"user": "adm"},
        {"public_key": "ssh-rsa AAAA"},
    ]
    assert len({spec(**{**full, **change}).digest for change in changes} | {spec(**full).digest}) == 7
    assert spec(**full).digest == spec(**full, on_change="reseed", pool="fast", digest="mine").digest


def test_the_mark_keeps_what_finds_it_again() -> None:
    assert [name for name in seed.Spec.model_fields if declared(seed.Spec, name, "identity")] == ["pool", "digest"]
    assert [name for name in seed.Spec.model_fields if declared(seed.Spec, name, "secret")] == [
        "user_data",
        "vendor_data",
        "network_config",
    ]
