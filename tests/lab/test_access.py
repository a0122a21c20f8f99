"""Steps that shut us out: the host itself takes them back, the run says so, and no timer stays."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import yaml

from vinfra.lab import Lab

from .conftest import ROOT, Run, Ssh, blueprint, first

LOCKED = "DenyUsers root\n"
ARMED = "systemctl list-timers --all --no-legend 'vinfra-undo-*' | wc -l"


def refused_by(done: subprocess.CompletedProcess[str], names: Iterable[str]) -> None:
    told = done.stdout + done.stderr
    for name in names:
        assert f"{name} has taken it back by itself" in told, told


def test_an_sshd_that_refuses_us_and_keys_that_are_gone_come_back(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    one, two = clean_lab.hosts.values()
    name, keys = "/etc/ssh/sshd_config.d/locked.conf", "/root/.ssh/authorized_keys"
    locked = {
        "files": {name: {"content": LOCKED}},
        "services": {"ssh": {"running": True, "restart_on": [f"file:{name}"]}},
    }
    before = ssh(two, f"cat {keys}").stdout
    file = blueprint(tmp_path, {one.name: locked, two.name: {"files": {keys: {"content": "# nobody\n"}}}})
    refused_by(vinfra("apply", file, "--yes", expect=1), (one.name, two.name))
    assert ssh(one, f"ls {name}; {ARMED}").stdout == "0\n"
    assert ssh(two, f"cat {keys}; {ARMED}").stdout == f"{before}0\n"
    vinfra("plan", file, expect=2)


def test_an_sshd_that_cannot_start_comes_back_however_often_it_failed(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host, name = first(clean_lab), "/etc/ssh/sshd_config.d/broken.conf"
    wish = {
        "files": {name: {"content": "NoSuchOption\n"}},
        "services": {"ssh": {"running": True, "restart_on": [f"file:{name}"]}},
    }
    file = blueprint(tmp_path, {host.name: wish})
    for _ in range(2):
        vinfra("apply", file, "--yes", expect=1)
    assert ssh(host, f"ls {name}; {ARMED}").stdout == "0\n"
    file = blueprint(tmp_path, {host.name: {"rollout": {"on_failure": "rollback"}, **wish}})
    assert "could not be taken back" not in vinfra("apply", file, "--yes", expect=1).stdout
    assert ssh(host, f"systemctl is-active ssh; ls {name}; {ARMED}").stdout == "active\n0\n"


def test_an_sshd_that_is_stopped_and_a_sudo_that_refuses_come_back(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    one, two = clean_lab.hosts.values()
    rules = "/etc/sudoers.d/zz-locked"
    password = tmp_path / "password"
    password.write_text(clean_lab.password)
    password.chmod(0o600)
    machines = yaml.safe_load(clean_lab.inventory.read_text())
    folder = clean_lab.inventory.parent
    machines["ssh"] |= {key: str(folder / machines["ssh"][key]) for key in ("key_file", "known_hosts")}
    machines["hosts"][two.name] |= {"user": "ops", "sudo_password": {"secret": f"file:{password}"}}
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(yaml.safe_dump(machines))
    file = blueprint(
        tmp_path,
        {
            one.name: {"services": {"ssh": {"running": False, "masked": True}}},
            two.name: {"files": {rules: {"content": "ops ALL=(ALL) !ALL\n", "mode": "0440"}}},
        },
    )
    failed = vinfra("apply", file, "--yes", expect=1, machines=inventory)
    refused_by(failed, (one.name, two.name))
    assert ssh(one, f"systemctl is-active ssh; {ARMED}").stdout == "active\n0\n"
    assert ssh(two, f"ls {rules}; {ARMED}").stdout == "0\n"
    sudo = ssh(two, "sudo -S -p '' id -un", user="ops", stdin=f"{clean_lab.password}\n")
    assert sudo.stdout == "root\n"


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


# A firewall that is wrong: with it the host is not there for anybody.
FIREWALL = """[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set eth0 down
ExecStop=ip link set eth0 up
"""


def test_a_controller_killed_before_it_could_confirm_and_a_host_that_is_lost(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    one, two = clean_lab.hosts.values()
    before = ssh(one, "cat /root/.ssh/authorized_keys").stdout
    file = blueprint(tmp_path, {one.name: {"files": {"/root/.ssh/authorized_keys": {"content": "# nobody\n"}}}})
    environment = {**os.environ, "VINFRA_INVENTORY": str(clean_lab.inventory), "VINFRA_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes"]
    keys = Path(one.upper) / "root/.ssh/authorized_keys"
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not keys.exists() or "nobody" not in keys.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    ssh(two, "cat > /etc/systemd/system/nftables.service; systemctl daemon-reload", stdin=FIREWALL)
    wall = blueprint(tmp_path, {two.name: {"services": {"nftables": {"running": True}}}}, "wall")
    lost = vinfra("apply", wall, "--yes", expect=1)
    assert "the host has taken it back by itself" in lost.stdout
    assert ssh(two, f"systemctl is-active nftables; {ARMED}").stdout == "inactive\n0\n"
    vinfra("plan", wall, expect=2)
    time.sleep(max(0.0, killed + 30 - time.monotonic()))
    assert ssh(one, f"cat /root/.ssh/authorized_keys; {ARMED}").stdout == f"{before}0\n"
    # A later run finds neither a stuck lease nor a timer that would undo its work.
    fine = blueprint(tmp_path, {one.name: {"files": {"/root/.ssh/authorized_keys": {"content": before + "# more\n"}}}})
    vinfra("apply", fine, "--yes")
    vinfra("plan", fine)
