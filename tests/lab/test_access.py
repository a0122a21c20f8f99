"""Steps that shut us out: the host itself takes them back, the run says so, and no timer stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from vinfra.lab import Lab

from .conftest import ROOT, Run, Ssh, blueprint, first

LOCKED = "DenyUsers root\n"
ARMED = "systemctl list-timers --all --no-legend 'vinfra-undo-*' | wc -l"


def test_an_sshd_that_refuses_us_is_taken_back(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    name = "/etc/ssh/sshd_config.d/locked.conf"
    locked = {
        "files": {name: {"content": LOCKED}},
        "services": {"ssh": {"running": True, "restart_on": [f"file:{name}"]}},
    }
    file = blueprint(tmp_path, {host.name: locked})
    failed = vinfra("apply", file, "--yes", expect=1)
    assert "has taken it back by itself" in failed.stdout + failed.stderr
    assert ssh(host, f"ls {name}; {ARMED}").stdout == "0\n"
    vinfra("plan", file, expect=2)


def test_what_does_not_shut_us_out_is_confirmed(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    name = "/etc/ssh/sshd_config.d/fine.conf"
    fine = {
        "files": {name: {"content": "MaxAuthTries 5\n"}},
        "services": {"ssh": {"running": True, "restart_on": [f"file:{name}"]}},
    }
    file = blueprint(tmp_path, {host.name: fine})
    vinfra("apply", file, "--yes")
    assert ssh(host, f"cat {name}; {ARMED}").stdout == "MaxAuthTries 5\n0\n"
    assert "before" not in ssh(host, "ls /run/vinfra").stdout, "a copy of a file that may hold secrets"
    time.sleep(1)
    vinfra("plan", file)


def test_own_keys_taken_away_come_back(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    before = ssh(host, "cat /root/.ssh/authorized_keys").stdout
    file = blueprint(tmp_path, {host.name: {"files": {"/root/.ssh/authorized_keys": {"content": "# nobody\n"}}}})
    failed = vinfra("apply", file, "--yes", expect=1)
    assert "has taken it back by itself" in failed.stdout + failed.stderr
    assert ssh(host, f"cat /root/.ssh/authorized_keys; {ARMED}").stdout == f"{before}0\n"


def test_a_controller_killed_before_it_could_confirm(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    before = ssh(host, "cat /root/.ssh/authorized_keys").stdout
    file = blueprint(tmp_path, {host.name: {"files": {"/root/.ssh/authorized_keys": {"content": "# nobody\n"}}}})
    environment = {**os.environ, "VINFRA_INVENTORY": str(clean_lab.inventory), "VINFRA_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes"]
    keys = Path(host.upper) / "root/.ssh/authorized_keys"
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not keys.exists() or "nobody" not in keys.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    time.sleep(30)
    assert ssh(host, f"cat /root/.ssh/authorized_keys; {ARMED}").stdout == f"{before}0\n"
    # A later run finds neither a stuck lease nor a timer that would undo its work.
    fine = blueprint(tmp_path, {host.name: {"files": {"/root/.ssh/authorized_keys": {"content": before + "# more\n"}}}})
    vinfra("apply", fine, "--yes")
    vinfra("plan", fine)
