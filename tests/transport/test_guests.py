"""Waiting for a guest: what its console shows, which of its addresses counts, what is said when it stays silent."""

import struct
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import pytest

from vinfra.errors import HostKeyRefused, TransportError, Unreachable
from vinfra.model.inventory import Host
from vinfra.model.mark import GUEST_NAMESPACE
from vinfra.model.question import Question, Raw, ReadFile
from vinfra.model.step import AwaitGuest, StepResult
from vinfra.transport import firstboot, guests
from vinfra.transport.libvirt import Libvirt

LOG = "/log/d-serial0.log"
NETWORK = """<network><name>{0}</name><bridge name='{0}'/><ip address='10.9.{1}.1' netmask='255.255.255.0'>
<dhcp><range start='10.9.{1}.100' end='10.9.{1}.200'/></dhcp></ip></network>"""
NIC = "<interface type='network'><mac address='52:54:00:00:00:0{}'/><source network='{}'/></interface>"
DOMAIN = f"""<domain type='test'><name>d</name><memory>65536</memory><os><type>hvm</type></os><devices>
{NIC.format(1, "first")}{NIC.format(2, "leases")}
<serial type='pty'><log file='{LOG}' append='on'/></serial></devices></domain>"""
LOGIN = Host("d", connection="guest", user="ops", key_file="/key")


def key(sort: str, letter: str) -> str:
    blob = struct.pack(">I", len(sort)) + sort.encode() + struct.pack(">I", 32) + letter.encode() * 32
    return f"{sort} {b64encode(blob).decode()}"


def shown(*keys: str) -> str:
    """As cloud-init's write-ssh-key-fingerprints prints them."""
    lines = [f"{one} root@d" for one in keys]
    return "\r\n".join(["", "-----BEGIN SSH HOST KEY KEYS-----", *lines, "-----END SSH HOST KEY KEYS-----", ""])


ED25519, RSA, ECDSA = key("ssh-ed25519", "e"), key("ssh-rsa", "r"), key("ecdsa-sha2-nistp256", "c")


class Fixed(Libvirt):
    """A host's libvirt, opened already."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def use(self, work: Callable[[Any], Any], what: str, limit: float) -> Any:
        return work(self.connection)


class Run:
    """A hypervisor whose console log says `said`, and guests that answer by what `answer` makes of each login."""

    def __init__(self, said: Raw, answer: Callable[[Host], TransportError | None] = lambda _: None) -> None:
        self.said, self.answer = said, answer
        self.hosts: dict[str, Host] = {}
        self.joined: list[Host] = []

    def join(self, host: Host) -> None:
        self.hosts[host.name] = host
        self.joined.append(host)

    def forget(self, host: str) -> None:
        assert host in self.hosts

    def reader(self, host: str) -> "Run | Answering":
        return Answering(self.answer(self.hosts[host])) if host in self.hosts else self

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        (question,) = questions
        assert isinstance(question, ReadFile)
        assert (question.path, question.last) == (LOG, True)
        return {question: self.said}


class Answering:
    def __init__(self, error: TransportError | None) -> None:
        self.error = error

    def ask(self, questions: Sequence[Question]) -> Mapping[Question, Raw]:
        if self.error:
            raise self.error
        return dict.fromkeys(questions, Raw(0, b"Linux"))


@pytest.fixture
def virt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fixed]:
    """A domain on two networks; libvirt's test driver makes up the leases."""
    monkeypatch.setattr(guests, "_POLL", 0.05)
    libvirt.registerErrorHandler(lambda *_: None, None)
    (tmp_path / "node.xml").write_text("<node/>")
    connection = libvirt.open(f"test://{tmp_path}/node.xml")
    for number, name in enumerate(("first", "leases")):
        connection.networkDefineXML(NETWORK.format(name, number)).create()
    connection.defineXML(DOMAIN).create()
    yield Fixed(connection)
    connection.close()


def wait(virt: Fixed, run: Run, seconds: float = 0.2, **fields: Any) -> StepResult:
    return guests.wait(AwaitGuest("d", LOGIN, **{"network": "leases", "seconds": seconds, **fields}), "hv", virt, run)


def test_it_joins_and_is_remembered_in_its_own_metadata(virt: Fixed) -> None:
    run = Run(Raw(0, (shown(RSA) + "login: " + shown(RSA, ED25519, ECDSA)).encode()))
    result = wait(virt, run)
    assert result.returncode == 0, result.err
    (joined,) = run.joined
    assert result.out == f"d answers at {joined.address}\n"
    assert joined.address.startswith("10.9.1.")
    assert joined == replace(LOGIN, connection="ssh", address=joined.address, host_key=ED25519, jump=("hv",))
    xml = virt.connection.lookupByName("d").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    assert f'xmlns:vinfra="{GUEST_NAMESPACE}" address="{joined.address}" key="{ED25519}" user="ops"/>' in xml
    again = Run(Raw(2, b"", "no such file"))  # the log was rotated away: the key it answered with is still known
    assert wait(virt, again, jump=False).returncode == 0
    assert [(host.host_key, host.jump) for host in again.joined] == [(ED25519, ())]


def test_an_address_that_a_blueprint_says_is_tried_first(virt: Fixed) -> None:
    run = Run(Raw(0, shown(ED25519).encode()))
    assert wait(virt, run, address="10.9.1.250").returncode == 0
    assert [host.address for host in run.joined] == ["10.9.1.250"]


def test_what_cloud_init_comes_to_is_the_wait_s_own_end(virt: Fixed, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(reader: object, name: str, deadline: float) -> str:
        raise firstboot.Unfinished(f"cloud-init of {name} ended in error")

    run = Run(Raw(0, shown(ED25519).encode()))
    monkeypatch.setattr(firstboot, "settled", failed)
    assert wait(virt, run).returncode == 0
    result = wait(virt, run, finished=True)
    assert (result.returncode, result.err) == (1, "cloud-init of d ended in error")
    assert run.joined[-1] == LOGIN
    monkeypatch.setattr(firstboot, "settled", lambda *_: "it warns\n")
    assert wait(virt, run, finished=True).out.endswith("\nit warns\n")


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (shown(ECDSA, RSA), ECDSA),
        (shown("ssh-ed25519 AAAA", "ssh-dss !", RSA), RSA),
        (shown(ED25519) + shown(RSA), RSA),
        (shown(RSA) + shown(ED25519).partition("-----END")[0], RSA),
        ("[   12.3] cloud-init[401]: " + shown(ED25519) + "d login: ", ED25519),
        (shown(RSA, ED25519[:-8] + "\n[ 9.1] eth0: up\n" + ED25519[-8:]), RSA),
        (shown(ED25519).replace("\r\n", "\r\n<14>Nov 23 04:01:02 ec2: "), ED25519),
        (ED25519, None),
        (shown(), None),
    ],
    ids=[
        "no ed25519",
        "damaged",
        "the last",
        "half of one",
        "among others",
        "cut by the kernel",
        "tagged",
        "not a block",
        "empty",
    ],
)
def test_the_key_that_the_console_shows(log: str, found: str | None) -> None:
    told = guests._host_key(Run(Raw(0, log.encode())), LOG)
    assert (str(told) if told else None) == found


def test_it_is_tried_until_it_lets_in(virt: Fixed) -> None:
    errors = [Unreachable("nobody there"), HostKeyRefused("the key of its predecessor"), None]
    run = Run(Raw(0, shown(ED25519).encode()), lambda _: errors.pop(0))
    assert wait(virt, run, seconds=5).returncode == 0
    assert errors == []


@pytest.mark.parametrize(
    ("leased", "log", "said"),
    [
        (False, "", "got no address and showed no host key in 0.2 s: does it boot?\nlook at its console: /log/"),
        (False, shown(ED25519), "got no address in 0.2 s: does it ask by DHCP"),
        (True, "login:", "showed no SSH host key on its console in 0.2 s: does it run cloud-init"),
        (True, shown(ED25519), "showed its host key, but no login in 0.2 s: refused\n  why"),
    ],
    ids=["both", "address", "key", "login"],
)
def test_what_is_missing_when_the_time_is_up(
    virt: Fixed, monkeypatch: pytest.MonkeyPatch, leased: bool, log: str, said: str
) -> None:
    monkeypatch.setattr(guests, "_SOURCES", guests._SOURCES[:leased])
    run = Run(Raw(0, log.encode()), lambda _: Unreachable("refused", "why"))
    result = wait(virt, run)
    assert result.returncode == 1
    assert said in result.err
    assert run.hosts["d"] == LOGIN, "it is not one of the hosts"


def test_waiting_that_is_useless_ends_at_once(virt: Fixed) -> None:
    assert "cannot be read: Permission denied" in wait(virt, Run(Raw(1, b"", "Permission denied\n")), seconds=60).err
    assert "no network interface in network other" in wait(virt, Run(Raw(0, b"")), network="other").err
    domain = virt.connection.lookupByName("d")
    domain.destroy()
    assert "d does not run" in wait(virt, Run(Raw(0, b"")), seconds=60).err
    virt.connection.defineXML(domain.XMLDesc().replace(f"<log file='{LOG}' append='on'/>", "")).create()
    assert "console of d is not logged" in wait(virt, Run(Raw(0, b"")), seconds=60).err
    domain.destroy()
    domain.undefine()
    assert "Domain not found" in wait(virt, Run(Raw(0, b"")), seconds=60).err


def test_an_address_that_others_know() -> None:
    """A domain on a bridge, whose address its agent or the host's neighbours tell."""
    agent, arp = guests._SOURCES[1:]
    v4, v6 = libvirt.VIR_IP_ADDR_TYPE_IPV4, libvirt.VIR_IP_ADDR_TYPE_IPV6

    class Bridged:
        told: Mapping[int, Any] = {
            agent: {"lo": {"hwaddr": None, "addrs": None}},
            arp: {
                "vnet0": {"hwaddr": "52:54:00:AA:00:01", "addrs": [{"addr": "fd00::5", "type": v6}]},
                "vnet1": {"hwaddr": "52:54:00:aa:00:02", "addrs": [{"addr": "10.0.0.9", "type": v4}]},
            },
        }

        def interfaceAddresses(self, source: int, _: int) -> Any:  # noqa: N802  libvirt's name
            if source not in self.told:
                raise libvirt.libvirtError("not supported")
            return self.told[source]

    assert guests._addresses(Bridged(), "52:54:00:aa:00:01", agent=True) == ["fd00::5"]
    Bridged.told = {
        agent: {
            "eth0": {
                "hwaddr": "52:54:00:aa:00:01",
                "addrs": [
                    {"addr": "fe80::1", "type": v6},
                    {"addr": "fd00::5", "type": v6},
                    {"addr": "10.0.0.5", "type": v4},
                ],
            }
        }
    }
    assert guests._addresses(Bridged(), "52:54:00:aa:00:01", agent=True) == ["10.0.0.5", "fd00::5"]
    assert guests._addresses(Bridged(), "52:54:00:aa:00:01", agent=False) == []
