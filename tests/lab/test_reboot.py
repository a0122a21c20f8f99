"""Restarts of real hosts in the middle of a run: once and not twice, and nobody comes in between unnoticed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra import lab as lab_module
from vinfra.lab import Lab, LabHost

from .conftest import ROOT, Run, Ssh, blueprint, changes, first

# Each boot leaves a line, so that one restart too many would be seen.
COUNT = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo boot >>/var/lib/boots'
[Install]
WantedBy=multi-user.target
"""


def prepared(ssh: Ssh, host: LabHost) -> None:
    """Something waits for a restart, and boots are counted from now on."""
    assert ssh(host, "cat >/etc/systemd/system/count.service", stdin=COUNT).returncode == 0
    assert ssh(host, "systemctl enable -q count; touch /run/reboot-required").returncode == 0


def boots(ssh: Ssh, host: LabHost) -> int:
    return len(ssh(host, "cat /var/lib/boots").stdout.splitlines())


def restarting(tmp_path: Path, host: LabHost, **terms: Any) -> Path:
    """A file before the restart and one after it, on what a restart empties."""
    after = {"content": "x", "needs": ["reboot:host"]}
    return blueprint(
        tmp_path, {host.name: {"reboot": terms, "files": {"/run/before": {"content": "x"}, "/run/after": after}}}
    )


def test_a_run_goes_on_in_the_next_boot(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    file = restarting(tmp_path, host)
    assert {row["kind"] for row in changes(vinfra("plan", file, "--json", expect=2))} == {"host.file"}
    prepared(ssh, host)
    (row,) = [row for row in changes(vinfra("plan", file, "--json", expect=2)) if row["kind"] == "host.reboot"]
    assert (row["impact"], row["verdict"]) == ("restart", "ok")
    assert "/run/reboot-required asks for it" in row["reason"]
    assert boots(ssh, host) == 0
    vinfra("apply", file, "--yes")
    assert boots(ssh, host) == 1
    assert ssh(host, "ls /run/before /run/after").stdout == "/run/after\n"
    # The lease of the new boot is this run's, and was given back.
    assert ssh(host, "cut -d' ' -f1 /run/vinfra/lease").stdout == "0\n"
    assert "reboot" not in ssh(host, "cat /var/lib/vinfra/marks/*").stdout
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    assert boots(ssh, host) == 1


def test_a_login_that_needs_sudo_comes_back_too(clean_lab: Lab, vinfra: Run, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    machines = yaml.safe_load(clean_lab.inventory.read_text())
    machines["ssh"] |= {name: str(clean_lab.home / machines["ssh"][name]) for name in ("key_file", "known_hosts")}
    secret = {"secret": f"file:{clean_lab.password_file}"}
    machines["hosts"][host.name] |= {"user": "ops", "sudo_password": secret}
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(yaml.safe_dump(machines))
    prepared(ssh, host)
    file = restarting(tmp_path, host)
    vinfra("apply", file, "--yes", machines=inventory)
    assert ssh(host, "ls /run/after").stdout == "/run/after\n"
    assert boots(ssh, host) == 1


@pytest.mark.parametrize(
    "moment", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("triggered", "down")), "booting"]
)
def test_a_controller_that_is_killed_restarts_nothing_twice(
    moment: str, vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    prepared(ssh, host)
    file = restarting(tmp_path, host)
    environment = {**os.environ, "VINFRA_INVENTORY": str(clean_lab.inventory), "VINFRA_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        wait_for(moment, clean_lab, host)
        process.send_signal(signal.SIGKILL)
    # Whoever comes at once may still find the host as it was, or not at all.
    until = time.monotonic() + 60
    while True:
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert time.monotonic() < until, done.stdout + done.stderr
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    assert boots(ssh, host) == 1


def wait_for(moment: str, lab: Lab, host: LabHost) -> None:
    before, until = host.pid, time.monotonic() + 60
    upper = Path(host.upper)
    while time.monotonic() < until:
        now = lab_module.status(lab.name)
        pid = now.hosts[host.name].pid if now else 0
        if moment == "triggered" and Path(f"/proc/{before}/root/run/systemd/transient/vinfra-reboot.timer").exists():
            return
        if moment == "down" and not Path(f"/proc/{before}/root/run").exists():
            return
        if moment == "booting" and pid not in (0, before) and upper.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"it never came to {moment}")


def test_who_came_in_between_is_noticed(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    prepared(ssh, host)
    foreign = json.dumps({"run": "r9", "who": "alice@elsewhere", "machine": "other", "pid": 7, "birth": "x/1"})
    ssh(host, "cat >/etc/holder", stdin=f"0 abc1 {foreign}\n")
    ssh(host, "mkdir -p /etc/systemd/system/count.service.d; cat >/etc/systemd/system/count.service.d/x.conf",
        stdin="[Service]\nExecStart=/bin/sh -c 'mkdir -p /run/vinfra; cp /etc/holder /run/vinfra/lease'\n")  # fmt: skip
    file = restarting(tmp_path, host)
    done = vinfra("apply", file, "--yes", expect=4)
    assert "alice@elsewhere, run r9, process 7 applied there after its restart" in done.stdout
    assert ssh(host, "ls /run/after").stdout == ""
    assert ssh(host, "cut -d' ' -f2 /run/vinfra/lease").stdout == "abc1\n"
    assert boots(ssh, host) == 1


def test_a_host_that_does_not_come_back_fails(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    prepared(ssh, host)
    ssh(host, "ln -s /lib/systemd/system/poweroff.target /etc/systemd/system/reboot.target; systemctl daemon-reload")
    file = restarting(tmp_path, host, timeout="8s")
    done = vinfra("apply", file, "--yes", expect=1)
    assert "did not come back within 8 s" in done.stdout
    assert "host.file:" in done.stdout
    lab_module.power_on(clean_lab, host.name)
    assert boots(ssh, host) == 1
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    assert boots(ssh, host) == 1


def test_a_service_that_does_not_come_up_again_is_told(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    prepared(ssh, host)
    for name in ("old", "late"):
        ssh(host, f"cat >/etc/systemd/system/{name}.service", stdin=COUNT.replace("/bin/sh -c", "/bin/false"))
    ssh(host, "systemctl daemon-reload; systemctl enable -q old late; systemctl start old")
    file = restarting(tmp_path, host)
    done = vinfra("apply", file, "--yes", expect=1)
    assert "it is back, but late.service failed, which had not before" in done.stdout
    assert ssh(host, "ls /run/after").stdout == ""  # it needs the restart
    vinfra("apply", file, "--yes")
    assert boots(ssh, host) == 1
