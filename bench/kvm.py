"""KVM: reading five hundred domains against one virsh that dumps them, and bringing two bare hosts to four machines
against the same steps by hand in a script.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from vinfra import engine, lab
from vinfra.kinds.kvm.seeds import nocloud
from vinfra.lab import Lab, LabHost, guest
from vinfra.model.action import Impact
from vinfra.model.request import Consent, Request

DOMAINS = 500
RUNS = 3
# Both XML sets, of all domains, by one read-only virsh.
DUMP = (
    "all=$(virsh -r list --all --uuid); for u in $all; do echo dumpxml $u; echo dumpxml --inactive $u; done | virsh -r"
)
PACKAGES = "qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients dnsmasq-base curl"
NETWORK = (
    "<network><name>dev</name><forward mode='nat'/><bridge stp='off' delay='0'/><ip address='10.10.0.1' prefix='24'>"
    "<dhcp><range start='10.10.0.2' end='10.10.0.254'/></dhcp></ip></network>"
)


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def row(name: str, times: list[float], floor: float) -> None:
    middle = statistics.median(times)
    print(f"| {name} | {middle:.2f} s | {min(times):.2f} to {max(times):.2f} s | {middle / floor:.2f}x |", flush=True)


def ssh(of: Lab, host: LabHost, command: str, data: bytes = b"") -> bytes:
    arguments = ["ssh", "-F", str(of.home / "ssh_config"), host.name, command]
    return subprocess.run(arguments, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


def reading(folder: Path) -> None:
    print(f"\n{DOMAINS} domains on one host: a plan with nothing to do, and one `virsh -r` that dumps both XML sets\n")
    made = lab.up(f"b{os.getpid()}", 1, progress=lambda _: None)
    try:
        file = folder / "many.yaml"
        many = {"on": "all", "count": DOMAINS, "memory": "64MiB", "power": "stopped", "autostart": False}
        file.write_text(
            yaml.safe_dump(
                {
                    "blueprint": "many",
                    "hosts": {"all": {"hypervisor": {"kind": "kvm", "acceleration": "off"}}},
                    "fleets": {"vm": {**many, "name": "vm-{{ member.number }}"}},
                }
            )
        )
        request = Request(blueprint=file, inventory=made.inventory)
        apply = timed(lambda: engine.apply(request, Consent()))
        host = next(iter(made.hosts.values()))
        floor, plan, sizes = [], [], set()
        for _ in range(RUNS):
            began = time.monotonic()
            sizes.add(len(ssh(made, host, DUMP)))
            floor.append(time.monotonic() - began)
            plan.append(timed(lambda: nothing_to_do(request)))
        middle = statistics.median(floor)
        print(f"| {DOMAINS} domains | median | range | of the floor |\n|---|---|---|---|")
        row(f"virsh -r over ssh ({max(sizes) / 1e6:.1f} MB)", floor, middle)
        row("vinfra plan, in process", plan, middle)
        print(f"\nApplying them all took {apply:.0f} s: {apply / DOMAINS * 1000:.0f} ms each.")
    finally:
        lab.down(made.name)


def nothing_to_do(request: Request) -> None:
    found = engine.plan(request)
    assert not found.pending, [str(row.address) for row in found.pending][:5]


def bringing_up(folder: Path) -> None:
    print("\nFrom two bare hosts to four machines that answer by SSH, and the same steps by hand\n")
    image = guest.image(print)
    made = lab.up(f"b{os.getpid()}", 2, progress=lambda _: None)
    try:
        file = Path(__file__).parents[1] / "blueprints/demo/fleet.yaml"
        values = folder / "vars.yaml"
        values.write_text(
            yaml.safe_dump(
                {
                    "image": {"path": str(image.path), "sha256": image.sha256},
                    "key": str(made.key_file),
                }
            )
        )
        blueprint = folder / "fleet.yaml"
        blueprint.write_text(file.read_text().replace("acceleration: preferred", "acceleration: off"))
        request = Request(blueprint=blueprint, inventory=made.inventory, var_files=(values,))
        hand, ours = [], []
        for _ in range(RUNS):
            made = fresh(made)
            hand.append(timed(partial(by_hand, made, image.path)))
            made = fresh(made)
            ours.append(timed(partial(by_vinfra, request)))
        middle = statistics.median(hand)
        print("| two hosts, four machines | median | range | of the script |\n|---|---|---|---|")
        row("a script, both hosts side by side", hand, middle)
        row("vinfra apply, in process", ours, middle)
    finally:
        lab.down(made.name)


def fresh(of: Lab) -> Lab:
    for name in of.hosts:
        of = lab.reset(of, name)
    return of


def by_vinfra(request: Request) -> None:
    outcome = engine.apply(request, Consent(max_impact=Impact.RESTART))
    assert outcome.exit_code == 0, [end for end in outcome.changes if end.reason]


def by_hand(of: Lab, image: Path) -> None:
    """What an engineer with a script does who knows each step and checks nothing."""
    hosts = list(of.hosts.values())
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: prepare(of, host, image), hosts))
        machines = [(hosts[number % 2], f"app-{number + 1:02d}") for number in range(4)]
        list(pool.map(lambda pair: boot(of, *pair), machines))
        list(pool.map(lambda pair: wait(of, *pair), machines))


def prepare(of: Lab, host: LabHost, image: Path) -> None:
    install = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {PACKAGES}"
    ssh(of, host, f"export DEBIAN_FRONTEND=noninteractive; {install}")
    ssh(
        of,
        host,
        "cat >/tmp/dev.xml; virsh net-define /tmp/dev.xml; virsh net-autostart dev; virsh net-start dev",
        NETWORK.encode(),
    )
    pool = "virsh pool-define-as default dir --target /var/lib/libvirt/images; virsh pool-autostart default"
    ssh(of, host, f"{pool}; virsh pool-start default")
    ssh(
        of,
        host,
        "cat >/var/lib/libvirt/images/tiny.qcow2 && sha256sum /var/lib/libvirt/images/tiny.qcow2",
        image.read_bytes(),
    )


def boot(of: Lab, host: LabHost, name: str) -> None:
    images = "/var/lib/libvirt/images"
    key = of.key_file.with_name(f"{of.key_file.name}.pub").read_text().strip()
    seed = nocloud.image(nocloud.files(name, name, nocloud.user_data(None, "root", key), None))
    xml = (
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>"
        "<os><type machine='q35'>hvm</type></os><features><acpi/><apic/></features><devices>"
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{images}/{name}.qcow2'/>"
        "<target dev='vda' bus='virtio'/></disk><disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{images}/{name}.iso'/><target dev='vdb' bus='virtio'/><readonly/></disk>"
        "<interface type='network'><source network='dev'/><model type='virtio'/></interface>"
        "<serial type='pty'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
        "</devices></domain>"
    )
    ssh(of, host, f"cat >{images}/{name}.iso", seed)
    overlay = f"qemu-img create -q -f qcow2 -F qcow2 -b {images}/tiny.qcow2 {images}/{name}.qcow2 1G"
    ssh(
        of,
        host,
        f"{overlay}; cat >/tmp/{name}.xml; virsh define /tmp/{name}.xml; virsh autostart {name}; virsh start {name}",
        xml.encode(),
    )


def wait(of: Lab, host: LabHost, name: str) -> None:
    """Until it has a lease and answers a command, asked twice a second."""
    jump = f"ssh -F {of.home / 'ssh_config'} -W %h:%p {host.name}"
    options = ["-o", f"ProxyCommand={jump}", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    address = ""
    while True:
        address = (
            address
            or ssh(of, host, f'virsh -q domifaddr {name} | awk \'{{sub("/.*", "", $4); print $4}}\'').decode().strip()
        )
        if address:
            command = [
                "ssh",
                "-F",
                "none",
                *options,
                "-o",
                "BatchMode=yes",
                "-i",
                str(of.key_file),
                f"root@{address}",
                "true",
            ]
            if (
                subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
                == 0
            ):
                return
        time.sleep(0.5)


def main() -> None:
    if os.geteuid() or not shutil.which("mmdebstrap"):
        sys.exit("needs root and what `make setup` installs")
    with TemporaryDirectory() as folder:
        reading(Path(folder))
        bringing_up(Path(folder))


if __name__ == "__main__":
    main()
