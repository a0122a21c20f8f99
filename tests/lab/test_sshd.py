"""The SSH server, names and groups on real hosts: what counts, who says otherwise, what is taken back."""

import time
from pathlib import Path

import yaml

from vinfra.lab import Lab

from .conftest import Run, Ssh, blueprint, first

OWN = "/etc/ssh/sshd_config.d/00-vinfra.conf"
ARMED = "systemctl list-timers --all --no-legend 'vinfra-undo-*' | wc -l"
EFFECTIVE = "sshd -T | grep -E '^(port|permitroot|passwordauth|allowusers|permittunnel)' | sort"


def test_what_counts_is_what_is_declared(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    doors = {
        "ports": [22, 2222],
        "permit_root_login": "prohibit-password",
        "password_authentication": False,
        "allow_users": ["root", "ops"],
        "options": {"PermitTunnel": "no"},
    }
    file = blueprint(tmp_path, {host.name: {"sshd": doors}})
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    told = ssh(host, f"{EFFECTIVE}; ss -Hltn 'sport = 2222' | wc -l; {ARMED}").stdout.split("\n")
    expected = ["allowusers ops", "allowusers root", "passwordauthentication no", "permitrootlogin without-password"]
    assert told == [*expected, "permittunnel no", "port 22", "port 2222", "2", "0", ""]
    # By hand: our file, a file of somebody else, and one that sshd has not read.
    ssh(host, f"sed -i /PasswordAuthentication/d {OWN}")
    assert "password_authentication yes → no" in vinfra("plan", file, expect=2).stdout
    vinfra("apply", file, "--yes")
    time.sleep(1)
    ssh(host, f"touch {OWN}")
    assert "reloaded" in vinfra("plan", file, expect=2).stdout
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    ssh(host, "sed -i '1i PasswordAuthentication yes' /etc/ssh/sshd_config")
    refused = vinfra("plan", file, expect=2).stdout
    assert "/etc/ssh/sshd_config:1 says otherwise: passwordauthentication yes" in refused
    ssh(host, "sed -i 1d /etc/ssh/sshd_config")
    moved = blueprint(tmp_path, {host.name: {"sshd": {**doors, "ports": [2222]}}})
    assert "we are here by port 22" in vinfra("plan", moved, expect=2).stdout
    vinfra("apply", blueprint(tmp_path, {host.name: {}}), "--yes")
    assert ssh(host, f"ls {OWN}; ss -Hltn 'sport = 2222' | wc -l").stdout == "0\n"


def test_a_server_that_would_not_let_us_in_or_not_start_is_as_before(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    one, two = clean_lab.hosts.values()
    file = blueprint(
        tmp_path,
        {one.name: {"sshd": {"allow_users": ["nobody"]}}, two.name: {"sshd": {"options": {"Ciphers": "rot13"}}}},
    )
    failed = vinfra("apply", file, "--yes", expect=1)
    told = " ".join((failed.stdout + failed.stderr).split())
    assert f"{one.name} has taken it back by itself" in told
    assert "Bad SSH2 cipher spec 'rot13'" in told
    for host in (one, two):
        assert ssh(host, f"ls {OWN}; systemctl is-active ssh; {ARMED}").stdout == "active\n0\n"


def test_names_and_groups(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    whole = {
        "hostname": {"name": "gate1", "fqdn": "gate1.example.net"},
        "groups": {"crew": {"gid": 2100, "members": ["ops"]}, "quiet": {"system": True}},
        "users": {"ada": {"group": "crew", "groups": ["quiet"]}},
        "files": {"/etc/crew": {"content": "x", "group": "crew"}},
    }
    file = blueprint(tmp_path, {host.name: whole})
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    assert ssh(host, "hostname; hostname -f; cat /etc/hostname").stdout.split() == [
        "gate1",
        "gate1.example.net",
        "gate1",
    ]
    assert ssh(host, "id -gn ada; id -Gn ada; getent group crew").stdout == "crew\ncrew quiet\ncrew:x:2100:ops\n"
    ssh(host, "groupadd --gid 2200 hand; gpasswd --add ada hand")
    groups = yaml.safe_load(vinfra("import", host.name).stdout)["hosts"][host.name]["groups"]
    assert groups == {"hand": {"gid": 2200, "members": ["ada"]}}
    ssh(host, "groupmod --gid 2101 crew; gpasswd --delete ops crew; hostname other")
    told = vinfra("plan", file, expect=2).stdout
    assert "gid 2101 → 2100" in told
    assert "name other → gate1" in told
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    held = {**whole, "groups": {"crew": "absent"}, "users": {"ada": {"groups": []}}, "files": {}}
    refused = vinfra("plan", blueprint(tmp_path, {host.name: held}), expect=2).stdout
    assert "it is the primary group of ada" in refused
    vinfra("apply", blueprint(tmp_path, {host.name: {}}), "--yes", "--max-impact", "restart")
    assert ssh(host, "getent group crew quiet; id ada; hostname").stdout == "gate1\n"
