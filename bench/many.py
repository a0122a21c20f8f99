"""Creating fifty machines from one image: `vinfra apply` against a bare script on libvirt's own Python library.

Both make a volume on the image and define a domain for each, and start none: with QEMU's emulator a boot would hide
everything else. Both reach the same libvirtd of the same host by one SSH login of theirs. `--profile` tells where
vinfra's time goes.
"""

import cProfile
import os
import pstats
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import libvirt
import yaml
from kvm import row, ssh, timed

from vinfra import engine, lab
from vinfra.lab import Lab, LabHost, guest
from vinfra.model.action import Impact
from vinfra.model.request import Consent, Request

MACHINES = 50
RUNS = 3
POOL = "/var/lib/libvirt/images"
VOLUME = """<volume><name>{name}.qcow2</name><capacity unit="bytes">1073741824</capacity><allocation>0</allocation>
<target><format type="qcow2"/><compat>1.1</compat></target>
<backingStore><path>{image}</path><format type="qcow2"/></backingStore></volume>"""
DOMAIN = """<domain type="qemu"><name>{name}</name><memory unit="MiB">128</memory><vcpu>1</vcpu>
<os><type machine="q35">hvm</type><boot dev="hd"/></os><features><acpi/><apic/></features>
<devices><disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="{pool}/{name}.qcow2"/>
<target dev="vda" bus="virtio"/></disk>
<interface type="network"><source network="dev"/><model type="virtio"/></interface>
<serial type="pty"/><rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
<memballoon model="virtio"/></devices></domain>"""
CLEAR = (
    "for d in $(virsh list --all --name | grep ^vm-); do virsh -q undefine $d; done; "
    f"rm -f {POOL}/vm-*; virsh -q pool-refresh default"
)


def blueprint(folder: Path, image: guest.Image, count: int) -> Path:
    member = {"on": "all", "count": count, "memory": "128MiB", "image": "tiny", "disks": {"root": "1GiB"}}
    member |= {"networks": ["dev"], "power": "stopped", "autostart": False, "name": "vm-{{ '%02d' % member.number }}"}
    kept = {"memory": "64MiB", "image": "tiny", "power": "stopped", "autostart": False}
    file = folder / f"many-{count}.yaml"
    fleets: dict[str, Any] = {"vm": member} if count else {}
    whole = {
        "blueprint": "many",
        "images": {"tiny": {"file": str(image.path), "sha256": image.sha256}},
        "hosts": {
            "all": {
                "hypervisor": {"kind": "kvm", "acceleration": "off"},
                "pools": {"default": POOL},
                "networks": {"dev": {"cidr": "10.10.0.0/24"}},
                "domains": {"kept": kept},
            }
        },
        "fleets": fleets,
    }
    file.write_text(yaml.safe_dump(whole))
    return file


@contextmanager
def connected(of: Lab, host: LabHost, folder: Path) -> Iterator[Any]:
    """libvirt's own library over OpenSSH, which streams the daemon's socket."""
    path = folder / "libvirt-sock"
    path.unlink(missing_ok=True)
    arguments = ["ssh", "-F", str(of.home / "ssh_config"), "-N", "-L", f"{path}:/run/libvirt/libvirt-sock", host.name]
    tunnel = subprocess.Popen(arguments)
    try:
        while not path.exists():
            time.sleep(0.01)
        connection = libvirt.open(f"qemu+unix:///system?socket={path}")
        yield connection
        connection.close()
    finally:
        tunnel.terminate()
        tunnel.wait()


def by_hand(of: Lab, host: LabHost, folder: Path, image: str) -> None:
    with connected(of, host, folder) as connection:
        pool = connection.storagePoolLookupByName("default")
        for number in range(1, MACHINES + 1):
            name = f"vm-{number:02d}"
            pool.createXML(VOLUME.format(name=name, image=image))
            connection.defineXML(DOMAIN.format(name=name, pool=POOL)).setAutostart(0)


def apply(request: Request) -> None:
    outcome = engine.apply(request, Consent(max_impact=Impact.DATA_LOSS))
    assert outcome.exit_code == 0, [end for end in outcome.changes if end.reason]


def measure(folder: Path, *, profile: bool) -> None:
    image = guest.image(print)
    made = lab.up(f"b{os.getpid()}", 1, progress=lambda _: None)
    try:
        host = next(iter(made.hosts.values()))
        few = Request(blueprint=blueprint(folder, image, 0), inventory=made.inventory, supersede=True)
        many = Request(blueprint=blueprint(folder, image, MACHINES), inventory=made.inventory, supersede=True)
        apply(few)  # packages, network, pool and image are there before either begins
        path = ssh(made, host, f"ls {POOL}/tiny-*.qcow2").decode().strip()
        hand, ours, plans = [], [], []
        for _ in range(RUNS):
            hand.append(timed(lambda: by_hand(made, host, folder, path)))
            ssh(made, host, CLEAR)
            plans.append(timed(lambda: engine.plan(many)))
            profiler = cProfile.Profile()
            if profile:
                profiler.enable()
            ours.append(timed(lambda: apply(many)))
            if profile:
                profiler.disable()
                pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
            apply(few)
        middle = statistics.median(hand)
        print(f"| {MACHINES} machines from one image | median | range | of the script |\n|---|---|---|---|")
        row("libvirt's Python library, one after the other", hand, middle)
        row("vinfra apply, in process", ours, middle)
        row("of that its plan", plans, middle)
    finally:
        lab.down(made.name)


def main() -> None:
    if os.geteuid() or not shutil.which("mmdebstrap"):
        sys.exit("needs root and what `make setup` installs")
    with TemporaryDirectory() as folder:
        measure(Path(folder), profile="--profile" in sys.argv)


if __name__ == "__main__":
    main()
