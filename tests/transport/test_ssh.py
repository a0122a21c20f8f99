"""SSH against a real sshd: what works, and what is a message that says what to do."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.transport.conftest import PASSWORD, Server, make_key, wait_for
from vinfra.errors import HostKeyRefused, LoginRefused, TransportError, Unreachable
from vinfra.model.question import Exec, ReadFile
from vinfra.model.secret import Secret
from vinfra.model.step import Exec as Run
from vinfra.model.step import Step, Write
from vinfra.transport.reach import Connections
from vinfra.transport.session import Limits

Connect = Callable[..., Connections]
UNAME = Exec(("uname", "-s"))


def test_one_login_answers_everything(server: Server, port: int, connect: Connect) -> None:
    questions = [ReadFile(f"/proc/{number}/none") for number in range(298)] + [UNAME, ReadFile("/bin/ls", 1 << 20)]
    answers = connect(server.host("h", port)).reader("h").ask(questions)
    assert len(answers) == 300
    assert {answers[question].returncode for question in questions[:298]} == {2}
    assert answers[UNAME].text == "Linux\n"
    assert answers[questions[-1]].out == Path("/bin/ls").read_bytes()


def test_noisy_slow_login_shell_in_another_locale(server: Server, port: int, connect: Connect) -> None:
    connections = connect(server.host("h", port, user="noisy", password=Secret("env:PW"), key_file=None, sudo=False))
    os.environ["PW"] = PASSWORD
    answers = connections.reader("h").ask([UNAME, ReadFile("/none")])
    assert answers[UNAME] == (0, b"Linux\n", "")
    assert answers[ReadFile("/none")].err.endswith("No such file or directory")
    result = connections.writer("h").run(Step("x", (Run(("sh", "-c", "echo out; echo err >&2")),)))
    assert (result.out, result.err) == ("out\n", "err\n")


def test_steps_on_noexec_tmp_and_full_disk(server: Server, port: int, connect: Connect) -> None:
    writer = connect(server.host("h", port)).writer("h")
    path = f"{server.folder}/small/file"
    old = bytes(range(256)) * 4
    assert writer.run(Step("small", (Write(path, old, "0640", "nopass", "withpass"),))).returncode == 0
    refused = writer.run(Step("large", (Write(path, b"x" * 300_000), Run(("touch", f"{server.folder}/small/never")))))
    assert refused.returncode != 0
    assert refused.call == 0
    assert "No space left on device" in refused.err
    listing = Run(("sh", "-c", f"cd {server.folder}/small; ls -A; stat -c '%a %U %G' file"))
    assert writer.run(Step("look", (listing,))).out == "file\n640 nopass withpass\n"
    assert writer.ask([ReadFile(path)])[ReadFile(path)].out == old
    fits = writer.run(Step("tmp", (Write("/tmp/in-noexec", b"new"), Run(("stat", "-c", "%a %U", "/tmp/in-noexec")))))
    assert (fits.returncode, fits.out) == (0, "644 root\n")


def test_a_megabyte_each_way(server: Server, port: int, connect: Connect) -> None:
    content = os.urandom(1 << 20)
    writer = connect(server.host("h", port)).writer("h")
    result = writer.run(Step("write", (Write("/tmp/megabyte", content), Run(("sha256sum",), content))))
    assert result.returncode == 0, result.err
    assert writer.ask([ReadFile("/tmp/megabyte", 2 << 20)])[ReadFile("/tmp/megabyte", 2 << 20)].out == content


def test_a_step_is_stopped_on_the_host(server: Server, port: int, connect: Connect) -> None:
    writer = connect(server.host("h", port)).writer("h")
    started = time.monotonic()
    result = writer.run(Step("sleep", (Run(("sleep", "4242")),), timeout=1))
    assert (result.returncode, result.err) == (124, "stopped after 1 s")
    assert time.monotonic() - started < 20
    assert writer.run(Step("look", (Run(("pgrep", "-f", "^sleep 4242"), ok=(1,)),))).out == ""


def test_a_step_that_will_not_stop_is_killed(server: Server, port: int, connect: Connect) -> None:
    deaf = Run(("sh", "-c", "trap '' TERM; sleep 4; sleep 4"))
    result = connect(server.host("h", port)).writer("h").run(Step("deaf", (deaf,), timeout=1))
    assert result.returncode != 0
    assert result.err.endswith("stopped after 1 s")


def test_one_hanging_question_does_not_hold_the_rest(server: Server, port: int, connect: Connect) -> None:
    reader = connect(server.host("h", port), limits=Limits(question=1)).reader("h")
    hangs = Exec(("systemd-detect-virt",))  # the lab's own, which sleeps
    fifo = ReadFile(f"{server.folder}/fifo")
    os.mkfifo(fifo.path)
    started = time.monotonic()
    answers = reader.ask([hangs, fifo, UNAME])
    assert answers[hangs].returncode == 124
    assert answers[hangs].err.startswith("no answer in time")
    assert answers[fifo].returncode == 1
    assert answers[UNAME].ok
    assert time.monotonic() - started < 20


def test_a_host_that_dies_is_unreachable_at_once(server: Server, connect: Connect) -> None:
    port = server.start(log="dying")
    writer = connect(server.host("h", port)).writer("h")
    assert writer.ask([UNAME])[UNAME].ok
    failures: list[BaseException] = []

    def run() -> None:
        try:
            writer.run(Step("long step", (Run(("sleep", "30")),)))
        except TransportError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.5)
    started = time.monotonic()
    _kill_sessions(server, port)
    thread.join(20)
    assert time.monotonic() - started < 20
    assert isinstance(failures[0], Unreachable)
    assert "the connection was lost while 'long step' ran; it may have run or not" in str(failures[0])
    assert writer.ask([UNAME])[UNAME].ok, "questions may log in again"
    assert server.log("dying").count("Accepted publickey") == 2


def _kill_sessions(server: Server, port: int) -> None:
    for process in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, parent = int(process.parent.name), int(process.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == server.daemons[-1].pid:
            os.kill(pid, 9)


def test_nobody_there(server: Server, connect: Connect) -> None:
    connections = connect(server.host("h", 1, connect_timeout=2.0), server.host("name", 22, address="none.invalid"))
    with pytest.raises(Unreachable, match=r"h \(root@127.0.0.1:1\): nothing listens there"):
        connections.reader("h").ask([UNAME])
    with pytest.raises(Unreachable, match="cannot be resolved"):
        connections.reader("name").ask([UNAME])


def test_silent_servers_meet_the_deadline(server: Server, connect: Connect, silent: int) -> None:
    reader = connect(server.host("h", silent, connect_timeout=1.0)).reader("h")
    started = time.monotonic()
    with pytest.raises(Unreachable, match="no SSH greeting in 1 s"):
        reader.ask([UNAME])
    assert 0.9 < time.monotonic() - started < 10
    started = time.monotonic()
    with pytest.raises(Unreachable, match="no SSH greeting in 1 s"):
        reader.ask([UNAME])
    assert time.monotonic() - started < 0.9, "a host that failed is not tried again in this run"


def test_a_probe_meets_its_deadline(server: Server, port: int, connect: Connect) -> None:
    (server.folder / "home/stranger/.bashrc").write_text("sleep 30\n")
    os.environ["PW"] = PASSWORD
    host = server.host("h", port, user="stranger", key_file=None, password=Secret("env:PW"), sudo=False)
    started = time.monotonic()
    with pytest.raises(Unreachable, match="not answered in 1 s"):
        connect(host, limits=Limits(probe=1)).reader("h").ask([UNAME])
    assert time.monotonic() - started < 20
    (server.folder / "home/stranger/.bashrc").unlink()


def test_logins_that_are_refused(server: Server, port: int, connect: Connect, tmp_path: Path) -> None:
    os.environ["PW"] = "wrong"
    hosts = {
        "wrong": server.host("wrong", port, key_file=str(server.folder / "other_key")),
        "missing": server.host("missing", port, key_file="/nowhere/key"),
        "password": server.host("password", port, user="nopass", key_file=None, password=Secret("env:PW")),
        "unset": server.host("unset", port, key_file=None, password=Secret("env:NOT_SET")),
        "nothing": server.host("nothing", port, key_file=None),
    }
    connections = connect(*hosts.values())
    said = {}
    for name in hosts:
        with pytest.raises(LoginRefused) as refused:
            connections.reader(name).ask([UNAME])
        said[name] = str(refused.value)
    assert f"tried the key {server.folder}/other_key" in said["wrong"]
    assert "/nowhere/key does not exist" in said["missing"]
    assert "tried the password" in said["password"]
    assert "wrong" not in said["password"]
    assert "NOT_SET" in said["unset"]
    assert "there is no key, no ssh-agent and no password" in said["nothing"]


def test_a_key_with_a_passphrase_is_never_asked_for(server: Server, port: int, connect: Connect) -> None:
    locked = server.folder / "locked_key"
    make_key(locked, "-N", "secret")
    with pytest.raises(LoginRefused, match="is protected by a passphrase") as refused:
        connect(server.host("h", port, key_file=str(locked))).reader("h").ask([UNAME])
    assert "ssh-add" in refused.value.hint


def test_ssh_agent_unlocks_a_key(
    server: Server, port: int, connect: Connect, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", agent)
    assert connect(server.host("h", port, key_file=None)).reader("h").ask([UNAME])[UNAME].ok


def test_ssh_config_is_honoured(server: Server, port: int, connect: Connect, tmp_path: Path) -> None:
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    lines = ["Host web", "HostName 127.0.0.1", f"Port {port}", "User root", f"IdentityFile {server.key}"]
    (ssh / "config").write_text("\n".join([*lines, "HostKeyAlias web-key", f"UserKnownHostsFile {ssh}/mine"]))
    (ssh / "mine").write_text(f"web-key {server.host_key}\n")
    _forget_ssh_config()
    host = server.host("web", 0, address="", user="", key_file=None, host_key="strict")
    assert connect(host).reader("web").ask([UNAME])[UNAME].ok
    _forget_ssh_config()


def test_a_proxy_command_and_match_exec(server: Server, port: int, connect: Connect, tmp_path: Path) -> None:
    relay = tmp_path / "relay"
    relay.write_text("#!/bin/bash\nexec 3<>/dev/tcp/$1/$2\ncat <&3 & cat >&3; kill $!\n")
    relay.chmod(0o755)
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    (ssh / "config").write_text(f'Match exec "true"\n  ProxyCommand {relay} 127.0.0.1 %p\n  Port {port}\n')
    _forget_ssh_config()
    host = server.host("h", port, address="no.such.name.invalid")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: connect(host).reader("h").ask([UNAME])).result()[UNAME].ok
    _forget_ssh_config()


def _forget_ssh_config() -> None:
    from pyinfra.connectors.sshuserclient import client

    client.get_ssh_config.cache.clear()


def test_host_keys(server: Server, port: int, connect: Connect, tmp_path: Path) -> None:
    known = tmp_path / ".ssh/known_hosts"
    strict = server.host("h", port, host_key="strict")
    with pytest.raises(
        HostKeyRefused, match=r"host key of \[127.0.0.1\]:\d+ is unknown: ssh-ed25519 SHA256:"
    ) as unknown:
        connect(strict).reader("h").ask([UNAME])
    assert f"host_key: {server.host_key}" in unknown.value.hint
    assert f"ssh-keyscan -p {port} -t ed25519 127.0.0.1 >> {known}" in unknown.value.hint
    assert not known.exists()

    learning = [server.host(f"h{number}", port, host_key="accept-new") for number in range(5)]
    connections = connect(*learning)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda host: connections.reader(host.name).ask([UNAME]), learning))
    assert known.read_text() == f"[127.0.0.1]:{port} {server.host_key}\n"
    assert connect(strict).reader("h").ask([UNAME])[UNAME].ok

    other = (server.folder / "other_key.pub").read_text()
    known.write_text(f"[127.0.0.1]:{port} {other}")
    for host in (strict, learning[0]):
        with pytest.raises(HostKeyRefused, match="has changed") as changed:
            connect(host).reader(host.name).ask([UNAME])
        assert "ssh-keygen -R" in changed.value.hint
    with pytest.raises(HostKeyRefused, match="the inventory's host_key"):
        connect(server.host("h", port, host_key=other.strip())).reader("h").ask([UNAME])


def test_refused_sessions_and_drops_before_the_greeting(server: Server, connect: Connect) -> None:
    none = server.start("MaxSessions 0\n")
    with pytest.raises(TransportError, match="refuses another session") as refused:
        connect(server.host("h", none)).reader("h").ask([UNAME])
    assert "MaxSessions" in refused.value.hint
    few = server.start("MaxStartups 3:60:6\n")
    connections = connect(*(server.host(f"h{number}", few) for number in range(12)))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: connections.reader(f"h{number}").ask([UNAME]), range(12)))
    assert all(answer[UNAME].ok for answer in answers)


def test_nothing_is_left_behind(server: Server, port: int) -> None:
    def counted() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    from vinfra.model.inventory import Inventory

    hosts = {f"h{number}": server.host(f"h{number}", port) for number in range(20)}
    with Connections(Inventory({"h0": hosts["h0"]}, {})) as connections:
        connections.reader("h0").ask([UNAME])
    before = counted()
    with Connections(Inventory(hosts, {})) as connections, ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda name: connections.reader(name).ask([UNAME]), hosts))
        assert counted()[0] > before[0] + 19
    wait_for(lambda: counted() == before, "end of threads and files", 1)


def test_a_host_that_came_back_is_found_again(server: Server, connect: Connect) -> None:
    port = server.start()
    connections = connect(server.host("h", port, connect_timeout=1.0))
    writer = connections.writer("h")
    assert writer.run(Step("x", (Run(("true",)),))).returncode == 0
    os.kill(server.daemons[-1].pid, 19)
    _kill_sessions(server, port)
    with pytest.raises(Unreachable):
        writer.run(Step("x", (Run(("true",)),)))
    os.kill(server.daemons[-1].pid, 18)
    with pytest.raises(Unreachable):
        writer.ask([UNAME])
    connections.forget("h")
    assert connections.reader("h").ask([UNAME])[UNAME].ok
