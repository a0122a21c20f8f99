"""How a network leads out, in its XML: by libvirt's own bridge, or by a switch or an interface that the host has."""

from xml.etree.ElementTree import Element, SubElement

# How libvirt calls them; a network that is isolated has no <forward> at all.
MODES = {"nat": "nat", "routed": "route", "bridge": "bridge", "openvswitch": "bridge", "direct": "bridge"}
# All that a network on somebody else's switch can have.
_BARE = ("name", "uuid", "metadata", "forward", "bridge", "virtualport", "vlan", "portgroup", "bandwidth")
OPEN_VSWITCH = "virtualport[@type='openvswitch']"


def mode_of(tree: Element) -> str:
    """How a network leads out, in the words of a blueprint."""
    forward = tree.find("forward")
    if forward is None:
        return "isolated"
    said = forward.get("mode", "nat")
    if said == "bridge" and tree.find("bridge") is None:
        return "direct"
    if said == "bridge" and tree.find(OPEN_VSWITCH) is not None:
        return "openvswitch"
    return next((name for name, value in MODES.items() if value == said), said)


def interface_of(tree: Element) -> str | None:
    """The first that it may lead out by: libvirt says that twice."""
    item = tree.find("forward/interface")
    return None if item is None or tree.find("bridge") is not None else item.get("dev")


def set_mode(tree: Element, mode: str) -> None:
    """Lead out in that way, with what the way before needed gone."""
    for parent in (tree, *tree.iterfind("portgroup")) if mode != "openvswitch" else ():
        for tags in parent.findall("vlan"):  # libvirt refuses them anywhere else
            parent.remove(tags)
    if MODES.get(mode) != "bridge" and MODES.get(mode_of(tree)) == "bridge":
        _give_back(tree)
    if mode == "isolated":
        for old in tree.findall("forward"):
            tree.remove(old)
        return
    forward = child(tree, "forward")
    forward.set("mode", MODES[mode])
    for old in forward.findall("nat") if mode != "nat" else ():
        forward.remove(old)
    if MODES[mode] == "bridge":
        _set_borrowed(tree, mode)


def _give_back(tree: Element) -> None:
    """What belongs to somebody else's switch is not libvirt's to make."""
    child(tree, "forward").attrib.pop("dev", None)
    for bridge in tree.findall("bridge"):
        bridge.attrib.pop("name", None)
    for parent, tags in ((tree, ("virtualport",)), (child(tree, "forward"), ("interface",))):
        for item in [item for item in parent if item.tag in tags]:
            parent.remove(item)


def _set_borrowed(tree: Element, mode: str) -> None:
    gone = [item for item in tree if item.tag not in _BARE]
    gone += tree.findall("bridge") if mode == "direct" else tree.findall("forward/interface")
    gone += tree.findall(OPEN_VSWITCH) if mode != "openvswitch" else ()
    for parent in (tree, child(tree, "forward")):
        for item in [item for item in parent if item in gone]:
            parent.remove(item)
    if mode == "direct":
        return
    child(tree, "forward").attrib.pop("dev", None)
    for key in ("stp", "delay"):
        child(tree, "bridge").attrib.pop(key, None)
    if mode == "openvswitch" and tree.find(OPEN_VSWITCH) is None:
        SubElement(tree, "virtualport", {"type": "openvswitch"})


def set_interface(tree: Element, name: str) -> None:
    """Lead out by that interface of the host alone."""
    forward = child(tree, "forward")
    forward.attrib.pop("dev", None)
    for old in forward.findall("interface"):
        forward.remove(old)
    SubElement(forward, "interface", {"dev": name})


def child(tree: Element, tag: str) -> Element:
    """The element of that tag, which is made if need be."""
    there = tree.find(tag)
    return SubElement(tree, tag) if there is None else there
