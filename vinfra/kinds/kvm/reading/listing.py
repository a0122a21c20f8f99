"""Everything that a host's libvirt has, as a blueprint would declare it. What a field cannot say is told in a note."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from vinfra.kinds.kvm.domains import domain_xml
from vinfra.kinds.kvm.domains.drives import Drive
from vinfra.kinds.kvm.domains.ports import Port
from vinfra.kinds.kvm.networks import network_xml
from vinfra.kinds.kvm.reading import ownership
from vinfra.kinds.kvm.reading.virsh import DOMAINS, NETWORKS, NO_SUCH_PROGRAM, POOLS, Found, element, failure, found
from vinfra.kinds.kvm.volumes import storage
from vinfra.model.kind import Answers, Listed, Scope
from vinfra.model.question import Question, ReadLibvirt
from vinfra.model.values import SIZES

DECLARED = ("qcow2", "raw")
BUSES = ("virtio", "scsi", "sata", "ide")
CARDS = ("virtio", "e1000", "e1000e", "igb", "rtl8139", "vmxnet3")


def _unread(answers: Answers, question: ReadLibvirt) -> Iterator[Listed]:
    """A host without libvirt has none of it; one whose libvirt does not answer is not known."""
    raw = answers.get(question)
    if raw is None or raw.returncode not in (0, NO_SUCH_PROGRAM):
        yield Listed("", note=failure(raw))


def exact(size: int) -> str:
    """A number of bytes in the largest binary unit that it fills without a rest."""
    units = [(count, unit) for unit, count in SIZES.items() if unit == "B" or unit.endswith("iB")]
    count, unit = max(pair for pair in units if size % pair[0] == 0 and (size or pair[1] == "B"))
    return f"{size // count}{unit}"


def ask_networks(_answers: Answers) -> Iterable[Question]:
    """All networks."""
    return (NETWORKS,)


def networks(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Each as it is defined."""
    yield from _unread(answers, NETWORKS)
    for name, one in sorted(found(answers, NETWORKS).items()):
        fields = network_xml.parse(one.definition)
        mode = fields["mode"]
        if mode not in ("nat", "isolated", "routed", "bridge"):
            yield Listed(name, note=f"it is of mode {mode}", owner=ownership.owner(one.definition)[0])
            continue
        kept = ("mode", "bridge") if mode == "bridge" else tuple(fields)
        said = {key: value for key, value in fields.items() if key in kept and value not in (None, (), False)}
        if mode != "bridge" and fields["cidr"] and fields["dhcp"] is False:
            said["dhcp"] = False
        said = {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}
        yield Listed(name, {**said, "autostart": one.autostart}, owner=ownership.owner(one.definition)[0])


def ask_pools(_answers: Answers) -> Iterable[Question]:
    """All pools with their volumes."""
    return (POOLS,)


def pools(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Folders; pools of other types cannot be declared."""
    yield from _unread(answers, POOLS)
    for name, one in sorted(found(answers, POOLS).items()):
        tree = element(one.definition)
        sort, path = tree.get("type", ""), tree.findtext("target/path", "")
        fields = {"path": path, "autostart": one.autostart}
        yield Listed(name, fields) if sort == "dir" else Listed(name, note=f"it is of type {sort}, not a folder")


def volumes(scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Every file of every pool that runs; which of them are images, only their marks tell."""
    yield from _unread(answers, POOLS)
    images = _images(scope)
    for pool, known in sorted(storage.volumes(answers).items()):
        for file, one in sorted(known.items()):
            name = storage.stem(file)
            if storage.file_name(name, one.format) != file or one.format not in DECLARED or storage.name_problem(name):
                note = f"{file} in pool {pool}: a {one.format} file of that name cannot be declared"
                yield Listed(file, note=note, owner=images.get(file, ""))
                continue
            fields = {"size": exact(one.capacity), "format": one.format, "pool": pool}
            usual = {"format": "qcow2", "pool": storage.DEFAULT}
            fields = {key: value for key, value in fields.items() if usual.get(key) != value}
            note = f"it stands on {one.backing}, and one that is made anew would not" if one.backing else ""
            yield Listed(name, fields, note=note, owner=images.get(file, ""))


def _images(scope: Scope) -> dict[str, str]:
    marks = [mark for found in scope.marks.values() for mark in found if mark.kind == "kvm.image"]
    told = [(mark, mark.identity.get("sha256", ""), mark.identity.get("format", "qcow2")) for mark in marks]
    return {f"{mark.name}-{digest[:12]}.{sort}": mark.blueprint for mark, digest, sort in told if digest}


def ask_domains(_answers: Answers) -> Iterable[Question]:
    """All domains, and the volumes that may be their disks."""
    return (DOMAINS, POOLS)


def domains(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Each with its disks as volumes of their own; what a blueprint cannot say is left as libvirt has it."""
    yield from _unread(answers, DOMAINS)
    files = {one.path: file for known in storage.volumes(answers).values() for file, one in known.items()}
    for name, one in sorted(found(answers, DOMAINS).items()):
        blueprint = ownership.owner(one.definition)[0]
        if not one.persistent:
            yield Listed(name, note="it is transient: libvirt forgets it when it stops", owner=blueprint)
            continue
        fields, notes = _domain(one, files)
        yield Listed(name, fields, note="; ".join(notes), owner=blueprint)


def _domain(one: Found, files: Mapping[str, str]) -> tuple[dict[str, Any] | None, list[str]]:
    defined = domain_xml.parse(one.definition)
    cpus, memory = defined["cpu"], defined["memory"]
    same = ("machine", "cpu_model", "serial", "rng", "agent")
    fields: dict[str, Any] = {"cpu": cpus.current, "memory": exact(memory.current)}
    fields |= {"cpu_max": cpus.most} if cpus.most != cpus.current else {}
    fields |= {"memory_max": exact(memory.most)} if memory.most != memory.current else {}
    fields |= {key: defined[key] for key in same if defined[key] != ""}
    notes = []
    disks, cards = _disks(one.name, defined["disks"], files), _cards(defined["networks"])
    if disks is None:
        notes.append("its disks are not all volumes that can be declared, so they are left out")
    elif disks:
        fields["disks"] = disks
    if cards is None:
        notes.append("its network cards are not all ones that can be declared, so they are left out")
    else:
        fields["networks"] = cards
    power = {"running": "running", "idle": "running", "shut off": "stopped"}.get(one.state)
    fields |= {"autostart": one.autostart, **({"power": power} if power else {})}
    return fields, notes


def _disks(name: str, drives: Sequence[Drive], files: Mapping[str, str]) -> dict[str, Any] | None:
    result: dict[str, Any] = {}
    for number, drive in enumerate(drives, 1):
        file = files.get(drive.source, "")
        volume = storage.stem(file)
        if drive.bus not in BUSES or drive.readonly or not file or storage.file_name(volume, drive.format) != file:
            return None
        own = volume.removeprefix(f"{name}-")
        key = own if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", own) and own != "seed" else f"disk{number}"
        result[key] = {"volume": volume} | ({"bus": drive.bus} if drive.bus != "virtio" else {})
    return result


def _cards(ports: Sequence[Port]) -> list[dict[str, str]] | None:
    if not all(port.sort in ("network", "bridge") and port.source and port.model in CARDS for port in ports):
        return None
    usual = [{port.sort: port.source, "mac": port.mac, "model": port.model} for port in ports]
    return [{key: value for key, value in card.items() if (key, value) != ("model", "virtio")} for card in usual]
