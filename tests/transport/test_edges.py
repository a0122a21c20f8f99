"""The parts that need no server: this machine, recordings, secrets, host-key files, foreign exceptions, promises."""

import ast
import hmac
import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path

import paramiko
import pytest

import vinfra.transport
from vinfra.errors import HostKeyRefused, InputError, TransportError, Unreachable
from vinfra.model.inventory import Host, Inventory
from vinfra.model.question import Exec, PyinfraFact, Raw, ReadFile, ReadLibvirt, ReadMarks, ReadTree
from vinfra.model.step import Exec as Run
from vinfra.model.step import Step
from vinfra.transport import recorded
from vinfra.transport.foreign import MEANINGS, translated
from vinfra.transport.hostkeys import HostKey, HostKeys, Policy
from vinfra.transport.reach import Connections

UNAME = Exec(("uname", "-s"))
LOCAL = Inventory({"here": Host("here", connection="local")}, {})


def test_what_reads_cannot_write() -> None:
    with Connections(LOCAL) as connections:
        reader = connections.reader("here")
    assert [name for name in dir(reader) if not name.startswith("_")] == ["ask"]
    assert not hasattr(reader, "__dict__")


@pytest.mark.skipif(os.geteuid() != 0, reason="as somebody else it would need sudo")
def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "hunter22")
    with Connections(LOCAL) as connections:
        writer = connections.writer("here")
        assert writer.ask([UNAME])[UNAME].text == "Linux\n"
        content = os.urandom(300_000)
        result = writer.run(Step("x", (Run(("sh", "-c", "cat >/dev/null; env; tty"), content, ok=(0, 1)),)))
        assert "SECRET_OF_OURS" not in result.out
        assert result.out.endswith("not a tty\n")
        started = time.monotonic()
        result = writer.run(Step("x", (Run(("sleep", "30")),), timeout=1))
        assert (result.returncode, result.err) == (124, "stopped after 1 s")
        result = writer.run(Step("flood", (Run(("sh", "-c", "yes | head -c 1000000; echo end")),)))
        assert 65000 < len(result.out) <= 65536
        assert result.out.endswith("end\n")
        assert time.monotonic() - started < 20


def test_recordings_come_back_as_they_were(tmp_path: Path) -> None:
    answers = {
        UNAME: Raw(0, b"Linux\n"),
        ReadFile("/bin/x", 10): Raw(0, b"\x00\xff"),
        ReadMarks(): Raw(1, b"", "no"),
        ReadLibvirt("pools"): Raw(0, b"virsh > "),
        ReadTree(("/sys/class/net/*/mtu",), names=("/dev/kvm",)): Raw(0, b"/dev/kvm\n=links\n=files\n"),
        PyinfraFact("server.Which", (("command", "sh"),)): Raw(0, "é\n".encode()),
    }
    recording = recorded.Recording()
    reader = recording.reader("web", recorded.Recorded(answers))
    assert not hasattr(reader, "run")
    assert reader.ask([*answers]) == answers
    recording.save(tmp_path / "answers.json")
    assert recorded.load(tmp_path / "answers.json") == {"web": answers}
    (tmp_path / "answers.yaml").write_text(json.dumps(json.loads((tmp_path / "answers.json").read_text())))
    assert recorded.load(tmp_path / "answers.yaml") == {"web": answers}


def test_a_recording_answers_only_what_it_holds(tmp_path: Path) -> None:
    host = recorded.Recorded({})
    assert host.ask([UNAME])[UNAME].returncode == 127
    host.run(Step("x", ()))
    assert [step.summary for step in host.ran] == ["x"]
    with pytest.raises(Unreachable):
        recorded.Recorded({}, unknown=Unreachable("gone")).ask([UNAME])
    (tmp_path / "bad.yaml").write_text("web: [1]")
    with pytest.raises(InputError, match="not a recording"):
        recorded.load(tmp_path / "bad.yaml")


def _every(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(_every(one) for one in kind.__subclasses__()))


def test_every_exception_of_the_ssh_library_is_mapped() -> None:
    declared = _every(paramiko.SSHException) | {paramiko.ssh_exception.NoValidConnectionsError}
    foreign = {kind for kind in declared if kind.__module__.startswith("paramiko")}
    assert foreign - {kind for kind, _, _ in MEANINGS} == set()
    for position, (kind, _, _) in enumerate(MEANINGS):
        assert not any(issubclass(kind, above) for above, _, _ in MEANINGS[:position]), f"{kind} is never reached"
    assert isinstance(translated(KeyError("x"), "h"), TransportError)
    assert str(translated(EOFError(), "h")).startswith("h: the connection was closed\n")


KEY = HostKey("ssh-ed25519", b64encode(b"\0\0\0\x0bssh-ed25519" + b"k" * 36).decode())
OTHER = HostKey("ssh-ed25519", b64encode(b"\0\0\0\x0bssh-ed25519" + b"o" * 36).decode())


def _hashed(name: str) -> str:
    salt = b"s" * 20
    return f"|1|{b64encode(salt).decode()}|{b64encode(hmac.digest(salt, name.encode(), 'sha1')).decode()}"


@pytest.mark.parametrize(
    ("line", "name", "verdict"),
    [
        (f"web {KEY}", "web", ""),
        (f"WEB,10.0.0.1 {KEY} comment", "web", ""),
        (f"[web]:2222 {KEY}", "[web]:2222", ""),
        (f"web {KEY}", "[web]:2222", ""),
        (f"web {OTHER}", "[web]:2222", "unknown"),
        (f"{_hashed('web')} {KEY}", "web", ""),
        (f"{_hashed('[web]:2222')} {KEY}", "[web]:2222", ""),
        (f"{_hashed('web')} {OTHER}", "web", "changed"),
        (f"*.lab {KEY}", "a.lab", ""),
        (f"*.lab,!a.lab {KEY}", "a.lab", "unknown"),
        (f"[*.lab]:2222 {KEY}", "[a.lab]:2222", ""),
        (f"web {OTHER}\nweb {KEY}", "web", ""),
        (f"web {KEY}\n@revoked * {KEY}", "web", "revoked"),
        (f"@cert-authority web {KEY}", "web", "unknown"),
        ("web ssh-ed25519 notbase64!", "web", "unknown"),
        ("# comment\n\n|1|broken\nx", "web", "unknown"),
        (f"|1|bad {KEY}\nweb {KEY}", "web", ""),
    ],
)
def test_known_hosts(tmp_path: Path, line: str, name: str, verdict: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(line)
    policy = Policy("strict", (str(file), str(tmp_path / "none")))
    if not verdict:
        HostKeys().check(name, KEY, policy)
        return
    with pytest.raises(HostKeyRefused, match=verdict):
        HostKeys().check(name, KEY, policy)


def test_learning_keeps_the_file_whole(tmp_path: Path) -> None:
    file = tmp_path / "new/known_hosts"
    keys, policy = HostKeys(), Policy("accept-new", (str(file),))
    keys.check("a", KEY, policy)
    file.write_text(file.read_text() + f"b {KEY}")
    for name in ("a", "b", "c", "c"):
        keys.check(name, KEY, policy)
    assert file.read_text() == f"a {KEY}\nb {KEY}\nc {KEY}\n"
    assert oct(file.stat().st_mode)[-3:] == "600"
    with pytest.raises(HostKeyRefused, match="changed"):
        keys.check("c", OTHER, policy)


def test_ssh_libraries_are_imported_only_when_needed() -> None:
    code = "import sys, vinfra.transport.reach; sys.exit(bool({'paramiko', 'pyinfra', 'gevent'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_can_ask_on_a_terminal() -> None:
    for file in Path(str(vinfra.transport.__path__[0])).glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"input", "getpass"}, file
