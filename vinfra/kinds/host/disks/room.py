"""How much the volumes of a group need, and whether it is there."""

from collections.abc import Iterator, Mapping
from typing import Any

from vinfra.kinds.host.disks import lvm
from vinfra.kinds.host.disks.names import spelled
from vinfra.model.kind import Scope

ALL_FREE = "100%FREE"


def below(scope: Scope) -> list[str]:
    """The devices of all groups that are declared."""
    groups = (item.desired for ref, item in scope.siblings.items() if ref.startswith("volume_group:"))
    told = [getattr(desired, "devices", ()) for desired in groups]
    return [name for devices_ in told if isinstance(devices_, tuple) for name in devices_]


def wanted(size: int | str, group: lvm.Group, own: int = 0) -> int:
    """The bytes that a size means in a group of which the volume has `own` already: whole extents."""
    if size == ALL_FREE:
        return own + group.free
    if isinstance(size, str):
        return group.size // group.extent * int(size.partition("%")[0]) // 100 * group.extent
    return -(-size // group.extent) * group.extent


def _wishes(group: str, scope: Scope) -> Iterator[tuple[str, int | str]]:
    """Every volume that is wanted of a group, but for one that takes what the others leave."""
    for reference, item in scope.siblings.items():
        noun, _, name = reference.partition(":")
        size = getattr(item.desired, "size", None)
        if noun == "logical_volume" and name.startswith(f"{group}/") and size is not None and size != ALL_FREE:
            yield name, size


def others(own: str, group: lvm.Group, scope: Scope) -> int:
    """The bytes that the other volumes of the plan still need of a group."""
    total = 0
    for name, size in _wishes(group.name, scope):
        there = group.volumes.get(name.partition("/")[2])
        if name != own and isinstance(size, int | str):
            total += max(wanted(size, group) - (there.size if there else 0), 0)
    return total


def never(parent: str, scope: Scope, notes: Mapping[str, Any]) -> str:
    """Why the volumes will not fit into a group that is still to be made or extended, as far as its devices tell."""
    told = getattr(scope.siblings[parent].desired, "devices", ())
    sizes: Mapping[str, int] = notes["sizes"]
    if not isinstance(told, tuple) or not sizes.keys() >= set(told):
        return ""
    name, most = parent.partition(":")[2], sum(sizes[device] for device in told)
    need = sum(size for _, size in _wishes(name, scope) if isinstance(size, int))
    said = f"the devices of volume group {name} have {spelled(most)}, and its volumes need {spelled(need)}"
    return said if need > most else ""
