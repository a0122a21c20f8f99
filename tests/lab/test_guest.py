"""The lab's guest image, booted with plain virsh on a lab host: what every other test of machines stands on."""

import hashlib
import io
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pycdlib
import pytest
from typer.testing import CliRunner

from vinfra import lab as lab_module
from vinfra.cli.lab import app
from vinfra.errors import VinfraError
from vinfra.lab import Lab, LabHost, guest, prerequisites

from .conftest import run_ssh

IMAGES = "/var/lib/libvirt/images"
CONSOLE = "/var/log/libvirt/qemu/tiny.console"
NETWORK = """<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
<name>tiny</name><forward mode='nat'/><bridge name='tiny0' stp='off' delay='0'/>
<ip address='192.168.151.1' prefix='24'><dhcp><range start='192.168.151.2' end='192.168.151.254'/></dhcp></ip>
<dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options></network>"""
DOMAIN = """<domain type='qemu'><name>tiny</name><memory unit='MiB'>128</memory>
<os><type machine='{machine}'>hvm</type></os><features><acpi/></features><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{images}/tiny.qcow2'/>
<target dev='vda'/></disk>
<disk type='file' device='{device}'><driver name='qemu' type='raw'/><source file='{images}/tiny.iso'/>
<target dev='{target}'/><readonly/></disk>
<interface type='network'><mac address='52:54:00:00:00:51'/><source network='tiny'/><model type='virtio'/></interface>
<serial type='pty'><log file='{console}' append='on'/></serial>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>"""


class Hypervisor:
    """A lab host with the guest's disk, a seed and a network, driven as one would by hand."""

    def __init__(self, lab: Lab, host: LabHost, folder: Path) -> None:
        self.lab = lab
        self.host = host
        self.known_hosts = folder / "known_hosts"
        self.run(
            f"cat >/tmp/tiny-net.xml && virsh -q net-create /tmp/tiny-net.xml && rm -f {CONSOLE}", NETWORK.encode()
        )
        self.run(f"cat >{IMAGES}/base.qcow2", lab_module.image(print).path.read_bytes())
        self.run(f"qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 {IMAGES}/tiny.qcow2")

    def run(self, command: str, stdin: bytes = b"") -> str:
        arguments = ["ssh", "-F", str(self.lab.ssh_config), "-o", "BatchMode=yes", self.host.name, command]
        done = subprocess.run(arguments, input=stdin, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout.decode()}{done.stderr.decode()}"
        return done.stdout.decode()

    def seed(self, name: str) -> None:
        key = self.lab.key_file.with_suffix(".pub").read_text().strip()
        user = f"#cloud-config\nhostname: {name}\nusers:\n- name: root\n  ssh_authorized_keys:\n  - {key}\n"
        self.run(f"cat >{IMAGES}/tiny.iso", iso({"user-data": user, "meta-data": f"instance-id: i-{name}\n"}))

    def start(self, machine: str, device: str, target: str) -> None:
        xml = DOMAIN.format(machine=machine, device=device, target=target, images=IMAGES, console=CONSOLE)
        self.run("cat >/tmp/tiny.xml && virsh -q create /tmp/tiny.xml", xml.encode())

    def stop(self) -> None:
        """Press the power button and wait until the machine is off."""
        self.run(
            "virsh -q shutdown tiny; for i in $(seq 200); do virsh -q domstate tiny || exit 0; sleep 0.1; done; exit 1"
        )

    def keys(self, count: int) -> list[str]:
        """The host keys that the console has shown in all."""
        shown = self.run(
            f"for i in $(seq 600); do test $(grep -c 'END SSH HOST KEY' {CONSOLE}) = {count} && break; sleep 0.1; done;"
            f"cat {CONSOLE}"
        )
        return re.findall(r"BEGIN SSH HOST KEY KEYS-----\r\n(ssh-ed25519 \S+) root@\S+\r\n-----END SSH HOST KEY", shown)

    def trust(self, key: str) -> None:
        self.known_hosts.write_text(f"tiny {key}\n")

    def guest(self, command: str, unlike: str | None = None, seconds: float = 60) -> str:
        """What a command prints in the guest, once it answers, with the trusted key, something unlike `unlike`."""
        way = f"ssh -F {self.lab.ssh_config} -W %h:%p {self.host.name}"
        options = [f"ProxyCommand={way}", f"UserKnownHostsFile={self.known_hosts}", f"IdentityFile={self.lab.key_file}"]
        options += ["HostKeyAlias=tiny", "StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes"]
        options += ["ConnectTimeout=3"]
        arguments = ["ssh", "-F", "none", *(word for option in options for word in ("-o", option))]
        deadline = time.monotonic() + seconds
        while True:
            address = self.run("virsh -q net-dhcp-leases tiny | grep -o '192[0-9.]*' || true").strip()
            done = subprocess.run(
                [*arguments, f"root@{address}", command], capture_output=True, text=True, timeout=30, check=False
            )
            if done.returncode == 0 and done.stdout.strip() != unlike:
                return done.stdout.strip()
            assert "HOST IDENTIFICATION HAS CHANGED" not in done.stderr
            assert time.monotonic() < deadline, done.stderr
            time.sleep(0.2)


def iso(files: dict[str, str]) -> bytes:
    made, content = pycdlib.PyCdlib(), io.BytesIO()
    made.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for name, text in files.items():
        made.add_fp(io.BytesIO(text.encode()), len(text), f"/{name.replace('-', '').upper()}.;1", rr_name=name)
    made.write_fp(content)
    made.close()
    return content.getvalue()


@pytest.fixture
def hypervisor(kvm_lab: Lab, kvm_host: LabHost, tmp_path: Path) -> Iterator[Hypervisor]:
    try:
        yield Hypervisor(kvm_lab, kvm_host, tmp_path)
    finally:
        run_ssh(
            kvm_lab, kvm_host, f"virsh destroy tiny; virsh net-destroy tiny; rm -f {IMAGES}/tiny.* {IMAGES}/base.qcow2"
        )


def test_the_guest_is_a_machine_like_others(hypervisor: Hypervisor) -> None:
    hypervisor.seed("web")
    hypervisor.start("q35", "disk", "vdb")
    [key] = hypervisor.keys(1)
    hypervisor.trust(key)
    assert hypervisor.guest("hostname; id -un; echo kept >/root/file") == "web\nroot"
    assert "Please press Enter" in hypervisor.run(f"cat {CONSOLE}")
    assert hypervisor.run("virsh -q net-dhcp-leases tiny").split()[5] == "web"

    # What the scripts that vinfra sends, and pyinfra's, want of a system, whichever program starts it.
    assert re.fullmatch(r"\d+\.\d{9}\n\d+\.\d{9}", hypervisor.guest("timeout -k 2 9 stat -c %.9Y /root; date +%s.%N"))
    assert hypervisor.guest("getent passwd root; install -d -m 0700 /srv/a; stat -c %a /srv/a").endswith("\n700")
    assert hypervisor.guest("echo aGVsbG8K | base64 -d | gzip | gunzip; readlink -f /root/../root") == "hello\n/root"
    # On a busy machine the kernel mistakes the rate of the TSC, and then seconds pass too fast.
    assert hypervisor.guest("cat /sys/devices/system/clocksource/clocksource0/current_clocksource") == "acpi_pm"

    boot = hypervisor.guest("cat /proc/sys/kernel/random/boot_id")
    hypervisor.guest("reboot")
    hypervisor.guest("cat /proc/sys/kernel/random/boot_id", unlike=boot)
    assert hypervisor.guest("cat /root/file") == "kept"
    hypervisor.stop()

    # As with cloud-init, another instance id makes another machine of the same disk. Here the seed is a CD-ROM.
    hypervisor.seed("other")
    hypervisor.start("pc", "cdrom", "hda")
    first, second = hypervisor.keys(2)
    assert first == key != second
    hypervisor.trust(second)
    assert hypervisor.guest("hostname; cat /root/file") == "other\nkept"


def test_the_command_line_tells_where_the_image_is() -> None:
    image = lab_module.image(print)
    shown = CliRunner().invoke(app, ["image", "--json"])
    told = json.loads(shown.stdout)
    assert (told["command"], told["path"], told["sha256"]) == ("lab image", str(image.path), image.sha256)
    assert hashlib.sha256(image.path.read_bytes()).hexdigest() == image.sha256
    assert image.path.read_bytes()[:4] == b"QFI\xfb"
    assert image.path.stat().st_size < 32 << 20
    assert image.sha256 in CliRunner().invoke(app, ["image"]).stdout


class TestCache:
    """When the image is built, without building it."""

    @pytest.fixture(autouse=True)
    def built(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
        log: list[Path] = []

        def build(path: Path, progress: object) -> None:
            log.append(path)
            path.write_bytes(b"image")

        monkeypatch.setenv("VINFRA_CACHE", str(tmp_path))
        monkeypatch.setattr(guest, "_build", build)
        monkeypatch.setattr(prerequisites, "check", lambda: None)
        return log

    def test_it_is_built_once(self, built: list[Path]) -> None:
        first, second = guest.image(), guest.image()
        assert first == second
        assert built == [first.path]
        assert first.sha256 == hashlib.sha256(b"image").hexdigest()

    def test_it_is_built_anew_when_its_recipe_is_another_one(
        self, built: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        guest.image()
        monkeypatch.setattr(guest, "PACKAGES", (*guest.PACKAGES, "less"))
        guest.image()
        assert len(set(built)) == 2

    def test_what_could_not_be_built_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(path: Path, progress: object) -> None:
            raise VinfraError("no")

        monkeypatch.setattr(guest, "_build", fail)
        with pytest.raises(VinfraError):
            guest.image()
        assert not list(guest.folders.cache().rglob("*.qcow2"))
