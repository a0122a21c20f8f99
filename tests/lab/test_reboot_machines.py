"""A hypervisor that restarts: its machines go down by their own system and run again, wherever the run is cut off."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from vinfra.lab import Lab, LabHost, guest

from ..faults.trial import Bench
from .conftest import first, run_ssh
from .test_reboot import COUNT

pytestmark = [pytest.mark.xdist_group("kvm"), pytest.mark.timeout(1500)]

NOTE = "/var/lib/vinfra/machines-of-restart"
# It has nothing to boot, so nothing in it hears the power button.
STUCK = """\
<domain type='qemu'><name>deaf</name><memory unit='MiB'>64</memory><os><type>hvm</type></os>
<features><acpi/></features></domain>
"""


@dataclass
class Hypervisor:
    """The host, and how often it booted."""

    bench: Bench
    lab: Lab

    @property
    def host(self) -> LabHost:
        return self.bench.hosts[0]

    def sh(self, command: str, stdin: str = "", ok: bool = True) -> str:
        done = run_ssh(self.lab, self.host, command, stdin=stdin)
        assert not ok or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def running(self) -> set[str]:
        return set(self.sh("virsh -q list --name").split())

    def boots(self) -> int:
        return len(self.sh("cat /var/lib/boots", ok=False).splitlines())

    def settled(self, command: tuple[str, ...]) -> str:
        """The command again and again until nothing is left to do; what the last one said."""
        until = time.monotonic() + 120
        while (done := self.bench.run(*command, expect=None)).code:
            assert time.monotonic() < until, done.said
        assert self.bench.run(*command[:2], "--plan-only").code == 0
        return done.said


@pytest.fixture
def hypervisor(kvm_lab: Lab, tmp_path: Path) -> Iterator[Hypervisor]:
    """A host with one machine that hears its power button."""
    image = guest.image(print)
    machine = {"image": "tiny", "memory": "112MiB", "networks": ["ways"], "disks": {"root": "1GiB"}, "autostart": False}
    access = {"user": "root", "key_file": str(kvm_lab.key_file)}
    file = tmp_path / "machine.yaml"
    whole = {
        "blueprint": "trial",
        "images": {"tiny": {"file": str(image.path), "sha256": image.sha256}},
        "hosts": {
            first(kvm_lab).name: {
                "pools": {"default": "/var/lib/libvirt/images"},
                "networks": {"ways": {"cidr": "192.168.157.0/24"}},
                "domains": {"heard": {**machine, "access": access}},
            }
        },
    }
    file.write_text(yaml.safe_dump(whole))
    with Bench(kvm_lab, tmp_path) as bench:
        made = Hypervisor(bench, kvm_lab)
        made.sh("cat >/etc/systemd/system/count.service; systemctl enable -q count; rm -f /var/lib/boots", COUNT)
        try:
            bench.run("apply", file, "--yes")
            yield made
        finally:
            bench.run("destroy", file, "--yes", "--max-impact", "data-loss", expect=None)


def test_a_machine_that_does_not_go_down_keeps_its_host_up(hypervisor: Hypervisor) -> None:
    name = hypervisor.host.name
    hypervisor.sh("cat >/root/deaf.xml; virsh -q define /root/deaf.xml; virsh -q start deaf", STUCK)
    hypervisor.sh("touch /run/reboot-required")
    try:
        done = hypervisor.bench.run("maintain", name, "--yes", "--machine-timeout", "4s", expect=1)
        assert "deaf did not shut down in 4 s, and was not switched off" in done.said
        assert hypervisor.running() == {"deaf", "heard"}
        assert hypervisor.boots() == 0
        refused = hypervisor.bench.run("maintain", name, "--yes", "--evacuate", "refuse", expect=3)
        assert "deaf, heard run there" in refused.said
        hypervisor.sh("virsh -q suspend deaf")
        refused = hypervisor.bench.run("maintain", name, "--yes", expect=3)
        assert "deaf is paused, and hears no power button" in refused.said
    finally:
        hypervisor.sh("virsh -q destroy deaf; virsh -q undefine deaf; rm -f /run/reboot-required", ok=False)
    hypervisor.settled(("maintain", name, "--yes"))
    assert hypervisor.running() == {"heard"}


@pytest.mark.slow
def test_a_run_that_is_killed_anywhere_leaves_no_machine_down(hypervisor: Hypervisor) -> None:
    command = ("maintain", hypervisor.host.name, "--yes")
    hypervisor.sh("touch /run/reboot-required")
    done = hypervisor.bench.run(*command)
    assert "shuts down and starts again heard" in done.said
    assert hypervisor.running() == {"heard"}
    assert hypervisor.boots() == 1
    assert len(done.ticks) > 6, done.ticks
    for point in range(1, len(done.ticks)):
        answers(hypervisor)
        hypervisor.sh("touch /run/reboot-required; rm -f /var/lib/boots")
        running = hypervisor.bench.begin(command, {"tick": point})
        assert running.reached(), running.end().said
        running.kill()
        said = hypervisor.settled(command)
        where = f"killed before {done.ticks[point]}\n{said}"
        assert hypervisor.running() == {"heard"}, where
        assert hypervisor.boots() == 1, where
        assert hypervisor.sh(f"ls {NOTE}", ok=False) == "", where


def answers(hypervisor: Hypervisor) -> None:
    """Wait until the machine's system hears its power button."""
    until = time.monotonic() + 120
    while hypervisor.bench.run("ssh", "heard", "true", expect=None).code:
        assert time.monotonic() < until
        time.sleep(1)
