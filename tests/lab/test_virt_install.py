"""A machine that virt-install made, running: it is imported, adopted with nothing but the mark written, and goes on."""

import re
from pathlib import Path
from typing import Any

import pytest

from vinfra.lab import Lab, LabHost

from .conftest import Run, Ssh

pytestmark = [pytest.mark.xdist_group("kvm"), pytest.mark.timeout(400)]

INSTALL = "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends virtinst"
MAKE = (
    "{ virsh net-start default || true; } && virt-install --virt-type qemu --name theirs --memory 128 --vcpus 2 "
    "--import --disk size=1 --os-variant debian11 --network network=default --graphics vnc --noautoconsole --noreboot "
    "--check all=off && virsh start theirs"
)
AWAY = "virsh destroy theirs; virsh undefine theirs --remove-all-storage; rm -rf /var/lib/vinfra"


def test_what_virt_install_made_is_adopted_as_it_is(
    vinfra: Run, kvm_lab: Lab, kvm_host: LabHost, ssh: Ssh, tmp_path: Path
) -> None:
    def on(command: str) -> str:
        done = ssh(kvm_host, command, of=kvm_lab)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(*arguments: object, **given: Any) -> str:
        return vinfra(*arguments, machines=kvm_lab.inventory, **given).stdout

    definition = "virsh dumpxml --inactive theirs; virsh dumpxml theirs; cat /run/libvirt/qemu/theirs.pid"
    on(f"{INSTALL} >/dev/null 2>&1")
    try:
        on(MAKE)
        before = on(definition)
        file = tmp_path / "found.yaml"
        run("import", kvm_host.name, "--write", file)
        assert "nothing to do" in run("plan", file)
        assert on(definition) == before
        run("adopt", file, "domain:theirs", "--yes")
        after = on(definition)
        assert after.count("<vinfra:owner ") == 2
        assert re.sub(r"\s*<vinfra:owner [^>]*/>", "", after) == before
        assert "nothing to do" in run("plan", file)
    finally:
        ssh(kvm_host, AWAY, of=kvm_lab)
