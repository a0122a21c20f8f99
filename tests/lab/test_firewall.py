"""A host's firewall on real kernels: what it lets in, that only ours changes, and that a host cut off comes back."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vinfra import lab as lab_module
from vinfra.lab import Lab, LabHost

from .conftest import ROOT, Run, Ssh, blueprint, changes, first, run_ssh

ARMED = "systemctl list-timers --all --no-legend 'vinfra-undo-*' | wc -l"
TABLE = "nft list table inet vinfra"
SSH = {"firewall": {"rules": ["ssh"]}}
# Listens on some ports of TCP, and says hello.
SERVER = """import socket, threading
def serve(port):
    s = socket.create_server(("", port)); s.listen()
    while True:
        c, _ = s.accept(); c.sendall(b"hello"); c.close()
for port in (53, 80, 5432, 8080): threading.Thread(target=serve, args=(port,)).start()
"""
LISTEN = "cat >/root/serve.py; systemd-run --quiet --unit=serve python3 /root/serve.py; sleep 0.5"


@pytest.fixture
def install(ssh: Ssh) -> Callable[[LabHost, str], None]:
    def run(host: LabHost, package: str) -> None:
        command = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {package}"
        done = ssh(host, f"export DEBIAN_FRONTEND=noninteractive; {command} >/dev/null")
        assert done.returncode == 0, done.stderr

    return run


def reaches(ssh: Ssh, here: LabHost, there: LabHost, port: int) -> bool:
    call = f"import socket; socket.create_connection(('{there.address}', {port}), 2)"
    return ssh(here, f'python3 -c "{call}"').returncode == 0


def only_change(vinfra: Run, file: Path) -> dict[str, Any]:
    (row,) = changes(vinfra("plan", file, "--json", expect=2))
    return {item["path"]: (item.get("actual"), item.get("desired")) for item in row["fields"]} | {"said": row["reason"]}


def test_a_table_of_ours_beside_those_of_others(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    one, two = clean_lab.hosts.values()
    ssh(one, LISTEN, stdin=SERVER)
    assert reaches(ssh, two, one, 8080)
    wall = {"packages": ["nftables"], "firewall": {"rules": ["ssh", {"ports": 80, "from": f"{two.address}/32"}]}}
    file = blueprint(tmp_path, {one.name: wall})
    assert "nft is not on this host; package:nftables may bring it" in vinfra("plan", file, expect=2).stdout
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    assert [reaches(ssh, two, one, port) for port in (80, 8080)] == [True, False]
    assert ssh(one, f"ls /run/vinfra; {ARMED}").stdout.split()[-1] == "0"
    # What is done by hand, in the kernel and on disk, is found and mended; others' tables stay.
    ssh(one, "nft add table ip others; nft add rule inet vinfra input tcp dport 8080 accept")
    assert only_change(vinfra, file)["rules"] == (["tcp dport 8080 accept"], [])
    vinfra("apply", file, "--yes")
    assert not reaches(ssh, two, one, 8080)
    ssh(one, "echo >>/etc/vinfra/firewall.nft; systemctl disable --quiet vinfra-firewall; nft delete table inet vinfra")
    assert set(only_change(vinfra, file)) == {"incoming", "rules", "persisted", "enabled", "said"}
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    assert "table ip others" in ssh(one, "nft list tables").stdout
    # Whoever restarts or reloads nftables.service, which empties everything, gets our table back.
    told = ssh(
        one, f"systemctl start nftables; systemctl restart nftables; sleep 1; {TABLE}; systemctl reload nftables"
    )
    assert "dport 22 accept" in told.stdout
    time.sleep(1)
    vinfra("plan", file)
    ssh(one, "nft add table ip others")
    vinfra("apply", blueprint(tmp_path, {one.name: {"packages": ["nftables"]}}), "--yes")
    left = "nft list tables; ls -d /etc/vinfra /etc/systemd/system/*vinfra* /etc/systemd/system/*/*vinfra*"
    assert "vinfra" not in ssh(one, left).stdout
    assert "table ip others" in ssh(one, "nft list tables").stdout
    assert reaches(ssh, two, one, 8080)


def test_a_host_loads_its_table_at_boot(
    vinfra: Run, clean_host: LabHost, lab: Lab, ssh: Ssh, tmp_path: Path, install: Callable[..., None]
) -> None:
    install(clean_host, "nftables")
    file = blueprint(tmp_path, {clean_host.name: SSH})
    vinfra("apply", file, "--yes")
    ssh(clean_host, "nft flush ruleset; systemctl reboot")
    again = answers(lab, clean_host.name)
    assert "dport 22 accept" in ssh(again, TABLE).stdout
    vinfra("plan", file)


def answers(lab: Lab, name: str) -> LabHost:
    """The host once it has booted anew."""
    before = lab.hosts[name].pid
    for _ in range(100):
        now = lab_module.status(lab.name)
        if now and now.hosts[name].pid not in (0, before):
            done = run_ssh(now, now.hosts[name], "systemctl is-system-running --wait")
            if done.stdout.strip() in ("running", "degraded"):
                return now.hosts[name]
        time.sleep(0.2)
    raise AssertionError(f"{name} did not come back")


@contextmanager
def started(vinfra_inventory: Path, state: Path, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "VINFRA_INVENTORY": str(vinfra_inventory), "VINFRA_STATE": str(state)}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        yield process


def test_rules_that_shut_us_out_are_refused_or_taken_back_whoever_lives(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path, install: Callable[..., None]
) -> None:
    one, two = clean_lab.hosts.values()
    for host in (one, two):
        install(host, "nftables")
    vinfra("apply", blueprint(tmp_path, {one.name: SSH}), "--yes")
    before = ssh(one, TABLE).stdout
    closed = {"rules": ["http"]}
    file = blueprint(tmp_path, {one.name: {"firewall": closed}})
    refused = vinfra("apply", file, "--yes", expect=3)
    assert "a new login to port 22 from" in refused.stdout + refused.stderr
    meant = {"firewall": {**closed, "may_cut_off": True}}
    # The other host's controller dies as soon as the rules are there.
    other = blueprint(tmp_path, {two.name: meant}, "other")
    rules = Path(two.upper) / "etc/vinfra/firewall.nft"
    with started(clean_lab.inventory, tmp_path / "killed", other) as process:
        while not rules.exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    assert ssh(two, "true").returncode == 255, "the rules were not loaded"
    file = blueprint(tmp_path, {one.name: meant})
    failed = vinfra("apply", file, "--yes", expect=1)
    assert f"{one.name} has taken it back by itself" in failed.stdout + failed.stderr
    assert ssh(one, f"{TABLE}; {ARMED}").stdout == f"{before}0\n"
    assert "dport 22 accept" in ssh(one, "cat /etc/vinfra/firewall.nft").stdout
    time.sleep(max(0.0, killed + 28 - time.monotonic()))
    assert ssh(two, f"nft list tables; ls /etc/vinfra; {ARMED}").stdout == "0\n"
    vinfra("apply", blueprint(tmp_path, {two.name: SSH}, "other"), "--yes")


# Two bridges as libvirt makes them, and a machine on each, in a network of its own.
MACHINES = """set -e
echo 1 >/proc/sys/net/ipv4/ip_forward
for n in 1 2; do
ip link add virbr9$n type bridge; ip addr add 10.9$n.0.1/24 dev virbr9$n; ip link set virbr9$n up
ip netns add m$n; ip link add v$n type veth peer name eth0 netns m$n; ip link set v$n master virbr9$n up
ip -n m$n addr add 10.9$n.0.2/24 dev eth0; ip -n m$n link set eth0 up; ip -n m$n route add default via 10.9$n.0.1
done
(ip netns exec m2 python3 /root/serve.py >/dev/null 2>&1 &)
sleep 1
"""
ASK = "ip netns exec m1 python3 -c \"import socket; socket.create_connection(('{}', {}), 2)\""


def test_machines_behind_the_host_go_on_as_before(
    vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path, install: Callable[..., None]
) -> None:
    install(clean_host, "nftables")
    ssh(clean_host, LISTEN, stdin=SERVER)
    made = ssh(clean_host, MACHINES)
    assert made.returncode == 0, made.stderr
    vinfra("apply", blueprint(tmp_path, {clean_host.name: SSH}), "--yes")
    ways = [("10.92.0.2", 80), ("10.92.0.2", 8080), ("10.91.0.1", 53), ("10.91.0.1", 8080)]
    reached = [ssh(clean_host, ASK.format(*way)).returncode == 0 for way in ways]
    assert reached == [True, True, True, False]


@pytest.mark.slow
def test_a_policy_of_ours_in_firewalld(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path, install: Callable[..., None]
) -> None:
    one, two = clean_lab.hosts.values()
    install(one, "firewalld")
    ssh(one, LISTEN, stdin=SERVER)
    ssh(
        one,
        "firewall-cmd --quiet --permanent --zone=public --add-port=8080/tcp --add-port=80/tcp; firewall-cmd --reload",
    )
    zone = ssh(one, "cat /etc/firewalld/zones/public.xml").stdout
    assert reaches(ssh, two, one, 8080)
    rules = ["ssh", {"ports": [80, 443], "from": ["10.0.0.0/8", "2001:db8::/32"]}, {"protocol": "icmp"}]
    file = blueprint(tmp_path, {one.name: {"firewall": {"rules": rules}}})
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    assert [reaches(ssh, two, one, port) for port in (80, 8080)] == [True, False]
    ssh(one, "firewall-cmd --quiet --policy=vinfra --add-port=8080/tcp")
    assert only_change(vinfra, file)["rules"] == (["ports: 8080/tcp"], [])
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    ssh(one, "firewall-cmd --quiet --zone=public --add-port=9090/tcp")
    file = blueprint(tmp_path, {one.name: {"firewall": {"rules": ["ssh"]}}})
    assert "zone public was changed only until the next reload" in vinfra("plan", file, expect=2).stdout
    ssh(one, "firewall-cmd --quiet --reload")
    vinfra("apply", blueprint(tmp_path, {one.name: {}}), "--yes")
    assert ssh(one, "cat /etc/firewalld/zones/public.xml; ls /etc/firewalld/policies").stdout == zone
    assert reaches(ssh, two, one, 8080)


@pytest.mark.slow
def test_rules_of_ours_in_ufw(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path, install: Callable[..., None]
) -> None:
    one, two = clean_lab.hosts.values()
    install(one, "ufw")
    ssh(one, LISTEN, stdin=SERVER)
    ssh(one, "ufw allow 8080/tcp comment mine; ufw allow 22/tcp; ufw --force enable")
    mine = ssh(one, "grep -h tuple /etc/ufw/user.rules").stdout
    rules = ["ssh", {"ports": [80, 443], "from": ["10.0.0.0/8", "2001:db8::/32"], "comment": "web"}]
    file = blueprint(tmp_path, {one.name: {"firewall": {"rules": rules}}})
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    assert [reaches(ssh, two, one, port) for port in (80, 5432, 8080)] == [True, False, True]
    ssh(one, "iptables -D ufw-user-input -p tcp -m multiport --dports 80,443 -s 10.0.0.0/8 -j ACCEPT")
    assert only_change(vinfra, file)["rules"] == ([], ["allow 80,443/tcp from 10.0.0.0/8"])
    vinfra("apply", file, "--yes")
    assert reaches(ssh, two, one, 80)
    vinfra("apply", blueprint(tmp_path, {one.name: {}}), "--yes")
    assert ssh(one, "grep -h tuple /etc/ufw/user.rules").stdout == mine
    assert "Status: active" in ssh(one, "ufw status").stdout


@pytest.mark.slow
@pytest.mark.parametrize("program", ["firewalld", "ufw"])
def test_others_that_shut_us_out_are_taken_back_as_well(
    vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path, install: Callable[..., None], program: str
) -> None:
    install(clean_host, program)
    ssh(clean_host, "ufw --force disable; ufw allow 2222/tcp comment mine" if program == "ufw" else "true")
    state = {"ufw": "grep -h tuple /etc/ufw/user*.rules; ufw status", "firewalld": "firewall-cmd --list-all-policies"}
    before = ssh(clean_host, state[program]).stdout
    wall = {"backend": program, "rules": ["http"], "may_cut_off": True}
    failed = vinfra("apply", blueprint(tmp_path, {clean_host.name: {"firewall": wall}}), "--yes", expect=1)
    assert f"{clean_host.name} has taken it back by itself" in failed.stdout + failed.stderr
    assert ssh(clean_host, f"{state[program]}; {ARMED}").stdout == f"{before}0\n"


@pytest.mark.slow
@pytest.mark.parametrize("program", ["nftables", "firewalld", "ufw"])
def test_the_second_plan_is_empty_on_the_next_release(vinfra: Run, tmp_path: Path, program: str) -> None:
    name = f"w{os.getpid()}"
    try:
        lab = lab_module.up(name, 1, suite="trixie", progress=print)
        host = first(lab)
        install = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {program}"
        assert run_ssh(lab, host, f"export DEBIAN_FRONTEND=noninteractive; {install}").returncode == 0
        if program == "ufw":  # or it would shut us out once our rules have left it
            run_ssh(lab, host, "ufw allow 22/tcp")
        web = {"ports": [80, 443], "from": ["10.0.0.0/8", "2001:db8::/32"], "comment": "web"}
        rules = ["ssh", "dns", web, {"from": "10.9.0.0/16", "action": "reject"}]
        wall = {"backend": program, "rules": rules, "incoming": "reject"}
        sshd = {"ports": [22, 2222], "password_authentication": False, "options": {"PermitTunnel": "no"}}
        whole = {"firewall": wall, "sshd": sshd, "hostname": "next", "groups": {"crew": {"members": ["ops"]}}}
        file = blueprint(tmp_path, {host.name: whole})
        vinfra("apply", file, "--yes", machines=lab.inventory)
        vinfra("plan", file, machines=lab.inventory)
        file = blueprint(tmp_path, {host.name: {}})
        vinfra("apply", file, "--yes", machines=lab.inventory)
        vinfra("plan", file, machines=lab.inventory)
    finally:
        lab_module.down(name)
