"""Hosts, groups, ranges, and what each host inherits."""

from pathlib import Path

import pytest

from vinfra.model.inventory import Inventory
from vinfra.model.secret import Secret
from vinfra.text.inventory import read_inventory
from vinfra.text.pattern import numbered, within_include
from vinfra.text.yaml import parse


def inventory(text: str, file: str = "/etc/site/inv.yaml") -> Inventory:
    document = parse(text.encode(), file)
    found, problems = read_inventory(document)
    assert not [*document.problems, *problems]
    return found


def test_settings_come_from_all_groups_and_the_host_itself() -> None:
    found = inventory(
        """
ssh: {user: all, port: 1, connect_timeout: 5s, known_hosts: known}
hosts:
  web1: {user: own, key_file: ~/.ssh/id, sudo: true, sudo_password: {secret: env:PW}, address: 10.0.0.5}
  web2:
groups:
  child: {hosts: [web1, web2], ssh: {port: 3}}
  parent: {groups: [child], ssh: {port: 2, user: parent, key_file: keys/id}}
"""
    )
    one, two = found.hosts.values()
    assert (one.user, one.port, one.address, one.sudo) == ("own", 3, "10.0.0.5", True)
    assert (one.sudo_password, one.key_file) == (Secret("env:PW"), str(Path("~/.ssh/id").expanduser()))
    assert (two.user, two.port, two.address, two.sudo) == ("parent", 3, "web2", None)
    assert (two.key_file, two.known_hosts) == ("/etc/site/keys/id", "/etc/site/known")
    assert (two.connect_timeout, two.host_key, two.groups) == (5.0, "strict", ("parent", "child"))
    assert found.groups == {"all": ("web1", "web2"), "child": ("web1", "web2"), "parent": ("web1", "web2")}


def test_a_groups_bastion_does_not_jump_through_itself() -> None:
    found = inventory("hosts: {web: , bastion: , b: {jump: [admin@10.0.0.1:2222]}}\nssh: {jump: bastion}\n")
    assert [host.jump for host in found.hosts.values()] == [("bastion",), (), ("admin@10.0.0.1:2222",)]


def test_a_pinned_host_key() -> None:
    assert inventory("hosts: {a: {host_key: ssh-ed25519 AAAAC3Nz}}\n").hosts["a"].host_key == "ssh-ed25519 AAAAC3Nz"


def test_ranges_of_hosts_and_addresses() -> None:
    hosts = inventory('hosts: {"hv[08:11]": {address: "10.0.1.[18:21]"}}\n').hosts
    assert {host.name: host.address for host in hosts.values()} == {
        "hv08": "10.0.1.18",
        "hv09": "10.0.1.19",
        "hv10": "10.0.1.20",
        "hv11": "10.0.1.21",
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", "a"),
        ("a[1:3]", "a1 a2 a3"),
        ("a[9:11]b", "a9b a10b a11b"),
        ("a[01:02]", "a01 a02"),
        ("a[098:101]", "a098 a099 a100 a101"),
        ("r[1:2]n[1:2]", "r1n1 r1n2 r2n1 r2n2"),
    ],
)
def test_numbered(text: str, names: str) -> None:
    assert numbered(text) == names.split()


@pytest.mark.parametrize("text", ["a[", "a[1]", "a[1:", "a]1[", "a[2:1]", "a[1:20000]", "a[1:200]b[1:200]", "a[x:y]"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match="range"):
        numbered(text)


@pytest.mark.parametrize(
    ("pattern", "result"),
    [
        ("web", "web"),
        ("included", "a:!b"),
        ("included:!c", "a:!b:!c"),
        ("included:c", None),
        ("!included", None),
        ("c:included", None),
        ("included:!included", None),
    ],
)
def test_included_in_a_pattern(pattern: str, result: str | None) -> None:
    assert within_include(pattern, "a:!b") == result


def test_three_hundred_hosts() -> None:
    lines = "".join(
        f"  host{number}: {{address: 10.0.{number // 250}.{number % 250}, user: u, vars: {{rack: r{number}}}}}\n"
        for number in range(300)
    )
    found = inventory(f"hosts:\n{lines}groups: {{web: {{hosts: [host1]}}}}\nssh: {{jump: host0}}\n")
    assert len(found.hosts) == 300
