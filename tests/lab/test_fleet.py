"""From two bare hosts to a fleet of machines that answer, and what becomes of it: on real libvirt, QEMU and SSH."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra import lab as lab_module
from vinfra.lab import Lab, LabHost, guest

from .conftest import ROOT, changes, run_ssh
from .test_inventories import ANSIBLE, TOOLS, call, script

pytestmark = [pytest.mark.xdist_group("fleet"), pytest.mark.timeout(400)]

BLUEPRINT = ROOT / "blueprints/demo/fleet.yaml"
MEMBERS = ["app-01", "app-02", "app-03", "app-04"]
Vinfra = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Cloud:
    """Two hosts, and vinfra as its user calls it: with the demo's blueprint unless another is named."""

    lab: Lab
    folder: Path

    @property
    def hosts(self) -> list[LabHost]:
        return list(self.lab.hosts.values())

    def vinfra(
        self, *arguments: object, expect: int = 0, inventory: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "VINFRA_INVENTORY": str(inventory or self.lab.inventory),
            "VINFRA_STATE": str(self.folder / "state"),
        }
        command = [sys.executable, "-m", "vinfra", *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=300
        )
        assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def on_blueprint(self, verb: str, *more: object, file: Path = BLUEPRINT, **options: Any) -> Any:
        return self.vinfra(verb, file, "-f", self.folder / "vars.yaml", *more, **options)

    def ssh(self, number: int, command: str) -> str:
        done = run_ssh(self.lab, self.hosts[number], command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def blueprint(self, *instead: str) -> Path:
        """The demo's blueprint with other lines in place of the fleet's count."""
        file = self.folder / "fleet.yaml"
        text = BLUEPRINT.read_text()
        assert "    count: 4\n" in text
        file.write_text(text.replace("    count: 4\n", "".join(f"    {line}\n" for line in instead)))
        return file

    def machines(self) -> dict[str, dict[str, Any]]:
        hosts = json.loads(self.vinfra("status", "--json").stdout)["hosts"]
        return {machine["name"]: machine for host in hosts for machine in host["machines"]}

    def settled(self) -> None:
        assert "nothing to do" in self.on_blueprint("plan").stdout


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Two bare hosts after one apply of the demo's blueprint (about 45 s)."""
    name = f"f{os.getpid()}"
    folder = tmp_path_factory.mktemp("cloud")
    image = guest.image(print)
    try:
        made = lab_module.up(name, 2, progress=print)
        values = {"image": {"path": str(image.path), "sha256": image.sha256}, "key": str(made.key_file)}
        (folder / "vars.yaml").write_text(yaml.safe_dump(values))
        found = Cloud(made, folder)
        planned = changes(found.on_blueprint("plan", "--json", expect=2))
        done = json.loads(found.on_blueprint("apply", "--yes", "--json").stdout)
        assert {row["address"] for row in done["outcomes"]} == {row["address"] for row in planned}
        yield found
    finally:
        lab_module.down(name)


def test_one_apply_brings_four_machines_that_answer_and_the_second_plan_is_empty(cloud: Cloud) -> None:
    cloud.settled()
    machines = cloud.machines()
    assert sorted(machines) == MEMBERS
    assert {machine["blueprint"] for machine in machines.values()} == {"cloud"}
    assert sorted(machine["host"] for machine in machines.values()) == [h.name for h in cloud.hosts for _ in "12"]
    for name in MEMBERS:
        assert cloud.vinfra("ssh", name, "hostname; cat /etc/motd").stdout == f"{name}\n{name} of rack-a1\n"


def test_ansible_and_pyinfra_reach_the_new_machines(cloud: Cloud, tmp_path: Path) -> None:
    inventory = script(tmp_path, cloud.lab.inventory)
    where = {"VINFRA_STATE": str(tmp_path / "state"), **ANSIBLE}
    told = json.loads(call(TOOLS / "ansible-inventory", "-i", inventory, "--list", **where))
    assert sorted(told["vms"]["hosts"]) == sorted(told["blueprint_cloud"]["hosts"]) == MEMBERS
    done = call(TOOLS / "ansible", "-i", inventory, "vms", "-m", "raw", "-a", "hostname", **where)
    assert [line for line in done.splitlines() if line in MEMBERS], done
    assert {line for line in done.splitlines() if line in MEMBERS} == set(MEMBERS)

    pyinfra = Path(sys.executable).with_name("pyinfra")
    site = f"@vinfra/{cloud.lab.inventory}"
    said = call(pyinfra, "-y", site, "--limit", "vms", "exec", "--", "hostname", HOME=str(tmp_path), told=True, **where)
    assert {line.split()[-1] for line in said.splitlines() if line.startswith("[app-")} == set(MEMBERS), said

    table = cloud.vinfra("inventory").stdout
    assert all(f"via {host.name}" in table for host in cloud.hosts)


def test_memory_changed_by_hand_is_found_and_mended_while_it_runs(cloud: Cloud) -> None:
    machine = cloud.machines()["app-01"]
    number = [host.name for host in cloud.hosts].index(machine["host"])
    before = cloud.vinfra("ssh", "app-01", "cat /proc/sys/kernel/random/boot_id").stdout
    cloud.ssh(number, "virsh -q setmem app-01 96M --live --config")
    [row] = changes(cloud.on_blueprint("drift", "--json", expect=2))
    assert (row["name"], row["impact"]) == ("app-01", "live")
    cloud.on_blueprint("apply", "--yes", "--max-impact", "live")
    cloud.settled()
    assert cloud.vinfra("ssh", "app-01", "cat /proc/sys/kernel/random/boot_id").stdout == before


def test_a_domain_of_somebody_else_is_left_alone_and_disturbs_nobody(cloud: Cloud) -> None:
    xml = "<domain type='qemu'><name>theirs</name><memory>65536</memory><os><type>hvm</type></os></domain>"
    cloud.ssh(0, f'echo "{xml}" >/tmp/theirs.xml && virsh -q define /tmp/theirs.xml')
    before = cloud.ssh(0, "virsh dumpxml theirs")
    cloud.settled()
    cloud.on_blueprint("apply", "--yes")
    assert cloud.ssh(0, "virsh dumpxml theirs") == before
    assert "not made by vinfra" in cloud.vinfra("start", "theirs", expect=3).stderr
    clash = cloud.blueprint(
        "count: 5", "name: \"{{ 'theirs' if member.number == 5 else 'app-%02d' % member.number }}\""
    )
    [row] = changes(cloud.on_blueprint("plan", "--json", expect=2, file=clash))
    assert row["verdict"] == "refused"
    assert "not of this blueprint" in row["reason"]
    cloud.ssh(0, "virsh -q undefine theirs")


def test_while_a_hypervisor_is_dark_its_machines_are_unknown_and_none_is_made_elsewhere(cloud: Cloud) -> None:
    dark = cloud.folder / "dark.yaml"
    tree = yaml.safe_load(cloud.lab.inventory.read_text())
    lost = cloud.hosts[1].name
    tree["hosts"][lost]["port"] = 1  # nobody listens there
    tree["ssh"] |= {"key_file": str(cloud.lab.key_file), "known_hosts": str(cloud.lab.known_hosts)}
    dark.write_text(yaml.safe_dump(tree))
    there = {name for name, machine in cloud.machines().items() if machine["host"] == lost}
    plan = json.loads(cloud.on_blueprint("plan", "--json", expect=4, inventory=dark).stdout)
    rows = [row for row in plan["changes"] if row["kind"] == "kvm.domain"]
    assert {row["name"] for row in rows} == there
    assert {(row["action"], row["verdict"]) for row in rows} == {("noop", "unknown")}
    assert not [row for row in plan["changes"] if row["action"] == "create"]


def test_a_machine_moved_by_hand_is_a_move(cloud: Cloud) -> None:
    machine = cloud.machines()["app-02"]
    old = [host.name for host in cloud.hosts].index(machine["host"])
    new = 1 - old
    cloud.vinfra("stop", "app-02")
    root = Path("/var/lib/libvirt/images")
    for name in ("app-02-root.qcow2", "app-02-seed.iso"):
        move(cloud, old, new, root / name)
    definition = cloud.ssh(old, "virsh dumpxml --inactive app-02 && virsh -q undefine app-02")
    run_ssh(cloud.lab, cloud.hosts[new], "cat >/tmp/app-02.xml", stdin=definition)
    cloud.ssh(new, "virsh -q pool-refresh default; virsh -q define /tmp/app-02.xml; virsh -q autostart app-02")
    cloud.ssh(new, "virsh -q start app-02")
    until_it_answers(cloud, "app-02")
    rows = [row for row in changes(cloud.on_blueprint("plan", "--json", expect=2)) if row["name"].startswith("app-02")]
    machine_row = next(row for row in rows if row["kind"] == "kvm.domain")
    assert (machine_row["action"], machine_row["host"]) == ("move", cloud.hosts[new].name)
    assert {row["action"] for row in rows} <= {"move", "create"}
    assert not [row for row in rows if row["action"] == "create" and row["kind"] != "kvm.guest"]
    cloud.on_blueprint("apply", "--yes")
    cloud.settled()
    assert cloud.vinfra("ssh", "app-02", "hostname").stdout == "app-02\n"


def until_it_answers(cloud: Cloud, name: str) -> None:
    for _ in range(30):
        command = [sys.executable, "-m", "vinfra", "ssh", "-i", str(cloud.lab.inventory), name, "true"]
        if subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 0:
            return
        time.sleep(1)
    raise AssertionError(f"{name} does not answer")


def move(cloud: Cloud, old: int, new: int, file: Path) -> None:
    local = cloud.folder / file.name
    for number, way in ((old, "get"), (new, "put")):
        host = cloud.hosts[number]
        there = f"root@127.0.0.1:{file}"
        pair = [there, str(local)] if way == "get" else [str(local), there]
        options = ["-o", f"UserKnownHostsFile={cloud.lab.known_hosts}", "-o", "StrictHostKeyChecking=yes"]
        command = ["scp", "-O", "-q", "-P", str(host.port), "-i", str(cloud.lab.key_file), *options, *pair]
        subprocess.run(command, check=True, timeout=60)
    cloud.ssh(old, f"rm {file}")


def test_libvirt_that_was_stopped_is_started_again(cloud: Cloud) -> None:
    cloud.ssh(0, "systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd")
    plan = json.loads(cloud.on_blueprint("plan", "--json", expect=2).stdout)
    row = next(row for row in plan["changes"] if row["kind"] == "kvm.hypervisor")
    assert (row["action"], row["impact"]) == ("update", "live")
    assert not [row for row in plan["changes"] if row["verdict"] == "ok" and row["action"] == "create"]
    cloud.on_blueprint("apply", "--yes")
    cloud.settled()


def test_one_less_costs_its_data_and_says_so(cloud: Cloud) -> None:
    three = cloud.blueprint("count: 3")
    refused = cloud.on_blueprint("apply", "--yes", file=three, expect=3)
    assert "data-loss" in refused.stderr
    assert sorted(cloud.machines()) == MEMBERS
    cloud.on_blueprint("apply", "--yes", "--max-impact", "data-loss", file=three)
    assert sorted(cloud.machines()) == MEMBERS[:3]
    assert "nothing to do" in cloud.on_blueprint("plan", file=three).stdout


def test_destroy_leaves_nothing_of_it(cloud: Cloud) -> None:
    cloud.on_blueprint("destroy", "--yes", "--max-impact", "data-loss")
    for number in (0, 1):
        assert (
            cloud.ssh(number, "ls -A /var/lib/libvirt/images /var/lib/vinfra/marks | grep -v :$ || true").strip() == ""
        )
        assert "qemu-system" not in cloud.ssh(number, "ps -e -o comm=")
