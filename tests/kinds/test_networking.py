"""What each manager of networks is told of VLANs and bonds, and what is taken over of others' files."""

import pytest

from vinfra.kinds.host.networking import fields, files, ifupdown, making, netplan, networkd, networkmanager, running
from vinfra.kinds.host.networking.backends import MANAGERS
from vinfra.kinds.host.networking.files import Line

BOND = fields.Spec.model_validate(
    {"bond": {"mode": "802.3ad", "ports": ["eth1", "eth2"], "lacp_rate": "fast", "xmit_hash_policy": "layer3+4"}}
)
FIRST = fields.Spec.model_validate({"bond": {"ports": ["eth1", "eth2"], "primary": "eth2"}})
VLAN = fields.Spec.model_validate(
    {"vlan": {"id": 110, "parent": "bond0"}, "addresses": ["10.1.0.5/24"], "dhcp": "ipv6", "up": False}
)
SPECS = {"bond0": BOND, "bond0.110": VLAN}

GOLDEN = {
    "ifupdown": (
        "[ -e /sys/class/net/bond0 ] || ip link add name bond0 type bond"
        " mode 802.3ad miimon 100 lacp_rate fast xmit_hash_policy layer3+4",
        "[ -e /sys/class/net/bond0/lower_eth1 ] || { ip link set dev eth1 down && ip link set dev eth1 master bond0; }",
        "ip link add link bond0 name bond0.110 type vlan id 110",
        "iface bond0.110 inet6 dhcp\n",
    ),
    "networkd": (
        "Kind=bond\n\n[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\nLACPTransmitRate=fast\nTransmitHashPolicy=layer3+4\n",
        "Kind=vlan\n\n[VLAN]\nId=110\n",
        "ActivationPolicy=always-down",
        "DHCP=ipv6\n",
    ),
    "netplan": (
        "  bonds:\n    bond0:\n      interfaces: [eth1, eth2]\n      parameters:\n",
        '        mode: "802.3ad"\n        mii-monitor-interval: 100\n        lacp-rate: fast\n'
        '        transmit-hash-policy: "layer3+4"\n',
        "  bonds:\n    bond0: {}\n  vlans:\n    bond0.110:\n      id: 110\n      link: bond0\n",
        'activation-mode: "off"',
        "dhcp6: true",
    ),
    "networkmanager": (
        "type=bond\n",
        "[bond]\nmode=802.3ad\nmiimon=100\nlacp_rate=fast\nxmit_hash_policy=layer3+4\n",
        "[vlan]\nid=110\nparent=bond0\n",
        "autoconnect=false",
        "[ipv6]\nmethod=auto\n",
    ),
}


@pytest.mark.parametrize("name", MANAGERS)
def test_what_a_manager_is_told(name: str) -> None:
    module = MANAGERS[name]
    text = "".join(text for key, spec in SPECS.items() for text in module.render(key, spec, SPECS).values())
    for part in GOLDEN[name]:
        assert part in text
    told = module.render("bond0.110", VLAN, SPECS)
    assert module.dhcp(told) == "ipv6"
    assert module.dhcp(module.render("bond0", BOND, SPECS)) is None


def test_a_port_says_what_it_is_plugged_into() -> None:
    plug, spec = fields.plug("bond0", FIRST, "eth2"), fields.Spec(mtu=9000)
    (text,) = networkd.render("eth2", spec, {}, plug).values()
    assert text.endswith("[Link]\nMTUBytes=9000\n\n[Network]\nBond=bond0\nPrimarySlave=yes\n")
    (text,) = networkmanager.render("eth2", spec, {}, plug).values()
    assert "master=bond0\nslave-type=bond\n" in text
    assert "[ipv4]" not in text


def lines(path: str, text: str) -> dict[str, tuple[Line, ...]]:
    return {path: tuple(Line(path, number, line) for number, line in enumerate(text.splitlines(), 1))}


@pytest.mark.parametrize(
    ("text", "claimed"),
    [
        ("[Match]\nName=en* eth1\n", 2),
        ("[Match]\nName=!eth1\n", 0),
        ("[Match]\nMACAddress=86:6E:d9:15:ed:3f\n", 2),
        ("[Match]\nName=eth1\nType=wlan\n", 0),
        ("[Match]\nType=ether\n", 2),
        ("[Match]\n#Name=eth1\nName=eth2\n", 0),
        ("[Network]\nName=eth1\n", 0),
    ],
)
def test_whose_file_systemd_networkd_would_take(text: str, claimed: int) -> None:
    link = running.Link("eth1", mac="86:6e:d9:15:ed:3f")
    found = list(networkd.claims("eth1", link, lines("/etc/systemd/network/10-a.network", text)))
    assert [line.number for line in found] == ([claimed] if claimed else [])
    assert not list(networkd.claims("eth1", link, lines("/etc/systemd/network/99-a.network", text)))


def test_a_block_of_netplans_goes_with_what_was_only_around_it() -> None:
    text = "network:\n  ethernets:\n    eth0:\n      dhcp4: true\n\n    eth1: {}\n"
    path = "/etc/netplan/50-cloud-init.yaml"
    (line,) = netplan.claims("eth0", None, lines(path, text))
    once = netplan.without("eth0", line, text)
    assert once == "network:\n  ethernets:\n#vinfra#     eth0:\n#vinfra#       dhcp4: true\n\n    eth1: {}\n"
    (line,) = netplan.claims("eth1", None, lines(path, once))
    assert all(not told or told.startswith("#") for told in netplan.without("eth1", line, once).splitlines())


def test_a_stanza_goes_and_its_name_with_it() -> None:
    text = "auto lo eth1\niface eth1 inet static\n  address 10.0.0.5/24\n\n# mine\niface eth2 inet manual\n"
    (line,) = ifupdown.claims("eth1", None, lines("/etc/network/interfaces", text))
    told = ifupdown.without("eth1", line, text)
    assert told.startswith("auto lo\n#vinfra# iface eth1 inet static\n#vinfra#   address 10.0.0.5/24\n\n")
    assert told.endswith("iface eth2 inet manual\n")


def test_our_own_files_are_nobody_elses() -> None:
    for module in MANAGERS.values():
        assert all(files.OURS.fullmatch(path) for path in module.paths("eth0.110"))
    assert files.OURS.fullmatch("/etc/systemd/network/10-a.network.d/vinfra-eth0.110.conf")


def test_what_stands_on_what_is_made_anew_is_made_anew() -> None:
    bond = running.Link("bond0", "bond", options={"mode": "active-backup", "miimon": 100})
    vlan = running.Link("bond0.110", "vlan", parent="bond0", options={"id": 110})
    links = {"bond0": bond, "bond0.110": vlan}
    assert making.anew("bond0", SPECS, links)
    assert making.anew("bond0.110", SPECS, links)
    assert not making.anew("bond0.110", {**SPECS, "bond0": FIRST}, links)
