"""What is told of data for cloud-init before a machine reads it: where, and what is wrong; and what passes."""

from typing import Any

import pytest

from vinfra.kinds.kvm.domains.devices import Nic
from vinfra.kinds.kvm.seeds import cloud_config, network_config
from vinfra.model.secret import Secret
from vinfra.model.values import Plain

USER = {"name": "ops", "groups": ["adm"], "sudo": False, "lock_passwd": Plain("true"), "uid": Plain("1100")}
GOOD: dict[str, Any] = {
    "hostname": "web-01",
    "fqdn": "web-01.example.net",
    "users": ["default", USER],
    "ssh_authorized_keys": ["ssh-ed25519 AAAA"],
    "packages": ["nginx", ["curl", "7.88"], {"snap": ["hello"]}],
    "package_update": Plain("yes"),
    "write_files": [{"path": "/etc/motd", "content": "hi\n", "permissions": Plain("0644"), "append": Plain("true")}],
    "runcmd": ["ls", ["ls", "-l"]],
    "bootcmd": ["ls"],
    "chpasswd": {"expire": False, "users": [{"name": "ops", "password": Secret("env:PW")}]},
    "ntp": None,
    "password": Secret("env:PW"),
    "swap": {"size": 0},
    "power_state": {"mode": "reboot", "delay": "+1"},
    "our_own_module": {"a": "b"},
}


def told(config: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(fault.pointer, fault.message) for fault in cloud_config.faults(config)]


def test_what_is_right_passes() -> None:
    assert told(GOOD) == []


@pytest.mark.parametrize(
    ("wrong", "pointer", "message"),
    [
        ({"pakages": []}, ("pakages",), "cloud-init has no pakages; did you mean packages?"),
        ({"runcmd": "ls"}, ("runcmd",), "write a list, not text"),
        ({"runcmd": [{"echo a": "b"}]}, ("runcmd", 0), "write text or a list, not a mapping; a line with ': ' in it"),
        ({"packages": {"a": "b"}}, ("packages",), "write a list, not a mapping"),
        ({"packages": [Plain("1.5")]}, ("packages", 0), "write text or a list or a mapping, not a number"),
        ({"hostname": ["a"]}, ("hostname",), "write text, not a list"),
        ({"package_update": "soon"}, ("package_update",), "write true or false, not text"),
        ({"users": [{"shell": "/bin/sh"}]}, ("users", 0), "say its name"),
        ({"users": [{"name": "a", "passswd": "b"}]}, ("users", 0, "passswd"), "did you mean passwd?"),
        ({"users": [{"name": "a", "sudo": {}}]}, ("users", 0, "sudo"), "not a mapping"),
        ({"write_files": [{"content": "a"}]}, ("write_files", 0), "say its path"),
        ({"write_files": ["a"]}, ("write_files", 0), "write a mapping, not text"),
        ({"write_files": [{"path": "a", "contents": "b"}]}, ("write_files", 0, "contents"), "did you mean content?"),
        ({"chpasswd": {"expired": False}}, ("chpasswd", "expired"), "did you mean expire?"),
        ({"power_state": {"delay": "now"}}, ("power_state",), "say its mode"),
        ({"mounts": ["/dev/vdb"]}, ("mounts", 0), "write a list, not text"),
        ({"ssh_authorized_keys": [["a"]]}, ("ssh_authorized_keys", 0), "write text, not a list"),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(wrong: dict[str, Any], pointer: Any, message: str) -> None:
    [(at, said)] = told({**GOOD, **wrong})
    assert at == pointer
    assert message in said


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\nls\n",
        "#cloud-config\n",
        "#cloud-config  \na: b\n",
        "## template: jinja\n#cloud-config\nhostname: {{ v1.instance_id }}\n",
        "Content-Type: multipart/mixed; boundary=x\n",
        "MIME-Version: 1.0\n",
        "#include\nhttps://example.net/a\n",
        "#cloud-config-archive\n- a\n",
        "#cloud-boothook\n#!/bin/sh\n",
        "#part-handler\n",
    ],
)
def test_every_header_passes(text: str) -> None:
    assert list(cloud_config.text_faults(text)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo hello\n", "begin with #cloud-config, #! for a script"),
        ("#cloud-confg\na: b\n", "did you mean #cloud-config?"),
        ("# cloud-config\na: b\n", "did you mean #cloud-config?"),
        ("#cloud-config\n- a\n", "below #cloud-config: write a mapping"),
        ("#cloud-config\na: b\nc: [\n", "line 4: no YAML"),
        ("#!" + "x" * (1 << 20), "larger than 1 MiB"),
    ],
)
def test_text_that_is_wrong(text: str, said: str) -> None:
    assert said in "".join(fault.message for fault in cloud_config.text_faults(text))


def wires(config: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(fault.pointer, fault.message) for fault in network_config.faults(config)]


@pytest.mark.parametrize(
    "config",
    [
        {"version": Plain("1"), "config": [{"type": "physical", "name": "eth0"}, {"type": "nameserver"}]},
        {"version": 1, "config": "disabled"},
        {"version": 2, "renderer": "networkd", "ethernets": {"lan": {"dhcp4": Plain("yes"), "mtu": Plain("1400")}}},
        {"network": {"version": "2", "bonds": {"b": {"interfaces": ["a"], "parameters": {"mode": "802.3ad"}}}}},
        {"version": 2, "vlans": {"v": {"id": 110, "link": "lan", "addresses": ["10.0.0.5/24", "fd00::5/64"]}}},
    ],
)
def test_network_configurations_pass(config: dict[str, Any]) -> None:
    assert wires(config) == []


@pytest.mark.parametrize(
    ("config", "pointer", "message"),
    [
        ({}, (), "say version: 2"),
        ({"version": 3}, ("version",), "say version: 2"),
        ({"network": {"version": 3}}, ("network", "version"), "say version: 2"),
        ({"version": 1}, (), "config: write a list"),
        ({"version": 1, "config": {}}, ("config",), "config: write a list"),
        ({"version": 1, "config": [{"name": "a"}]}, ("config", 0), "say its type"),
        ({"version": 1, "config": [{"type": "phisical"}]}, ("config", 0, "type"), "did you mean physical?"),
        ({"version": 2, "ethernet": {}}, ("ethernet",), "did you mean ethernets?"),
        ({"version": 2, "ethernets": []}, ("ethernets",), "write a mapping, not a list"),
        ({"version": 2, "ethernets": {"a": []}}, ("ethernets", "a"), "write a mapping"),
        ({"version": 2, "ethernets": {"a": {"adresses": []}}}, ("ethernets", "a", "adresses"), "mean addresses?"),
        ({"version": 2, "ethernets": {"a": {"addresses": "b"}}}, ("ethernets", "a", "addresses"), "write a list"),
        ({"version": 2, "bridges": {"a": {"addresses": ["10.0.0.5"]}}}, ("bridges", "a", "addresses", 0), "its prefix"),
    ],
)
def test_network_configurations_that_are_wrong(config: dict[str, Any], pointer: Any, message: str) -> None:
    [(at, said)] = wires(config)
    assert at == pointer
    assert message in said


def test_addresses_of_a_machine_make_a_configuration_and_other_cards_ask() -> None:
    cards = [
        Nic(network="dev", address="10.10.0.50"),
        Nic(bridge="br0", address="10.20.0.50/24", gateway="10.20.0.1", nameservers=("10.20.0.2",)),
    ]
    assert network_config.generated(cards[:1]) is None
    made = network_config.generated(cards)
    assert made is not None
    assert wires(made) == []
    known = network_config.addressed(made, ("52:54:00:00:00:01", "52:54:00:00:00:02"))["ethernets"]
    assert known["eth0"] == {"match": {"macaddress": "52:54:00:00:00:01"}, "set-name": "eth0", "dhcp4": True}
    assert known["eth1"] == {
        "match": {"macaddress": "52:54:00:00:00:02"},
        "set-name": "eth1",
        "dhcp4": False,
        "addresses": ["10.20.0.50/24"],
        "routes": [{"to": "0.0.0.0/0", "via": "10.20.0.1"}],
        "nameservers": {"addresses": ["10.20.0.2"]},
    }
