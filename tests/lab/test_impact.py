"""What a row says that a change costs is what it costs: on real libvirt, QEMU and systemd, with one guest for all.

`live`: the guest's boot id is the same and it is up for longer; `restart`: another boot of the same machine and disk;
`replace`: the machine is gone; `data-loss`: so is what was on the disk. A network that was restarted has another
bridge, a service another process.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.lab import Lab, LabHost, guest
from vinfra.report.impact import REMOVED

from .conftest import ROOT, open_vswitch, run_ssh
from .impact import BOOT, COW, DATA, DOMAIN, MACHINE, NETWORK, POWER, SERVICE, SIDE, TOLD, UNIT, VOLUME, Case

pytestmark = [pytest.mark.xdist_group("kvm"), pytest.mark.timeout(400)]

POOL = "/var/lib/libvirt/impact"
FILE = f"{POOL}/data.raw"
MARKER = "written before"


ONE_OF = {"kvm.domain": "im-01", "kvm.network": "side", "kvm.volume": "data", "host.service": "impact"}


@dataclass
class Place:
    """One hypervisor and the blueprint that is applied to it again and again, with one thing more changed each time."""

    lab: Lab
    host: LabHost
    folder: Path
    image: guest.Image
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    content: str = "one\n"
    known: tuple[str, float] = ("", 0.0)

    def __post_init__(self) -> None:
        access = {"user": "root", "key_file": str(self.lab.key_file)}
        self.items = {
            "kvm.domain": {"im-01": {**MACHINE, "pool": "impact", "access": access}},
            "kvm.network": {"ways": {"cidr": "192.168.153.0/24"}, "side": SIDE, "spare": {"cidr": "192.168.156.0/24"}},
            "kvm.volume": {"data": DATA, "cow": COW},
            "host.service": {"impact": {"running": True, "enabled": True}},
        }

    def sh(self, command: str) -> str:
        done = run_ssh(self.lab, self.host, command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def vinfra(self, *arguments: object, expect: int = 0) -> str:
        variables = {"VINFRA_INVENTORY": str(self.lab.inventory), "VINFRA_STATE": str(self.folder / "state")}
        variables["IMPACT_SECRET"] = "of nothing that is there"
        command = [sys.executable, "-m", "vinfra", *map(str, arguments)]
        environment = {**os.environ, **variables}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=300
        )
        assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def change(self, case: Case) -> None:
        """Lay a case's change over what is wished for so far."""
        mine, name = self.items[case.kind], case.on or ONE_OF[case.kind]
        mine[name] = "absent" if isinstance(case.change, str) else {**mine[name], **case.change}
        if case.field in ("reload_on", "restart_on"):
            self.content += "more\n"

    def blueprint(self) -> Path:
        hosts = {
            "files": {"/lib/systemd/system/impact.service": UNIT, "/etc/impact.conf": self.content},
            "services": self.items["host.service"],
            "pools": {"impact": POOL, "other": f"{POOL}-other"},
            "networks": self.items["kvm.network"],
            "volumes": self.items["kvm.volume"],
            "domains": self.items["kvm.domain"],
        }
        image = {"file": str(self.image.path), "sha256": self.image.sha256, "pool": "impact"}
        images = {"tiny": image, "same": dict(image)}
        whole = {"blueprint": "impact", "images": images, "hosts": {self.host.name: hosts}}
        file = self.folder / "impact.yaml"
        file.write_text(yaml.safe_dump(whole))
        return file

    def row(self, plan: Any, case: Case) -> dict[str, Any]:
        """What a plan says of the changed object, which is what the case says."""
        wanted = (case.kind, case.on or ONE_OF[case.kind])
        row: dict[str, Any] = next(row for row in plan["changes"] if (row["kind"], row["name"]) == wanted)
        assert (row["impact"], row["verdict"]) == (case.impact, "refused" if case.refused else "ok"), row
        assert case.says in row["reason"]
        assert case.impact == "live" or row["reason"]
        return row

    def apply(self, case: Case) -> None:
        """Do it, at no more than it is to cost."""
        self.change(case)
        told = self.vinfra("apply", self.blueprint(), "--yes", "--json", "--max-impact", case.impact)
        self.row(json.loads(told)["plan"], case)

    def boot(self) -> tuple[str, float]:
        """The boot id of the guest, and for how many seconds it is up. The disk is the one that was written to."""
        told = self.vinfra("ssh", "im-01", "cat /proc/sys/kernel/random/boot_id /proc/uptime /root/marker").split()
        assert told[3:] == MARKER.split()
        return told[0], float(told[1])

    def booted(self) -> str:
        """The boot id, "" while the guest does not answer."""
        try:
            return self.boot()[0]
        except AssertionError:
            return ""


@pytest.fixture(scope="module")
def place(kvm_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The base, applied: one guest that answers, with a file on its disk."""
    host = next(iter(kvm_lab.hosts.values()))
    made = Place(kvm_lab, host, tmp_path_factory.mktemp("impact"), guest.image(print))
    try:
        made.vinfra("apply", made.blueprint(), "--yes")
        made.vinfra("ssh", "im-01", f"echo '{MARKER}' >/root/marker; sync")
        made.known = made.boot()
        yield made
    finally:
        made.vinfra("destroy", made.blueprint(), "--yes", "--max-impact", "data-loss")


def ids(case: Case) -> str:
    return f"{case.field}-{case.impact}"


@pytest.mark.parametrize("case", NETWORK, ids=ids)
def test_a_network(place: Place, case: Case) -> None:
    name = case.on or "side"
    link = f"cat /sys/class/net/$(virsh -q net-info {name} | sed -n 's/^Bridge: *//p')/ifindex"
    if case.field in ("interface", "vlan"):  # nothing of it shows on the host but libvirt's note that it runs
        open_vswitch(place.lab, place.host, "impact0")
        link = f"stat -c %i /run/libvirt/network/{name}.xml"
    before = place.sh(link)
    place.apply(case)
    if case.field == REMOVED:
        assert name not in place.sh("virsh -q net-list --all --name").split()
    else:
        assert (place.sh(link) != before) is (case.impact == "restart")


@pytest.mark.parametrize("case", VOLUME, ids=ids)
def test_a_volume(place: Place, case: Case) -> None:
    place.sh(f"printf '{MARKER}' | dd of={FILE} conv=notrunc status=none")
    size = int(place.sh(f"stat -c %s {FILE}"))
    if case.refused:
        before = dict(place.items["kvm.volume"])
        place.change(case)
        place.row(json.loads(place.vinfra("plan", place.blueprint(), "--json", expect=2)), case)
        place.vinfra("apply", place.folder / "impact.yaml", "--yes", "--max-impact", "data-loss", expect=3)
        place.items["kvm.volume"] = before
    else:
        place.apply(case)
    if case.field == REMOVED:
        assert place.sh(f"ls {FILE} 2>/dev/null || echo gone") == "gone"
    else:
        assert place.sh(f"head -c {len(MARKER)} {FILE}") == MARKER
        assert (int(place.sh(f"stat -c %s {FILE}")) > size) is (not case.refused)


@pytest.mark.parametrize("case", SERVICE, ids=ids)
def test_a_service(place: Place, case: Case) -> None:
    process = "systemctl show -p MainPID --value impact"
    if place.sh(process) == "0":
        place.sh("systemctl start impact")
    before = place.sh(process)
    place.apply(case)
    assert (place.sh(process) != before) is (case.impact == "restart")


@pytest.mark.parametrize("case", DOMAIN, ids=ids)
def test_a_machine(place: Place, case: Case) -> None:
    """The network cases, before, must not have restarted it either."""
    uuid, (boot, up) = place.sh("virsh domuuid im-01"), place.known
    place.apply(case)
    place.known = now, since = place.boot()
    assert (now != boot) is (case.impact == "restart")
    assert case.impact == "restart" or since > up
    assert place.sh("virsh domuuid im-01") == uuid


@pytest.mark.parametrize("case", TOLD, ids=ids)
def test_what_is_only_told_of_a_machine(place: Place, case: Case) -> None:
    before, defined = dict(place.items["kvm.domain"]), place.sh("virsh dumpxml --inactive im-01")
    place.change(case)
    try:
        place.row(json.loads(place.vinfra("plan", place.blueprint(), "--json", expect=2)), case)
        place.vinfra("apply", place.folder / "impact.yaml", "--yes", "--max-impact", "data-loss", expect=3)
    finally:
        place.items["kvm.domain"] = before
    assert place.sh("virsh dumpxml --inactive im-01") == defined


def test_what_a_machine_reads_only_at_boot_is_one_restart(place: Place) -> None:
    """Looked at alone: vinfra waits for the guest by its console, which is one of those that go."""
    uuid, (boot, _) = place.sh("virsh domuuid im-01"), place.known
    for case in BOOT:
        place.change(case)
    command = ("apply", place.blueprint(), "--yes", "--json", "--target", "domain:im-01")
    assert "restart: more than --max-impact live" in place.vinfra(*command, "--max-impact", "live", expect=3)
    assert place.boot()[0] == boot
    row = place.row(json.loads(place.vinfra(*command, "--max-impact", "restart"))["plan"], BOOT[0])
    told = {item["path"].partition(".")[0]: (item["impact"], item["why"]) for item in row["fields"]}
    assert told == {case.field: (case.impact, case.says) for case in BOOT}
    now = next(filter(None, (place.booted() or time.sleep(1) for _ in range(60))), "")
    assert now not in ("", boot)
    assert place.sh("virsh domuuid im-01") == uuid


def test_a_machine_goes_down_is_changed_comes_up_and_goes(place: Place) -> None:
    """In this order: it is stopped, changed while it is off, started, and taken away."""
    boot = place.booted()
    down, *changes, up, gone = POWER
    for case in (down, *changes):
        place.apply(case)
        assert place.sh("virsh domstate im-01") == "shut off"
    place.apply(up)
    assert place.boot()[0] != boot
    place.change(gone)
    place.row(json.loads(place.vinfra("plan", place.blueprint(), "--json", expect=2)), gone)
    place.vinfra("apply", place.folder / "impact.yaml", "--yes", expect=3)
    place.vinfra("apply", place.folder / "impact.yaml", "--yes", "--max-impact", "data-loss")
    assert place.sh("virsh -q list --all --name") == ""
    assert "nothing to do" in place.vinfra("plan", place.folder / "impact.yaml")
