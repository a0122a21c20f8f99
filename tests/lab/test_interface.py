"""Interfaces on real hosts, one for each manager of networks: ifupdown, systemd-networkd, netplan, NetworkManager.

Their kernel has bridges and veth pairs, and neither VLANs nor bonds: those are in test_interface_guest.py.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vinfra import lab as lab_module
from vinfra.lab import Lab, LabHost

from .conftest import ROOT, Run, blueprint, changes, run_ssh

MANAGERS = ("ifupdown", "networkd", "netplan", "networkmanager")
INSTALL = "apt-get update -qq && apt-get install -y -qq --no-install-recommends"
NETPLAN = "network: {version: 2, ethernets: {eth2: {link-local: []}}}"
STARTED = "netplan generate && systemctl restart systemd-networkd"  # without udevd `netplan apply` may fail
READY = {
    "ifupdown": f"{INSTALL} ifupdown",
    "networkd": "systemctl enable --now systemd-networkd",
    "netplan": f"{INSTALL} netplan.io && umask 077 && echo '{NETPLAN}' >/etc/netplan/01-base.yaml && {STARTED}",
    "networkmanager": f"{INSTALL} network-manager",
}
# eth1 and eth2 are the two ends of one cable.
CABLE = "ip link show eth1 >/dev/null 2>&1 || ip link add eth1 type veth peer name eth2 && ip link set eth2 up"
# What is there after a boot, if nothing but the manager's own files make it: the bridge is taken away first.
BOOT = {
    "ifupdown": "ifdown --force br0; ifup br0",
    "networkd": "ip link delete br0; systemctl restart systemd-networkd; sleep 2",
    "netplan": f"ip link delete br0; {STARTED}; sleep 2",
    "networkmanager": "nmcli connection down vinfra-br0; nmcli connection up vinfra-br0; sleep 1",
}
# A manager that comes back may give its routes another metric, and make the network's own beside the kernel's.
RUNS = "ip -br -4 address; ip route | sed 's/ metric [0-9]*//' | sort -u"
ARMED = "systemctl list-timers --all --no-legend 'vinfra-undo-*' | wc -l"

Each = Callable[[str], dict[str, str]]


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.slow)])
def net_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Four hosts, each with another manager of networks, shared by these tests: each takes away what it made."""
    name = f"n{os.getpid()}"
    try:
        made = lab_module.up(name, 4, suite=request.param, progress=print)
        together = dict(zip(MANAGERS, made.hosts.values(), strict=True))
        with ThreadPoolExecutor() as pool:
            ready = pool.map(
                lambda item: run_ssh(made, item[1], f"export DEBIAN_FRONTEND=noninteractive; {READY[item[0]]}"),
                together.items(),
            )
        for done in ready:
            assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        lab_module.down(name)


@pytest.fixture
def hosts(net_lab: Lab) -> dict[str, LabHost]:
    """Each manager's host."""
    found = dict(zip(MANAGERS, net_lab.hosts.values(), strict=True))
    for host in found.values():
        assert run_ssh(net_lab, host, CABLE).returncode == 0
    return found


@pytest.fixture
def each(net_lab: Lab, hosts: dict[str, LabHost]) -> Each:
    """Run a command on all hosts; what each of them said."""

    def run(command: str) -> dict[str, str]:
        return {key: run_ssh(net_lab, host, command).stdout for key, host in hosts.items()}

    return run


@pytest.fixture
def inventory(net_lab: Lab) -> Path:
    return net_lab.inventory


def wish(
    folder: Path, hosts: dict[str, LabHost], interfaces: Callable[[int], dict[str, Any]], name: str = "net"
) -> Path:
    """A blueprint with interfaces for each host, by its number from 1."""
    declared = {host.name: {"interfaces": interfaces(number)} for number, host in enumerate(hosts.values(), 1)}
    return blueprint(folder, declared, name)


BR0 = {
    "addresses": ["10.9.0.1/24", "fd00:9::1/64"],
    "mtu": 1400,
    "bridge": {"ports": ["eth1"]},
    "routes": [{"to": "10.20.0.0/16", "via": "10.9.0.2"}],
}


def address(number: int) -> str:
    return f"10.77.0.{10 + number}/24"


def test_a_bridge_is_made_kept_brought_again_and_taken_away(
    vinfra: Run, hosts: dict[str, LabHost], each: Each, net_lab: Lab, tmp_path: Path
) -> None:
    file = wish(tmp_path, hosts, lambda _: {"br0": BR0})
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    for told in each("ip -br address show br0; bridge link; ip route show 10.20.0.0/16").values():
        assert "10.9.0.1/24" in told
        assert "eth1" in told
        assert "via 10.9.0.2" in told
    each("ip addr del 10.9.0.1/24 dev br0; ip addr add 10.9.0.7/24 dev br0")
    each("ip link set br0 mtu 1300; ip link set eth1 nomaster")
    drift = vinfra("plan", file, "--json", expect=2)
    for row in changes(drift):
        assert {item["path"] for item in row["fields"]} >= {"addresses", "mtu"}  # a manager may mend the route
        assert "at boot" not in {item["path"] for item in row["fields"]}
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    for key, host in hosts.items():
        run_ssh(net_lab, host, BOOT[key])
    deadline = time.monotonic() + 30  # a daemon that has just started sets its interfaces up in its own time
    while len(set(each("cat /sys/class/net/br0/mtu; ip route show 10.20.0.0/16 | head -1 | grep -c via").values())) > 1:
        assert time.monotonic() < deadline
    vinfra("plan", file)
    nothing = wish(tmp_path, hosts, lambda _: {})
    vinfra("apply", nothing, "--yes")
    vinfra("plan", nothing)
    folders = "/etc/network /etc/netplan /etc/systemd/network /etc/NetworkManager"
    left = f"ip link show br0 2>/dev/null; find {folders} -name '*vinfra*' 2>/dev/null"
    assert set(each(f"{left}; {ARMED}").values()) == {"0\n"}


def test_the_way_in_moves_to_a_bridge_and_no_mistake_there_shuts_us_out(
    vinfra: Run, hosts: dict[str, LabHost], each: Each, tmp_path: Path
) -> None:
    """Each host another mistake: no address at all, a wrong one, a wrong network's, and down."""

    def moved(number: int) -> dict[str, Any]:
        return {"br5": {"bridge": {"ports": ["eth0"]}, "addresses": [address(number)], "gateway": "10.77.0.1"}}

    def wrong(number: int) -> dict[str, Any]:
        br5 = moved(number)["br5"]
        mistakes = [
            {"addresses": [], "gateway": None},
            {"addresses": ["10.77.0.99/24"]},
            {"addresses": ["10.1.2.3/24"], "gateway": "10.1.2.1"},
            {"up": False},
        ]
        return {"br5": {key: value for key, value in {**br5, **mistakes[number - 1]}.items() if value is not None}}

    file = wish(tmp_path, hosts, moved)
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    before = each(RUNS)
    bad = wish(tmp_path, hosts, wrong)
    told = vinfra("apply", bad, "--yes", "--skip-refused", expect=1).stdout
    assert told.count("taken it back by itself") >= 4, told
    assert each(RUNS) == before
    assert set(each(ARMED).values()) == {"0\n"}


@pytest.mark.slow
def test_a_controller_killed_before_it_could_confirm(
    vinfra: Run, hosts: dict[str, LabHost], each: Each, inventory: Path, tmp_path: Path
) -> None:
    """On from where the test before has left them: br5 is the way in."""
    before = each(RUNS)
    file = wish(tmp_path, hosts, lambda _: {"br5": {"bridge": {"ports": ["eth0"]}, "addresses": ["10.77.0.99/24"]}})
    environment = {**os.environ, "VINFRA_INVENTORY": str(inventory), "VINFRA_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes", "--supersede"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not any((Path(host.upper) / "run/vinfra").exists() for host in hosts.values()) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(2.5)
        process.send_signal(signal.SIGKILL)
    time.sleep(32)
    assert each(RUNS) == before
    assert set(each(ARMED).values()) == {"0\n"}
    file = wish(
        tmp_path,
        hosts,
        lambda number: {"br5": {"bridge": {"ports": ["eth0"]}, "addresses": [address(number)], "gateway": "10.77.0.1"}},
    )
    vinfra("apply", file, "--yes", "--supersede")
    vinfra("plan", file)


# A configuration of somebody else's for eth1: the file, what is added to it, what makes it count, its line.
CONNECTIONS = "/etc/NetworkManager/system-connections"
THEIRS = {
    "ifupdown": (
        "/etc/network/interfaces",
        "auto eth1\niface eth1 inet static\n address 10.8.0.9/24\n",
        "ifup --force eth1",
        "",
    ),
    "networkd": (
        "/etc/systemd/network/10-wired.network",
        "[Match]\nName=eth1\n[Network]\nAddress=10.8.0.9/24\n",
        "networkctl reload",
        "2",
    ),
    "netplan": (
        "/etc/netplan/50-cloud-init.yaml",
        "network:\n  ethernets:\n    eth1:\n      addresses: [10.8.0.9/24]\n",
        f"mkdir -p /etc/cloud/cloud.cfg.d; {STARTED}",
        "3",
    ),
    "networkmanager": (
        f"{CONNECTIONS}/w.nmconnection",
        "[connection]\nid=w\nuuid=6fc5aaf4-bd9f-476c-a1e6-c0e001d30009\ntype=ethernet\ninterface-name=eth1\n"
        "[ipv4]\nmethod=manual\naddress1=10.8.0.9/24\n",
        "nmcli connection reload; nmcli connection up w",
        "5",
    ),
}


@pytest.mark.slow
def test_what_somebody_else_configured_is_refused_and_taken_over_only_when_asked(
    vinfra: Run, hosts: dict[str, LabHost], each: Each, net_lab: Lab, tmp_path: Path
) -> None:
    for key, host in hosts.items():
        file, text, command, _ = THEIRS[key]
        run_ssh(net_lab, host, f"umask 077; cat >>{file}; {command}", stdin=text)
    ours = {"addresses": ["10.8.0.1/24"]}
    refused = vinfra("plan", wish(tmp_path, hosts, lambda _: {"eth1": ours}, "taken"), expect=2).stdout
    for path, _, _, line in THEIRS.values():
        assert f"{path}:{line}" in refused
    file = wish(tmp_path, hosts, lambda _: {"eth1": {**ours, "takeover": True}}, "taken")
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    for told in each("ip -br address show eth1; ls /var/lib/vinfra/former").values():
        assert "10.8.0.1/24" in told
        assert "10.8.0.9/24" not in told
        assert "\netc-" in told


@pytest.mark.slow
def test_whoever_manages_them_may_come_in_the_same_plan(net_lab: Lab, vinfra: Run, tmp_path: Path) -> None:
    host = lab_module.reset(net_lab, next(iter(net_lab.hosts))).hosts[next(iter(net_lab.hosts))]
    assert run_ssh(net_lab, host, f"{CABLE}; apt-get update -qq").returncode == 0
    wished = {"packages": {"ifupdown": {}}, "interfaces": {"br0": {**BR0, "bridge": {"ports": ["eth1"]}}}}
    file = blueprint(tmp_path, {host.name: wished}, "fresh")
    assert "package:ifupdown may bring it" in vinfra("plan", file, expect=2).stdout
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
