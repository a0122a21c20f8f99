"""VLANs, bonds, what stands on them, and leases, on a whole machine and after its reboot, by each manager of networks.

eth0 is the way in, set up by ifupdown in /etc/network/interfaces; eth1 and eth2 are on one segment with 10.88.0.1.
"""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run, blueprint
from .guest import Guest

NETPLAN = "umask 077; echo 'network: {version: 2, ethernets: {eth9: {optional: true}}}' >/etc/netplan/01-base.yaml"
READY = {
    "ifupdown": "true",
    "networkd": "systemctl enable --now systemd-networkd",
    "netplan": f"{NETPLAN}; systemctl enable --now systemd-networkd; netplan apply",
    "networkmanager": "systemctl enable --now NetworkManager; nm-online -q -t 5; true",
}
STACK: dict[str, Any] = {
    "eth1": {"mtu": 1480},
    "bond0": {"bond": {"mode": "active-backup", "ports": ["eth1", "eth2"], "primary": "eth1"}, "mtu": 1480},
    "tag0": {"vlan": {"id": 110, "parent": "bond0"}, "addresses": ["10.110.0.5/24", "fd00:110::5/64"]},
    "br0": {"bridge": {"ports": ["bond0"]}, "addresses": ["10.88.0.5/24"], "mtu": 1480},
}
# Made anew: another tag, another way of sharing; and the bridge asks for its address.
OTHER: dict[str, Any] = {
    **STACK,
    "bond0": {"bond": {"mode": "balance-xor", "ports": ["eth1", "eth2"]}, "mtu": 1480},
    "tag0": {**STACK["tag0"], "vlan": {"id": 111, "parent": "bond0"}},
    "br0": {"bridge": {"ports": ["bond0"]}, "addresses": [], "dhcp": "ipv4", "dns": ["10.88.0.53"], "mtu": 1480},
}
LEASE = "10.88.0.100"
#: Who knows the name servers; ifupdown needs resolvconf for them, which is not there.
ASKED = {
    "networkd": "networkctl status br0",
    "netplan": "networkctl status br0",
    "networkmanager": "nmcli -g IP4.DNS device show br0",
}
PING = "ping -c 1 -W 5 10.88.0.1 >/dev/null && echo there"
# NetworkManager may start a bond once more after it became a port (docs/scope.md): what counts is where it ends.
KINDS = """n=0
for i in $(seq 60); do
told=$(ip -d link | grep -Eo ' (bond mode [a-z-]+|vlan .* id [0-9]+|bridge) ')
case $told in *' bond mode '*' id '*|*' id '*' bond mode '*) n=$((n + 1));; *) n=0;; esac
[ $n -lt 10 ] || break
sleep 1
done
echo "$told"
"""
LEASED = f"for i in $(seq 60); do ip -br -4 address show br0 | grep {LEASE} && break; sleep 1; done"


def wish(folder: Path, interfaces: dict[str, Any], name: str = "net") -> Path:
    return blueprint(folder, {"guest": {"interfaces": interfaces}}, name)


@pytest.fixture
def leases(guest: Guest) -> Iterator[None]:
    """A DHCP server on the segment of eth1 and eth2."""
    server = shlex.join([sys.executable, str(Path(__file__).with_name("leases.py")), "segment", "10.88.0.1", LEASE])
    started = guest.outside("sh", "-c", f"exec </dev/null; {server} >/dev/null 2>&1 & echo $!")
    assert started.returncode == 0, started.stderr
    yield
    os.kill(int(started.stdout), signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("manager", READY)
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("leases")
def test_a_bridge_over_a_bond_with_a_vlan_and_a_lease_beside_it(
    guest: Guest, guest_vinfra: Run, tmp_path: Path, manager: str
) -> None:
    guest.run(READY[manager])
    file = wish(tmp_path, STACK)
    guest_vinfra("apply", file, "--yes")
    told = guest.run(KINDS)
    assert "bond mode active-backup" in told
    assert "id 110" in told
    assert "currently active slave: eth1" in guest.run("cat /proc/net/bonding/bond0").lower()
    guest_vinfra("plan", file)
    assert guest.run(PING) == "there\n"
    known = ("dns",) if manager not in ASKED else ()
    asks = {key: value for key, value in OTHER["br0"].items() if key not in known}
    file = wish(tmp_path, {**OTHER, "br0": asks})
    guest_vinfra("apply", file, "--yes")
    for boot in ("this", "another"):
        assert LEASE in guest.run(LEASED), boot
        told = guest.run(KINDS)
        guest_vinfra("plan", file)
        assert "bond mode balance-xor" in told
        assert "id 111" in told
        assert guest.run(PING) == "there\n"
        if manager in ASKED:
            assert "10.88.0.53" in guest.run(ASKED[manager])
        if boot == "this":
            guest.reboot()
    nothing = wish(tmp_path, {})
    guest_vinfra("apply", nothing, "--yes")
    guest_vinfra("plan", nothing)
    assert guest.run("ip -br link | grep -cE '^(br|bond|tag)' || true") == "0\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_way_in_by_a_tag_that_nobody_knows_comes_back(guest: Guest, guest_vinfra: Run, tmp_path: Path) -> None:
    before = guest.run("ip -br address show eth0; ip route; cat /etc/network/interfaces")
    tagged = {
        "eth0": {"addresses": [], "takeover": True},
        "eth0.110": {"vlan": {"id": 110, "parent": "eth0"}, "addresses": ["10.77.0.11/24"], "gateway": "10.77.0.1"},
    }
    told = guest_vinfra("apply", wish(tmp_path, tagged), "--yes", expect=1).stdout
    assert "taken it back by itself" in told
    assert guest.run("ip -br address show eth0; ip route; cat /etc/network/interfaces") == before
    assert guest.run("ip link show eth0.110 2>/dev/null; ls /etc/network/interfaces.d") == ""
    assert guest.run("systemctl list-timers --all --no-legend 'vinfra-undo-*'") == ""
