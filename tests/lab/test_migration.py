"""Machines go from one hypervisor to another and back, as they run: on real libvirt, QEMU and SSH."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from vinfra import lab as lab_module
from vinfra.lab import guest

from .conftest import changes
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
    plan = pair.on_blueprint("plan", file=file, expect=2).stdout
    print(plan)
    rows = changes(pair.on_blueprint("plan", "--json", file=file, expect=2))
    row = next(row for row in rows if row["kind"] == "kvm.domain")
    assert (row["action"], row["impact"], row["verdict"]) == ("move", "live", "ok")
    began = time.monotonic()
    done = pair.on_blueprint("apply", "--yes", "--max-impact", "live", file=file)
    print(done.stdout, f"apply took {time.monotonic() - began:.1f} s")
    assert pair.number() == 1
    assert pair.boot() == before
    assert pair.vinfra("ssh", "app-01", "cat /tmp/note").stdout == "kept\n"
    assert "nothing to do" in pair.on_blueprint("plan", file=file).stdout
    assert pair.left(0) == ""
