"""What of an interface runs otherwise than declared, and what of a declaration this host cannot have."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from vinfra.kinds.compare import changed
from vinfra.kinds.host.networking import backends, fields, making, networkd, running
from vinfra.kinds.host.networking.making import Site
from vinfra.model.action import Impact
from vinfra.model.change import FieldChange


def actual(link: running.Link | None, links: running.Links, desired: Any, was: str | None = None) -> fields.Spec:
    """What runs, in the words of a blueprint."""
    if link is None:
        return fields.Spec.model_construct(addresses=(), up=False)
    told: dict[str, Any] = {"addresses": link.fixed, "mtu": link.mtu, "mac": link.mac, "up": link.up}
    for key, version in (("gateway", 4), ("gateway6", 6)):
        ways = [way.via for way in link.gateways(version)]
        told[key] = ways[0] if ways else None
    told["routes"] = tuple(
        fields.Route.model_construct(to=way.to, via=way.via, metric=way.metric)
        for way in link.ways
        if way.via and not way.given and way.to not in ("0.0.0.0/0", "::/0")
    )
    ports, options = running.ports(links, link.name, fields.ports(desired)), link.options
    if link.sort == "bridge":
        delay = float(options.get("forward_delay", 0)) / 100
        told["bridge"] = fields.Bridge.model_construct(
            ports=ports, stp=bool(options.get("stp_state")), forward_delay=delay
        )
    if link.sort == "vlan":
        told["vlan"] = fields.Vlan.model_construct(id=options.get("id"), parent=link.parent)
    if link.sort == "bond":
        told["bond"] = fields.Bond.model_construct(ports=ports, mode=options.get("mode"), miimon=options.get("miimon"))
    return fields.Spec.model_construct(**told, dhcp=was)


def found(site: Site, desired: fields.Spec) -> Iterator[FieldChange]:
    """Each field that runs otherwise, at what changing it costs here; at last the files."""
    link = site.link
    there = actual(link, site.host.links, desired, site.was)
    yield from _structure(site, desired, there)
    if desired.up != (link is None or link.up):
        yield _cheap(changed(fields.Spec, "up", there.up, desired.up), desired.up)
    if desired.up:
        yield from _addressing(desired, there, link)
    if desired.mtu is not None and desired.mtu != there.mtu:
        yield _cheap(changed(fields.Spec, "mtu", there.mtu, desired.mtu), bool(fields.sort(desired)))
    if desired.mac is not None and desired.mac != there.mac:
        yield _cheap(changed(fields.Spec, "mac", there.mac, desired.mac), link is None)
    if any(site.texts.get(path) is not None for path in site.manager.paths(site.name)) and desired.dhcp != site.was:
        yield changed(fields.Spec, "dhcp", site.was, desired.dhcp)
    if site.claims and desired.takeover:
        taken = ", ".join(str(claim.line) for claim in site.claims)
        yield FieldChange("takeover", None, f"{taken} as a comment")
    files = making.dirty(site, desired)
    if files:
        before = {path: site.texts.get(path) for path in files}
        yield FieldChange("at boot", _shown(before), _shown(files))


def _cheap(change: FieldChange, live: bool) -> FieldChange:
    return replace(change, impact=Impact.LIVE, why="") if live else change


def _shown(texts: dict[str, str | None]) -> str | None:
    return "".join(f"{path}\n{text}" for path, text in sorted(texts.items()) if text is not None) or None


def _structure(site: Site, desired: fields.Spec, there: fields.Spec) -> Iterator[FieldChange]:
    sort, links = fields.sort(desired), site.host.links
    if not sort:
        return
    before: Any = getattr(there, sort, None)
    after = getattr(desired, sort)
    fresh = before is None
    if sort in ("bridge", "bond"):
        was, wish = (() if fresh else before.ports), after.ports
        was = tuple(port for port in was if not making.anew(port, site.specs, links))
        # What has addresses loses them when it becomes a port.
        bare = all(not links[port].addresses for port in wish if port in links and port not in was)
        if fresh or set(was) != set(wish):
            change = FieldChange(f"{sort}.ports", None if fresh else was, wish, Impact.RESTART, why=_why(sort))
            yield _cheap(change, bare and set(was) <= set(wish))
    if sort == "bridge":
        # A new one has them from the start, and is told of only what it says itself.
        pairs = [("stp", False if fresh else before.stp, after.stp)]
        pairs += [
            (
                "forward_delay",
                after.delay if fresh and after.forward_delay is None else before and before.delay,
                after.delay,
            )
        ]
        yield from (FieldChange(f"bridge.{key}", one, two) for key, one, two in pairs if one != two)
        return
    if sort == "vlan":
        pairs = [(key, None if fresh else getattr(before, key), getattr(after, key)) for key in ("id", "parent")]
        if making.anew(after.parent, site.specs, links):
            pairs[1] = ("parent", after.parent, f"{after.parent}, made anew")
    else:
        options = site.link if site.link else running.Link(site.name)
        pairs = [(key, one, two) for key, one, two in making.bonded(options, after)]
    for key, one, two in pairs:
        if one != two:
            yield _cheap(FieldChange(f"{sort}.{key}", one, two, Impact.RESTART, why=_why(sort)), fresh)


def _why(sort: str) -> str:
    return str(changed(fields.Spec, sort, None, None).why)


def _addressing(desired: fields.Spec, there: fields.Spec, link: running.Link | None) -> Iterator[FieldChange]:
    known, wish = there.addresses or (), desired.addresses
    if wish is not None:
        extra = [item for item in known if item not in wish] if desired.exclusive else []
        if extra or any(item not in known for item in wish):
            yield _cheap(changed(fields.Spec, "addresses", known, wish), not extra)
    for key, version in (("gateway", 4), ("gateway6", 6)):
        gateway = getattr(desired, key)
        ways = [way.via for way in link.gateways(version, gateway)] if link else []
        if gateway is not None and set(ways) != {gateway}:
            yield _cheap(changed(fields.Spec, key, ", ".join(ways) or None, gateway), not ways)
    ways_there = [(way.to, way.via, way.metric) for way in there.routes or ()]
    missing = tuple(route for route in desired.routes or () if not _there(route, ways_there))
    if missing:
        yield changed(fields.Spec, "routes", None, missing)


def _there(route: fields.Route, ways: list[tuple[str, str, int | None]]) -> bool:
    return any((route.to, route.via) == (to, via) and route.metric in (None, metric) for to, via, metric in ways)


def objection(site: Site, desired: fields.Spec) -> str:
    """Why this host cannot have it, in a sentence; "" if it can."""
    return next(filter(None, _objections(site, desired)), "")


def _objections(site: Site, desired: fields.Spec) -> Iterator[str]:
    name, link, links = site.name, site.link, site.host.links
    sort = fields.sort(desired)
    if link is not None and link.sort != sort:
        kinds = {"": "a network card", "vlan": "a VLAN"}
        yield f"{name} is {kinds.get(link.sort, f'a {link.sort}')} here; declare it as that, or remove it first"
    coming = {key for key, spec in site.specs.items() if fields.sort(spec)}
    for other in (*fields.ports(desired), *((desired.vlan.parent,) if desired.vlan else ())):
        if other not in links and other not in coming:
            yield f"there is no {other} on this host"
    yield _unsaid(site, desired)
    for port in fields.ports(desired):
        above = links[port].master if port in links else ""
        if above not in ("", name) and port in fields.ports(site.specs.get(above, fields.Spec())):
            yield f"{port} is a port of {above}"
        elif above not in ("", name) and above not in site.specs:
            yield f"{port} is a port of {above}, which is not declared here; take it out there first"
    if backends.hasty(site.manager, desired, site.host):
        yield "NetworkManager keeps no forward_delay below 2s"
    if site.manager is networkd and desired.vlan:
        parent = desired.vlan.parent
        if not networkd.carrier(name, parent, site.host.lines, parent in site.specs):
            yield f"systemd-networkd needs a file of {parent} that names its VLANs: declare it too, `{parent}: {{}}`"


def _unsaid(site: Site, desired: fields.Spec) -> str:
    """What it has and nobody declared, which no file would bring back at boot and most daemons take away at once."""
    link, name = site.link, site.name
    if link is None or making.master(name, site.specs) or not making.dirty(site, desired):
        return ""
    if desired.addresses is None and link.fixed:
        return f"{name} has {', '.join(link.fixed)}: say its addresses, or `addresses: []` for none"
    for key, version in (("gateway", 4), ("gateway6", 6)):
        ways = link.gateways(version)
        if ways and getattr(desired, key) is None and ways[0].via and desired.addresses != ():
            return f"{name} leads everywhere by {ways[0].via}: say its {key}, or `addresses: []`"
    return ""


def clash(site: Site, desired: fields.Spec) -> str:
    """What two declarations of one host cannot both say, in a sentence; "" if they agree."""
    return next(filter(None, _among(site, desired)), "")


def _among(site: Site, desired: fields.Spec) -> Iterator[str]:
    name = site.name
    above = making.master(name, site.specs)
    own = [key for key in ("addresses", "dhcp", "gateway", "gateway6", "routes") if getattr(desired, key)]
    if above and own:
        yield f"it is a port of {above}: its {own[0]} belong{'' if own[0].endswith('es') else 's'} to {above}"
    for other, spec in sorted(site.specs.items()):
        if other == name:
            continue
        mine, theirs = _bare(desired.addresses), _bare(spec.addresses)
        if both := sorted(mine & theirs):
            yield f"{other} has {both[0]} too"
        if both := sorted(set(fields.ports(desired)) & set(fields.ports(spec))):
            yield f"{both[0]} is a port of {other} too"
        for key in ("gateway", "gateway6"):
            if getattr(desired, key) is not None and getattr(spec, key) is not None:
                yield f"{other} has a {key} too; one of them leads everywhere, give the other one `routes`"
        if desired.vlan is not None and spec.vlan == desired.vlan:
            yield f"{other} is VLAN {desired.vlan.id} of {desired.vlan.parent} too"


def _bare(addresses: Iterable[str] | None) -> set[str]:
    return {item.partition("/")[0] for item in addresses or ()}


def lost(site: Site, desired: fields.Spec) -> str:
    """What becomes of addresses that a port has, and who hangs on it."""
    links, kept = site.host.links, _bare(desired.addresses)
    gone = [
        f"{port} has {item.text}, which goes"
        for port in fields.ports(desired)
        if port in links and links[port].master != site.name
        for item in links[port].addresses
        if item.text.partition("/")[0] not in kept
    ]
    return "; ".join(gone)


def hanging(site: Site, desired: Any = None) -> str:
    """The machines and containers that are plugged into it."""
    wish = fields.ports(desired)
    users = [name for name in running.guests(site.host.links, site.name) if name not in wish]
    return f"{', '.join(users)} {'is' if len(users) == 1 else 'are'} plugged into it" if users else ""
