"""A real sshd and sudo on loopback, in a mount namespace of their own: the lab's root filesystem under an overlay.

Nothing of the machine is changed, and no sshd has to be installed on it. Tests that use it carry the marker `lab`.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vinfra.lab.rootfs import ensure
from vinfra.model.inventory import Host, Inventory
from vinfra.transport.reach import Connections

SSHD = "/usr/sbin/sshd"
USERS = ("nopass", "withpass", "stranger", "noisy")
# Of this process alone: tests look for it in process lists while others run beside them.
PASSWORD = f"right-password-{os.getpid()}"

_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
PidFile {folder}/pid-{port}
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PermitTTY no
MaxStartups 100:30:200
LogLevel VERBOSE
"""

_ROOT = """
set -e
mount --make-rprivate /
mkdir {root}/upper {root}/work {root}/new
mount -t overlay overlay -o lowerdir={tree},upperdir={root}/upper,workdir={root}/work {root}/new
mkdir -p {root}/new{folder}
mount -t proc proc {root}/new/proc
mount --rbind /dev {root}/new/dev
mount --bind {folder} {root}/new{folder}
exec chroot {root}/new sh -c "$1"
"""

_SETUP = """
set -e
for f in passwd shadow group sudoers; do mount --bind {folder}/etc/$f /etc/$f; done
mount --bind {folder}/etc/sudoers.d /etc/sudoers.d
mount --bind {folder}/pam-sudo /etc/pam.d/sudo
mount -t tmpfs -o size=200k,mode=0755 tmpfs {folder}/small
mount --rbind {folder} /mnt
mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp
mkdir -p {folder}
mount --rbind /mnt {folder}
mkdir -p /run/sshd
mount -t tmpfs tmpfs /usr/local/sbin
printf '#!/bin/sh\\nsleep 60\\n' >/usr/local/sbin/systemd-detect-virt
chmod 755 /usr/local/sbin/systemd-detect-virt
mount -t tmpfs -o mode=0755 tmpfs /run/sudo 2>/dev/null || true
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and "server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="the SSH tests make a mount namespace: needs root"))


@dataclass
class Server:
    """The lab's users and keys, and the daemons started in it."""

    folder: Path
    keeper: subprocess.Popen[bytes]
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def key(self) -> str:
        return str(self.folder / "key")

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def inside(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["nsenter", "-t", str(self.keeper.pid), "-m", "-r", *command], start_new_session=True)

    def start(self, extra: str = "", log: str = "log", env: dict[str, str] | None = None) -> int:
        """One more sshd with its own settings; returns its port."""
        port = free_port()
        config = self.folder / f"sshd_config-{port}"
        config.write_text(extra + _CONFIG.format(port=port, folder=self.folder))
        arguments = [SSHD, "-D", "-f", str(config), "-E", str(self.folder / log)]
        self.daemons.append(self.inside(*arguments))
        wait_for(lambda: answers(port), f"sshd on {port}")
        return port

    def log(self, name: str = "log") -> str:
        return (self.folder / name).read_text(errors="replace")

    def host(self, name: str, port: int, **settings: object) -> Host:
        given = {"address": "127.0.0.1", "port": port, "user": "root", "key_file": self.key, "host_key": self.host_key}
        return Host(name, **{**given, "connect_timeout": 5.0, **settings})  # type: ignore[arg-type]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as sock:
            return sock.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} in {seconds} s"
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def _etc(folder: Path) -> None:
    etc = folder / "etc"
    (etc / "sudoers.d").mkdir(parents=True)
    hashed = subprocess.run(["openssl", "passwd", "-6", PASSWORD], capture_output=True, text=True, check=True)
    passwd, shadow, group = (
        ["root:x:0:0:root:/root-home:/bin/bash"],
        ["root:*:19000::::::"],
        ["root:x:0:", "daemon:x:1:"],
    )
    passwd.append("sshd:x:100:65534::/run/sshd:/usr/sbin/nologin")
    passwd.append("daemon:x:1:1::/:/usr/sbin/nologin")
    passwd.append("nobody:x:65534:65534::/:/usr/sbin/nologin")
    group.append("nogroup:x:65534:")
    for number, user in enumerate(USERS, 1500):
        home = folder / "home" / user
        home.mkdir(parents=True)
        os.chown(home, number, number)
        passwd.append(f"{user}:x:{number}:{number}::{home}:/bin/bash")
        shadow.append(f"{user}:{hashed.stdout.strip()}:19000::::::")
        group.append(f"{user}:x:{number}:")
    (folder / "home/root").mkdir()
    passwd[0] = f"root:x:0:0:root:{folder}/home/root:/bin/sh"
    for name, lines in (("passwd", passwd), ("shadow", shadow), ("group", group)):
        (etc / name).write_text("\n".join(lines) + "\n")
    (etc / "shadow").chmod(0o640)
    (etc / "sudoers").write_text(
        f"Defaults secure_path=/usr/sbin:/usr/bin:/sbin:/bin, logfile={folder}/sudo.log, passwd_tries=3\n"
        "nopass ALL=(ALL) NOPASSWD: ALL\nnoisy ALL=(ALL) NOPASSWD: ALL\nwithpass ALL=(ALL) ALL\n"
        "Defaults:withpass timestamp_timeout=0\n"
    )
    (etc / "sudoers").chmod(0o440)
    (folder / "home/noisy/.bashrc").write_text(
        "echo welcome to $HOSTNAME; echo careful >&2; printf 'no newline'; sleep 0.3; export LC_ALL=de_DE.UTF-8\n"
    )
    (folder / "pam-sudo").write_text(
        "auth required pam_unix.so nodelay\naccount required pam_permit.so\nsession required pam_permit.so\n"
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    folder.chmod(0o755)
    _etc(folder)
    (folder / "small").mkdir()
    for name in ("key", "other_key", "host_key"):
        make_key(folder / name)
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    script = _SETUP.format(folder=folder) + f"touch {folder}/ready\nexec sleep 600\n"
    root = _ROOT.format(folder=folder, root=tmp_path_factory.mktemp("root"), tree=ensure("bookworm", print).tree)
    keeper = subprocess.Popen(["unshare", "-m", "sh", "-c", root, "sh", script], start_new_session=True)
    lab = Server(folder, keeper)
    try:
        wait_for((folder / "ready").exists, "mount namespace")
        yield lab
    finally:
        for process in reversed([keeper, *lab.daemons]):
            end(process)


def make_key(path: Path, *options: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", *options, "-f", str(path)], check=True)


@pytest.fixture(scope="session")
def port(server: Server) -> int:
    return server.start()


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ssh_config, no known_hosts, no agent of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def connect() -> Iterator[Callable[..., Connections]]:
    """Connections to the given hosts, closed at the end."""
    opened: list[Connections] = []

    def make(*hosts: Host, **settings: object) -> Connections:
        opened.append(Connections(Inventory({host.name: host for host in hosts}, {}), **settings))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


@pytest.fixture
def agent(server: Server, tmp_path: Path) -> Iterator[str]:
    """An ssh-agent that holds the key."""
    path = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(Path(path).exists, "ssh-agent")
        environment = {**os.environ, "SSH_AUTH_SOCK": path}
        subprocess.run(["ssh-add", "-q", server.key], env=environment, check=True)
        yield path
    finally:
        end(process)
