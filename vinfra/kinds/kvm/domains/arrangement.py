"""A domain's processors in its XML: how they are arranged, what they can do, where they run, and the NUMA nodes."""

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement

from vinfra.kinds.kvm.domains.elements import KIB, attribute, bytes_of, child, remove, tidy, whole
from vinfra.kinds.kvm.domains.parts import Cell, Pinning, Topology, canonical, covers

OPTIONAL = "optional"


def topology(tree: Element) -> Topology | None:
    """As the definition says it; None where the number of CPUs alone counts. Dies and clusters count as sockets."""
    item = tree.find("cpu/topology")
    if item is None:
        return None
    sockets = whole(item.get("sockets")) * max(whole(item.get("dies")), 1) * max(whole(item.get("clusters")), 1)
    return Topology.model_construct(sockets=sockets, cores=whole(item.get("cores")), threads=whole(item.get("threads")))


def set_topology(tree: Element, wish: Topology) -> None:
    """That, and nothing between sockets and cores."""
    item = child(tree, "cpu/topology")
    item.attrib.clear()
    item.attrib.update({name: str(number) for name, number in wish})


def features(tree: Element) -> dict[str, str]:
    """The policy of each CPU feature that is spoken of. An old definition may leave it out, and means require."""
    return {item.get("name", ""): item.get("policy", "require") for item in tree.iterfind("cpu/feature")}


def same_features(wish: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """Whether those that are declared are there so; libvirt adds others by itself."""
    return all(found.get(name) == policy for name, policy in wish.items())


def running_features(wish: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """The same of what runs, where an optional one became what the host could do."""
    return same_features({name: policy for name, policy in wish.items() if policy != OPTIONAL}, found)


def set_features(tree: Element, wish: Mapping[str, str]) -> None:
    """These; others stay. Without a check libvirt starts a domain whose host cannot do what it requires."""
    cpu = child(tree, "cpu")
    if cpu.get("mode", "custom") == "custom":
        cpu.set("check", "partial")
    there = {item.get("name"): item for item in cpu.iterfind("feature")}
    for name, policy in wish.items():
        item = there[name] if name in there else SubElement(cpu, "feature", {"name": name})
        item.set("policy", policy)


def numa(tree: Element) -> tuple[Cell, ...]:
    """The machine's NUMA nodes, in order; none is the usual thing."""
    nodes = {item.get("cellid"): _nodes(item) for item in tree.iterfind("numatune/memnode")}
    cells = sorted(tree.iterfind("cpu/numa/cell"), key=lambda item: whole(item.get("id")))
    return tuple(
        Cell.model_construct(
            cpus=canonical(item.get("cpus", "")),
            memory=bytes_of(item.get("memory"), item.get("unit")),
            nodes=nodes.get(item.get("id")),
        )
        for item in cells
    )


def _nodes(item: Element) -> str:
    """Nodes that are only preferred or taken in turns are no promise, so they are not the same."""
    mode = item.get("mode", "strict")
    return ("" if mode == "strict" else f"{mode} ") + canonical(item.get("nodeset", ""))


def same_numa(wish: Sequence[Cell], found: Sequence[Cell]) -> bool:
    """Whether these are the nodes."""
    return len(wish) == len(found) and all(map(covers, wish, found))


def set_numa(tree: Element, wish: Sequence[Cell]) -> None:
    """Exactly these nodes; what else is said of one that stays (its distances) stays."""
    cpu = child(tree, "cpu")
    place = child(cpu, "numa")
    there = {item.get("id"): item for item in place.iterfind("cell")}
    remove(place, (item for key, item in there.items() if whole(key) >= len(wish)))
    for number, cell in enumerate(wish):
        item = there.get(str(number))
        item = SubElement(place, "cell", {"id": str(number)}) if item is None else item
        item.attrib.update(cpus=cell.cpus, memory=str(cell.memory // KIB), unit="KiB")
    tidy(cpu, "numa")
    tidy(tree, "cpu")
    if tree.find("numatune") is not None or any(cell.nodes for cell in wish):
        _set_memory_nodes(tree, wish)


def _set_memory_nodes(tree: Element, wish: Sequence[Cell]) -> None:
    tune = child(tree, "numatune")
    kept = {str(number) for number, cell in enumerate(wish) if cell.nodes is None}
    remove(tune, (item for item in tune.findall("memnode") if item.get("cellid") not in kept))
    for number, cell in enumerate(wish):
        if cell.nodes is not None:
            SubElement(tune, "memnode", {"cellid": str(number), "mode": "strict", "nodeset": cell.nodes})
    tidy(tree, "numatune")


def pinning(tree: Element) -> Pinning:
    """Where the virtual CPUs, QEMU itself and the memory are."""
    pins = {item.get("vcpu", ""): canonical(item.get("cpuset", "")) for item in tree.iterfind("cputune/vcpupin")}
    memory = tree.find("numatune/memory")
    return Pinning.model_construct(
        cpus=dict(sorted(pins.items(), key=lambda pin: whole(pin[0]))),
        emulator=canonical(attribute(tree, "cputune/emulatorpin", "cpuset")) or None,
        nodes=None if memory is None else _nodes(memory),
    )


def set_pinning(tree: Element, wish: Pinning) -> None:
    """What is declared of it; the rest stays."""
    tune = child(tree, "cputune")
    if wish.cpus is not None:
        remove(tune, tune.findall("vcpupin"))
        for number, cpus in wish.cpus.items():
            SubElement(tune, "vcpupin", {"vcpu": number, "cpuset": cpus})
    if wish.emulator is not None:
        child(tune, "emulatorpin").set("cpuset", wish.emulator)
    tidy(tree, "cputune")
    if wish.nodes is not None:
        item = child(tree, "numatune/memory")
        item.attrib.clear()
        item.attrib.update(mode="strict", nodeset=wish.nodes)
