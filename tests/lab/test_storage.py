"""Storage on real libvirt and QEMU: disks that grow under their guest, what is encrypted, pools of every type."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.kinds.kvm import pool
from vinfra.kinds.kvm.domains import domain_xml
from vinfra.kinds.kvm.domains.drives import Drive
from vinfra.kinds.kvm.domains.processors import Amount
from vinfra.kinds.kvm.domains.sources import Remote
from vinfra.kinds.kvm.reading.virsh import element
from vinfra.kinds.kvm.volumes import pools, secrets
from vinfra.lab import Lab, LabHost, guest

from .conftest import ROOT, run_ssh

pytestmark = [pytest.mark.xdist_group("kvm"), pytest.mark.timeout(400)]

FOLDER = "/var/lib/libvirt/storage-test"
PASSPHRASE = "correct-horse-battery"
NAMED = {"secret": "env:STORAGE_PASSPHRASE"}


@dataclass
class Place:
    """A hypervisor, and a blueprint that is changed and applied again."""

    lab: Lab
    host: LabHost
    folder: Path
    secret: str = PASSPHRASE
    items: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Any] = field(default_factory=dict)

    def sh(self, command: str) -> str:
        done = run_ssh(self.lab, self.host, command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def vinfra(self, *arguments: object, expect: int = 0) -> str:
        variables = {"VINFRA_INVENTORY": str(self.lab.inventory), "VINFRA_STATE": str(self.folder / "state")}
        variables |= {"STORAGE_PASSPHRASE": self.secret} if self.secret else {}
        command = [sys.executable, "-m", "vinfra", *map(str, arguments)]
        environment = {**os.environ, **variables}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=300
        )
        assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
        assert not self.secret or self.secret not in done.stdout + done.stderr
        print(done.stdout)
        return done.stdout + done.stderr

    def on_blueprint(self, verb: str, *more: object, expect: int = 0) -> str:
        file = self.folder / "storage.yaml"
        whole = {"blueprint": "storage", "images": self.images, "hosts": {self.host.name: self.items}}
        file.write_text(yaml.safe_dump(whole, sort_keys=False))
        return self.vinfra(verb, file, *more, expect=expect)

    def apply(self, *more: object, expect: int = 0) -> str:
        return self.on_blueprint("apply", "--yes", *more, expect=expect)

    def rows(self) -> dict[str, dict[str, Any]]:
        told = self.on_blueprint("plan", "--json", expect=2)
        return {f"{row['kind']}:{row['name']}": row for row in json.loads(told)["changes"]}

    def settled(self) -> None:
        assert "nothing to do" in self.on_blueprint("plan")

    def inside(self, command: str) -> str:
        return self.vinfra("ssh", "st-01", command).strip()


@pytest.fixture
def place(kvm_lab: Lab, kvm_host: LabHost, tmp_path: Path) -> Iterator[Place]:
    image = guest.image(print)
    made = Place(kvm_lab, kvm_host, tmp_path)
    made.images = {"tiny": {"file": str(image.path), "sha256": image.sha256, "pool": "store"}}
    made.items = {"pools": {"store": FOLDER}}
    try:
        yield made
    finally:
        made.on_blueprint("destroy", "--yes", "--max-impact", "data-loss")


def with_a_machine(place: Place, **volumes: Any) -> None:
    """A guest with a root disk, and a disk for each of these volumes."""
    place.items |= {
        "networks": {"store": {"cidr": "192.168.157.0/24"}},
        "volumes": {name: {"pool": "store", **fields} for name, fields in volumes.items()},
        "domains": {
            "st-01": {
                "image": "tiny",
                "memory": "128MiB",
                "pool": "store",
                "networks": ["store"],
                "disks": {"root": "1GiB", **{name: {"volume": name} for name in volumes}},
                "access": {"user": "root", "key_file": str(place.lab.key_file)},
            }
        },
    }
    place.apply()


BLOCKS = "cat /proc/sys/kernel/random/boot_id; for d in {}; do echo $(( $(cat /sys/block/$d/size) / 2048 )); done"


def test_disks_grow_under_their_machine_and_its_system_sees_it(place: Place) -> None:
    with_a_machine(place, data={"size": "16MiB", "format": "raw"}, more={"size": "16MiB"})
    look = BLOCKS.format("vda vdb vdc")
    boot, *sizes = place.inside(look).split()
    assert sizes == ["1024", "16", "16"]
    place.items["domains"]["st-01"]["disks"]["root"] = "2GiB"
    for name in ("data", "more"):
        place.items["volumes"][name]["size"] = "48MiB"
    rows = place.rows()
    place.on_blueprint("plan", expect=2)
    assert {row["impact"] for row in rows.values()} == {"live"}
    assert len(rows) == 3
    place.apply("--max-impact", "live")
    again, *sizes = place.inside(look).split()
    assert again == boot
    assert sizes == ["2048", "48", "48"]
    place.settled()
    # While it does not run, libvirt's storage does it.
    place.sh("virsh destroy st-01")
    place.items["domains"]["st-01"]["power"] = "stopped"
    place.items["volumes"]["data"]["size"] = "64MiB"
    place.apply()
    assert place.sh(f"stat -c %s {FOLDER}/data.raw") == str(64 << 20)
    place.settled()
    place.items["volumes"]["data"]["size"] = "8MiB"
    row = place.rows()["kvm.volume:data"]
    assert (row["verdict"], row["impact"]) == ("refused", "data-loss")
    assert "written of 64MiB" in row["reason"]
    place.items["volumes"]["data"] = "absent"
    place.items["domains"]["st-01"]["disks"].pop("data")
    assert "written of 64MiB" in place.rows()["kvm.volume:data"]["reason"]


def test_what_runs_on_a_snapshot_does_not_grow_below_it(place: Place) -> None:
    with_a_machine(place, data={"size": "16MiB"})
    place.sh("virsh snapshot-create-as st-01 s --disk-only --no-metadata --diskspec vda,snapshot=no")
    place.items["volumes"]["data"]["size"] = "32MiB"
    row = place.rows()["kvm.volume:data"]
    assert row["verdict"] == "refused"
    assert "runs on a snapshot of it" in row["reason"]
    place.sh(f"virsh blockcommit st-01 vdb --active --pivot --wait; rm {FOLDER}/data.s; virsh pool-refresh store")
    place.apply("--max-impact", "live")
    place.settled()


def test_an_encrypted_disk_and_what_becomes_of_its_passphrase(place: Place) -> None:
    with_a_machine(place, safe={"size": "16MiB", "format": "raw", "encryption": {"passphrase": NAMED}})
    place.settled()
    place.inside("echo written-in-the-clear | dd of=/dev/vdb bs=512 seek=9 conv=sync 2>/dev/null; sync")
    assert "written-in-the-clear" in place.inside("dd if=/dev/vdb bs=512 skip=9 count=1 2>/dev/null")
    path = f"{FOLDER}/safe.raw"
    assert place.sh(f"head -c 4 {path}") == "LUKS"
    assert place.sh(f"grep -c written-in-the-clear {path} || :") == "0"
    kept = "/etc/libvirt/secrets"
    assert place.sh(f"stat -c %a {kept}/*.base64").split() == ["600"]
    # Nowhere else on the host, not in the clear and not as libvirt keeps it, and nowhere on this machine.
    places = "/etc /var/lib/libvirt /var/log /var/lib/vinfra /run /tmp /proc/[0-9]*/cmdline"
    for told in (
        f"p={PASSPHRASE[1:]}; p=[{PASSPHRASE[0]}]$p",
        f"p=$(cat {kept}/*.base64); p=[${{p%${{p#?}}}}]${{p#?}}",
    ):
        assert place.sh(f'{told}; grep -rlsa --exclude-dir=secrets -e "$p" {places} || :') == ""
    assert not [file for file in place.folder.rglob("*") if file.is_file() and PASSPHRASE in file.read_text("latin-1")]
    # It grows under its machine too.
    boot, size = place.inside(BLOCKS.format("vdb")).split()
    place.items["volumes"]["safe"]["size"] = "32MiB"
    place.apply("--max-impact", "live")
    assert (size, place.inside(BLOCKS.format("vdb")).split()) == ("16", [boot, "32"])
    place.settled()
    # Gone from libvirt, it is told again; another one is refused; one that is not to be had is unknown.
    place.sh(f"virsh secret-undefine {secrets.of_volume(path)}")
    row = place.rows()["kvm.volume:safe"]
    assert (row["impact"], [item["path"] for item in row["fields"]]) == ("live", ["passphrase"])
    place.apply()
    place.settled()
    place.sh("virsh destroy st-01 && virsh start st-01")
    place.secret = "another-one"
    assert "another passphrase would not open" in place.rows()["kvm.volume:safe"]["reason"]
    place.secret = ""
    assert "env:STORAGE_PASSPHRASE" in place.on_blueprint("plan", expect=4)
    place.secret = PASSPHRASE
    place.items["volumes"]["safe"].pop("encryption")
    assert "no machine can open it" in place.rows()["kvm.volume:safe"]["reason"]
    place.items["domains"]["st-01"]["disks"].pop("safe")
    place.items["volumes"]["safe"] = "absent"
    place.apply("--max-impact", "data-loss")
    assert place.sh("virsh -q secret-list") == ""


def test_a_volume_that_was_removed_by_hand_is_made_anew(place: Place) -> None:
    place.items["volumes"] = {"data": {"size": "16MiB", "pool": "store"}}
    place.apply()
    place.sh(f"rm {FOLDER}/data.qcow2; virsh pool-refresh store")
    place.apply()
    place.settled()


def test_a_pool_that_stopped_is_started_and_one_whose_folder_is_gone_gets_it_back(place: Place) -> None:
    place.apply()
    place.sh(f"virsh pool-destroy store && rm -r {FOLDER}")
    assert place.rows()["kvm.pool:store"]["reason"] == "it does not run"
    place.apply()
    assert place.sh(f"ls -d {FOLDER}") == FOLDER
    place.settled()


SHAPES: dict[str, dict[str, Any]] = {
    "logical": {"volume_group": "vg9"},
    "netfs": {"path": "/srv/nas", "host": "nas.example.net", "export": "/export/vms"},
    "netfs-cifs": {"path": "/srv/cifs", "host": "2001:db8::5", "export": "vms", "format": "cifs"},
    "netfs-nfs": {"path": "/srv/nfs", "host": "10.0.0.7", "export": "/export/other", "format": "nfs"},
    "netfs-gluster": {"path": "/srv/gl", "host": "10.0.0.8", "export": "vms", "format": "glusterfs"},
    "iscsi": {"host": "10.0.0.5", "port": "3260", "target": "iqn.2003-01.org.example:store"},
    "iscsi-login": {"host": "san", "target": "iqn.2003-01.org.example:two", "user": "u", "password": "hunter22"},
    "rbd": {"monitors": ["mon1.example.net:6789", "[2001:db8::1]:6789", "mon2"], "ceph_pool": "vms"},
    "rbd-login": {"monitors": ["mon1"], "ceph_pool": "two", "user": "libvirt", "password": "hunter22"},
}


def test_libvirt_keeps_pools_of_every_type_as_they_are_declared(kvm_lab: Lab, kvm_host: LabHost) -> None:
    """Defining one asks no server. What libvirt fills in makes no difference."""
    install = "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"
    command = f"{install} libvirt-daemon-driver-storage-rbd >/dev/null 2>&1 && systemctl restart libvirtd"
    assert run_ssh(kvm_lab, kvm_host, command).returncode == 0
    try:
        for name, fields in SHAPES.items():
            values = {"type": name.partition("-")[0], **fields}
            desired = pool.Spec.model_validate(values, context={"typed": True})
            assert not pool.check(name, desired)
            command = f"cat >/run/p.xml && virsh -q pool-define --validate /run/p.xml && virsh pool-dumpxml {name}"
            done = run_ssh(kvm_lab, kvm_host, command, stdin=pools.xml(name, desired))
            assert done.returncode == 0, done.stderr
            actual = pool.Spec.model_construct(**pools.parse(done.stdout), autostart=True)
            assert [key for key in pools.SHAPE if not pool._same(key, actual, desired)] == []
            assert pools.found_home(done.stdout) == pools.home(desired)
    finally:
        run_ssh(kvm_lab, kvm_host, "".join(f"virsh pool-undefine {name};" for name in SHAPES))


def test_libvirt_takes_a_disk_in_ceph_and_one_that_is_encrypted(kvm_lab: Lab, kvm_host: LabHost) -> None:
    uuid = secrets.of_pool("ceph")
    remote = Remote((("mon1.example.net", "6789"), ("mon2", "")), "libvirt", uuid)
    disks = (
        Drive("rbd vms/web-01-root", format="raw", remote=remote, secret=secrets.of_volume("vms/web-01-root")),
        Drive("/dev/vg0/web-01-data", "scsi", "raw", secret=secrets.of_volume("/dev/vg0/web-01-data")),
        Drive("/srv/x.raw", format="raw"),
    )
    wish = {"accelerator": "tcg", "memory": Amount(64 << 20, 64 << 20), "disks": disks}
    xml = domain_xml.build("remote", wish, ("b", "domain:remote"))
    command = "cat >/run/d.xml && virsh -q define --validate /run/d.xml && virsh dumpxml --inactive remote"
    try:
        done = run_ssh(kvm_lab, kvm_host, command, stdin=xml)
        assert done.returncode == 0, done.stderr
        found = domain_xml.parse(done.stdout)["disks"]
        assert domain_xml.ASPECTS["disks"].fits(disks, found)
        assert {drive.secret for drive in found} == {drive.secret for drive in disks}
        types = {disk.get("type") for disk in element(done.stdout).iterfind("devices/disk")}
        assert types == {"network", "block", "file"}
        # Another secret is a difference; none declared is none.
        other = (*disks[:2], Drive("/srv/x.raw", format="raw", secret=uuid))
        assert not domain_xml.ASPECTS["disks"].fits(other, found)
        silent = tuple(Drive(disk.source, disk.bus, disk.format) for disk in disks)
        assert domain_xml.ASPECTS["disks"].fits(silent, found)
    finally:
        run_ssh(kvm_lab, kvm_host, "virsh undefine remote")


def test_what_a_host_lacks_for_a_pool_is_said_before_anything_is_done(place: Place) -> None:
    san = {"type": "iscsi", **SHAPES["iscsi"], "user": "initiator", "password": NAMED}
    nas = {"type": "netfs", **SHAPES["netfs"]}
    place.items["pools"] = {"san": san, "nas": nas, "vg": {"type": "logical", "volume_group": "vg9"}}
    place.on_blueprint("plan", expect=2)
    rows = place.rows()
    for name, package in (("san", "open-iscsi"), ("nas", "nfs-common"), ("vg", "lvm2")):
        row = rows[f"kvm.pool:{name}"]
        assert row["verdict"] == "refused"
        assert f"declare packages: {{{package}: }}" in row["reason"]
    place.apply(expect=3)
    assert "san" not in place.sh("virsh -q pool-list --all --name").split()
    # With a program that gets no answer: libvirt's own words, and its password is not among them.
    place.sh("printf '#!/bin/sh\\necho no answer >&2; exit 8\\n' >/usr/bin/iscsiadm; chmod 755 /usr/bin/iscsiadm")
    try:
        place.sh("systemctl restart libvirtd")
        place.items["pools"] = {"store": FOLDER, "san": san}
        told = place.apply(expect=1)
        assert "iscsiadm" in told
        assert place.sh("virsh -q secret-list").split()[1:] == ["iscsi", "pool", "san"]
        row = place.rows()["kvm.pool:san"]
        assert (row["action"], row["reason"]) == ("update", "it does not run")
    finally:
        place.sh("rm -f /usr/bin/iscsiadm; virsh pool-undefine san")
        place.sh("virsh -q secret-list | while read uuid usage; do virsh secret-undefine $uuid; done")
        place.items["pools"] = {"store": FOLDER}
