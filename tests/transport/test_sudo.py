"""Becoming root over a real sudo: with and without a password, and what each refusal says."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.transport.conftest import PASSWORD, Server
from vinfra.errors import SudoRefused
from vinfra.model.inventory import Host
from vinfra.model.question import Exec, ReadFile
from vinfra.model.secret import Secret
from vinfra.model.step import Exec as Run
from vinfra.model.step import Step, Write
from vinfra.transport import sudo
from vinfra.transport.reach import Connections

Connect = Callable[..., Connections]
SHADOW = ReadFile("/etc/shadow")
WHO = Step("who", (Run(("id", "-un")),))


@pytest.fixture
def user(server: Server, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Host]]:
    monkeypatch.setenv("LOGIN", PASSWORD)

    def make(name: str, password: str | None = None) -> Host:
        secret = None
        if password is not None:
            monkeypatch.setenv("SUDO", password)
            secret = Secret("env:SUDO")
        given = {"user": name, "key_file": None, "password": Secret("env:LOGIN"), "sudo_password": secret}
        return server.host("h", port, **given)

    yield make


def test_without_a_password(user: Callable[..., Host], connect: Connect) -> None:
    writer = connect(user("nopass")).writer("h")
    assert writer.ask([SHADOW])[SHADOW].ok
    assert writer.run(WHO).out == "root\n"


def test_noisy_shell_and_a_password_that_nobody_wants(user: Callable[..., Host], connect: Connect) -> None:
    writer = connect(user("noisy", "not-needed")).writer("h")
    assert writer.ask([SHADOW])[SHADOW].ok
    assert writer.run(WHO).out == "root\n"


def test_with_a_password(user: Callable[..., Host], connect: Connect) -> None:
    writer = connect(user("withpass", PASSWORD)).writer("h")
    assert writer.ask([SHADOW])[SHADOW].ok
    content = os.urandom(100_000)
    result = writer.run(Step("write", (Write("/tmp/by-root", content), Run(("stat", "-c", "%U %s", "/tmp/by-root")))))
    assert (result.returncode, result.out) == (0, "root 100000\n")


@pytest.mark.parametrize("password", ["wrong", "$(touch /tmp/pwned)", "'; id; '", ""])
def test_a_wrong_password_is_one_attempt(
    server: Server, user: Callable[..., Host], connect: Connect, password: str
) -> None:
    log = server.folder / "sudo.log"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    writer = connect(user("withpass", password or "another")).writer("h")
    started = time.monotonic()
    for attempt in (lambda: writer.ask([SHADOW]), lambda: writer.run(WHO)):
        with pytest.raises(SudoRefused, match="sudo does not accept the password of withpass") as refused:
            attempt()
        assert not password or password not in str(refused.value)
    assert time.monotonic() - started < 30
    text = " ".join(log.read_text().split())
    told = log.read_text().splitlines()[before:]
    assert sum("incorrect password attempt" in line for line in told) == 1, text
    assert "1 incorrect password attempt ;" in " ".join(" ".join(told).split())


def test_what_is_said_when_sudo_refuses(user: Callable[..., Host], connect: Connect) -> None:
    with pytest.raises(SudoRefused, match="sudo wants a password for withpass") as refused:
        connect(user("withpass")).reader("h").ask([SHADOW])
    assert "sudo_password" in refused.value.hint
    with pytest.raises(SudoRefused, match="stranger is not allowed to become root"):
        connect(user("stranger", PASSWORD)).reader("h").ask([SHADOW])
    with pytest.raises(SudoRefused):
        connect(user("stranger")).writer("h").run(WHO)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("sudo: sorry, you must have a tty to run sudo", "works only on a terminal"),
        ("env: 'sudo': No such file or directory", "there is no sudo"),
        ("env: can't execute 'sudo': No such file or directory", "there is no sudo"),
        ("bob is not in the sudoers file.  This incident will be reported.", "bob is not allowed"),
        ("Sorry, user bob may not run sudo on web1.", "bob is not allowed"),
        ("sudo: a password is required", "wants a password"),
        ('sudo: The "no new privileges" flag is set', "cannot become root"),
        ("something new", "sudo said: something new"),
    ],
)
def test_messages(said: str, message: str) -> None:
    assert message in sudo.refusal("bob", said, wrong_password=False).message


def test_passwords_and_contents_show_in_no_process_list(user: Callable[..., Host], connect: Connect) -> None:
    secret = "content-" + "7f3a"
    seen: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = file.read_bytes() + (file.parent / "environ").read_bytes()
                except OSError:
                    continue
                if int(file.parent.name) != os.getpid() and (PASSWORD.encode() in line or secret.encode() in line):
                    seen.append(repr(line))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        writer = connect(user("withpass", PASSWORD)).writer("h")
        calls = (Write("/tmp/secret", secret.encode()), Run(("sh", "-c", "cat; sleep 0.3; echo $X"), secret.encode()))
        result = writer.run(Step("secret", calls, secret=True))
        writer.ask([Exec(("uname",)), SHADOW])
    finally:
        done.set()
        thread.join()
    assert result.returncode == 0
    assert secret not in result.out
    assert not seen
