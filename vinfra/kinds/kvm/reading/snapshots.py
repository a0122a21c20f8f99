"""The snapshots that a host's libvirt keeps of its domains, and why there can be none of one."""

import re
from collections.abc import Mapping

from vinfra.kinds.kvm.domains import copied
from vinfra.kinds.kvm.reading.virsh import element
from vinfra.model.kind import Answers
from vinfra.model.question import ReadLibvirt
from vinfra.model.snapshot import Snapshot

SNAPSHOTS = ReadLibvirt("snapshots")


def snapshots(answers: Answers) -> Mapping[str, tuple[Snapshot, ...]]:
    """Those of each domain, oldest first."""
    raw = answers.get(SNAPSHOTS)
    found: dict[str, list[Snapshot]] = {}
    for xml in re.findall(r"^<domainsnapshot.*?^</domainsnapshot>", raw.text if raw else "", re.DOTALL | re.MULTILINE):
        one = _snapshot(xml)
        found.setdefault(one.machine, []).append(one)
    return {name: tuple(sorted(those, key=lambda one: (one.time, one.name))) for name, those in found.items()}


def _snapshot(xml: str) -> Snapshot:
    tree = element(xml)
    ways = {item.get("snapshot", "") for path in ("memory", "disks/disk") for item in tree.iterfind(path)}
    memory = tree.find("memory")
    return Snapshot(
        name=tree.findtext("name", ""),
        machine=tree.findtext("domain/name", ""),
        time=int(tree.findtext("creationTime", "0")),
        state=tree.findtext("state", ""),
        memory=memory is not None and memory.get("snapshot") in ("internal", "external"),
        external="external" in ways,
        parent=tree.findtext("parent/name", ""),
    )


def objection(xml: str) -> str:
    """Why no snapshot can be kept in a machine's own disks; "" when it can."""
    tree, disks = element(xml), [disk for disk in copied.disks(xml) if not disk.readonly]
    if not disks:
        return "it has no disk that could hold one"
    odd = [disk for disk in disks if disk.format != "qcow2"]
    if odd:
        said = ", ".join(f"{disk.target} is {disk.format}" for disk in odd)
        return f"{said}, and only qcow2 holds snapshots; `vinfra backup` saves any"
    variables = tree.find("os/nvram")
    if copied.nvram(xml) and (variables is None or variables.get("format") != "qcow2"):
        return "the variables of its firmware are a raw file, which holds no snapshot; `vinfra backup` saves them"
    return ""
