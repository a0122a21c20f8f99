"""Rollouts on real hosts: a real service, asked by every sort of check, that one host cannot bear."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from vinfra.lab import Lab, LabHost

from .conftest import ROOT, Run, Ssh, changes

SERVER = '''"""Answers every request: 200, or 503 if this host cannot bear the version it was started with."""
import os
import socket

version = open("/srv/web/version").read().strip()
well = not os.path.exists("/etc/bears-no-" + version)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 8080))
listener.listen()
while True:
    caller = listener.accept()[0]
    caller.recv(65536)
    caller.sendall(b"HTTP/1.0 %s\\r\\nContent-Length: 0\\r\\n\\r\\n" % (b"200 OK" if well else b"503 No"))
    caller.close()
'''
UNIT = "[Service]\nExecStart=/usr/bin/python3 /srv/web/serve.py\n[Install]\nWantedBy=multi-user.target\n"
HEALTH = [
    "ssh",
    {"tcp": 8080},
    {"http": {"url": "http://127.0.0.1:8080/health"}},
    {"command": ["systemctl", "is-active", "web"]},
]
BASE: dict[str, Any] = {
    "directories": {"/srv/web": None},
    "files": {
        "/srv/web/version": {"content": "{{ v }}\n", "mode": "{{ mode }}"},
        "/srv/web/serve.py": {"content": SERVER},
        "/etc/systemd/system/web.service": {"content": UNIT},
    },
    "services": {"web": {"running": True, "enabled": True, "restart_on": ["file:/srv/web/version"]}},
}


def blueprint(folder: Path, more: dict[str, Any] | None = None, **terms: Any) -> Path:
    """The web service on all hosts, in batches of one; `more` are sections beside it."""
    rollout = {"health": HEALTH, "interval": "300ms", "retries": 10, "monitor": "300ms", **terms}
    file = folder / "web.yaml"
    tree = {
        "blueprint": "web",
        "vars": {"v": "1", "mode": "0644"},
        "hosts": {
            "all": {"rollout": {key: str(value) if key == "batch" else value for key, value in rollout.items()}, **BASE}
        },
    }
    for section, items in (more or {}).items():
        tree["hosts"]["all"][section] = {**tree["hosts"]["all"].get(section, {}), **items}  # type: ignore[index]
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return file


def hosts(lab: Lab) -> tuple[LabHost, LabHost]:
    one, two = lab.hosts.values()
    return one, two


STATE = "; ".join(
    (
        "stat -c '%a %U:%G' /srv/web/version",
        "cat /srv/web/version",
        "systemctl is-active web extra",
        "systemctl is-enabled web extra",
        "ls -A /srv/new /etc/systemd/system/extra.service",
        "cat /proc/sys/net/ipv4/ip_forward",
        "ls /etc/sysctl.d",
        "stat -c %a /srv/web",
    )
)


def test_the_second_host_is_not_well_and_the_first_keeps_what_is_new(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    one, two = hosts(clean_lab)
    file = blueprint(tmp_path)
    vinfra("apply", file, "--yes")
    for host in (one, two):
        ssh(host, "touch /etc/bears-no-2")
    ssh(one, "rm /etc/bears-no-2")
    done = vinfra("apply", file, "-e", "v=2", "--yes", expect=1)
    assert f"rollout all: batch 2 of 2: {two.name}" in done.stdout
    unwell = f"{two.name}: http://127.0.0.1:8080/health: status 503, not 200"
    assert f"rollout all: batch 2 of 2 is not well: {unwell}; stopped" in done.stdout
    assert [ssh(host, "cat /srv/web/version").stdout for host in (one, two)] == ["2\n", "2\n"]

    ssh(one, "rm /etc/bears-no-3; echo 1 >/srv/web/version")
    outcome = json.loads(vinfra("apply", file, "-e", "v=2", "--yes", "--json", expect=1).stdout)
    assert outcome["reason"] == "stopped", "what was left unwell is asked before anything else is changed"
    assert {row["status"] for row in outcome["outcomes"]} == {"left"}
    assert outcome["gates"][0]["failed"] == {two.name: unwell.partition(": ")[2]}

    ssh(two, "rm /etc/bears-no-2; systemctl restart web")
    vinfra("apply", file, "-e", "v=2", "--yes")
    vinfra("plan", file, "-e", "v=2")


def test_a_rollback_brings_everything_back_as_it_was(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    one, two = hosts(clean_lab)
    vinfra("apply", blueprint(tmp_path), "--yes")
    for host in (one, two):
        ssh(host, "chown nobody:nogroup /srv/web/version; chmod 4751 /srv/web/version; echo 1 >/etc/free")
    ssh(two, "touch /etc/bears-no-2")
    more = {
        "directories": {"/srv/web": {"mode": "0711"}, "/srv/new": None},
        "files": {
            **BASE["files"],
            "/srv/new/file": {"content": "new"},
            "/etc/systemd/system/extra.service": {
                "content": "[Service]\nExecStart=sleep 1000\n[Install]\nWantedBy=multi-user.target\n"
            },
            "/etc/free": "absent",
        },
        "services": {"extra": {"running": True, "enabled": True}},
        "sysctl": {"net.ipv4.ip_forward": "1"},
    }
    file = blueprint(tmp_path, more, on_failure="rollback")
    state, mark = (
        STATE,
        "tail -n 1 /var/lib/vinfra/marks/web.jsonl >/dev/null; grep -c released /var/lib/vinfra/marks/web.jsonl",
    )
    before = [ssh(host, state).stdout for host in (one, two)]
    saved = tmp_path / "plan.json"
    planned = vinfra("plan", file, "-e", "v=2", "--out", saved, expect=2)
    assert "rollback at 1 failure; 2 deletions after the last gate" in planned.stdout
    outcome = json.loads(vinfra("apply", file, "-e", "v=2", "--yes", "--json", expect=1).stdout)
    assert (outcome["reason"], outcome["ended"]) == ("rolled_back", {"left": 2, "rolled-back": 16})
    assert [ssh(host, state).stdout for host in (one, two)] == before
    assert ssh(one, "cat /etc/free").stdout == "1\n"
    assert ssh(one, mark).stdout != "0\n"
    vinfra("apply", saved, "-e", "v=2", "--yes", expect=1)  # what was found is so again: the plan is not stale
    assert [ssh(host, state).stdout for host in (one, two)] == before

    ssh(two, "rm /etc/bears-no-2")
    vinfra("apply", file, "-e", "v=2", "--yes")
    vinfra("plan", file, "-e", "v=2")
    assert ssh(two, "cat /srv/new/file; ls /etc/free").stdout == "new"


def test_a_controller_killed_between_two_batches_is_followed_by_one_that_goes_on(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    one, two = hosts(clean_lab)
    file = blueprint(tmp_path, monitor="60s")
    environment = {**os.environ, "VINFRA_INVENTORY": str(clean_lab.inventory), "VINFRA_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes"]
    for ending in (signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if f"done    host.service:{one.name}/web" in line:
                    break
            time.sleep(1)
            process.send_signal(ending)
            rest = process.stdout.read()
        assert ssh(two, "ls /srv").stdout == ""
        if ending is signal.SIGINT:
            assert process.returncode == 130
            assert "rollout all: batch 1 of 2 was not waited for; interrupted" in rest
            assert ssh(one, "systemctl stop web; systemctl is-active web").stdout == "inactive\n"
    file = blueprint(tmp_path)
    found = changes(vinfra("plan", file, "--json", expect=2))
    assert {row["host"] for row in found} == {two.name}
    done = vinfra("apply", file, "--yes")
    assert "what earlier runs did is well" in done.stdout
    assert f"batch 1 of 1: {two.name}" in done.stdout
    vinfra("plan", file)
