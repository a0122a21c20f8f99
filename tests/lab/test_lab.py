"""The lab itself, on this machine: real namespaces, real systemd, real SSH."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path

import paramiko
import pytest
import yaml
from typer.testing import CliRunner

from vinfra import lab as lab_module
from vinfra.cli.lab import app
from vinfra.errors import UsageError, VinfraError
from vinfra.lab import Lab, LabHost, leftovers, mirror, prerequisites, sources

from .conftest import Ssh, Written


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def first(lab: Lab) -> LabHost:
    return next(iter(lab.hosts.values()))


def traces(home: Path) -> list[str]:
    """Everything on this machine that belongs to the lab in that folder."""
    group = leftovers.cgroup_of(home)
    found = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**{group}")]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if group in (process / "cgroup").read_text() or str(home) in (process / "mountinfo").read_text():
                found.append(str(process))
        except OSError:
            continue
    return found + [str(path) for path in [home] if path.exists()]


def machine() -> dict[str, str]:
    """What must be the same before and after."""
    commands = {
        "links": "ip -o link | cut -d' ' -f1-3,5-9",
        "addresses": "ip -o address",
        "routes": "ip route show table all",
        "namespaces": "ip netns list",
        "firewall": "iptables-save 2>/dev/null | grep -v '^#' || true",
        "loops": "losetup -a 2>/dev/null || true",
        "mounts": "cat /proc/self/mounts",
        "names": "cat /etc/resolv.conf /etc/hosts",
        "settings": "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/pid_max /proc/sys/fs/file-max",
    }
    return {name: subprocess.getoutput(command) for name, command in commands.items()}


def test_hosts_are_up_with_nothing_failed(lab: Lab, ssh: Ssh) -> None:
    for name, host in lab.hosts.items():
        answer = ssh(
            host, "hostname; systemctl is-system-running; systemctl --failed --no-legend --plain; cat /proc/1/comm"
        )
        assert answer.stdout.split() == [name, "running", "systemd"], answer.stderr


def test_paramiko_accepts_the_pinned_keys(lab: Lab) -> None:
    for host in lab.hosts.values():
        with paramiko.SSHClient() as client:
            client.load_host_keys(str(lab.known_hosts))
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
            client.connect(
                "127.0.0.1", host.port, "root", key_filename=str(lab.key_file), allow_agent=False, look_for_keys=False
            )
            _, stdout, _ = client.exec_command("cat /etc/hostname")
            assert stdout.read().decode().strip() == host.name


def test_hosts_have_keys_of_their_own(lab: Lab) -> None:
    keys = [line.split()[2] for line in lab.known_hosts.read_text().splitlines()]
    assert len(set(keys)) == len(lab.hosts)


def test_the_inventory_says_how_to_reach_them(lab: Lab) -> None:
    read = yaml.safe_load(lab.inventory.read_text())
    assert read["ssh"] == {"user": "root", "key_file": "id_ed25519", "known_hosts": "known_hosts"}
    assert read["hosts"] == {host.name: {"address": "127.0.0.1", "port": host.port} for host in lab.hosts.values()}
    assert read["groups"] == {"web": {"hosts": list(lab.hosts)}}
    assert lab.key_file.stat().st_mode & 0o777 == 0o600
    assert lab.home.stat().st_mode & 0o777 == 0o700


def test_ops_becomes_root_only_by_password(lab: Lab, ssh: Ssh) -> None:
    assert ssh(first(lab), "sudo -n true", user="ops").returncode != 0
    answer = ssh(first(lab), "sudo -S -p '' id -un", user="ops", stdin=f"{lab.password}\n")
    assert answer.stdout.strip() == "root", answer.stderr


def test_up_again_is_the_same_lab(lab: Lab) -> None:
    said: list[str] = []
    assert lab_module.up(lab.name, 2, progress=said.append).pid == lab.pid
    assert said == [f"{lab.name} is already up, with 2 hosts"]


def test_a_large_stream_passes_whole(lab: Lab, ssh: Ssh) -> None:
    answer = ssh(
        first(lab),
        "head -c 50000000 /dev/zero | tr '\\0' x | tee /dev/stderr 2>/dev/null | wc -c; cat | wc -c",
        stdin="y" * 5_000_000,
    )
    assert answer.stdout.split() == ["50000000", "5000000"]


def test_a_login_writes_nothing(clean_host: LabHost, ssh: Ssh, written: Written) -> None:
    before = written(clean_host)
    assert "root/.ssh/authorized_keys" in before
    assert ssh(clean_host, "systemctl list-units; dpkg-query -W; cat /etc/passwd; ss -ltn; id").returncode == 0
    assert written(clean_host) == before
    ssh(clean_host, "touch /root/there")
    assert set(written(clean_host)) - set(before) == {"root/there"}


def test_reset_forgets_everything(clean_host: LabHost, lab: Lab, ssh: Ssh) -> None:
    ssh(clean_host, "touch /root/there; userdel --remove ops; echo x > /etc/hosts")
    again = lab_module.reset(lab, clean_host.name).hosts[clean_host.name]
    answer = ssh(again, "ls /root; id -un ops; getent hosts mirror")
    assert answer.stdout.split() == ["ops", "10.77.0.1", "mirror"]
    assert again.pid != clean_host.pid


def test_a_reboot_keeps_files(clean_host: LabHost, lab: Lab, ssh: Ssh) -> None:
    ssh(clean_host, "touch /root/there; systemctl reboot")

    def booted() -> bool:
        running = lab_module.status(lab.name)
        return running is not None and running.hosts[clean_host.name].pid not in {0, clean_host.pid}

    until(booted)
    until(lambda: ssh(clean_host, "systemctl is-system-running").stdout.strip() == "running")
    assert ssh(clean_host, "ls /root").stdout.strip() == "there"


def test_a_host_that_is_powered_off_stays_off(clean_host: LabHost, lab: Lab, ssh: Ssh) -> None:
    ssh(clean_host, "touch /root/there; systemctl poweroff")

    def pid() -> int:
        running = lab_module.status(lab.name)
        assert running is not None
        return running.hosts[clean_host.name].pid

    until(lambda: pid() == 0)
    assert ssh(clean_host, "true").returncode == 255
    lab_module.power_on(lab, clean_host.name)
    assert ssh(clean_host, "ls /root").stdout.strip() == "there"


def test_any_package_installs_without_a_way_out(clean_host: LabHost, ssh: Ssh) -> None:
    assert ssh(clean_host, "ip route show default; ip -6 route show default").stdout == ""
    install = "DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends nginx-light"
    answer = ssh(clean_host, install)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    answer = ssh(clean_host, "systemctl is-active nginx; curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/")
    assert answer.stdout.split() == ["active", "200"]


def test_apt_get_update_is_signed_and_works(clean_host: LabHost, ssh: Ssh) -> None:
    answer = ssh(clean_host, "apt-get update")
    assert answer.returncode == 0, answer.stderr
    assert "W:" not in answer.stdout + answer.stderr


def test_hosts_reach_each_other(lab: Lab, ssh: Ssh) -> None:
    one, two = lab.hosts.values()
    assert ssh(one, f"head -c4 </dev/tcp/{two.name}/22").stdout == "SSH-"


def test_the_machines_settings_are_read_only_in_a_host(lab: Lab, ssh: Ssh) -> None:
    assert ssh(first(lab), "echo 1 > /proc/sys/vm/swappiness").returncode != 0
    assert ssh(first(lab), "echo b > /proc/sysrq-trigger").returncode != 0
    assert ssh(first(lab), "sysctl -qw net.ipv4.ip_forward=1 && sysctl -n net.ipv4.ip_forward").stdout == "1\n"


def test_two_side_by_side_and_nothing_left(lab: Lab, ssh: Ssh) -> None:
    before = machine()
    other = lab_module.up(f"{lab.name}-b", 1)
    try:
        host = first(other)
        assert host.address == first(lab).address
        assert ssh(host, "hostname", of=other).stdout.strip() == host.name
        assert ssh(first(lab), "hostname").stdout.strip() == first(lab).name
        ssh(host, "truncate -s 1M /root/image && losetup -f /root/image && ip link add dummy0 type dummy", of=other)
        assert traces(other.home)
    finally:
        assert lab_module.down(other.name)
    assert traces(other.home) == []
    assert lab_module.status(other.name) is None
    assert not lab_module.down(other.name)
    assert machine() == before
    assert lab.alive


def test_a_killed_supervisor_takes_its_hosts_along(lab: Lab, ssh: Ssh) -> None:
    name = f"{lab.name}-k"
    before = machine()
    killed = lab_module.up(name, 1)
    try:
        host = first(killed)
        # As QEMU is to libvirt: a daemon in a control group of its own, with a tap device.
        ssh(host, "systemd-run -q --slice=machine sleep 600 && ip tuntap add vnet0 mode tap", of=killed)
        until(lambda: "sleep" in ssh(host, "ps -e -o comm", of=killed).stdout.split())
        os.kill(killed.pid, signal.SIGKILL)
        until(lambda: not [trace for trace in traces(killed.home) if trace.startswith("/proc/")], 5)
        assert machine() == before
        assert lab_module.status(name) is None
        again = lab_module.up(name, 1)
        assert again.pid != killed.pid
        assert ssh(first(again), "hostname", of=again).stdout.strip() == host.name
        os.kill(again.pid, signal.SIGKILL)
    finally:
        lab_module.down(name)
    assert traces(killed.home) == []


def test_a_lab_that_cannot_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "runc").write_text("#!/bin/sh\necho runc: not today >&2\nexit 1\n")
    (broken / "runc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}:{os.environ['PATH']}")
    home = tmp_path / "lab"
    with pytest.raises(VinfraError, match=r"(?s)does not start.*not today"):
        lab_module.up("broken", 1, home)
    assert traces(home) == []


def test_hosts_write_to_disk_where_memory_is_short(tmp_path: Path, lab: Lab, ssh: Ssh) -> None:
    home = tmp_path / "lab"
    small = lab_module.up("small", 1, home, in_memory=False)
    try:
        assert ssh(first(small), "touch /root/there; ls /root", of=small).stdout == "there\n"
        lab_module.reset(small, "small1")
        assert ssh(first(small), "ls /root", of=small).stdout == ""
    finally:
        lab_module.down("small", home)
    assert traces(home) == []


def test_everything_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program in {"runc", "mmdebstrap"} else program)
    with pytest.raises(VinfraError) as caught:
        prerequisites.check()
    assert caught.value.hint == "apt-get install -y mmdebstrap runc"


@pytest.mark.parametrize("name", ["", "Lab", "a/b", "../x", "a" * 40])
def test_odd_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        lab_module.status(name)
    with pytest.raises(UsageError):
        lab_module.down(name, tmp_path)


def test_unknown_hosts_are_refused(lab: Lab) -> None:
    with pytest.raises(UsageError, match="no host 'nobody'"):
        lab_module.reset(lab, "nobody")


class TestArchive:
    """The mirror's cache."""

    @pytest.fixture
    def fetched(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """What was fetched together; the archive has no file called absent, and after the third time it is away."""
        log: list[list[str]] = []

        def fetch(self: mirror.Archive, wishes: Sequence[mirror.Wish]) -> HTTPStatus:
            log.append([wish.address for wish in wishes])
            if len(log) > 3:
                return HTTPStatus.BAD_GATEWAY
            if any(address.endswith("absent") for address in log[-1]):
                return HTTPStatus.NOT_FOUND
            for wish in wishes:
                wish.kept.parent.mkdir(exist_ok=True)
                wish.kept.write_text(f"content of {wish.address}")
            return HTTPStatus.OK

        monkeypatch.setattr(mirror.Archive, "_fetch", fetch)
        return log

    @pytest.mark.parametrize("path", ["/0/pool/../../etc/passwd", "/2/pool/a.deb", "/0/other", "/etc/passwd", "/"])
    def test_serves_only_archives(self, tmp_path: Path, path: str, fetched: list[list[str]]) -> None:
        archive = mirror.Archive(("http://a.invalid", "http://b.invalid"), tmp_path)
        assert archive.get(path) == (HTTPStatus.NOT_FOUND, None)
        assert fetched == []

    def test_asks_once_for_what_never_changes(self, tmp_path: Path, fetched: list[list[str]]) -> None:
        archive = mirror.Archive(("http://a.invalid", "http://b.invalid"), tmp_path / "kept")
        for _ in range(2):
            status, path = archive.get("/1/pool/main/a_1.0.deb")
            assert (status, path and path.read_text()) == (
                HTTPStatus.OK,
                "content of http://b.invalid/pool/main/a_1.0.deb",
            )
        assert fetched == [["http://b.invalid/pool/main/a_1.0.deb"]]

    def test_serves_the_old_index_when_the_archive_is_away(self, tmp_path: Path, fetched: list[list[str]]) -> None:
        archive = mirror.Archive(("http://a.invalid",), tmp_path / "kept")
        _, path = archive.get("/0/dists/x/InRelease")
        assert path is not None
        fetched += [[], []]
        os.utime(path, (0, 0))
        assert archive.get("/0/dists/x/InRelease") == (HTTPStatus.OK, path)
        assert len(fetched) == 4

    def test_what_the_client_asks_for_in_one_go_is_fetched_in_one_go(
        self, tmp_path: Path, fetched: list[list[str]]
    ) -> None:
        names = ["/0/pool/a", "/0/pool/b", "/0/etc/passwd", "/0/pool/c"]
        with mirror.Server(("127.0.0.1", 0), mirror.Handler) as server:
            server.archive = mirror.Archive(("http://a.invalid",), tmp_path / "kept")
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with socket.create_connection(server.server_address[:2], 5) as client:
                ask = "".join(f"GET {name} HTTP/1.1\r\nHost: mirror\r\n\r\n" for name in names)
                client.sendall(ask.encode())
                said = b""
                while b"pool/c" not in said:
                    said += client.recv(4096)
            server.shutdown()
        assert re.findall(rb"HTTP/1.1 (\d+)|content of (\S+?)(?=HTTP|$)", said) == [
            *[(b"200", b""), (b"", b"http://a.invalid/pool/a"), (b"200", b""), (b"", b"http://a.invalid/pool/b")],
            *[(b"404", b""), (b"200", b""), (b"", b"http://a.invalid/pool/c")],
        ]
        assert fetched == [[f"http://a.invalid/pool/{name}" for name in "abc"]]

    def test_one_file_that_is_not_there_keeps_no_other_from_its_host(
        self, tmp_path: Path, fetched: list[list[str]]
    ) -> None:
        archive = mirror.Archive(("http://a.invalid",), tmp_path / "kept")
        assert archive.get("/0/pool/a", ["/0/pool/absent"])[0] is HTTPStatus.OK
        assert [len(wishes) for wishes in fetched] == [2, 1]
        assert archive.get("/0/pool/absent")[0] is HTTPStatus.NOT_FOUND


def test_other_releases_come_from_the_same_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    main, security = "http://a.invalid/debian", "http://a.invalid/security"
    machines = [sources.Source(main, "trixie"), sources.Source(main, "trixie-updates")]
    machines += [sources.Source(security, "trixie-security"), sources.Source("http://b.invalid/tool", "stable")]
    monkeypatch.setattr(sources, "_machine", lambda: machines)
    found = {(source.uri, source.suite) for source in sources.debian("bookworm")}
    assert found == {(main, "bookworm"), (main, "bookworm-updates"), (security, "bookworm-security")}
    assert [source.suite for source in sources.debian("sid")] == ["sid"]


def test_the_command_line(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner()
    monkeypatch.chdir("/")
    shown = run.invoke(app, ["status", "--name", lab.name, "--json"])
    told = json.loads(shown.stdout)
    assert (told["command"], told["lab"]["pid"]) == ("lab status", lab.pid)
    assert lab.password not in shown.stdout
    shown = run.invoke(app, ["up", "--name", lab.name])
    assert str(lab.inventory).removeprefix("/") in shown.stdout
    assert lab.password not in shown.stdout
    assert lab.password_file.read_text().strip() == lab.password
    assert lab.password_file.stat().st_mode & 0o777 == 0o600
    assert run.invoke(app, ["status", "--name", "no-such-lab"]).exit_code == 1
    assert run.invoke(app, ["down", "--name", "no-such-lab"]).stdout == "no-such-lab was not up\n"


def test_ports_listen_on_loopback_only(lab: Lab) -> None:
    with socket.socket() as other:
        other.settimeout(2)
        with pytest.raises(OSError, match="refused"):
            other.connect(("127.0.0.2", first(lab).port))
