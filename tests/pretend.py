"""Hosts with a libvirt that is only pretended: in memory they answer what is asked and do what steps say.

As with libvirt, a definition and what runs of it are two: what is defined anew takes hold at the next start. Programs
that a step calls do nothing and end well.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vinfra import engine
from vinfra.errors import Unreachable
from vinfra.look.look import Look
from vinfra.model import tree
from vinfra.model.action import Impact
from vinfra.model.mark import DIRECTORY, GUEST_NAMESPACE, Mark, parse
from vinfra.model.outcome import Observers, Outcome
from vinfra.model.plan import Plan
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question, Raw, ReadFile, ReadLibvirt, ReadMarks, ReadTree
from vinfra.model.request import Consent, Request
from vinfra.model.step import Append, AwaitGuest, Call, Migrate, Step, StepResult, Verb, Virt, Write
from vinfra.transport.secrets import Secrets

GIB = 1 << 30
IMAGES = "/var/lib/libvirt/images"
POOL = f"<pool><name>default</name><available>{80 * GIB}</available><target><path>{IMAGES}</path></target></pool>"
NETWORK = "<network><name>dev</name><bridge name='virbr7'/></network>"
PREFIXES = {"domains": "", "networks": "net-", "pools": "pool-"}


@dataclass
class Thing:
    """A domain, a network or a pool: its definition, what runs of it ("" when it is off), a pool's volumes.

    `snapshots` are the names of a domain's.
    """

    xml: str
    live: str = ""
    autostart: bool = False
    volumes: dict[str, str] = field(default_factory=dict)
    snapshots: tuple[str, ...] = ()


def volume(xml: str) -> str:
    """A volume's XML as libvirt tells it once it is there: with its path."""
    tree = ElementTree.fromstring(xml)
    ElementTree.SubElement(tree.find("target"), "path").text = f"{IMAGES}/{tree.findtext('name')}"
    return ElementTree.tostring(tree, "unicode")


def _answered(xml: str, user: str) -> str:
    """A domain's XML with the address and the key that its guest told."""
    told = f"<guest xmlns='{GUEST_NAMESPACE}' address='10.10.0.9' key='ssh-ed25519 AAAA' user='{user}'/>"
    return re.sub(r"<[\w:]*guest [^>]*/>", "", xml).replace("</metadata>", f"{told}</metadata>")


def _noted(xml: str, element: str) -> str:
    """A domain's XML with an element in its metadata, in place of the one of its sort."""
    kind = re.search(r":(\w+)", element)
    assert kind
    return re.sub(rf"<[\w:]*{kind[1]} [^>]*/>", "", xml).replace("</metadata>", f"{element}</metadata>")


def _plugged(live: str, verb: str, xml: str) -> str:
    """What runs once a device has come, gone or changed; it is known by its MAC address or its name."""
    tree, device = ElementTree.fromstring(live), ElementTree.fromstring(xml)
    parent = tree.find("devices")
    assert parent is not None
    for item in [item for item in parent if item.tag == device.tag and _own(item) == _own(device)]:
        parent.remove(item)
    parent.extend([] if verb == "detach" else [device])
    return ElementTree.tostring(tree, "unicode")


def _own(device: ElementTree.Element) -> list[tuple[str, str]]:
    return [item for tag in ("mac", "target") for found in device.findall(tag) for item in sorted(found.items())]


class Host:
    """One host. `dead`: it does not answer; `delay`: a guest's boot, in seconds; `lines`: its mark file."""

    def __init__(self, *, hypervisor: bool = True) -> None:
        self.hypervisor, self.memory, self.dead, self.delay = hypervisor, 64 * GIB, False, 0.0
        self.lines: list[str] = []
        self.joined: Callable[[Any], None] = lambda _: None
        self.carried: Callable[[Migrate], None] = lambda _: None
        self.domains: dict[str, Thing] = {}
        self.networks = {"dev": Thing(NETWORK, NETWORK, True)}
        self.pools = {"default": Thing(POOL, POOL, True)}
        self.lock = threading.Lock()

    @property
    def volumes(self) -> dict[str, str]:
        return self.pools["default"].volumes

    @property
    def marks(self) -> dict[str, Mark]:
        """The living marks, by reference: `domain:web-01`."""
        found, _ = parse("\n".join(self.lines))
        return {f"{kind.rpartition('.')[2]}:{name}": mark for (_, kind, name), mark in found.items()}

    def ask(self, questions: Sequence[Question]) -> dict[Question, Raw]:
        with self.lock:
            return {question: self._told(question) for question in questions}

    def run(self, step: Step) -> StepResult:
        for call in step.calls:
            if isinstance(call, AwaitGuest):
                time.sleep(self.delay)
            if isinstance(call, Migrate):
                self.carried(call)
            with self.lock:
                self._do(call)
        return StepResult(0)

    def _told(self, question: Question) -> Raw:
        match question:
            case ReadLibvirt(sort) if self.hypervisor and sort in PREFIXES:
                return Raw(0, self._virsh(sort).encode())
            case ReadMarks():
                return Raw(0, "\n".join(self.lines).encode())
            case Ask(("nproc",)):
                return Raw(0, b"16")
            case ReadTree():
                return Raw(0, tree.answer({"/proc/meminfo": f"MemTotal: {self.memory // 1024} kB"}))
            case Ask(("stat", *words)):  # of all paths only /etc is there
                lines = (f"stat: cannot statx '{path}': No such file or directory" for path in words if path != "/etc")
                return Raw(1, b"41ed:root:root:0:0:4096:0.0:/etc", "\n".join(lines))
            case ReadFile():
                return Raw(2, b"", "No such file or directory")
        return Raw(127, b"", "not found")

    def _virsh(self, sort: str) -> str:
        """A batch of virsh's answers; a thing's name stands where its UUID does, which virsh takes as well."""
        prefix, things = PREFIXES[sort], getattr(self, sort).items()
        said = [f"virsh > {prefix}list --all --autostart --uuid", *(name for name, thing in things if thing.autostart)]
        if sort == "domains":
            states = (f"Domain: '{name}'\n  state.state={1 if thing.live else 5}" for name, thing in things)
            said += ["virsh > domstats --state", *states]
            taken = ((name, thing.snapshots) for name, thing in things if thing.snapshots)
            said += (f"virsh > snapshot-list {name} --name\n" + "\n".join(names) for name, names in taken)
        for name, thing in things:
            said += [f"virsh > {prefix}dumpxml --inactive {name}", thing.xml]
            said += [f"virsh > {prefix}dumpxml {name}", thing.live] if thing.live else []
            said += (f"virsh > vol-dumpxml {file}\n{xml}" for file, xml in thing.volumes.items())
        return "\n".join((*said, "virsh > \n"))

    def _do(self, call: Call) -> None:
        match call:
            case Append(_, line):
                self.lines.append(line)
            case Write(path, content) if path.startswith(DIRECTORY):
                self.lines = content.decode().splitlines()
            case AwaitGuest(name, login):
                domain, user = self.domains[name], login.user
                self.joined(login)
                domain.xml, domain.live = (_answered(xml, user) for xml in (domain.xml, domain.live))
            case Virt(Verb.VOLUME_CREATE, file):
                assert file not in self.volumes
                self.volumes[file] = volume(call.xml)
            case Virt(Verb.VOLUME_DELETE, file):
                self.volumes.pop(file, None)
            case Virt():
                self._turn(*call.verb.split("."), call)

    def _turn(self, noun: str, verb: str, call: Virt) -> None:
        """A verb that a domain and a network share, or that a domain alone knows; the others change nothing here."""
        things = {"domain": self.domains, "network": self.networks}.get(noun, {})
        if noun == "device":
            self.domains[call.name].live = _plugged(self.domains[call.name].live, verb, call.xml)
        if verb == "define":
            things.setdefault(call.name, Thing("")).xml = call.xml
        elif verb == "undefine":
            things.pop(call.name, None)
        elif verb == "metadata":
            thing = things[call.name]
            thing.xml, thing.live = (_noted(xml, call.xml) for xml in (thing.xml, thing.live))
        elif thing := things.get(call.name):
            changes = {
                "start": {"live": thing.live or thing.xml},
                "autostart": {"autostart": bool(call.number)},
                "memory": {"live": re.sub(r"(<currentMemory[^>]*>)\d+", rf"\g<1>{call.number >> 10}", thing.live)},
                **{name: {"live": ""} for name in ("stop", "shutdown", "destroy")},
            }
            vars(thing).update(changes[verb])


class World:
    """Hosts, and what looks at them: it stands where the connections do. Files are written to `folder`."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder, self.hosts = folder, {name: Host() for name in names}
        self.asked: list[str] = []
        self.secrets = Secrets()
        self.sick: set[str] = set()
        self.lost = ""
        for name, host in self.hosts.items():
            host.joined, host.carried = self.join, partial(self.carry, name)
        (folder / "id.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1 test\n")

    def reader(self, name: str) -> Host:
        self.asked.append(name)
        if name not in self.hosts or self.hosts[name].dead:
            raise Unreachable(f"{name} does not answer")
        return self.hosts[name]

    writer = reader

    def carry(self, old: str, call: Migrate) -> None:
        """As vinfra moves a machine; `lost` is where the controller dies: "before", "half" or "after" it is there."""
        there = self.hosts[call.to]
        if call.shared:
            if self.lost != "before":
                there.domains[call.name] = self.hosts[old].domains.pop(call.name)
            if self.lost:
                raise Unreachable("the controller is gone")
            return
        assert not any(file.startswith(f"{call.name}-") for file in there.volumes)
        if self.lost == "half":
            own = [file for file in self.hosts[old].volumes if file.startswith(f"{call.name}-")]
            there.volumes.update({file: self.hosts[old].volumes[file] for file in own})
        elif self.lost != "before":
            autostart = self.hosts[old].domains[call.name].autostart
            kept = dict(self.hosts[old].volumes)
            self.migrate(call.name, old, call.to, autostart=autostart)
            if self.lost:
                self.hosts[old].volumes.update(kept)
        if self.lost:
            raise Unreachable("the controller is gone")

    def join(self, host: Any) -> None:
        self.hosts.setdefault(host.name, Host(hypervisor=False))

    @contextmanager
    def anew(self, name: str) -> Iterator[Host]:
        """A new login; those of `sick` do not let anybody in any more."""
        if name in self.sick:
            raise Unreachable(f"{name}: connection refused")
        yield self.reader(name)

    def request(self, blueprint: str, inventory: Iterable[str] = (), **given: Any) -> Request:
        """A request on files; the inventory holds every hypervisor, or those named, in that order."""
        names = inventory or [name for name, host in self.hosts.items() if host.hypervisor]
        (self.folder / "blueprint.yaml").write_text(f"blueprint: pretend\n{blueprint}")
        (self.folder / "inventory.yaml").write_text("hosts:\n" + "".join(f"  {name}: {{}}\n" for name in names))
        return Request(self.folder / "blueprint.yaml", self.folder / "inventory.yaml", **given)

    def look(self, blueprint: str, *, everywhere: bool = False, **given: Any) -> Look:
        """A fresh look; with `everywhere` the one of a destroy."""
        request, self.secrets = self.request(blueprint, **given), Secrets()
        wish = engine.validate(request)
        return Look(request, replace(wish, resources=()) if everywhere else wish, self, Observers(), everywhere)

    def plan(self, blueprint: str, **given: Any) -> Plan:
        return self.look(blueprint, **given).plan()

    def apply(self, blueprint: str, **given: Any) -> Outcome:
        """Plan and run what is not refused, whatever it costs."""
        look = self.look(blueprint, **given)
        return look.run(look.plan(), Consent(Impact.DATA_LOSS, skip_refused=True), "run")

    def migrate(self, name: str, old: str, new: str, *, autostart: bool = False) -> None:
        """What somebody does by hand: a machine and its disks move; libvirt does not take autostart along."""
        here, there = self.hosts[old], self.hosts[new]
        there.domains[name] = here.domains.pop(name)
        there.domains[name].autostart = autostart
        for file in [file for file in here.volumes if file.startswith(f"{name}-")]:
            there.volumes[file] = here.volumes.pop(file)
