"""Machines go from one hypervisor to another and back, as they run: on real libvirt, QEMU and SSH."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from vinfra import lab as lab_module
from vinfra.lab import guest

from .conftest import ROOT, changes
from .test_fleet import Cloud

pytestmark = [pytest.mark.xdist_group("migration"), pytest.mark.timeout(400)]

BLUEPRINT = """\
blueprint: cloud
vars: {image: {}, key: ~, on: all, more: {}}
hosts:
  all:
    hypervisor: {kind: kvm, acceleration: preferred}
pools:
  default: {on: all, path: /var/lib/libvirt/images}
networks:
  dev: {on: all, mode: nat, cidr: 10.10.0.0/24}
images:
  tiny: {file: "{{ image.path }}", sha256: "{{ image.sha256 }}"}
fleets:
  app:
    on: ON
    count: 1
    image: tiny
    memory: 128MiB
    disks: {root: 1GiB, data: 64MiB}
    networks: [dev]
    access: {user: root, key_file: "{{ key }}"}
"""
BOOT = "cat /proc/sys/kernel/random/boot_id"


class Pair(Cloud):
    """Two hypervisors; the fleet is declared for one of them."""

    def on(self, pattern: object, *instead: str) -> Path:
        """The blueprint with the fleet on hosts of that pattern."""
        text = BLUEPRINT.replace("on: ON", f"on: {pattern}")
        for before, after in zip(instead[::2], instead[1::2], strict=True):
            text = text.replace(before, after)
        file = self.folder / "pair.yaml"
        file.write_text(text)
        return file

    def number(self, name: str = "app-01") -> int:
        return [host.name for host in self.hosts].index(self.machines()[name]["host"])

    def left(self, number: int) -> str:
        """What of the machine is on a host: files, marks, domains."""
        return self.ssh(
            number,
            "ls /var/lib/libvirt/images | grep app- ; virsh -q list --all --name; "
            "virsh -q vol-list default | grep app- ; true",
        ).strip()

    def downtime(self, number: int) -> str:
        """What libvirt counted of the last move, on the host where it ended."""
        told = self.ssh(number, "virsh domjobinfo app-01 --completed || true")
        return "; ".join(" ".join(line.split()) for line in told.splitlines() if "owntime" in line or "elapsed" in line)

    def boot(self) -> str:
        return self.vinfra("ssh", "app-01", BOOT).stdout


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two hosts with libvirt, one machine on the first (about 40 s)."""
    name = f"m{os.getpid()}"
    folder = tmp_path_factory.mktemp("pair")
    image = guest.image(print)
    try:
        made = lab_module.up(name, 2, progress=print)
        values = {"image": {"path": str(image.path), "sha256": image.sha256}, "key": str(made.key_file)}
        (folder / "vars.yaml").write_text(yaml.safe_dump(values))
        found = Pair(made, folder)
        found.on_blueprint("apply", "--yes", file=found.on(found.hosts[0].name))
        for number in (0, 1):  # the hosts are containers of one machine, whose UUID libvirt would take for theirs
            found.ssh(
                number,
                "echo 'host_uuid_source = \"machine-id\"' >>/etc/libvirt/libvirtd.conf; systemctl restart libvirtd",
            )
        yield found
    finally:
        lab_module.down(name)


def test_it_goes_as_it_runs_with_its_disks_and_the_second_plan_is_empty(pair: Pair) -> None:
    before = pair.boot()
    pair.vinfra("ssh", "app-01", "echo kept >/tmp/note")
    file = pair.on(pair.hosts[1].name)
    print(pair.on_blueprint("plan", file=file, expect=2).stdout)
    rows = changes(pair.on_blueprint("plan", "--json", file=file, expect=2))
    row = next(row for row in rows if row["kind"] == "kvm.domain")
    assert (row["action"], row["impact"], row["verdict"]) == ("move", "live", "ok")
    began = time.monotonic()
    print(pair.on_blueprint("apply", "--yes", "--max-impact", "live", file=file).stdout)
    print(f"apply took {time.monotonic() - began:.1f} s; {pair.downtime(1)}")
    assert pair.number() == 1
    assert pair.boot() == before
    assert pair.vinfra("ssh", "app-01", "cat /tmp/note").stdout == "kept\n"
    assert "nothing to do" in pair.on_blueprint("plan", file=file).stdout
    assert pair.left(0) == ""


def test_a_host_that_is_evacuated_is_empty_and_the_machine_never_noticed(pair: Pair) -> None:
    before, file = pair.boot(), pair.on("all")
    here, there = (host.name for host in reversed(pair.hosts))
    values = ("-f", pair.folder / "vars.yaml")
    print(pair.vinfra("evacuate", here, file, *values, "--plan-only", expect=2).stdout)
    print(pair.vinfra("evacuate", here, file, *values, "--yes").stdout)
    assert pair.number() == 0
    assert pair.boot() == before
    assert pair.left(1) == ""
    assert "nothing to do" in pair.on_blueprint("plan", file=file).stdout
    stuck = pair.vinfra("evacuate", there, pair.on(there), *values, "--yes", expect=3)
    assert "`on:` names no other host" in stuck.stderr
    assert pair.number() == 0


def test_a_controller_killed_on_the_way_leaves_it_on_one_host_and_the_next_run_ends_it(pair: Pair) -> None:
    before, file = pair.boot(), pair.on(pair.hosts[1].name)
    environment = {**os.environ, "VINFRA_INVENTORY": str(pair.lab.inventory), "VINFRA_STATE": str(pair.folder / "s")}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "-f", str(pair.folder / "vars.yaml"), "--yes"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as running:
        for _ in range(200):
            if "app-01" in pair.ssh(1, "virsh -q list --all --name"):
                break
            time.sleep(0.1)
        running.kill()
    time.sleep(2)
    where = [pair.ssh(number, "virsh -q list --all --name").split() for number in (0, 1)]
    print("after the kill:", where, pair.left(1))
    print(pair.on_blueprint("apply", "--yes", "--max-impact", "live", file=file).stdout)
    assert pair.number() == 1
    assert pair.boot() == before
    assert "nothing to do" in pair.on_blueprint("plan", file=file).stdout
    assert pair.left(0) == ""


def test_straight_from_host_to_host_when_so_told(pair: Pair) -> None:
    before = pair.boot()
    tree = yaml.safe_load(pair.lab.inventory.read_text())
    for number, host in enumerate(pair.hosts):
        tree["hosts"][host.name].setdefault("vars", {})["migration_address"] = pair.ssh(number, "hostname -I").split()[
            0
        ]
    tree["ssh"] |= {"key_file": str(pair.lab.key_file), "known_hosts": str(pair.lab.known_hosts)}
    inventory = pair.folder / "straight.yaml"
    inventory.write_text(yaml.safe_dump(tree))
    file = pair.on(pair.hosts[0].name, "    image: tiny\n", "    image: tiny\n    migration: {path: tcp}\n")
    began = time.monotonic()
    print(pair.on_blueprint("apply", "--yes", file=file, inventory=inventory).stdout)
    print(f"apply took {time.monotonic() - began:.1f} s; {pair.downtime(0)}")
    assert pair.number() == 0
    assert pair.boot() == before
    assert pair.left(1) == ""


def test_one_that_is_off_goes_as_it_is(pair: Pair) -> None:
    off = ("    image: tiny\n", "    image: tiny\n    power: stopped\n")
    pair.vinfra("ssh", "app-01", "echo kept | dd of=/dev/vdb conv=fsync 2>/dev/null")
    pair.on_blueprint("apply", "--yes", file=pair.on(pair.hosts[0].name, *off))
    file = pair.on(pair.hosts[1].name, *off)
    print(pair.on_blueprint("apply", "--yes", "--max-impact", "live", file=file).stdout)
    assert "nothing to do" in pair.on_blueprint("plan", file=file).stdout
    assert pair.left(0) == ""
    pair.on_blueprint("apply", "--yes", file=pair.on(pair.hosts[1].name))
    assert pair.number() == 1
    assert pair.vinfra("ssh", "app-01", "head -c 4 /dev/vdb").stdout == "kept"
