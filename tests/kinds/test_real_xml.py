"""What virt-install made on libvirt of three Debian releases: it can be declared and adopted as it is, and what a
blueprint does not speak of outlives a change. tests/cases/libvirt/README.md says how it was recorded.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from vinfra.kinds.kvm import domain, network, pool, volume
from vinfra.kinds.kvm.domains import domain_xml, hardware
from vinfra.kinds.kvm.reading import virsh
from vinfra.model.action import Action, Impact
from vinfra.model.address import Address
from vinfra.model.answer import Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta
from vinfra.model.kind import Scope
from vinfra.model.question import Question, Raw
from vinfra.model.source import Position
from vinfra.model.step import Verb
from vinfra.model.values import TYPED

CASES = Path(__file__).parents[1] / "cases" / "libvirt"
VERSIONS = sorted(path.name for path in CASES.iterdir() if path.is_dir())
#: What a blueprint cannot declare, and why it says so; everything else of these hosts can.
LEFT_OUT = {
    "kvm.volume": {"screen.img": "cannot be declared"},
}
NOWHERE = Position("", 1, 1)


def answers(version: str) -> dict[Question, Raw]:
    asked = (virsh.DOMAINS, virsh.NETWORKS, virsh.POOLS)
    return {question: Raw(0, (CASES / version / f"{question.sort}.txt").read_bytes()) for question in asked}


def dumps() -> dict[str, str]:
    return {
        f"{version} {name} {way}": xml
        for version in VERSIONS
        for name, found in virsh.found(answers(version), virsh.DOMAINS).items()
        for way, xml in (("persistent", found.persistent), ("live", found.live))
        if xml
    }


DUMPS = dumps()


def test_the_recordings_are_of_these_libvirts_and_hold_what_they_should() -> None:
    assert len(VERSIONS) >= 2
    for version in VERSIONS:
        found = virsh.found(answers(version), virsh.DOMAINS)
        assert set(found) == {"server", "screen", "desktop", "custom", "firmware", "windows", "old", "numa"}
        assert {name for name, one in found.items() if one.active} == {"server", "screen"}


@pytest.mark.parametrize("kind", [domain, network, pool, volume], ids=lambda kind: kind.NAME)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_there_is_declared_and_is_no_change(version: str, kind: Any) -> None:
    said = answers(version)
    listed = {item.name: item for item in kind.listing(Scope("h", ()), said)}
    unsaid = {name: item.note for name, item in listed.items() if item.fields is None or "left out" in item.note}
    expected = LEFT_OUT.get(kind.NAME, {})
    declared = {name: item.fields for name, item in listed.items() if item.fields is not None}
    assert declared
    for name, why in expected.items():
        assert why in unsaid[name]
    assert {name for name in unsaid if name not in declared} == set(expected)
    for name, fields in declared.items():
        desired = kind.Spec.model_validate(fields, context=TYPED)
        assert not kind.check(name, desired)
        wanted = Resource(Address(kind.NAME, "h", name), desired, NOWHERE)
        scope = Scope("h", (wanted,), owner="b")
        answer = kind.read(scope, said)[name]
        delta = kind.diff(wanted, answer, scope)
        if name == "closed":  # a network that is declared runs
            assert (delta.fields, delta.reason) == ((), "it does not run")
            continue
        assert (delta.action, delta.fields) == (Action.NOOP, ()), (name, delta)
        assert isinstance(answer, Present)
        if kind is domain:
            adopted = Change(wanted.address, Delta(Action.ADOPT), answer.actual, desired, notes=answer.notes)
            [step] = kind.own(adopted, scope)
            assert step.impact is Impact.NONE
            assert [call.verb for call in step.calls] == [Verb.DOMAIN_METADATA]


@pytest.mark.parametrize("which", DUMPS)
def test_more_processors_and_memory_change_nothing_else(which: str) -> None:
    before = virsh.element(DUMPS[which])
    spec = domain.Spec.model_validate({"cpu": 3, "memory": "768MiB", "machine": None, "networks": None})
    site = hardware.Site("tcg", {"default": "/var/lib/libvirt/images"}, {}, None)
    wish = hardware.wish("x", spec, Scope("h", (), owner="b"), site, domain_xml.parse(DUMPS[which]))
    xml = domain_xml.patch(DUMPS[which], wish, ["cpu", "memory"], ("b", "kvm.domain:x"))
    after = deepcopy(virsh.element(xml))
    processors = after.find("vcpu")
    assert processors is not None
    assert (processors.get("current") or processors.text, after.findtext("memory")) == ("3", str(768 * 1024))
    marked = after.find("metadata")
    assert marked is not None
    [mark] = [item for item in marked if item.tag.endswith("}owner")]
    marked.remove(mark)
    assert known(after) == known(before)


def known(tree: Element) -> Any:
    """The tree without what was to be changed: as text is laid out means nothing, an empty element as little."""
    whole = [item for item in tree if item.tag not in ("vcpu", "vcpus", "memory", "currentMemory")]
    return [shape(item) for item in whole if item.tag != "metadata" or len(item)]


def shape(item: Element) -> Any:
    return item.tag, item.attrib, (item.text or "").strip(), [*map(shape, item)]
