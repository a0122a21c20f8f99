"""`vinfra facts` for people: sections, a table, single facts; none of a host's own words reaches the terminal raw."""

import copy
from typing import Any

import pytest

from tests.kinds.test_facts import MACHINES, answers
from vinfra.cli.facts import _known
from vinfra.errors import UsageError
from vinfra.kinds.host import facts
from vinfra.report.fact_sections import SECTIONS, size, span
from vinfra.report.facts import at, facts_lines

SERVER: Any = facts.read(answers(MACHINES["server"]))


def shown(hosts: Any, width: int | None = None, only: tuple[str, ...] = (), wanted: tuple[str, ...] = ()) -> list[str]:
    return [line.plain for line in facts_lines(hosts, width, only, wanted)]


def test_one_host_in_sections() -> None:
    lines = shown({"hv1": SERVER})
    text = "\n".join(lines)
    assert lines[0] == "hv1"
    for told in (
        "Rocky Linux 9.4 (Blue Onyx) · 5.14.0-427.9.1.el9_4.x86_64 · x86_64 · up 21 min",
        "a reboot is due for kernel 5.14.0-427.13.1.el9_4.x86_64",
        "Dell Inc. PowerEdge R650 · serial 7XK2LM3 · rack mount",
        "boots by efi · secure boot on · firmware Dell Inc. 1.9.2 of 2023-02-14",
        "2 sockets · 2 cores · 4 threads · at most 3.1 GHz",
        "node 0: CPUs 0,2 · 126GiB",
        "runs on bare metal",
        "VT-x · EPT · /dev/kvm · nested",
        "IOMMU on · 2 groups · DMAR · intel_iommu=on iommu=pt",
        "SR-IOV 0000:3b:00.0 · eno1 · 1 of 64 functions",
        "252GiB · 187GiB available · swap 8GiB, 8GiB free",
        "huge pages of 1GiB: 64, 32 free",
        "sda 894GiB · sata flash · SAMSUNG MZ7LH960 · serial S45NNE0M123456",
        "  sda1 512MiB · vfat · /boot/efi",
        "volume group vg-0 893GiB · 100GiB free · root 50GiB",
        "bond0.110 vlan · up · 52:54:00:12:34:56 · MTU 9000 · port of br0 · VLAN 110 on bond0",
        "SELinux enforcing · AppArmor off · lockdown integrity",
        "load 3.2 2.9 2.4 · CPUs busy since boot 17 % · memory used 64.7GiB, 26 %",
    ):
        assert told in text
    assert {line[2:18].strip() for line in lines[1:]} - {""} == set(SECTIONS)


def test_certificates_by_their_ends() -> None:
    names = {"days": 4, "names": ["evil\x1b[31m.example", "b"], "expires": 1, "issuer": "x"}
    told = {"certificates": {"web": names, "mail": {"days": -1, "names": ["mail.example"]}, "one": {"days": 1}}}
    assert shown({"hv1": told})[1:] == [
        "  certificates    web · evil\\x1b[31m.example, b · ends in 4 days",
        "                  mail · mail.example · has ended",
        "                  one · ends in 1 day",
    ]


def test_only_some_sections_of_many_hosts() -> None:
    lines = shown({"a": SERVER, "b": "ssh: no answer"}, only=("memory", "time"))
    assert [line.split()[0] for line in lines if line and line[2:3].isalpha()] == ["memory", "time"]
    assert lines[-1] == "  ? ssh: no answer"


def test_many_hosts_in_a_table() -> None:
    lines = shown(
        {"hv1": SERVER, "container": facts.read(answers(MACHINES["container"])), "c": "no answer", "d": facts.read({})}
    )
    assert [line.split()[0] for line in lines] == ["HOST", "hv1", "container", "c", "d"]
    assert lines[1].split("  ")[-1].strip() == "40 %"
    assert lines[3] == "c          ? no answer"
    assert lines[4].split()[1:] == ["-"] * 8
    assert shown({"a": "x", "b": "y"})[1:] == ["a     ? x", "b     ? y"]


def test_single_facts() -> None:
    hosts = {"hv1": SERVER, "d": facts.read({})}
    assert shown(hosts, wanted=("facts.cpu.sockets", "interfaces.bond0.110.vlan", "interfaces.bond0.ports"))[1:] == [
        "hv1   2            110                        eno1",
        "d     -            -                          -",
    ]
    assert "  facts.numa.0.distances.1           21" in shown({"hv1": SERVER}, wanted=("numa",))
    assert len(shown({"hv1": SERVER}, wanted=("",))) > 200
    assert at(SERVER, "filesystems./srv/with space.type") == "nfs4"


def test_a_name_that_is_none_is_an_error() -> None:
    assert _known(("cpu",), ["facts", "facts.cpu.model", "disks.sda.anything"]) == [
        "",
        "cpu.model",
        "disks.sda.anything",
    ]
    with pytest.raises(UsageError, match="did you mean model"):
        _known((), ["facts.cpu.modle"])
    with pytest.raises(UsageError, match="did you mean cpu"):
        _known(("cpus",), [])
    with pytest.raises(UsageError, match="no fact"):
        _known((), ["cpu.model.x"])


def hostile(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            f"{key}\x1b[2J" if key.islower() and len(value) == 1 else key: hostile(item) for key, item in value.items()
        }
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return f"{value}\x1b]0;x\x07\u202e\n\udcff" if isinstance(value, str) else value


@pytest.mark.parametrize("wanted", [(), ("",), ("hardware.serial",)])
@pytest.mark.parametrize("count", [1, 2])
def test_nothing_of_a_host_reaches_the_terminal_raw(wanted: tuple[str, ...], count: int) -> None:
    bad = hostile(copy.deepcopy(SERVER))
    for line in shown({f"h{n}": bad for n in range(count)}, wanted=wanted):
        assert line.isprintable(), repr(line)


def test_a_screen_cuts_lines() -> None:
    assert max(map(len, shown({"hv1": SERVER}, 80))) <= 80


def test_sizes_and_spans() -> None:
    assert [size(number) for number in (0, 1023, 1 << 20, 3 << 39, 270_188_675_072)] == [
        "0B",
        "1023B",
        "1MiB",
        "1.5TiB",
        "252GiB",
    ]
    assert [span(number) for number in (59, 3600, 90_000)] == ["0 min", "1 h 0 min", "1 d 1 h"]


def test_nothing_known_is_nothing_said() -> None:
    assert shown({"h": facts.read({})}) == ["h"]
