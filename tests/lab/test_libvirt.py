"""Changing a real libvirt through the host's one login: both ways in, its limits, and what is left of it."""

import gc
import hashlib
import io
import os
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pycdlib
import pytest

from vinfra.errors import LoginRefused, TransportError, Unreachable
from vinfra.lab import Lab, LabHost, guest
from vinfra.model.inventory import Host, Inventory
from vinfra.model.question import Exec as Question
from vinfra.model.question import ReadLibvirt
from vinfra.model.secret import Secret
from vinfra.model.step import AwaitGuest, Exec, Step, StepResult, Verb, Virt
from vinfra.transport.libvirt import Libvirt
from vinfra.transport.reach import Connections
from vinfra.transport.session import Terminal

from .conftest import run_ssh

pytestmark = pytest.mark.xdist_group("kvm")

Run = Callable[..., StepResult]
Sh = Callable[[str], str]
ANY = Virt(Verb.NETWORK_AUTOSTART, "default", number=0)
POOL = "<pool type='dir'><name>{0}</name><target><path>/srv/{0}</path></target></pool>"
VOLUME = "<volume><name>{}</name><capacity>{}</capacity>{}<target><format type='{}'/></target></volume>"
EMPTY = """<domain type='qemu'><name>{}</name><memory unit='MiB'>64</memory><os><type machine='pc'>hvm</type></os>
<features><acpi/></features>{}</domain>"""


@pytest.fixture(autouse=True)
def nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kvm_lab: Lab) -> Iterator[None]:
    """No thread, no open file, and no folder here; no helper and no connection there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    yield
    deadline = time.monotonic() + 3
    while (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) != before:
        assert time.monotonic() < deadline, (before, threading.enumerate())
        time.sleep(0.05)
        gc.collect()  # an exception that was caught holds what its frames held
    assert list(tmp_path.glob("vinfra-*")) == []
    host = next(iter(kvm_lab.hosts.values()))
    left = "pgrep -a virt-ssh-helper; ss -xH state established | grep -c ' /run/libvirt/libvirt-sock '"
    assert run_ssh(kvm_lab, host, left).stdout == "0\n"


@pytest.fixture
def sh(kvm_lab: Lab, kvm_host: LabHost) -> Sh:
    """What a command says on the host, not by vinfra's own ways."""

    def run(command: str) -> str:
        done = run_ssh(kvm_lab, kvm_host, command)
        return done.stdout + done.stderr

    return run


@pytest.fixture
def host(kvm_lab: Lab, kvm_host: LabHost) -> Callable[..., Host]:
    def make(user: str = "root", **more: object) -> Host:
        if user != "root" and "sudo" not in more:
            more["sudo_password"] = Secret(f"file:{kvm_lab.home}/password")
        known = {"port": kvm_host.port, "key_file": str(kvm_lab.key_file), "known_hosts": str(kvm_lab.known_hosts)}
        return Host("hv", address="127.0.0.1", user=user, **{**known, **more})  # type: ignore[arg-type]

    return make


@pytest.fixture
def connect() -> Iterator[Callable[..., Connections]]:
    opened: list[Connections] = []

    def make(*hosts: Host) -> Connections:
        opened.append(Connections(Inventory({one.name: one for one in hosts}, {})))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def do(connections: Connections, *calls: Virt | AwaitGuest | Exec, timeout: float = 60) -> StepResult:
    return connections.writer("hv").run(Step("try", calls, timeout=timeout))


def done(connections: Connections, *calls: Virt | AwaitGuest | Exec) -> StepResult:
    result = do(connections, *calls)
    assert result.returncode == 0, result.err
    return result


@pytest.fixture
def pool(sh: Sh, connect: Callable[..., Connections], host: Callable[..., Host]) -> Iterator[str]:
    """A pool on a file system of 20 MiB."""
    sh("mkdir -p /srv/tiny && mount -t tmpfs -o size=20m tmpfs /srv/tiny")
    connections = connect(host())
    done(connections, Virt(Verb.POOL_DEFINE, "tiny", xml=POOL.format("tiny")), Virt(Verb.POOL_START, "tiny"))
    yield "tiny"
    done(connections, Virt(Verb.POOL_STOP, "tiny"), Virt(Verb.POOL_UNDEFINE, "tiny"))
    connections.close()
    sh("umount /srv/tiny; rmdir /srv/tiny")


@pytest.fixture
def no_streams(sh: Sh) -> Iterator[None]:
    file = "/etc/ssh/sshd_config.d/streams.conf"
    for change in (f"echo AllowStreamLocalForwarding no >{file}", f"rm {file}"):
        sh(f"{change}; systemctl reload ssh")
        while "back" not in sh("echo back"):
            time.sleep(0.1)
        if change.startswith("echo"):
            yield


@pytest.mark.parametrize(("user", "helpers"), [("root", 0), ("ops", 1)])
def test_root_streams_the_socket_and_who_needs_sudo_runs_the_helper(
    connect: Callable[..., Connections], host: Callable[..., Host], sh: Sh, user: str, helpers: int
) -> None:
    connections = connect(host(user))
    result = done(connections, Exec(("echo", "1")), ANY, Exec(("echo", "2")), ANY)
    assert result.out == "1\n2\n"
    assert len(sh("pgrep -x virt-ssh-helper").split()) == helpers


def test_where_the_ssh_server_forbids_streams_the_helper_is_run(
    connect: Callable[..., Connections], host: Callable[..., Host], sh: Sh, no_streams: None
) -> None:
    connections = connect(host())
    done(connections, ANY)
    assert len(sh("pgrep -x virt-ssh-helper").split()) == 1


def test_the_daemon_for_qemu_alone_is_looked_for_too(
    connect: Callable[..., Connections], host: Callable[..., Host], sh: Sh
) -> None:
    """Debian builds one daemon for all; under the other one's name its socket is that of modular daemons."""
    sh("mv /run/libvirt/libvirt-sock /run/libvirt/virtqemud-sock")
    try:
        done(connect(host()), ANY)
        assert sh("pgrep -x virt-ssh-helper") == ""
    finally:
        sh("mv /run/libvirt/virtqemud-sock /run/libvirt/libvirt-sock")


def test_libvirt_does_not_let_everybody_in(connect: Callable[..., Connections], host: Callable[..., Host]) -> None:
    with pytest.raises(LoginRefused, match="put ops into the group `libvirt`"):
        done(connect(host("ops", sudo=False)), ANY)


@pytest.mark.parametrize("user", ["root", "ops"])
def test_a_daemon_that_does_not_run(
    connect: Callable[..., Connections], host: Callable[..., Host], sh: Sh, user: str
) -> None:
    units = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket"
    connections = connect(host(user))
    sh(f"systemctl stop {units} libvirtd.service")
    try:
        with pytest.raises(Unreachable, match=r"^hv: libvirt's daemon does not run \(No such file or directory\)"):
            done(connections, ANY)
        sh("mv /usr/bin/virt-ssh-helper /usr/bin/helper")
        with pytest.raises(TransportError, match="virt-ssh-helper is not there"):
            done(connections, ANY)
    finally:
        sh(f"mv /usr/bin/helper /usr/bin/virt-ssh-helper; systemctl start {units}")
    done(connections, ANY)


def test_a_connection_cut_at_work_is_told_and_made_anew(
    connect: Callable[..., Connections], host: Callable[..., Host], sh: Sh
) -> None:
    connections = connect(host())
    done(connections, ANY)
    sh("systemctl restart libvirtd")
    done(connections, ANY)  # nothing was under way: nobody notices
    done(connections, Virt(Verb.DOMAIN_DEFINE, "deaf", xml=EMPTY.format("deaf", "")), Virt(Verb.DOMAIN_START, "deaf"))
    try:
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(do, connections, Virt(Verb.DOMAIN_SHUTDOWN, "deaf", seconds=60))
            time.sleep(0.5)
            sh("systemctl restart libvirtd")
            with pytest.raises(
                Unreachable, match=r"hv: the connection to libvirt was lost, while domain\.shutdown deaf"
            ):
                waiting.result()
        result = do(connections, Virt(Verb.DOMAIN_SHUTDOWN, "deaf", seconds=1))
        assert "did not shut down in 1 s, and was not switched off" in result.err
        assert sh("virsh domstate deaf").strip() == "running"
    finally:
        done(connections, Virt(Verb.DOMAIN_DESTROY, "deaf"), Virt(Verb.DOMAIN_UNDEFINE, "deaf"))


def test_a_daemon_that_hangs_costs_no_more_than_the_steps_time(
    connect: Callable[..., Connections], host: Callable[..., Host], sh: Sh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vinfra.transport.libvirt._GRACE", 0.5)
    monkeypatch.setattr("vinfra.transport.libvirt._LEAVING", 0.5)
    monkeypatch.setattr("vinfra.transport.libvirt._OPENING", 1)
    connections = connect(host())
    done(connections, ANY)
    sh("kill -STOP $(pidof libvirtd)")
    try:
        with pytest.raises(Unreachable, match=r"no answer from libvirt in 0\.5 s, while network\.autostart default"):
            do(connections, ANY, timeout=0.5)
        with pytest.raises(Unreachable, match="libvirt does not answer in 1 s"):
            do(connections, ANY)
    finally:
        sh("kill -CONT $(pidof libvirtd)")
    done(connections, ANY)


def test_a_full_pool_is_told_and_holds_nothing_half_made(
    connect: Callable[..., Connections], host: Callable[..., Host], sh: Sh, pool: str
) -> None:
    connections = connect(host())
    whole = VOLUME.format("whole.raw", 50 << 20, "", "raw")
    thin = VOLUME.format("thin.raw", 50 << 20, "<allocation>0</allocation>", "raw")
    result = do(connections, Virt(Verb.VOLUME_CREATE, "whole.raw", pool, xml=whole))
    assert result.err.endswith("No space left on device\nno space left on the host: `df` there says where")
    create = Virt(Verb.VOLUME_CREATE, "thin.raw", pool, xml=thin)
    upload = Virt(Verb.VOLUME_UPLOAD, "thin.raw", pool, content=bytes(50 << 20))
    result = do(connections, create, upload, Virt(Verb.POOL_REFRESH, pool))
    assert (result.returncode, result.call) == (1, 1)
    assert result.err.startswith("no space left in pool tiny: thin.raw needs 30 MiB more\n")
    assert sh("du /srv/tiny/thin.raw").split()[0] == "0"
    assert "exists already" in (again := do(connections, create)).err
    assert "it is not the one" in again.err
    assert do(connections, Virt(Verb.VOLUME_RESIZE, "thin.raw", pool, number=1 << 20)).returncode == 1


def test_an_image_arrives_whole_fast_and_in_little_memory(
    connect: Callable[..., Connections], host: Callable[..., Host], sh: Sh, tmp_path: Path
) -> None:
    content = os.urandom(50 << 20)
    (tmp_path / "image").write_bytes(content)
    wanted = hashlib.sha256(content).hexdigest()
    del content
    connections = connect(host())
    done(connections, Virt(Verb.POOL_DEFINE, "roomy", xml=POOL.format("roomy")), Virt(Verb.POOL_BUILD, "roomy"))
    create = Virt(Verb.VOLUME_CREATE, "i.raw", "roomy", xml=VOLUME.format("i.raw", 1, "", "raw"))
    done(connections, Virt(Verb.POOL_START, "roomy"), create)
    tracemalloc.start()
    try:
        result = done(connections, Virt(Verb.VOLUME_UPLOAD, "i.raw", "roomy", source=str(tmp_path / "image")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"50 MiB in {result.seconds:.2f} s, {peak >> 10} KiB")
    assert sh("sha256sum /srv/roomy/i.raw").split()[0] == wanted
    assert peak < 8 << 20
    assert result.seconds < 10
    gone = (Virt(Verb.VOLUME_DELETE, "i.raw", "roomy"), Virt(Verb.POOL_STOP, "roomy"))
    done(connections, *gone, Virt(Verb.POOL_UNDEFINE, "roomy"), Exec(("rmdir", "/srv/roomy")))


def test_threads_share_one_connection(
    connect: Callable[..., Connections], host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Libvirt] = []
    really = Libvirt.open
    monkeypatch.setattr(Libvirt, "open", lambda virt: opened.append(virt) or really(virt))
    connections = connect(host())
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: do(connections, *[ANY] * 25), range(8)))
    assert [result.returncode for result in results] == [0] * 8
    assert len(opened) == 1
    connections.forget("hv")
    done(connections, ANY)
    assert len(opened) == 2


def test_calls_under_way_end_when_the_run_is_closed(
    connect: Callable[..., Connections], host: Callable[..., Host]
) -> None:
    connections = connect(host())
    done(connections, Virt(Verb.DOMAIN_DEFINE, "deaf", xml=EMPTY.format("deaf", "")), Virt(Verb.DOMAIN_START, "deaf"))
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(do, connections, Virt(Verb.DOMAIN_SHUTDOWN, "deaf", seconds=60))
        time.sleep(0.5)
        started = time.monotonic()
        connections.close()
        with pytest.raises(Unreachable):
            waiting.result()
        assert time.monotonic() - started < 30
    done(connect(host()), Virt(Verb.DOMAIN_DESTROY, "deaf"), Virt(Verb.DOMAIN_UNDEFINE, "deaf"))


def test_a_domain_goes_with_all_that_libvirt_keeps_of_it(
    connect: Callable[..., Connections], host: Callable[..., Host], sh: Sh
) -> None:
    connections = connect(host("ops"))
    owner = "<metadata><o:owner xmlns:o='urn:o' blueprint='b'/></metadata>"
    done(connections, Virt(Verb.DOMAIN_DEFINE, "odd name", xml=EMPTY.format("odd name", owner)))
    assert (
        "already exists" in do(connections, Virt(Verb.DOMAIN_DEFINE, "odd name", xml=EMPTY.format("odd name", ""))).err
    )
    done(connections, Virt(Verb.DOMAIN_START, "odd name"), Virt(Verb.DOMAIN_START, "odd name"))
    done(connections, Virt(Verb.DOMAIN_METADATA, "odd name", xml="<guest xmlns='urn:g' key='k'/>"))
    answer = connections.reader("hv").ask([ReadLibvirt("domains")])[ReadLibvirt("domains")].text
    assert answer.count("urn:g") == answer.count("urn:o") == 2
    sh("virsh managedsave 'odd name'")
    done(connections, Virt(Verb.DOMAIN_UNDEFINE, "odd name"), Virt(Verb.DOMAIN_UNDEFINE, "odd name"))
    assert sh("virsh list --all --name; ls /var/lib/libvirt/qemu/save").strip() == ""


NETWORK = """<network><name>guests</name><bridge name='guests' stp='off' delay='0'/><ip address='10.98.0.1'
netmask='255.255.255.0'><dhcp><range start='10.98.0.10' end='10.98.0.99'/></dhcp></ip></network>"""
GUEST = """<domain type='qemu'><name>g1</name><memory unit='MiB'>128</memory><os><type machine='pc'>hvm</type></os>
<features><acpi/></features><devices>
<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='guests' volume='g1.qcow2'/>
<target dev='vda' bus='virtio'/></disk>
<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='guests' volume='g1.iso'/>
<target dev='vdb' bus='virtio'/></disk>
<interface type='network'><source network='guests'/><model type='virtio'/></interface>
<serial type='pty'><log file='/var/log/libvirt/qemu/g1-serial0.log' append='on'/></serial></devices></domain>"""


def seed(key: str) -> bytes:
    texts = {"meta-data": "instance-id: g1\nlocal-hostname: g1\n", "user-data": f"#cloud-config\nssh_keys: ['{key}']\n"}
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for name, text in texts.items():
        place = {"rr_name": name, "joliet_path": f"/{name}"}
        iso.add_fp(io.BytesIO(text.encode()), len(text), f"/{name.replace('-', '').upper()}.;1", **place)
    out = io.BytesIO()
    iso.write_fp(out)
    iso.close()
    return out.getvalue()


def test_a_guest_boots_joins_and_shuts_down(
    connect: Callable[..., Connections], host: Callable[..., Host], kvm_lab: Lab, sh: Sh
) -> None:
    login = Host("g1", connection="guest", user="root", key_file=str(kvm_lab.key_file))
    connections = connect(host("ops"), login)
    image, content = guest.image(print), seed(kvm_lab.key_file.with_suffix(".pub").read_text().strip())
    done(
        connections,
        *(Virt(Verb.NETWORK_DEFINE, "guests", xml=NETWORK), Virt(Verb.NETWORK_START, "guests")),
        *(Virt(Verb.POOL_DEFINE, "guests", xml=POOL.format("guests")), Virt(Verb.POOL_BUILD, "guests")),
        Virt(Verb.POOL_START, "guests"),
        Virt(Verb.VOLUME_CREATE, "g1.qcow2", "guests", xml=VOLUME.format("g1.qcow2", 1, "", "raw")),
        Virt(Verb.VOLUME_UPLOAD, "g1.qcow2", "guests", source=str(image.path)),
        Virt(Verb.VOLUME_CREATE, "g1.iso", "guests", xml=VOLUME.format("g1.iso", len(content), "", "raw")),
        Virt(Verb.VOLUME_UPLOAD, "g1.iso", "guests", content=content),
        Virt(Verb.POOL_REFRESH, "guests"),
        *(Virt(Verb.DOMAIN_DEFINE, "g1", xml=GUEST), Virt(Verb.DOMAIN_START, "g1")),
    )
    try:
        with pytest.raises(Unreachable, match="not up yet"):
            connections.reader("g1")
        done(connections, AwaitGuest("g1", login, "guests", seconds=90))
        hostname = Question(("uname", "-n"))
        assert connections.reader("g1").ask([hostname])[hostname].text == "g1\n"
        terminal = connections.terminal("g1", "tty; stty size; exit 7", size=(132, 43))
        assert everything(terminal).endswith("\r\n43 132\r\n")
        assert terminal.status() == 7
        terminal.close()
        _try_the_console(connections)
        done(connections, Virt(Verb.DOMAIN_SHUTDOWN, "g1", seconds=40))
        assert sh("virsh domstate g1").strip() == "shut off"
    finally:
        done(connections, Virt(Verb.DOMAIN_DESTROY, "g1"), Virt(Verb.DOMAIN_UNDEFINE, "g1"))
        done(connections, *(Virt(Verb.VOLUME_DELETE, name, "guests") for name in ("g1.iso", "g1.qcow2")))
        done(connections, Virt(Verb.POOL_STOP, "guests"), Virt(Verb.POOL_UNDEFINE, "guests"))
        done(connections, Virt(Verb.NETWORK_STOP, "guests"), Virt(Verb.NETWORK_UNDEFINE, "guests"))


def everything(terminal: Terminal) -> str:
    return b"".join(iter(terminal.read, b"")).decode()


def _try_the_console(connections: Connections) -> None:
    console = connections.console("hv", "g1")
    with ThreadPoolExecutor() as threads:
        heard = threads.submit(everything, console)
        console.write(b"\r")
        time.sleep(0.5)
        console.write(b"echo $((6 * 7))\r")
        with pytest.raises(TransportError, match="--force"):
            connections.console("hv", "g1")
        time.sleep(0.5)
        other = connections.console("hv", "g1", force=True)
        assert "\n42\r\n" in heard.result(5)
        waiting = threads.submit(everything, other)
        other.close()
        waiting.result(5)
    console.close()
    with pytest.raises(TransportError, match="no console of none: Domain not found"):
        connections.console("hv", "none")
