"""What the kinds of hosts do on the next Debian release: applied once, and the second plan is empty."""

from pathlib import Path
from typing import Any

import pytest

from vinfra.lab import Lab, LabHost

from .conftest import Run, blueprint
from .guest import Guest
from .test_kernel import SET

pytestmark = pytest.mark.slow

#: On a whole machine: name → what its host declares.
MACHINES: dict[str, dict[str, Any]] = {"kernel": SET}
#: In a container, for what needs no kernel of its own.
CONTAINERS: dict[str, dict[str, Any]] = {
    "files": {
        "users": {"deploy": {"shell": "/bin/sh"}},
        "directories": {"/srv/app": {"owner": "deploy"}},
        "files": {"/srv/app/motd": {"content": "hello\n"}},
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "services": {"ssh": {"running": True}},
    },
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MACHINES)
def test_the_second_plan_is_empty_on_a_machine(
    name: str, guest_trixie: Guest, guest_vinfra: Run, tmp_path: Path
) -> None:
    assert "trixie" in guest_trixie.run("cat /etc/os-release")
    file = blueprint(tmp_path, {"guest": MACHINES[name]})
    guest_vinfra("apply", file, "--yes")
    assert "nothing to do" in guest_vinfra("plan", file).stdout


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_second_plan_is_empty_in_a_container(
    name: str, trixie_lab: Lab, trixie_host: LabHost, vinfra: Run, tmp_path: Path
) -> None:
    file = blueprint(tmp_path, {trixie_host.name: CONTAINERS[name]})
    vinfra("apply", file, "--yes", machines=trixie_lab.inventory)
    assert "nothing to do" in vinfra("plan", file, machines=trixie_lab.inventory).stdout
