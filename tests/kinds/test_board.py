"""A machine's board: what may be said of it, how it stands in XML, and what a host lacks for it."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vinfra.kinds.kvm import domain
from vinfra.kinds.kvm.domains import domain_xml, hardware, parts
from vinfra.kinds.kvm.domains.board import FIELDS
from vinfra.kinds.kvm.domains.domain_xml import ASPECTS
from vinfra.kinds.kvm.domains.preflight import ask
from vinfra.kinds.kvm.hypervisors import needs
from vinfra.kinds.kvm.reading.offers import DEVICES, OFFERS, UNSEEN, UNTOLD, Plugged, offers, plugged
from vinfra.kinds.kvm.reading.virsh import Found
from vinfra.kinds.registry import KINDS
from vinfra.model import tree
from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.model.kind import Choosy, Scope
from vinfra.model.question import Raw
from vinfra.model.spec import Deferred

SITE = hardware.Site("tcg", {"default": "/var/lib/libvirt/images"}, {}, None)
OWNER = ("b", "kvm.domain:web-01")


def wished(there: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    desired = domain.Spec.model_validate({"memory": "128MiB", **fields})
    assert not domain.check("web-01", desired)
    return hardware.wish("web-01", desired, Scope("h", (), owner="b"), SITE, there)


def unfit(wish: Mapping[str, Any], xml: str) -> list[str]:
    found = domain_xml.parse(xml)
    return [name for name, value in wish.items() if not ASPECTS[name].fits(value, found[name])]


def spec(**fields: Any) -> domain.Spec:
    return domain.Spec.model_validate({"memory": "1GiB", **fields})


@given(st.frozensets(st.integers(0, 300), min_size=1))
def test_a_set_of_cpus_is_written_in_one_way(members: frozenset[int]) -> None:
    text = parts.ranged(members)
    assert parts.numbers(text) == members
    assert parts.canonical(",".join(map(str, sorted(members, reverse=True)))) == text


@pytest.mark.parametrize(("text", "same"), [("0-3,^2", "0-1,3"), ("4, 0-1", "0-1,4"), ("1-1", "1"), ("odd", "odd")])
def test_libvirts_ways_to_write_one_are_understood(text: str, same: str) -> None:
    assert parts.canonical(text) == same


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"topology": {"cores": 3}}, "topology: 1×3×1 are 3 CPUs, and it has 1"),
        ({"cpu_features": {"vmx": "require"}}, "cpu_features: they need a cpu_model"),
        ({"pinning": {"cpus": {"1": "0"}}}, "pinning: there is no virtual CPU 1; they are 0 to 0"),
        ({"pinning": {"cpus": {"one": "0"}}}, "pinning: there is no virtual CPU one"),
        ({"numa": [{"cpus": "1", "memory": "1GiB"}]}, "numa: each of the virtual CPUs 0 to 0 must be in one node"),
        ({"cpu": 2, "numa": [{"cpus": "0-1", "memory": "1GiB"}] * 2}, "must be in one node, and is not"),
        (
            {"numa": [{"cpus": "0", "memory": "1536MiB"}]},
            "numa: the nodes have 1536MiB together, and the machine 1024MiB",
        ),
        ({"numa": [{"cpus": "0", "memory": "1025KiB"}], "memory": "1MiB"}, "numa: the nodes have"),
        ({"memory": "1536MiB", "hugepages": "1GiB"}, "hugepages: memory must be a whole number of pages of 1GiB"),
        (
            {
                "cpu": 2,
                "hugepages": "2MiB",
                "numa": [{"cpus": str(cpu), "memory": size} for cpu, size in ((0, "511MiB"), (1, "513MiB"))],
            },
            "numa: the memory of each node must be a whole number of 2MiB",
        ),
        ({"secure_boot": "true"}, "secure_boot: only with `firmware: efi`"),
        ({"secure_boot": "true", "firmware": "bios"}, "secure_boot: only with `firmware: efi`"),
        ({"secure_boot": "true", "firmware": "efi", "machine": "pc"}, "secure_boot: it needs a q35 machine"),
        ({"watchdog": "itco", "machine": "pc-i440fx-7.2"}, "watchdog: itco is part of the q35 board"),
        (
            {"watchdog": {"model": "none", "action": "reset"}, "devices": {"usb": ["1d6b:0002"] * 2}},
            "1d6b:0002 is there twice",
        ),
        ({"watchdog": {"model": "none", "action": "pause"}}, "watchdog: one that is not there does nothing"),
        ({"devices": {"pci": ["03:00.0", "0000:03:00.0"]}}, "devices: 0000:03:00.0 is there twice"),
    ],
)
def test_what_does_not_go_together_is_said(fields: dict[str, Any], says: str) -> None:
    assert says in domain.check("web-01", spec(**fields))


@pytest.mark.parametrize("name", [*FIELDS, "cpu_model", "machine", "requires"])
def test_what_waits_for_facts_is_no_problem_yet(name: str) -> None:
    fields = {"topology": {"cores": 1}, "firmware": "efi", "secure_boot": "true", "cpu_model": "Nehalem"}
    later = domain.Spec.model_validate(
        {"memory": "1GiB", "cpu_features": {"vmx": "require"}, **fields, name: Deferred("{{ x }}")}
    )
    assert domain.check("web-01", later) == ""
    domain.references("web-01", later)
    [*ask(Scope("h", (Resource(Address("kvm.domain", "h", "web-01"), later),)))]


@pytest.mark.parametrize(
    "fields",
    [
        {"topology": {"sockets": 0}},
        {"topology": {"books": 1}},
        {"cpu_features": {"vmx": "on"}},
        {"hugepages": "4MiB"},
        {"numa": [{"cpus": "3-1", "memory": "1GiB"}]},
        {"numa": [{"cpus": "0"}]},
        {"numa": [{"cpus": "^0", "memory": "1GiB"}]},
        {"pinning": {"emulator": ""}},
        {"pinning": {"emulator": "0-99999"}},
        {"pinning": {"cpus": {"0": "a"}}},
        {"firmware": "uefi"},
        {"secure_boot": "yes"},
        {"tpm": "2.0"},
        {"devices": {"pci": ["3:0.0"]}},
        {"devices": {"pci": ["0000:03:20.0"]}},
        {"devices": {"usb": ["1d6b"]}},
        {"devices": {"usb": "1d6b:0002"}},
        {"video": "nvidia"},
        {"watchdog": "dog"},
        {"watchdog": {"model": "i6300esb", "action": "bite"}},
        {"balloon": "maybe"},
        {"requires": ["vt-d"]},
        {"requires": ["kvm", "kvm"]},
    ],
    ids=str,
)
def test_what_is_none_of_the_values_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(**fields)


WHOLE: dict[str, Any] = {
    "cpu": 4,
    "cpu_model": "Nehalem",
    "topology": {"sockets": 2, "threads": 2},
    "cpu_features": {"vmx": "require", "mpx": "disable"},
    "hugepages": "2MiB",
    "numa": [{"cpus": "0-1", "memory": "64MiB"}, {"cpus": "2-3", "memory": "64MiB", "nodes": "1"}],
    "pinning": {"cpus": {"0": "4", "3": "5"}, "emulator": "0-1", "nodes": "0-1"},
    "firmware": "efi",
    "secure_boot": True,
    "tpm": "tpm-tis",
    "devices": {"pci": ["03:00.0"], "usb": ["1D6B:0002"]},
    "video": "qxl",
    "watchdog": {"model": "ib700", "action": "pause"},
    "balloon": False,
}
BACK: dict[str, Any] = {
    "cpu": 2,
    "cpu_model": "Nehalem",
    "topology": {"cores": 2},
    "cpu_features": {"vmx": "disable"},
    "hugepages": "none",
    "numa": [],
    "pinning": {"cpus": {}, "emulator": "0", "nodes": "0"},
    "tpm": "none",
    "devices": {"pci": [], "usb": ["0951:1666"]},
    "video": "none",
    "watchdog": "none",
    "balloon": True,
}


def test_every_field_is_written_changed_and_written_back() -> None:
    whole = wished(**WHOLE)
    xml = domain_xml.build("web-01", whole, OWNER)
    assert not unfit(whole, xml)
    back = wished(domain_xml.parse(xml), **BACK)
    assert {*unfit(back, xml)} == {*BACK} - {"cpu_model"}
    after = domain_xml.patch(xml, back, unfit(back, xml), OWNER)
    assert not unfit(back, after)
    tree_ = ElementTree.fromstring(after)
    for gone in ("memoryBacking", "cpu/numa", "numatune/memnode", "cputune/vcpupin", "devices/tpm", "devices/watchdog"):
        assert tree_.find(gone) is None, gone
    assert tree_.find("cpu/feature[@name='mpx']") is not None, "nobody speaks of it any more"


def test_another_model_keeps_the_features_that_are_declared() -> None:
    xml = domain_xml.build("web-01", wished(cpu_model="Nehalem", cpu_features={"vmx": "require"}), OWNER)
    wish = wished(domain_xml.parse(xml), cpu_model="Westmere", cpu_features={"vmx": "require"})
    assert unfit(wish, xml) == ["cpu_model"]
    after = domain_xml.patch(xml, wish, ["cpu_model"], OWNER)
    assert not unfit(wish, after)
    cpu = ElementTree.fromstring(after).find("cpu")
    assert cpu is not None
    assert cpu.get("check") == "partial", "else it would start where the host lacks them"


def test_efi_without_a_word_has_no_secure_boot() -> None:
    xml = domain_xml.build("web-01", wished(firmware="efi"), OWNER)
    feature = ElementTree.fromstring(xml).find("os/firmware/feature")
    assert feature is not None
    assert feature.attrib == {"enabled": "no", "name": "secure-boot"}
    assert "secure_boot" not in wished(domain_xml.parse(xml), firmware="efi")


@pytest.mark.parametrize(
    ("os", "firmware", "secure"),
    [
        ("<os/>", "bios", False),
        ("<os firmware='efi'/>", "efi", None),
        ("<os firmware='efi'><firmware><feature enabled='no' name='secure-boot'/></firmware></os>", "efi", False),
        ("<os><loader secure='yes' type='pflash'>x</loader></os>", "efi", True),
        ("<os><loader type='pflash'>x</loader></os>", "efi", False),
        ("<os><loader type='rom'>x</loader></os>", "bios", False),
        (
            "<os firmware='efi'><firmware><feature enabled='no' name='enrolled-keys'/><feature enabled='yes' "
            "name='secure-boot'/></firmware><loader secure='yes' type='pflash'>x</loader></os>",
            "efi",
            False,
        ),
    ],
)
def test_firmware_is_read_in_every_way_that_libvirt_writes_it(os: str, firmware: str, secure: bool | None) -> None:
    found = domain_xml.parse(f"<domain>{os}<devices/></domain>")
    assert (found["firmware"], found["secure_boot"]) == (firmware, secure)


@pytest.mark.parametrize(
    "xml",
    [
        "<cpu><topology sockets='x'/><numa><cell id='a'/></numa><feature/></cpu>",
        "<cputune><vcpupin/></cputune><numatune><memory/><memnode/></numatune>",
        "<memoryBacking><hugepages><page size='64' unit='PiB' nodeset='q'/></hugepages></memoryBacking>",
        "<os><loader/><firmware><feature/></firmware></os>",
        "<devices><tpm/><video/><watchdog/><memballoon/><hostdev/><hostdev type='pci'><source/></hostdev>"
        "<hostdev type='usb'><source><address bus='1' device='2'/></source></hostdev></devices>",
    ],
)
def test_nothing_that_xml_may_say_is_fatal(xml: str) -> None:
    found = domain_xml.parse(f"<domain>{xml}</domain>")
    assert [str(found[name]) for name in ASPECTS]


def test_what_belongs_to_the_board_is_no_watchdog_of_ours() -> None:
    onboard = "<domain><devices><watchdog model='itco' action='reset'/></devices></domain>"
    assert not unfit(wished(watchdog="none") | {"accelerator": ""}, onboard).count("watchdog")
    wish = {"watchdog": parts.Watchdog(model="i6300esb")}
    after = domain_xml.patch(onboard, wish, ["watchdog"], OWNER)
    assert [item.model for item in domain_xml.parse(after)["watchdog"]] == ["itco", "i6300esb"]
    assert not unfit(wish, after)
    assert unfit({"watchdog": parts.Watchdog(model="i6300esb", action="none")}, after) == ["watchdog"]


def test_what_belongs_to_a_board_goes_with_it() -> None:
    """libvirt 11.3 refuses a watchdog of q35's on another board, though it put it there itself."""
    tree_ = "<domain><os><type machine='pc-q35-10.0'>hvm</type></os><devices>{}</devices></domain>"
    before = tree_.format("<watchdog model='itco' action='reset'/><watchdog model='i6300esb' action='reset'/>")
    after = domain_xml.patch(before, {"machine": "pc"}, ["machine"], OWNER)
    assert [item.model for item in domain_xml.parse(after)["watchdog"]] == ["i6300esb"]


INTEL = {"cpu": {"vendor": "GenuineIntel", "flags": ["vmx", "ept"]}, "kvm": {"flag": "vmx", "device": True}}
BARE = {"arch": "x86_64", "cpu": {"flags": ["fpu"]}, "kvm": {"device": False}}


@pytest.mark.parametrize(
    ("need", "facts", "says"),
    [
        (
            "kvm",
            BARE,
            "the CPU shows no vmx or svm, and there is no /dev/kvm: enable VT-x or AMD-V in the firmware",
        ),
        ("kvm", {**BARE, "cpu": {"flags": [], "vendor": "AuthenticAMD"}}, "enable AMD-V (SVM) in the firmware"),
        (
            "kvm",
            {**BARE, "inside": {"machine": "vmware"}},
            "nested virtualisation in the hypervisor that this host runs in",
        ),
        ("kvm", {**BARE, "kvm": {"device": True}}, ""),
        ("kvm", INTEL, ""),
        (
            "nested",
            {**INTEL, "kvm": {"nested": False, "module": "kvm_intel"}},
            "kvm_intel does not let guests have guests",
        ),
        ("nested", {**INTEL, "kvm": {"nested": True, "module": "kvm_intel"}}, ""),
        ("nested", BARE, "nested is needed, and the CPU shows no vmx or svm"),
        ("iommu", {"iommu": {"active": True}}, ""),
        ("iommu", {"iommu": {"active": None}}, ""),
        (
            "iommu",
            {**INTEL, "iommu": {"active": False}},
            "enable Intel VT-d in the firmware and start the kernel with intel_iommu=on",
        ),
        (
            "iommu",
            {**INTEL, "iommu": {"active": False, "table": "DMAR"}},
            "no IOMMU is active: start the kernel with intel_iommu=on",
        ),
        (
            "iommu",
            {"cpu": {"vendor": "AuthenticAMD"}, "iommu": {"active": False}},
            "enable AMD-Vi (IOMMU) in the firmware",
        ),
        ("iommu", {"iommu": {"active": False, "table": "IVRS"}}, "take iommu=off and amd_iommu=off"),
        ("iommu", {"iommu": {"active": False}, "inside": {"machine": "kvm"}}, "give this host one in the hypervisor"),
        ("sr-iov", {"sriov": {}}, "enable SR-IOV in the firmware"),
        ("sr-iov", {"sriov": {"0000:3b:00.0": {"total": 64}}}, ""),
        ("sr-iov", {"sriov": None}, ""),
        ("slat", {**INTEL, "kvm": {"flag": "vmx", "slat": "ept", "slat_used": True}}, ""),
        ("slat", {**INTEL, "kvm": {"flag": "vmx", "slat": None}}, "the CPU has no EPT"),
        (
            "slat",
            {**INTEL, "kvm": {"flag": "vmx", "slat": "ept", "slat_used": False}},
            "kvm_intel was loaded with ept=0",
        ),
        ("slat", BARE, "slat is needed, and the CPU shows no vmx or svm"),
    ],
)
def test_what_a_host_lacks_is_said_with_what_to_switch_on(need: str, facts: dict[str, Any], says: str) -> None:
    told = needs.lacking([need], Scope("h", (), facts))
    assert says in told
    assert bool(told) is bool(says)
    assert not needs.lacking([need], Scope("h", (), {})), "nothing is known before the first round"


def test_what_the_blueprint_brings_is_not_missed() -> None:
    def declared(sort: str, name: str, **fields: Any) -> dict[str, Resource]:
        address = Address(sort, "h", name)
        return {address.reference: Resource(address, KINDS[sort].Spec.model_validate(fields))}

    facts = {**INTEL, "kvm": {"nested": False, "module": "kvm_intel"}, "iommu": {"active": False}}
    siblings = declared("kvm.hypervisor", "kvm", kind="kvm", nested="true")
    assert not needs.lacking(["nested"], Scope("h", (), facts, siblings=siblings))
    siblings = declared("host.kernel_argument", "intel_iommu", value="on")
    told = needs.lacking(["iommu"], Scope("h", (), facts, siblings=siblings))
    assert "before a restart with intel_iommu: apply that first, with --skip-refused" in told


def test_only_what_is_needed_is_asked() -> None:
    def asked(**fields: Any) -> list[Any]:
        return [*ask(Scope("h", (Resource(Address("kvm.domain", "h", "a"), spec(**fields)),)))]

    assert asked() == []
    assert OFFERS in asked(firmware="efi")
    assert asked(devices={"usb": []}) == [DEVICES]


def test_what_nobody_asked_is_not_known() -> None:
    assert offers({}) == UNTOLD
    assert offers({OFFERS: Raw(1, b"", "error: authentication failed")}) == UNTOLD
    assert offers({OFFERS: Raw(0, b"<domainCapabilities><bad</domainCapabilities>")}) == UNTOLD
    assert plugged({}) == UNSEEN


def test_devices_are_known_by_address_and_by_number() -> None:
    usb, pci = "/sys/bus/usb/devices", "/sys/bus/pci/devices"
    files = {f"{usb}/1-1/idVendor": "0951", f"{usb}/1-1/idProduct": "1666"}
    found = plugged({DEVICES: Raw(0, tree.answer(files, None, usb, pci, f"{pci}/0000:03:00.0"))})
    assert found == Plugged(frozenset({"0000:03:00.0"}), frozenset({"0951:1666"}))


def test_the_pages_that_a_machine_has_are_not_asked_for_again() -> None:
    xml = domain_xml.build("web-01", wished(hugepages="2MiB"), OWNER)
    runs = Found("web-01", "u", persistent=xml, live=xml, state="running")
    bigger = Resource(Address("kvm.domain", "h", "web-01"), spec(hugepages="2MiB"))
    scope = Scope("h", (bigger,))
    assert hardware.pages(scope, {"web-01": runs}) == {"2MiB": 512 - 64}
    assert hardware.pages(scope, {"web-01": Found("web-01", "u", persistent=xml, state="shut off")}) == {"2MiB": 512}
    smaller = Resource(bigger.address, spec(hugepages="2MiB", memory="64MiB"))
    assert hardware.pages(Scope("h", (smaller,)), {"web-01": runs}) == {"2MiB": 0}


def test_a_machine_is_placed_where_what_it_requires_is() -> None:
    spec = domain.Spec.model_validate({"memory": "1GiB", "requires": ["sr-iov"]})
    assert isinstance(domain, Choosy)
    assert domain.unfit(spec, {"sriov": {}}).startswith("lacks sr-iov: no device here")
    assert not domain.unfit(spec, {"sriov": {"eth0": 8}})
    assert not domain.unfit(spec, {})
