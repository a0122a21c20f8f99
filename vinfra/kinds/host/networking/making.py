"""The step that makes an interface as declared, the one that takes it away, and how a host takes either back itself."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vinfra.kinds.host.networking import fields, files, live, networkd, networkmanager, running
from vinfra.kinds.host.networking.backends import Claim, Host, Manager
from vinfra.model.action import Impact
from vinfra.model.step import Call, Exec, Step, Write

NO_CLOUD = "/etc/cloud/cloud.cfg.d/99-vinfra-network.cfg"
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Site:
    """One interface on its host: who manages it, the text of each file that may be ours, what others' files say of it.

    `specs` are all interfaces that are declared here. `texts` holds None for a file that is not there; `former` are the
    texts of others' files that are taken over.
    """

    name: str
    host: Host
    manager: Manager
    specs: fields.Specs
    texts: Mapping[str, str | None]
    claims: tuple[Claim, ...] = ()
    former: Mapping[str, str] | None = None

    @property
    def link(self) -> running.Link | None:
        return self.host.links.get(self.name)

    @property
    def was(self) -> str | None:
        """What our former file asks for by DHCP."""
        own = {path: text for path in self.manager.paths(self.name) if (text := self.texts.get(path)) is not None}
        return self.manager.dhcp(own)


def master(name: str, specs: fields.Specs) -> str:
    """The declared bridge or bond that an interface is a port of."""
    return next((other for other, spec in specs.items() if name in fields.ports(spec)), "")


def wished(site: Site, desired: fields.Spec) -> dict[str, str | None]:
    """Every file at boot that is this interface's to say, and its text; None for one that is to go."""
    name, module, above = site.name, site.manager, master(site.name, site.specs)
    found: dict[str, str | None] = {}
    stale = [path for path, other in site.host.mine(name).items() if other is not module or path not in site.texts]
    plugged = above and site.link is not None and site.link.master == above
    if plugged:
        found.update(module.render(name, desired, site.specs, fields.plug(above, site.specs[above], name)))
    elif not above or fields.sort(desired):
        found.update(module.render(name, desired, site.specs))
    else:
        return {}  # its bridge or bond takes it over in one go with its addresses
    found.update(dict.fromkeys((path for path in (*stale, *module.paths(name)) if path not in found), None))
    found.update(_of_ports(site, desired))
    if module is networkd and desired.vlan:
        parent = desired.vlan.parent
        if addition := networkd.carrier(name, parent, site.host.lines, parent in site.specs):
            found[addition] = networkd.carried(name)
    return {path: text for path, text in found.items() if text is not None or site.texts.get(path, "") is not None}


def _of_ports(site: Site, desired: fields.Spec) -> Iterator[tuple[str, str | None]]:
    module, ports = site.manager, fields.ports(desired)
    for port in ports:
        own = site.specs.get(port, fields.Spec())
        made = module.render(port, own, site.specs, fields.plug(site.name, desired, port))
        yield from made.items()
        yield from ((path, None) for path in site.host.mine(port) if path not in made)
    former = {key for key, other in site.host.links.items() if other.master == site.name}
    for port in sorted(former - set(ports) - site.specs.keys()):
        yield from ((path, None) for path in site.host.mine(port))


def dirty(site: Site, desired: fields.Spec) -> dict[str, str | None]:
    """The files that are not as they are to be."""
    return {path: text for path, text in wished(site, desired).items() if site.texts.get(path) != text}


def anew(name: str, specs: fields.Specs, links: running.Links) -> bool:
    """Whether the kernel must make it anew: a VLAN's tag and parent and how a bond shares are fixed when it is made.

    A VLAN goes with its parent.
    """
    link, desired = links.get(name), specs.get(name)
    if link is None or desired is None or link.sort != fields.sort(desired):
        return False
    if desired.vlan:
        told = (link.options.get("id"), link.parent)
        return told != (desired.vlan.id, desired.vlan.parent) or anew(link.parent, specs, links)
    return desired.bond is not None and any(before != after for _, before, after in bonded(link, desired.bond))


def bonded(link: running.Link, bond: fields.Bond) -> Iterator[tuple[str, object, object]]:
    """How a bond shares its work: each field that is managed, as it is and as it is to be."""
    names = {"mode": "mode", "miimon": "miimon", "lacp_rate": "ad_lacp_rate", "xmit_hash_policy": "xmit_hash_policy"}
    for key, word in names.items():
        wish = getattr(bond, key)
        if wish is not None:
            yield key, link.options.get(word), wish


def step(site: Site, desired: fields.Spec, impact: Impact) -> Step:
    """Files, then whoever manages them, then what is still missing: in one round trip, and taken back as one."""
    name, module, texts = site.name, site.manager, dirty(site, desired)
    new, virtual = anew(name, site.specs, site.host.links), bool(fields.sort(desired))
    calls: list[Call] = [*_taken_over(site), *(module.before(name, desired, site.was) if texts else ())]
    calls += [live.gone(name)] if new else []
    calls += _written(module, texts)
    if texts or site.claims or new:
        ports = fields.ports(desired)
        changed = tuple(port for port in ports if new or texts.keys() & set(module.paths(port)))
        calls += module.count(name, desired, site.was, changed)
    if desired.vlan and (new or site.link is None):
        calls.append(live.stale(name, desired.vlan.id))
    calls += [live.make(name, desired)] if virtual else []
    links = {key: link for key, link in site.host.links.items() if not (new and key == name)}
    calls += live.toward(name, desired, links)
    calls += live.others(name, desired, links) if texts else ()
    return Step(
        f"set up {name} by {module.NAME}",
        tuple(calls),
        impact,
        timeout=SECONDS,
        secret=_secret(site),
        guards=(*texts, *_others(site)),
        again=tuple(_again(site, desired, new or (virtual and site.link is None))),
    )


def _written(module: Manager, texts: Mapping[str, str | None]) -> list[Call]:
    """The files; netplan's and NetworkManager's are nobody else's to read."""
    calls: list[Call] = []
    folders = {path.rpartition("/")[0] for path, text in texts.items() if text is not None}
    calls += [Exec(("mkdir", "-p", "--", folder)) for folder in sorted(folders)]
    for path, text in texts.items():
        if text is not None:
            # systemd-networkd is not root, and reads what is added to netplan's.
            mode = networkd.MODE if path.startswith(networkd.FOLDER) else module.MODE
            calls.append(Write(path, text.encode(), mode, "root", "root"))
    gone = [path for path, text in texts.items() if text is None]
    return [*calls, *([Exec(("rm", "-f", "--", *gone))] if gone else [])]


def _others(site: Site) -> tuple[str, ...]:
    """Files that are not ours and change all the same: those that are taken over."""
    own = [claim.line.path for claim in site.claims]
    return (*own, *((NO_CLOUD,) if any("cloud-init" in path for path in own) else ()))


def _taken_over(site: Site) -> Iterator[Call]:
    """A copy of each, and then what it said as comments. cloud-init would write its own again at the next boot."""
    if site.claims:
        yield Exec(("mkdir", "-p", "-m", "0700", "--", files.KEPT))
    for path, text in taken_over(site).items():
        before = (site.former or {})[path]
        yield Write(files.kept(path), before.encode("utf-8", "surrogateescape"), "0600", "root", "root")
        yield Write(path, text.encode("utf-8", "surrogateescape"))
    if NO_CLOUD in _others(site):
        yield Write(NO_CLOUD, b"network: {config: disabled}\n", "0644", "root", "root")


def taken_over(site: Site) -> dict[str, str]:
    """What each file that is taken over says afterwards; "" when it cannot be said."""
    found: dict[str, str] = {}
    for module, line, name in site.claims:
        before = found.get(line.path, (site.former or {}).get(line.path, ""))
        found[line.path] = module.without(name, line, before)
    return found


def _secret(site: Site) -> bool:
    """Whether what is taken over whole may hold the key of a wireless network or the like."""
    return any(re.search(files.SECRETS, text, re.IGNORECASE) for text in (site.former or {}).values())


def _again(site: Site, desired: fields.Spec | None, new: bool) -> Iterator[tuple[str, ...]]:
    """What the host runs to be as it was, once its files are: make way, let the manager read them, set what ran."""
    if new:
        yield ("ip", "link", "delete", "dev", site.name)
    names = live.touched(site.name, desired, site.host.links)
    yield from site.manager.recall(site.name, site.was, names)
    if site.manager is networkmanager:
        known = site.host.connections
        yield from (networkmanager.resumed(name, known[name]) for name in names if name in known)
    came = (desired.addresses if desired is not None else None) or ()
    yield from live.back(names, {site.name: came}, site.host.links)


def removal(site: Site, impact: Impact) -> Step:
    """A bridge, VLAN or bond goes with its files; a network card runs as it is until the next boot."""
    name, module, link = site.name, site.manager, site.link
    virtual = link is not None and bool(link.sort)
    paths = list(site.host.mine(name))
    # What is declared of a port has written the port's own file by now.
    ports = [key for key, other in site.host.links.items() if other.master == name and key not in site.specs]
    paths += [path for port in ports for path in site.host.mine(port)]
    paths += [path for path in site.host.lines if path.endswith(f".network.d/vinfra-{name}.conf")]
    calls: list[Call] = [*module.leave(name, virtual), Exec(("rm", "-f", "--", *paths))]
    if virtual:
        calls += [*module.left(name), live.gone(name), *live.others(name, None, site.host.links)]
    again = tuple(_again(site, None, new=False))
    summary = f"remove {name}" if virtual else f"remove the file of {name}"
    return Step(summary, tuple(calls), impact, timeout=SECONDS, guards=tuple(paths), again=again)


def undo(site: Site, desired: fields.Spec) -> Step:
    """Everything as it was found: others' files, ours, and what ran."""
    texts = {path: site.texts.get(path) for path in dirty(site, desired)}
    calls: list[Call] = _written(site.manager, texts)
    calls += [Write(path, text.encode("utf-8", "surrogateescape")) for path, text in (site.former or {}).items()]
    new = bool(fields.sort(desired)) and (site.link is None or anew(site.name, site.specs, site.host.links))
    back = list(_again(site, desired, new))
    calls += [Exec(argv, ok=(0, 1, 2, 4, 10)) for argv in back]
    guards = (*texts, *(site.former or {}))
    again: Iterable[Exec] = live.toward(site.name, desired, site.host.links)
    return Step(
        f"set up {site.name} as it was",
        tuple(calls),
        Impact.RESTART,
        timeout=SECONDS,
        secret=_secret(site),
        guards=guards,
        again=(*site.manager.recall(site.name, site.was, ()), *(call.argv for call in again)),
    )
