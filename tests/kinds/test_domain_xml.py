"""A domain's XML: what is built is read back, what is patched keeps the rest, and nothing libvirt may say is fatal."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vinfra.kinds.kvm import domain
from vinfra.kinds.kvm.domains import domain_xml, hardware, ports
from vinfra.kinds.kvm.domains.domain_xml import ASPECTS
from vinfra.kinds.kvm.domains.ports import mac
from vinfra.kinds.kvm.domains.processors import Amount
from vinfra.kinds.kvm.reading import virsh
from vinfra.model.kind import Scope
from vinfra.model.question import Raw

RECORDED = Path(__file__).parents[1] / "cases" / "libvirt"
SITE = hardware.Site("tcg", {"default": "/var/lib/libvirt/images", "fast": "/srv/fast"}, {}, None)
OWNER = ("b", "kvm.domain:web-01")


def recorded(file: str) -> Mapping[str, virsh.Found]:
    return virsh.found({virsh.DOMAINS: Raw(0, (RECORDED / file).read_bytes())}, virsh.DOMAINS)


# What libvirt 9.0.0 made of this kind's own XML, running and not, and what virt-install wrote.
DUMPS = {
    f"{name}, {way}": xml
    for file in ("machines.txt", "virt-install.txt")
    for name, found in recorded(file).items()
    for way, xml in (("persistent", found.persistent), ("live", found.live))
    if xml
}


def wished(there: Mapping[str, Any] | None = None, place: hardware.Site = SITE, **fields: Any) -> dict[str, Any]:
    spec = domain.Spec.model_validate({"memory": "128MiB", **fields})
    assert not domain.check("web-01", spec)
    return hardware.wish("web-01", spec, Scope("h", (), owner="b"), place, there)


def unfit(wish: Mapping[str, Any], xml: str) -> list[str]:
    found = domain_xml.parse(xml)
    return [name for name, value in wish.items() if not ASPECTS[name].fits(value, found[name])]


NAMES = st.sampled_from(["root", "data", "log", "a", "b.c", "x-1"])
DISKS = st.dictionaries(
    NAMES,
    st.fixed_dictionaries(
        {"size": st.just("1GiB")},
        optional={
            "bus": st.sampled_from(["virtio", "scsi", "sata", "ide"]),
            "format": st.sampled_from(["qcow2", "raw"]),
            "pool": st.sampled_from(["default", "fast"]),
        },
    ),
    max_size=5,
)
NICS = st.lists(
    st.one_of(
        st.sampled_from(["dev", "lan"]),
        st.fixed_dictionaries({"bridge": st.just("br0")}, optional={"model": st.sampled_from(["e1000e", "virtio"])}),
    ),
    max_size=4,
)
FLAG = st.booleans()


def on_a_board(fields: dict[str, Any]) -> dict[str, Any]:
    """q35 has no ide."""
    ide = any(disk.get("bus") == "ide" for disk in fields.get("disks", {}).values())
    return {**fields, "machine": "pc"} if ide else fields


SPECS = st.fixed_dictionaries(
    {"cpu": st.integers(1, 64), "memory": st.integers(1, 4096).map(lambda number: f"{number}MiB")},
    optional={
        **{"disks": DISKS, "networks": NICS, "serial": FLAG, "rng": FLAG, "agent": FLAG, "cloud_init": st.just({})},
        "machine": st.sampled_from(["q35", "pc", "pc-q35-7.2"]),
        "cpu_model": st.sampled_from(["host-model", "host-passthrough", "maximum", "Nehalem"]),
    },
).map(on_a_board)


@settings(deadline=None, max_examples=50)
@given(SPECS)
def test_what_is_built_is_read_back(fields: dict[str, Any]) -> None:
    wish = wished(**fields)
    xml = domain_xml.build("web-01", wish, OWNER)
    assert not unfit(wish, xml)
    names = [item.get("dev") for item in virsh.element(xml).iterfind("devices/disk/target")]
    addresses = [item.get("address") for item in virsh.element(xml).iterfind("devices/interface/mac")]
    assert len(set(names)) == len(names)
    assert len(set(addresses)) == len(addresses)


@settings(deadline=None, max_examples=50)
@given(SPECS, st.sampled_from(sorted(DUMPS)))
def test_what_is_patched_is_as_wished_for_and_then_stays(fields: dict[str, Any], which: str) -> None:
    there = domain_xml.parse(DUMPS[which])
    wish = wished(there, **fields)
    xml = domain_xml.patch(DUMPS[which], wish, unfit(wish, DUMPS[which]), OWNER)
    assert not unfit(wish, xml)
    assert domain_xml.patch(xml, wish, unfit(wish, xml), OWNER) == xml


MINE = ("name", "memory", "currentMemory", "vcpu", "cpu", "os")
STRANGE = """<domain>
<metadata><app:tag xmlns:app="http://app.example/1" since="2020">kept</app:tag></metadata>
<cputune><shares>512</shares></cputune>
<devices>
  <disk type="file" device="cdrom"><target dev="sdz" bus="sata"/><readonly/></disk>
  <hostdev mode="subsystem" type="pci"><source><address bus="0x06" slot="0x12" function="0x5"/></source></hostdev>
  <flux capacity="1.21GW"/>
</devices>
<future><thing/></future></domain>"""


def with_strange_things(xml: str) -> str:
    tree, strange = deepcopy(virsh.element(xml)), ElementTree.fromstring(STRANGE)
    for path in ("metadata", "devices"):
        place, more = tree.find(path), strange.find(path)
        assert more is not None
        if place is None:
            place = ElementTree.SubElement(tree, path)
        place.extend(more)
    tree.extend(item for item in strange if item.tag not in ("metadata", "devices"))
    return ElementTree.tostring(tree, encoding="unicode")


@pytest.mark.parametrize("which", DUMPS)
def test_what_no_aspect_speaks_of_is_kept(which: str) -> None:
    before = with_strange_things(DUMPS[which])
    wish = wished(
        domain_xml.parse(before), cpu=7, memory="1GiB", networks=["new"], disks={"new": "1GiB"}, cpu_model="X"
    )
    tree = virsh.element(domain_xml.patch(before, wish, [*wish], OWNER))
    assert tree.findtext("metadata/{http://app.example/1}tag") == "kept"
    for path in ("cputune/shares", "future/thing", "devices/flux", "devices/hostdev/source/address"):
        assert tree.find(path) is not None, path
    assert tree.find("devices/disk[@device='cdrom']/target[@dev='sdz']") is not None
    kept = [item for item in virsh.element(before) if item.tag not in (*MINE, "metadata", "devices")]
    assert [shape(item) for item in tree if item.tag not in (*MINE, "metadata", "devices")] == [*map(shape, kept)]


def shape(item: Element) -> Any:
    return item.tag, item.attrib, (item.text or "").strip(), [*map(shape, item)]


@pytest.mark.parametrize("name", ["cpu", "memory", "cpu_model", "disks", "networks", "serial", "rng", "agent"])
def test_addresses_on_the_bus_are_kept(name: str) -> None:
    """All devices that stay are where they were."""
    before = DUMPS["web-01, persistent"]
    wish = wished(domain_xml.parse(before), image="tiny", cloud_init={}, networks=["dev", "more"], cpu_model="Nehalem")
    wish |= {
        "memory": Amount(1 << 30, 1 << 31),
        "cpu": Amount(3, 4),
        "disks": (*wish["disks"], hardware.Drive("/pool/more.qcow2")),
    }
    after = domain_xml.patch(before, wish, [name], OWNER)
    assert addresses(before).items() <= addresses(after).items()


def addresses(xml: str) -> dict[Any, Any]:
    found = {}
    for item in virsh.element(xml).iterfind("devices/*"):
        address, own = item.find("address"), [(child.tag, child.get("file"), child.get("address")) for child in item]
        if address is not None and item.tag not in ("rng", "channel"):
            found[item.tag, item.get("type"), item.get("index"), str(own[:3])] = address.attrib
    return found


def test_another_board_gives_everything_a_new_place() -> None:
    before = DUMPS["web-01, persistent"]
    tree = virsh.element(domain_xml.patch(before, wished({"accelerator": "tcg"}, machine="pc"), ["machine"], OWNER))
    assert tree.find(".//address[@type='pci']") is None
    assert {item.get("type") for item in tree.iterfind("devices/controller")} == {"virtio-serial"}
    newer = virsh.element(domain_xml.patch(before, wished(machine="pc-q35-8.0"), ["machine"], OWNER))
    assert newer.find(".//address[@type='pci']") is not None


def test_the_root_of_its_ports_is_said_first() -> None:
    """libvirt 9.0 gives out numbers before it adds a root: a port would get that of the root, which it then refuses."""
    controllers = virsh.element(domain_xml.build("x", wished(), OWNER)).findall("devices/controller[@type='pci']")
    assert [item.attrib for item in controllers[:2]] == [
        {"type": "pci", "index": "0", "model": "pcie-root"},
        {"type": "pci", "model": "pcie-root-port"},
    ]
    assert not virsh.element(domain_xml.build("x", wished(machine="pc"), OWNER)).findall("devices/controller")


def test_more_disks_than_letters() -> None:
    wish = wished(disks={f"d{number}": "1GiB" for number in range(30)})
    names = [
        item.get("dev") for item in virsh.element(domain_xml.build("x", wish, OWNER)).iterfind("devices/disk/target")
    ]
    assert names[24:28] == ["vdy", "vdz", "vdaa", "vdab"]


def test_addresses_of_cards_are_the_same_each_time() -> None:
    assert mac("b/web-01", 0) == "52:54:00:e1:a9:9a"
    assert len({mac(seed, number) for seed in ("b/web-01", "b/web-02", "c/web-01") for number in range(3)}) == 9


def test_a_card_made_later_gets_no_address_that_is_taken() -> None:
    """The first card leaves, and another comes: it must not take the address of the second."""
    first = domain_xml.build("web-01", wished(networks=["a", "b"]), OWNER)
    wish = wished(networks=["b", "c", "d"])
    cards = virsh.element(domain_xml.patch(first, wish, ["networks"], OWNER)).iterfind("devices/interface")
    found = {card.find("source").get("network"): card.find("mac").get("address") for card in cards}  # type: ignore[union-attr]
    assert found == {"b": mac("b/web-01", 1), "c": mac("b/web-01", 0), "d": mac("b/web-01", 2)}


JUNK = st.sampled_from(["", "?", "-1", "1e9", "∞", "none", "0x10", "99999999999999999999"])


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(sorted(DUMPS)), st.data())
def test_nothing_that_libvirt_may_say_is_fatal(which: str, data: st.DataObject) -> None:
    tree = deepcopy(virsh.element(DUMPS[which]))
    for item in data.draw(st.lists(st.sampled_from(list(tree.iter())), max_size=30)):
        item.text = data.draw(JUNK)
        item.attrib = {name: data.draw(JUNK) for name in item.attrib}
    for parent in data.draw(st.lists(st.sampled_from(list(tree.iter())), max_size=5)):
        for child in list(parent):
            parent.remove(child)
    xml = ElementTree.tostring(tree, encoding="unicode")
    assert set(domain_xml.parse(xml)) == set(ASPECTS)
    assert domain_xml.size(xml) >= (0, 0)


def test_a_card_on_a_switch_that_others_made_is_its_networks_while_it_runs() -> None:
    """As libvirt 9.0 shows a running domain's cards on networks of modes openvswitch and direct."""
    xml = """<domain><devices>
      <interface type='bridge'>
        <mac address='52:54:00:00:00:01'/>
        <source network='red' portid='23b8c7c7-68f5-4363-8886-aa6819cb54be' bridge='ovsbr1'/>
        <vlan><tag id='110'/></vlan>
        <virtualport type='openvswitch'/>
        <target dev='vnet0'/><model type='virtio'/>
      </interface>
      <interface type='direct'>
        <mac address='52:54:00:00:00:02'/><source network='wire' dev='eth1' mode='bridge'/><model type='virtio'/>
      </interface>
      <interface type='bridge'>
        <mac address='52:54:00:00:00:03'/><source bridge='br0'/><model type='virtio'/>
      </interface>
    </devices></domain>"""
    assert [(port.sort, port.source) for port in ports.ports(virsh.element(xml))] == [
        ("network", "red"),
        ("network", "wire"),
        ("bridge", "br0"),
    ]
