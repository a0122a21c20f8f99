"""Everything that a host's libvirt has, as a blueprint would declare it. What a field cannot say is told in a note."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from vinfra.kinds.kvm.domains import board, domain_xml, machine
from vinfra.kinds.kvm.domains.drives import Drive
from vinfra.kinds.kvm.domains.equipment import ONBOARD
from vinfra.kinds.kvm.domains.parts import Cell, Part
from vinfra.kinds.kvm.domains.ports import Port
from vinfra.kinds.kvm.domains.sources import CEPH
from vinfra.kinds.kvm.networks import network_xml
from vinfra.kinds.kvm.networks.declared import BORROWED, as_written
from vinfra.kinds.kvm.networks.leading import MODES
from vinfra.kinds.kvm.reading import ownership
from vinfra.kinds.kvm.reading.virsh import DOMAINS, NETWORKS, NO_SUCH_PROGRAM, POOLS, Found, failure, found
from vinfra.kinds.kvm.volumes import pools as kinds_of_pools
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
        if mode not in MODES and mode != "isolated":
            yield Listed(name, note=f"it is of mode {mode}", owner=ownership.owner(one.definition)[0])
            continue
        kept = ("mode", "bridge", "interface", "vlan", "portgroups") if mode in BORROWED else tuple(fields)
        said = {key: value for key, value in fields.items() if key in kept and value not in (None, (), False)}
        if mode not in BORROWED and fields["cidr"] and fields["dhcp"] is False:
            said["dhcp"] = False
        said = {key: as_written(key, value) for key, value in said.items()}
        yield Listed(name, {**said, "autostart": one.autostart}, owner=ownership.owner(one.definition)[0])


def ask_pools(_answers: Answers) -> Iterable[Question]:
    """All pools with their volumes."""
    return (POOLS,)


def pools(_scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Each by what makes its type; a login's password cannot be read."""
    yield from _unread(answers, POOLS)
    for name, one in sorted(found(answers, POOLS).items()):
        told = kinds_of_pools.parse(one.definition)
        if told["type"] not in kinds_of_pools.FIELDS:
            yield Listed(name, note=f"pools of type {told['type']} cannot be declared")
        elif told["user"]:
            yield Listed(name, note=f"{told['user']} logs in there, and with what cannot be read: write it by hand")
        else:
            said = {key: list(value) if isinstance(value, tuple) else value for key, value in told.items() if value}
            usual = {"type": "dir", "format": "auto"}
            said = {key: value for key, value in said.items() if usual.get(key) != value}
            yield Listed(name, {**said, "autostart": one.autostart})


def volumes(scope: Scope, answers: Answers) -> Iterator[Listed]:
    """Every file of every pool that runs; which of them are images, only their marks tell."""
    yield from _unread(answers, POOLS)
    images = _images(scope)
    for pool, known in sorted(storage.volumes(answers).items()):
        for file, one in sorted(known.items()):
            name = storage.stem(file)
            odd = storage.file_name(name, one.format, _home(one.path)) != file or storage.name_problem(name)
            if odd or one.format not in DECLARED or one.encrypted:
                note = f"{file} in pool {pool}: a {one.format} file of that name cannot be declared"
                locked = f"{file} in pool {pool} is encrypted with a passphrase that cannot be read: write it by hand"
                yield Listed(file, note=locked if one.encrypted else note, owner=images.get(file, ""))
                continue
            fields = {"size": exact(one.capacity), "format": one.format, "pool": pool}
            usual = {"format": "qcow2", "pool": storage.DEFAULT}
            fields = {key: value for key, value in fields.items() if usual.get(key) != value}
            note = f"it stands on {one.backing}, and one that is made anew would not" if one.backing else ""
            yield Listed(name, fields, note=note, owner=images.get(file, ""))


def _home(path: str) -> str:
    return path.rpartition("/")[0]


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
    there = [(file, one) for known in storage.volumes(answers).values() for file, one in known.items()]
    files = {one.path if one.path.startswith("/") else CEPH + one.path: file for file, one in there}
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
    board, unsaid = _board(defined)
    fields |= board
    notes += [f"no field says its {name}, which stays as it is" for name in unsaid]
    power = {"running": "running", "idle": "running", "shut off": "stopped"}.get(one.state)
    fields |= {"autostart": one.autostart, **({"power": power} if power else {})}
    return fields, notes


# What goes without saying: a definition that says nothing of it has it so.
PLAIN = {"hugepages": "none", "firmware": "bios", "secure_boot": False, "tpm": "none", "video": "none", "balloon": True}


def _board(defined: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What the fields of its board say, and those that cannot say what it has."""
    own = [item for item in defined["watchdog"] if item.model != ONBOARD]
    usual = {**defined, "watchdog": own[0] if len(own) == 1 else None}
    found = {field: _said(usual[field]) for field in board.FIELDS if usual[field] != PLAIN.get(field)}
    found = {field: value for field, value in found.items() if value not in (None, {}, [])}
    unsaid = ["watchdog"] if len(own) > 1 else []
    for field, value in list(found.items()):
        with_it = {"cpu_model": defined["cpu_model"], "firmware": defined["firmware"], field: value}
        try:
            machine.Spec.model_validate({"memory": "1MiB", **with_it})
        except ValidationError:
            unsaid.append(field)
            del found[field]
    return found, unsaid


def _said(value: Any) -> Any:
    """As a blueprint writes it."""
    if isinstance(value, Cell):
        return {**_said(dict(value)), "memory": exact(value.memory)}
    if isinstance(value, Part):
        value = dict(value)
    if isinstance(value, Mapping):
        return {key: said for key, item in value.items() if (said := _said(item)) not in (None, {}, [])}
    return [_said(item) for item in value] if isinstance(value, tuple) else value


def _disks(name: str, drives: Sequence[Drive], files: Mapping[str, str]) -> dict[str, Any] | None:
    result: dict[str, Any] = {}
    for number, drive in enumerate(drives, 1):
        file = files.get(drive.source, "")
        volume = storage.stem(file)
        odd = storage.file_name(volume, drive.format, _home(drive.source)) != file
        if drive.bus not in BUSES or drive.readonly or not file or odd or drive.secret:
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
