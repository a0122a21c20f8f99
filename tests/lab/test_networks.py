"""Networks on real libvirt: what it takes, what it does to a network that runs, and the address that a machine gets."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.kinds.kvm import network
from vinfra.kinds.kvm.networks import network_xml, wishes
from vinfra.kinds.kvm.reading import virsh
from vinfra.lab import Lab, LabHost, guest
from vinfra.model.kind import Scope

from .conftest import ROOT, first, open_vswitch, run_ssh

pytestmark = [pytest.mark.xdist_group("kvm"), pytest.mark.timeout(400)]

Define = Callable[[str], str]
NAME = "nets-x"
SCOPE = Scope("h", (), owner="b")
SPECS: dict[str, dict[str, Any]] = {
    "all": {
        "cidr": "192.168.160.0/24",
        "cidr6": "fd00:160::/64",
        "dhcp": ["192.168.160.100-192.168.160.199", "192.168.160.20-192.168.160.29"],
        "hosts": {"printer": "192.168.160.9", "camera": {"address": "192.168.160.8", "mac": "52:54:00:1a:2b:3c"}},
        "dns": {"gw.lab.test": "192.168.160.1", "ntp.lab.test": "192.168.160.1", "web.lab.test": "192.168.160.7"},
        "txt": {"site": "rack a1"},
        "srv": {"_ldap._tcp": "ldap.lab.test 389", "_sip._udp.lab.test": "sip.lab.test 5060 10 5"},
        "portgroups": {"fast": {}, "rest": {"default": True}},
    },
    "promised": {"mode": "isolated", "cidr": "192.168.160.0/24", "dhcp": False, "hosts": {"printer": "192.168.160.9"}},
    "plain": {"cidr": "192.168.160.0/24"},
    "switch": {
        "mode": "openvswitch",
        "bridge": "ovsbr9",
        "vlan": {"vlans": [110, 120], "native": 110},
        "portgroups": {"servers": 110, "trunk": {"vlans": [110, 120]}, "rest": {"default": True}},
    },
    "straight": {"mode": "direct", "interface": "eth0"},
    "bridge": {"mode": "bridge", "bridge": "br9"},
}


@pytest.fixture
def define(kvm_lab: Lab, kvm_host: LabHost) -> Iterator[Define]:
    """Define a network, checked against libvirt's schema, and give back what libvirt has then."""

    def run(xml: str) -> str:
        command = f"cat >/run/x.xml && virsh -q net-define --validate /run/x.xml >&2 && virsh net-dumpxml {NAME}"
        done = run_ssh(kvm_lab, kvm_host, command, stdin=xml)
        assert done.returncode == 0, done.stderr + xml
        return done.stdout

    yield run
    run_ssh(kvm_lab, kvm_host, f"virsh net-undefine {NAME}")


def wished(name: str, there: str = "") -> dict[str, Any]:
    spec = network.Spec.model_validate(SPECS[name])
    assert not network.check(NAME, spec)
    return dict(wishes.of(NAME, spec, SCOPE, {"domains": {}}, there))


def unfit(wish: dict[str, Any], xml: str) -> list[str]:
    found = network_xml.parse(xml)
    return [key for key, value in wish.items() if value is not None and key != "autostart" and found[key] != value]


@pytest.mark.parametrize("name", SPECS)
def test_libvirt_keeps_what_it_is_told(define: Define, name: str) -> None:
    xml = define(network_xml.build(NAME, wished(name), "b"))
    assert unfit(wished(name, xml), xml) == []


@pytest.mark.parametrize("before", SPECS)
@pytest.mark.parametrize("after", SPECS)
def test_libvirt_takes_each_in_place_of_each(define: Define, before: str, after: str) -> None:
    old = define(network_xml.build(NAME, wished(before), "b"))
    wish = wished(after, old)
    new = define(network_xml.patch(old, NAME, wish, unfit(wish, old), "b"))
    assert unfit(wish, new) == []
    assert virsh.element(new).findtext("uuid") == virsh.element(old).findtext("uuid")


@dataclass
class Place:
    """A hypervisor, and a blueprint with networks and a machine on them that is applied again and again."""

    lab: Lab
    host: LabHost
    folder: Path
    networks: dict[str, Any] = field(default_factory=dict)
    domains: dict[str, Any] = field(default_factory=dict)

    def sh(self, command: str) -> str:
        done = run_ssh(self.lab, self.host, command)
        assert done.returncode == 0, command + done.stdout + done.stderr
        return done.stdout.strip()

    def vinfra(self, *arguments: object, expect: int = 0) -> str:
        variables = {"VINFRA_INVENTORY": str(self.lab.inventory), "VINFRA_STATE": str(self.folder / "state")}
        command = [sys.executable, "-m", "vinfra", *map(str, arguments)]
        environment = {**os.environ, **variables}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=300
        )
        assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def file(self) -> Path:
        image = guest.image(print)
        hosts = {"pools": {"nets": "/var/lib/libvirt/nets"}, "networks": self.networks, "domains": self.domains}
        images = {"tiny": {"file": str(image.path), "sha256": image.sha256, "pool": "nets"}}
        file = self.folder / "nets.yaml"
        file.write_text(yaml.safe_dump({"blueprint": "nets", "images": images, "hosts": {self.host.name: hosts}}))
        return file

    def apply(self, impact: str = "live") -> list[dict[str, Any]]:
        told = json.loads(self.vinfra("apply", self.file, "--yes", "--json", "--max-impact", impact))
        assert "nothing to do" in self.vinfra("plan", self.file)
        return list(told["plan"]["changes"])

    def inside(self, command: str) -> str:
        return self.vinfra("ssh", "net-01", command).strip()

    def answer(self, command: str) -> str:
        """What it says, "" while it does not answer."""
        try:
            return self.inside(command)
        except AssertionError:
            return ""


@pytest.fixture(scope="module")
def place(kvm_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(kvm_lab, first(kvm_lab), tmp_path_factory.mktemp("nets"))
    access = {"user": "root", "key_file": str(kvm_lab.key_file)}
    card = {"network": "lab", "address": "192.168.161.50"}
    made.networks = {"lab": {"cidr": "192.168.161.0/24", "dnsmasq": ["no-ping"], "domain": "lab.test"}}
    machine = {"image": "tiny", "memory": "112MiB", "pool": "nets", "networks": [card], "access": access}
    made.domains = {"net-01": machine}
    try:
        made.apply()
        yield made
    finally:
        made.vinfra("destroy", made.file, "--yes", "--max-impact", "data-loss")


def test_a_machine_gets_the_address_that_it_names(place: Place) -> None:
    assert "inet 192.168.161.50/24" in place.inside("ip -4 addr show")
    mac = place.sh("virsh -q domiflist net-01").split()[-1]
    promised = f"<host mac='{mac}' name='net-01' ip='192.168.161.50'/>"
    assert promised in place.sh("virsh net-dumpxml lab")
    assert promised in place.sh("virsh net-dumpxml --inactive lab")


MORE = {
    "dhcp": ["192.168.161.20-192.168.161.29", "192.168.161.100-192.168.161.199"],
    "dns": {"gw.lab.test": "192.168.161.1", "db.lab.test": "192.168.161.77"},
    "txt": {"site.lab.test": "rack a1"},
    "srv": {"_ldap._tcp": "ldap.lab.test 389"},
    "hosts": {"printer": "192.168.161.9"},
    "portgroups": {"fast": {}, "rest": {"default": True}},
}
OTHER = {
    "dhcp": True,
    "dns": {"db.lab.test": "192.168.161.78", "gw.lab.test": "192.168.161.1", "ns.lab.test": "192.168.161.1"},
    "txt": {"site.lab.test": "rack b2"},
    "srv": {"_ldap._tcp": "ldap.lab.test 636 10"},
    "hosts": {"printer": {"address": "192.168.161.9", "mac": "52:54:00:1a:2b:3c"}},
    "portgroups": {"fast": {"default": True}},
}


@pytest.mark.parametrize(
    ("told", "where"), [(MORE, "192.168.161.77"), (OTHER, "192.168.161.78")], ids=["more", "other"]
)
def test_what_a_network_tells_changes_while_it_runs(place: Place, told: dict[str, Any], where: str) -> None:
    bridge = place.sh("virsh -q net-info lab").split("Bridge:")[1].split()[0]
    before = place.sh(f"cat /sys/class/net/{bridge}/ifindex"), place.inside("cat /proc/sys/kernel/random/boot_id")
    place.networks["lab"] |= told
    [row] = [row for row in place.apply("live") if row["action"] != "noop"]
    assert {item["path"] for item in row["fields"]} == set(told)
    assert where in place.inside("nslookup -type=a db.lab.test 192.168.161.1")
    for inactive in ("", "--inactive "):
        found = network_xml.parse(place.sh(f"virsh net-dumpxml {inactive}lab"))
        assert [str(one) for one in found["hosts"] if one.name == "net-01"]
        assert {one.name for one in found["hosts"]} == {"net-01", "printer"}
    after = place.sh(f"cat /sys/class/net/{bridge}/ifindex"), place.inside("cat /proc/sys/kernel/random/boot_id")
    assert after == before


def test_another_address_is_promised_at_once_and_taken_at_the_next_boot(place: Place) -> None:
    place.domains["net-01"]["networks"][0]["address"] = "192.168.161.60"
    [row] = [row for row in place.apply("live") if row["action"] != "noop"]
    assert (row["kind"], row["impact"]) == ("kvm.network", "live")
    place.vinfra("stop", "net-01")
    place.vinfra("start", "net-01")
    deadline = time.monotonic() + 90
    while "inet 192.168.161.60/24" not in place.answer("ip -4 addr show"):
        assert time.monotonic() < deadline
        time.sleep(1)
    place.apply()


def test_an_address_that_cannot_be_is_refused_before_anything_is_made(place: Place) -> None:
    wrong = {"memory": "112MiB", "networks": [{"network": "lab", "address": "192.168.161.60"}]}
    place.domains["net-02"] = wrong
    rows = json.loads(place.vinfra("plan", place.file, "--json", expect=2))["changes"]
    [row] = [row for row in rows if row["kind"] == "kvm.network"]
    assert row["verdict"] == "refused"
    assert row["reason"] == "net-01 and net-02 have one address"
    place.vinfra("apply", place.file, "--yes", expect=3)
    assert "net-02" not in place.sh("virsh -q list --all --name")
    del place.domains["net-02"]


def test_cards_on_an_open_vswitch_are_in_its_vlans(place: Place) -> None:
    open_vswitch(place.lab, place.host, "ovsbr1")
    place.networks |= {
        "red": {"mode": "openvswitch", "bridge": "ovsbr1", "vlan": 110},
        "trunk": {"mode": "openvswitch", "bridge": "ovsbr1", "vlan": {"vlans": [110, 120], "native": 120}},
    }
    place.domains["net-03"] = {"image": "tiny", "memory": "112MiB", "pool": "nets", "networks": ["red", "trunk"]}
    place.apply()
    cards = [line.split()[0] for line in place.sh("virsh -q domiflist net-03").splitlines()]
    assert place.sh(f"ovs-vsctl get port {cards[0]} tag") == "110"
    assert place.sh(f"ovs-vsctl get port {cards[1]} trunks tag vlan_mode").split("\n") == [
        "[110, 120]",
        "120",
        "native-untagged",
    ]
    del place.domains["net-03"]
    del place.networks["red"], place.networks["trunk"]
    place.apply("data-loss")


def test_the_promise_goes_with_the_machine(place: Place) -> None:
    gone = place.domains.pop("net-01")
    del place.networks["lab"]["hosts"]
    place.apply("data-loss")
    assert "net-01" not in place.sh("virsh net-dumpxml lab")
    assert "net-01" not in place.sh("virsh net-dumpxml --inactive lab")
    assert "printer" in place.sh("virsh net-dumpxml lab")
    assert gone
