"""Calls to libvirt on its own test driver, which keeps its state in this process, and what they become in a step."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from vinfra.errors import TransportError, Unreachable
from vinfra.model.inventory import Host, Inventory
from vinfra.model.question import Exec as Question
from vinfra.model.step import AwaitGuest, Exec, Step, StepResult, Verb, Virt
from vinfra.transport import copies, hotplug, steps, verbs
from vinfra.transport import libvirt as ours
from vinfra.transport.local import LocalWay
from vinfra.transport.reach import Connections
from vinfra.transport.session import Root, Session

UUID = "6c616220-6775-4573-b420-726f6f742020"
NETWORK = f"<network><name>n</name><uuid>{UUID}</uuid><ip address='10.9.0.1' netmask='255.255.255.0'/></network>"
POOL = f"<pool type='dir'><name>p</name><uuid>{UUID}</uuid><target><path>/p</path></target></pool>"
VOLUME = "<volume><name>v</name><capacity>1048576</capacity></volume>"
DOMAIN = f"""<domain type='test'><name>d</name><uuid>{UUID}</uuid><memory>65536</memory><os><type>hvm</type></os>
<metadata><vinfra:owner xmlns:vinfra='urn:owner' blueprint='b'/></metadata></domain>"""
GUEST = "<guest xmlns='urn:guest' address='10.9.0.5'/>"

Do = Callable[..., Any]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Any]:
    """A libvirt with nothing in it, and of nobody else."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    file = tmp_path / "node.xml"
    file.write_text("<node/>")
    opened = libvirt.open(f"test://{file}")
    yield opened
    opened.close()


@pytest.fixture
def do(connection: Any) -> Do:
    """One call, and the same once more: the step was cut off before."""

    def twice(verb: Verb, name: str, **fields: Any) -> None:
        for _ in range(2):
            verbs.do(connection, Virt(verb, name, **fields))

    return twice


def test_every_verb_can_be_done() -> None:
    assert {*verbs._VERBS, *copies.VERBS} == set(Verb)
    assert not {*verbs._VERBS} & {*copies.VERBS}


def test_networks(do: Do, connection: Any) -> None:
    do(Verb.NETWORK_DEFINE, "n", xml=NETWORK)
    do(Verb.NETWORK_START, "n")
    do(Verb.NETWORK_AUTOSTART, "n", number=1)
    network = connection.networkLookupByName("n")
    assert (network.isActive(), network.autostart()) == (1, 1)
    do(Verb.NETWORK_AUTOSTART, "n", number=0)
    do(Verb.NETWORK_STOP, "n")
    assert (network.isActive(), network.autostart()) == (0, 0)
    do(Verb.NETWORK_UNDEFINE, "n")
    do(Verb.NETWORK_STOP, "n")
    assert connection.listAllNetworks() == []


def test_pools_and_volumes(do: Do, connection: Any) -> None:
    do(Verb.POOL_DEFINE, "p", xml=POOL)
    do(Verb.POOL_BUILD, "p")
    do(Verb.POOL_START, "p")
    verbs.do(connection, Virt(Verb.POOL_BUILD, "p"))
    do(Verb.POOL_AUTOSTART, "p", number=1)
    do(Verb.POOL_REFRESH, "p")
    verbs.do(connection, Virt(Verb.VOLUME_CREATE, "v", "p", xml=VOLUME))
    pool = connection.storagePoolLookupByName("p")
    assert (pool.listVolumes(), pool.autostart()) == (["v"], 1)
    do(Verb.VOLUME_RESIZE, "v", pool="p", number=1048576)
    do(Verb.VOLUME_DELETE, "v", pool="p")
    assert pool.listVolumes() == []
    do(Verb.POOL_STOP, "p")
    do(Verb.POOL_UNDEFINE, "p")
    do(Verb.POOL_STOP, "p")
    assert connection.listAllStoragePools() == []


def test_domains(do: Do, connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(list(verbs._UNDEFINE.items())[:2])  # the test driver has no firmware and no TPM
    monkeypatch.setattr(verbs, "_UNDEFINE", known)
    do(Verb.DOMAIN_DEFINE, "d", xml=DOMAIN)
    domain = connection.lookupByName("d")
    do(Verb.DOMAIN_METADATA, "d", xml=GUEST)
    do(Verb.DOMAIN_MEMORY, "d", number=32 << 20)  # it does not run: its definition holds
    do(Verb.DOMAIN_START, "d")
    domain.suspend()
    do(Verb.DOMAIN_START, "d")
    assert domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    do(Verb.DOMAIN_MEMORY, "d", number=32 << 20)
    assert domain.info()[2] == 32 << 10
    do(Verb.DOMAIN_AUTOSTART, "d", number=1)
    assert domain.autostart()
    do(Verb.DOMAIN_REBOOT, "d", seconds=5)
    assert domain.isActive()
    do(Verb.DOMAIN_SHUTDOWN, "d", seconds=5)
    assert not domain.isActive()
    do(Verb.DOMAIN_START, "d")
    do(Verb.DOMAIN_DESTROY, "d")
    do(Verb.DOMAIN_UNDEFINE, "d")
    do(Verb.DOMAIN_SHUTDOWN, "d", seconds=5)
    do(Verb.DOMAIN_DESTROY, "d")
    assert connection.listAllDomains() == []


def test_metadata_is_put_beside_the_owners_in_both_definitions(do: Do, connection: Any) -> None:
    do(Verb.DOMAIN_DEFINE, "d", xml=DOMAIN)
    do(Verb.DOMAIN_START, "d")
    do(Verb.DOMAIN_METADATA, "d", xml=GUEST.replace(".5", ".4"))
    do(Verb.DOMAIN_METADATA, "d", xml=GUEST)
    domain = connection.lookupByName("d")
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        assert domain.XMLDesc(flags).count("urn:owner") == 1
        assert domain.XMLDesc(flags).count("urn:guest") == 1
        assert "10.9.0.5" in domain.XMLDesc(flags)
    with pytest.raises(verbs.Failed, match="needs a namespace"):
        verbs.do(connection, Virt(Verb.DOMAIN_METADATA, "d", xml="<guest/>"))


SCREEN = "<devices><graphics type='vnc' port='-1' autoport='yes'{}/></devices></domain>"
CARD = "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/></interface>"


def test_what_is_defined_anew_keeps_the_passwords_that_nobody_may_read(do: Do, connection: Any) -> None:
    def asked() -> str:
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        return str(connection.lookupByName("d").XMLDesc(flags))

    plain = DOMAIN.replace("</domain>", SCREEN.format(""))
    do(Verb.DOMAIN_DEFINE, "d", xml=DOMAIN.replace("</domain>", SCREEN.format(" passwd='hidden'")))
    do(Verb.DOMAIN_DEFINE, "d", xml=plain.replace("65536", "32768"))
    assert "passwd='hidden'" in asked()
    assert "32768" in asked()
    do(Verb.DOMAIN_DEFINE, "d", xml=DOMAIN.replace("</domain>", SCREEN.format(" passwd='other'")))
    assert "passwd='other'" in asked()
    do(Verb.DOMAIN_DEFINE, "d", xml=DOMAIN)
    assert "passwd" not in asked()


def test_a_definition_that_changed_since_it_was_read_is_not_written_over(connection: Any) -> None:
    verbs.do(connection, Virt(Verb.DOMAIN_DEFINE, "d", xml=DOMAIN))
    domain = connection.lookupByName("d")
    read = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    wish = Virt(Verb.DOMAIN_DEFINE, "d", xml=DOMAIN.replace("65536", "32768"), part=f"{read}\n")
    connection.defineXML(read.replace("65536", "16384"))
    with pytest.raises(verbs.Failed, match="somebody changed the definition of d"):
        verbs.do(connection, wish)
    assert domain.maxMemory() == 16384
    connection.defineXML(read)
    verbs.do(connection, wish)
    assert domain.maxMemory() == 32768
    domain.undefine()
    with pytest.raises(libvirt.libvirtError, match="not found"):
        verbs.do(connection, wish)


def test_what_runs_gets_cpus_and_what_does_not_run_is_let_be(do: Do, connection: Any) -> None:
    do(Verb.DOMAIN_DEFINE, "d", xml=DOMAIN.replace("<os>", "<vcpu current='1'>4</vcpu><os>"))
    do(Verb.DOMAIN_VCPUS, "d", number=3, seconds=1)
    do(Verb.DEVICE_ATTACH, "d", xml=CARD)
    domain = connection.lookupByName("d")
    assert domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_CONFIG) == 1
    do(Verb.DOMAIN_START, "d")
    do(Verb.DOMAIN_VCPUS, "d", number=3, seconds=1)
    assert domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE) == 3
    assert domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_CONFIG) == 1


class Holding:
    """A running domain with one card, whose system lets it go when it is asked often enough."""

    def __init__(self, lets_go: int) -> None:
        self.asked, self.lets_go = 0, lets_go

    def lookupByName(self, _: str) -> "Holding":  # noqa: N802  libvirt's name
        return self

    def isActive(self) -> bool:  # noqa: N802
        return True

    def XMLDesc(self, _: int) -> str:  # noqa: N802
        return f"<domain><devices>{CARD if self.asked < self.lets_go else ''}</devices></domain>"

    def detachDeviceFlags(self, xml: str, flags: int) -> None:  # noqa: N802
        assert ("52:54:00:00:00:01" in xml, flags) == (True, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        self.asked += 1
        if self.asked > 1:
            raise libvirt.libvirtError("already in the process of unplug")


def test_a_system_is_asked_again_to_let_a_device_go_and_nothing_more_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "_ASK_AGAIN", 0.05)
    monkeypatch.setattr(hotplug, "_POLL", 0.01)
    call = Virt(Verb.DEVICE_DETACH, "d", xml=CARD, seconds=0.3)
    slow = Holding(lets_go=2)
    verbs.do(slow, call)
    assert slow.asked == 2
    verbs.do(slow, call)
    assert slow.asked == 2
    with pytest.raises(verbs.Failed, match=r"did not let it go in 0\.3 s\n.*\nalready in the process of unplug"):
        verbs.do(Holding(lets_go=99), call)


class Deaf:
    """A domain whose system hears nothing, or only the second time, and how often it was asked."""

    def __init__(self, hears: int) -> None:
        self.asked, self.hears = 0, hears

    def lookupByName(self, _: str) -> "Deaf":  # noqa: N802  libvirt's name
        return self

    def isActive(self) -> bool:  # noqa: N802
        return self.asked < self.hears

    def isPersistent(self) -> bool:  # noqa: N802
        return False

    def shutdownFlags(self, flags: int) -> None:  # noqa: N802
        assert flags == 0, "libvirt chooses between agent and power button"
        self.asked += 1


def test_a_domain_is_asked_again_and_never_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "_PRESS_AGAIN", 0.1)
    monkeypatch.setattr(verbs, "_POLL", 0.01)
    booting = Deaf(hears=3)
    verbs.do(booting, Virt(Verb.DOMAIN_SHUTDOWN, "d", seconds=5))
    assert booting.asked == 3
    with pytest.raises(verbs.Failed, match=r"did not shut down in 0\.3 s, and was not switched off"):
        verbs.do(Deaf(hears=99), Virt(Verb.DOMAIN_SHUTDOWN, "d", seconds=0.3))
    with pytest.raises(verbs.Failed, match="once down, it would be gone"):
        verbs.do(booting, Virt(Verb.DOMAIN_REBOOT, "d", seconds=5))


class Breaking:
    """A connection with one pool and one volume, whose uploads break off after 600 kB."""

    def __init__(self, left: int) -> None:
        self.left, self.got, self.log = left, 0, list[str]()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.log.append(name)
            if name == "send":
                self.got += min(100_000, len(arguments[0]))
                if self.got > 600_000:
                    raise libvirt.libvirtError("broken")
                return min(100_000, len(arguments[0]))
            return [0, 0, 0, self.left] if name == "info" else self

        return call


def test_half_an_upload_is_removed_and_one_without_room_not_begun() -> None:
    upload = Virt(Verb.VOLUME_UPLOAD, "v", "p", content=bytes(700_000))
    breaking = Breaking(1 << 30)
    with pytest.raises(libvirt.libvirtError, match="broken"):
        verbs.do(breaking, upload)
    assert breaking.log[-3:] == ["send", "abort", "delete"]
    whole = Breaking(1 << 30)
    verbs.do(whole, Virt(Verb.VOLUME_UPLOAD, "v", "p", content=bytes(600_000)))
    assert (whole.got, whole.log[-1]) == (600_000, "finish")
    full = Breaking(699_999)
    with pytest.raises(verbs.Failed, match="no space left in pool p"):
        verbs.do(full, upload)
    assert {"upload", "delete"}.isdisjoint(full.log)


class Fixed(ours.Libvirt):
    """A host's libvirt, opened already."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def use(self, work: Callable[[Any], Any], what: str, limit: float) -> Any:
        return work(self.connection)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (Virt(Verb.DOMAIN_START, "x"), "Domain not found\nsomebody removed it"),
        (Virt(Verb.NETWORK_START, "x"), "no network with matching name 'x'\ndeclare the network"),
        (Virt(Verb.POOL_START, "x"), "no storage pool with matching name 'x'\ndeclare the pool"),
        (Virt(Verb.DOMAIN_DEFINE, "d", xml=DOMAIN.replace(UUID, "1" * 32)), "\nit is not the one"),
        (Virt(Verb.VOLUME_CREATE, "v", "p", xml=VOLUME), "storage vol already exists"),
        (Virt(Verb.DOMAIN_DEFINE, "d", xml="<domain"), "Couldn't find end of Start Tag domain"),
        (Virt(Verb.VOLUME_UPLOAD, "v", "p", source="/none"), "/none: No such file or directory"),
        (Virt(Verb.VOLUME_UPLOAD, "v", "p", content=b"x"), "not supported by the connection driver"),
        (Virt(Verb.DOMAIN_METADATA, "d", xml="<guest/>"), "needs a namespace"),
    ],
    ids=lambda value: value.verb if isinstance(value, Virt) else "",
)
def test_what_libvirt_refuses_is_a_failed_call_with_its_words(connection: Any, call: Virt, said: str) -> None:
    setup = ((Verb.DOMAIN_DEFINE, DOMAIN), (Verb.POOL_DEFINE, POOL), (Verb.POOL_START, ""))
    for verb, xml in setup:
        verbs.do(connection, Virt(verb, "p", xml=xml))
    verbs.do(connection, Virt(Verb.VOLUME_CREATE, "v", "p", xml=VOLUME))
    result = Fixed(connection).run(call, 5)
    assert result.returncode == 1
    assert said in result.err


MAPPED = """
ACCESS_DENIED AGENT_UNRESPONSIVE ARGUMENT_UNSUPPORTED CONFIG_UNSUPPORTED CPU_INCOMPATIBLE HOOK_SCRIPT_FAILED
NO_DOMAIN NO_NETWORK NO_STORAGE_POOL NO_STORAGE_VOL NO_SUPPORT OPERATION_DENIED OPERATION_TIMEOUT
OPERATION_UNSUPPORTED RESOURCE_BUSY STORAGE_VOL_EXIST
"""


def test_the_errors_with_a_hint() -> None:
    codes = {value: name for name, value in vars(libvirt).items() if name.startswith("VIR_ERR_")}
    assert {codes[code].removeprefix("VIR_ERR_") for code in ours.HINTS} == set(MAPPED.split())


def test_a_full_disk_is_told_whatever_the_code() -> None:
    for words, number in (("cannot write: No space left on device", 0), ("voller Datenträger", 28)):
        error = libvirt.libvirtError("x")
        error.err = (libvirt.VIR_ERR_SYSTEM_ERROR, 0, words, 2, None, None, None, number, -1)
        assert ours.hint(error).startswith("no space left")


def test_a_step_of_both_sorts_of_calls_runs_in_order() -> None:
    heard: list[object] = []

    def elsewhere(_: Session, call: Virt | AwaitGuest, limit: float) -> StepResult:
        heard.append((call.name, limit))
        return StepResult(1, "told\n", "no <secret-word>") if call.name == "bad" else StepResult(0, f"{call.name}\n")

    session = Session("here", LocalWay(), Root("x", sudo=False), elsewhere=elsewhere)
    echo = [Exec(("echo", str(number))) for number in range(6)]
    one, two, bad = (Virt(Verb.DOMAIN_START, name, xml="<a b='secret-word'/>") for name in ("one", "two", "bad"))
    done = session.run(Step("x", (echo[0], one, two, echo[1], echo[2]), timeout=7))
    assert (done.returncode, done.out, done.err, done.call) == (0, "0\none\ntwo\n1\n2\n", "", 4)
    assert heard == [("one", 7), ("two", 7)]
    failed = session.run(Step("x", (echo[0], echo[1], one, bad, two, echo[3]), secret=True))
    assert (failed.returncode, failed.out, failed.err, failed.call) == (1, "0\n1\none\ntold\n", "no <•••>", 3)
    failed = session.run(Step("x", (one, echo[0], Exec(("false",)), two)))
    assert (failed.returncode, failed.out, failed.call) == (1, "one\n0\n", 2)
    assert len(session.run(Step("x", (Exec(("sh", "-c", "yes | head -c 70000")), one))).out) == steps.KEPT


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    monkeypatch.delitem(sys.modules, "vinfra.transport.libvirt")
    with (
        Connections(Inventory({"h": Host("h", connection="local", sudo=False)}, {})) as connections,
        pytest.raises(TransportError, match=r"vinfra\[libvirt\]"),
    ):
        connections.writer("h").run(Step("x", (Virt(Verb.DOMAIN_START, "d"),)))


def test_a_host_without_libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "SOCKETS", ("/none",))
    monkeypatch.setattr(ours, "HELPER", "no-such-helper")
    before = set(threading.enumerate())
    with (
        Connections(Inventory({"h": Host("h", connection="local", sudo=False)}, {})) as connections,
        pytest.raises(TransportError, match="virt-ssh-helper is not there"),
    ):
        connections.writer("h").run(Step("x", (Virt(Verb.DOMAIN_START, "d"),)))
    for thread in set(threading.enumerate()) - before:
        thread.join(5)  # it was told to end, and may not have got to it
    assert set(threading.enumerate()) <= before


def test_a_guest_is_a_host_once_it_has_joined() -> None:
    uname = Question(("uname", "-s"))
    guest = Host("g", connection="guest")
    with Connections(Inventory({"me": Host("me", connection="local"), "g": guest}, {})) as connections:
        for way in (connections.reader, connections.writer):
            with pytest.raises(Unreachable, match="not up yet"):
                way("g")
        connections.join(Host("g", connection="local", sudo=False))
        first = connections.writer("g")
        assert first.ask([uname])[uname].text == "Linux\n"
        connections.join(Host("g", connection="local", sudo=False))
        assert connections.writer("g") is first
        connections.join(Host("g", connection="local", sudo=False, jump=("me",)))
        assert connections.writer("g") is first, "a jump over this machine is none"
        connections.join(Host("g", connection="local", sudo=False, address="other"))
        assert connections.writer("g") is not first
        connections.join(Host("new", connection="local", sudo=False))
        assert connections.reader("new").ask([uname])[uname].ok


@pytest.mark.skipif(os.geteuid() != 0, reason="as somebody else it would need sudo")
def test_a_command_is_started_without_what_a_shell_said_before() -> None:
    class Noisy(LocalWay):
        def open(self, command: str) -> Any:
            return super().open(f"echo welcome; echo careful >&2; {command}")

    for way, command in ((LocalWay(), "cat"), (Noisy(), "cat")):
        program = Session("here", way, Root("x", sudo=False)).start(command)
        program.feed(b"hello")
        heard = program.hear(time.monotonic() + 5)
        program.cut()
        program.stop()
        assert heard == (b"hello", b"")
    broken = Noisy()
    broken.open = lambda _: LocalWay().open("echo nologin >&2; exit 3")  # type: ignore[method-assign]
    with pytest.raises(TransportError, match="status 3 when 'cat' was started: nologin"):
        Session("here", broken, Root("x", sudo=False)).start("cat")
