"""The generated scripts in every sh at hand, and what becomes of answers that were cut short or damaged."""

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vinfra.errors import TransportError
from vinfra.model import mark, question
from vinfra.model.question import (
    READ_ONLY,
    Exec,
    PyinfraFact,
    Question,
    QuestionRefused,
    Raw,
    ReadFile,
    ReadLogin,
    ReadMarks,
    Reads,
    ReadTree,
)
from vinfra.model.step import SCRATCH, Append, Call, Shell, Step, Write
from vinfra.model.step import Exec as Run
from vinfra.model.tree import Tree, parse
from vinfra.transport import probe, pyinfra_facts, shell, steps

SHELLS = [command for command in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(command[0])]
EVERY_BYTE = bytes(range(256)) * 3


def run(script: bytes, command: list[str], path: str | None = None) -> tuple[bytes, bytes]:
    environment = {"PATH": path or os.environ["PATH"]}
    done = subprocess.run([*command, "-s"], input=script, capture_output=True, env=environment, timeout=20, check=False)
    return done.stdout, done.stderr


def ask(questions: list[Question], command: list[str]) -> dict[Question, Raw]:
    nonce = shell.new_nonce()
    out, _ = run(probe.probe_script(questions, nonce, 1), command)
    return probe.parse_probe(b"motd, unfinished" + out + b"noise\n", questions, nonce)


def do(*calls: Call, command: list[str], secret: bool = False) -> steps.StepResult:
    nonce = shell.new_nonce()
    step = Step("test", calls, secret=secret)
    result = steps.parse_step(*run(steps.step_script(step, nonce), command), nonce, step)
    assert result
    return result


@pytest.fixture(params=SHELLS, ids=lambda command: command[0])
def sh(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


def test_the_way_here_is_found_above_a_shell_that_lost_it(sh: list[str]) -> None:
    """As behind sudo: the shell itself has no SSH_CONNECTION any more, a process above it has."""
    way = "192.0.2.7 50000 192.0.2.1 22"
    nonce = shell.new_nonce()
    script = probe.probe_script([ReadLogin()], nonce, 1)
    lost = ["sh", "-c", 'env -i PATH="$PATH" "$@" -s; exit $?', "sh", *sh]
    environment = {"PATH": os.environ["PATH"], "SSH_CONNECTION": way}
    done = subprocess.run(lost, input=script, capture_output=True, env=environment, timeout=20, check=False)
    assert probe.parse_probe(done.stdout, [ReadLogin()], nonce)[ReadLogin()].text == f"{way}\n"


def test_questions(sh: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READ_ONLY, "no-such-program", (Reads(),))
    content = tmp_path / "it's a $file\nof \udcff bytes"
    content.write_bytes(EVERY_BYTE)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "link").symlink_to(content)
    os.mkfifo(tmp_path / "fifo")
    questions: dict[Question, tuple[int, bytes]] = {
        ReadFile(str(content)): (0, EVERY_BYTE),
        ReadFile(str(tmp_path / "link"), 10): (0, EVERY_BYTE[:10]),
        ReadFile(str(tmp_path / "link"), 10, last=True): (0, EVERY_BYTE[-10:]),
        ReadFile(str(tmp_path / "dangling")): (2, b""),
        ReadFile(str(content / "below")): (2, b""),
        ReadFile(str(tmp_path)): (1, b""),
        ReadFile(str(tmp_path / "fifo")): (1, b""),
        Exec(("stat", "-c", "%s $HOME `id`", str(content))): (0, b"768 $HOME `id`\n"),
        Exec(("test", "-d", str(tmp_path))): (0, b""),
        Exec(("test", "-e", "/none")): (1, b""),
        Exec(("no-such-program",)): (127, b""),
    }
    answers = ask([*questions, *questions], sh)
    assert {question: (raw.returncode, raw.out) for question, raw in answers.items()} == questions


def test_many_small_files(sh: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "KERNEL", (f"{tmp_path}/",))
    for name, value in (("eth0", "1500"), ("a:b.0", "9000\nmore: /x/mtu:5"), ("b@d$(id)", "7")):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "mtu").write_text(f"{value}\n")
        (tmp_path / name / "deep/speed").write_bytes(b"\x06\0\0\xff")
    (tmp_path / "link").symlink_to("eth0/mtu")
    (tmp_path / "eth0/long").write_text("line\n" * 9)
    asked = ReadTree(
        (*(f"{tmp_path}/*/{leaf}" for leaf in ("mtu", "deep/speed", "none", "long")), f"{tmp_path}/eth0/mtu"),
        (f"{tmp_path}/l*", f"{tmp_path}/none"),
        (f"{tmp_path}/eth[0-9]*", f"{tmp_path}/eth0/mtu", f"{tmp_path}/none", f"{tmp_path}/no*"),
        lines=3,
    )
    raw = ask([asked], sh)[asked]
    assert raw.returncode == 0
    found = parse(asked, raw)
    assert found.names == {f"{tmp_path}/eth0", f"{tmp_path}/eth0/mtu"}
    assert found.links == {f"{tmp_path}/link": "eth0/mtu"}
    assert found.files[f"{tmp_path}/a:b.0/mtu"] == "9000\nmore: /x/mtu:5"
    assert found.files[f"{tmp_path}/b@d$(id)/mtu"] == "7"
    assert found.files[f"{tmp_path}/eth0/deep/speed"] == "\x06\0\0\udcff"
    assert found.files[f"{tmp_path}/eth0/long"] == "line\nline\nline"
    assert len(found.files) == 7
    assert found.below(str(tmp_path), "mtu")["eth0"] == {"mtu": "1500"}


def test_more_files_than_a_command_line_takes(sh: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "KERNEL", (f"{tmp_path}/",))
    for number in range(4200):
        folder = tmp_path / f"{number:04}"
        folder.mkdir()
        (folder / "mtu").write_text(f"{number}\n")
    asked = ReadTree((f"{tmp_path}/*/mtu",))
    found = parse(asked, ask([asked], sh)[asked])
    assert [found.text(f"{tmp_path}/{number:04}/mtu") for number in (0, 4199)] == ["0", "4199"]
    assert len(found.files) == 4200


def test_nothing_to_read_is_an_empty_answer(sh: list[str]) -> None:
    for asked in (ReadTree(), ReadTree(("/sys/class/net/*/none",)), ReadTree(names=("/none",))):
        raw = ask([asked], sh)[asked]
        assert (raw.returncode, parse(asked, raw)) == (0, Tree())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_what_may_not_be_read_leaves_the_rest(sh: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("/dev/shm") / f"vinfra-tree-{os.getpid()}"
    monkeypatch.setattr(question, "KERNEL", (f"{folder}/",))
    asked = ReadTree((f"{folder}/*/serial", f"{folder}/*/mtu"))
    nonce = shell.new_nonce()
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *sh]
    try:
        (folder / "eth0").mkdir(parents=True)
        (folder / "eth0/serial").write_text("x\n")
        (folder / "eth0/serial").chmod(0o400)
        (folder / "eth0/mtu").write_text("1500\n")
        raw = probe.parse_probe(run(probe.probe_script([asked], nonce), nobody)[0], [asked], nonce)[asked]
    finally:
        shutil.rmtree(folder)
    assert (raw.returncode, parse(asked, raw).files) == (0, {f"{folder}/eth0/mtu": "1500"})


def test_marks_of_all_blueprints(sh: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mark, "DIRECTORY", str(tmp_path / "marks"))
    assert ask([ReadMarks()], sh)[ReadMarks()] == Raw(0, b"")
    (tmp_path / "marks").mkdir()
    assert ask([ReadMarks()], sh)[ReadMarks()] == Raw(0, b"")
    (tmp_path / "marks/a.jsonl").write_text('{"cut')
    (tmp_path / "marks/b.jsonl").write_text('{"b":1}\n')
    assert ask([ReadMarks()], sh)[ReadMarks()].text.split() == ['{"cut', '{"b":1}']


@pytest.mark.parametrize("sort", ["folder", "pipe", "dangling link", "device", "huge"])
def test_a_mark_file_that_is_none_is_no_empty_one(
    sh: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    monkeypatch.setattr(mark, "DIRECTORY", str(tmp_path))
    (tmp_path / "a.jsonl").write_text('{"a":1}\n')
    file = tmp_path / "b.jsonl"
    if sort == "folder":
        file.mkdir()
    elif sort == "pipe":
        os.mkfifo(file)
    elif sort == "huge":
        file.touch()
        os.truncate(file, mark.LARGEST + 1)
    else:
        file.symlink_to("/dev/zero" if sort == "device" else "nowhere")
    raw = ask([ReadMarks()], sh)[ReadMarks()]
    assert raw.returncode == 1
    assert f"{file}: {f'larger than {mark.LARGEST} bytes' if sort == 'huge' else 'not a regular file'}" in raw.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_what_may_not_be_looked_at_is_not_absent(
    sh: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = Path("/dev/shm") / f"vinfra-{os.getpid()}"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(mark, "DIRECTORY", f"{closed}/marks")
    questions = [ReadFile(f"{closed}/file"), ReadMarks(), ReadFile("/etc/shadow")]
    nonce = shell.new_nonce()
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *sh]
    try:
        answers = probe.parse_probe(run(probe.probe_script(questions, nonce), nobody)[0], questions, nonce)
    finally:
        closed.rmdir()
    assert [answers[question].returncode for question in questions] == [1, 1, 1]
    assert all("Permission denied" in raw.err for raw in answers.values())


def test_calls(sh: list[str], tmp_path: Path) -> None:
    target = tmp_path / "it's $here"
    target.write_bytes(b"old")
    target.chmod(0o604)
    (tmp_path / "link").symlink_to(target)
    log = tmp_path / "a/b/log"
    result = do(
        Write(str(tmp_path / "link"), EVERY_BYTE),
        Write(str(tmp_path / "new"), b""),
        Append(str(log), "one $line 'é'"),
        Append(str(log), "two"),
        Run(("cat",), EVERY_BYTE),
        Run(("sh", "-c", 'echo "$A"; exit 3'), env=(("A", "it's $x"),), ok=(3, 4)),
        Shell("echo $((1 + 2)); cd /; echo err >&2"),
        Shell("false"),
        Write(str(tmp_path / "never"), b""),
        command=sh,
    )
    assert (result.returncode, result.call) == (1, 7)
    assert result.out.endswith("it's $x\n3\n")
    assert result.err == "err\n"
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == EVERY_BYTE
    assert oct(target.stat().st_mode)[-3:] == "604"
    assert oct((tmp_path / "new").stat().st_mode)[-3:] == "644"
    assert log.read_text() == "one $line 'é'\ntwo\n"
    assert [oct(path.stat().st_mode)[-3:] for path in (log, log.parent)] == ["600", "700"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "it's $here", "link", "new"]


@pytest.mark.parametrize("content", [b"---\nyaml: 1\n", b"-e", b"%s\\n'$x'", b"", b"\n\n", b"-" * 40000, b"\r\0"])
def test_contents_that_look_like_something_else(sh: list[str], tmp_path: Path, content: bytes) -> None:
    result = do(Write(str(tmp_path / "file"), content), Run(("cat",), content), command=sh)
    assert (tmp_path / "file").read_bytes() == content
    assert result.out.encode() == content


def test_a_cut_last_line_is_not_continued(sh: list[str], tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"cut')
    assert do(Append(str(tmp_path / "log"), "whole"), command=sh).returncode == 0
    assert (tmp_path / "log").read_text() == '{"cut\nwhole\n'


def test_writes_that_cannot_be(sh: list[str], tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none/file", Path("/dev/null")):
        result = do(Write(str(path), b"x"), command=sh)
        assert result.returncode == 1
        assert "no such directory" in result.err or "not a regular file" in result.err
    assert do(Write(str(tmp_path / "x"), b"x", owner="no-such-user"), command=sh).returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_what_appeared_since_the_plan_is_not_overwritten(sh: list[str], tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert do(Write(str(path), b"ours", new=True), command=sh).returncode == 0
    path.write_text("theirs")
    result = do(Write(str(path), b"ours", new=True), command=sh)
    assert (result.returncode, path.read_text()) == (1, "theirs")
    assert "was not when it was read" in result.err


def test_a_scratch_folder_is_its_steps_own_and_goes(sh: list[str]) -> None:
    inside = Shell(f"echo one >>{SCRATCH}/f && stat -c %a {SCRATCH} && cat {SCRATCH}/f && echo {SCRATCH}")
    first, second = (do(inside, Run(("true",)), command=sh).out.split() for _ in range(2))
    assert first[:2] == second[:2] == ["700", "one"]
    assert first[2] != second[2]
    assert not Path(first[2]).exists()


def test_leftovers_of_a_killed_write_go_with_the_next(sh: list[str], tmp_path: Path) -> None:
    (tmp_path / ".file.vinfra.abc123").write_text("half")
    (tmp_path / ".other.vinfra.abc123").write_text("somebody's")
    assert do(Write(str(tmp_path / "file"), b"x"), command=sh).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.vinfra.abc123", "file"]


def test_half_a_script_does_nothing(sh: list[str], tmp_path: Path) -> None:
    step = Step("test", (Write(str(tmp_path / "file"), EVERY_BYTE), Shell(f"touch {tmp_path}/other")))
    script = steps.step_script(step, shell.new_nonce())
    for cut in range(len(script) - 3, 0, -211):
        run(script[:cut], sh)
        assert list(tmp_path.iterdir()) == [], f"cut at {cut}"


def test_secrets_that_come_back_are_struck_out() -> None:
    calls = (
        Run(("cat",), b"user:hunter22\n"),
        Shell("echo --password=hunter33"),
        Run(("sh", "-c", "echo $P"), env=(("P", "hunter44"),)),
    )
    result = do(*calls, command=SHELLS[0], secret=True)
    assert "hunter" not in result.out


@pytest.mark.parametrize("packed", [True, False])
def test_an_answer_cut_anywhere_is_an_error(packed: bool, tmp_path: Path) -> None:
    questions: list[Question] = [ReadFile("/none"), Exec(("uname", "-s")), ReadFile("/etc/passwd")]
    nonce = shell.new_nonce()
    out, _ = run(probe.probe_script(questions, nonce), SHELLS[0])
    if not packed:
        head, _, tail = out.partition(b" begin\n")
        body, _, _ = tail.rpartition(b"\n" + nonce.encode())
        out = head + b" begin\n" + gzip.decompress(body) + f"\n{nonce} end\n".encode()
    assert len(probe.parse_probe(out, questions, nonce)) == 3
    for cut in range(len(out)):
        with pytest.raises(TransportError):
            probe.parse_probe(out[:cut], questions, nonce)
    if packed:
        middle = out.index(b" begin\n") + 60
        with pytest.raises(TransportError, match="damaged"):
            probe.parse_probe(out[:middle] + b"background job\n" + out[middle:], questions, nonce)


def test_a_host_without_gzip_and_timeout(tmp_path: Path) -> None:
    for name in ("cat", "head", "ls", "uname", "sh"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    questions: list[Question] = [
        Exec(("uname", "-s")),
        ReadFile("/none"),
        ReadFile("/etc/passwd"),
        Exec(("stat", "-c", "%a")),
    ]
    nonce = shell.new_nonce()
    script = probe.probe_script(questions, nonce).replace(shell.PREAMBLE.encode(), b"")
    out, _ = run(script, [str(shutil.which("dash"))], str(tmp_path))
    answers = probe.parse_probe(out, questions, nonce)
    assert [answers[question].returncode for question in questions] == [0, 2, 0, 127]


def test_pyinfra_facts() -> None:
    file = PyinfraFact("files.File", (("path", "/it's; id"),))
    assert "'/it'\"'\"'s; id'" in pyinfra_facts.command_text(file)
    packages = PyinfraFact("zypper.ZypperRepositories") if shutil.which("dnf") else PyinfraFact("dnf.DnfRepositories")
    which = PyinfraFact("server.Which", (("command", "sh"),))
    assert ask([which], SHELLS[0])[which].ok
    assert packages.name
    users = PyinfraFact("server.Users")
    raw = ask([users], SHELLS[0])[users]
    assert "root" in pyinfra_facts.fact_class("server.Users")().process(raw.text.splitlines())


@pytest.mark.parametrize(
    "name",
    ["server.Command", "server.os", "server.nope", "os.system", "util.x.y", "gpg.GpgKey", "Which", "server.FactBase"],
)
def test_facts_that_are_not_questions(name: str) -> None:
    with pytest.raises(QuestionRefused):
        pyinfra_facts.command_text(PyinfraFact(name, (("command", "id"),)))


def test_a_fact_with_wrong_arguments_is_refused() -> None:
    with pytest.raises(QuestionRefused, match=r"server\.Which"):
        pyinfra_facts.command_text(PyinfraFact("server.Which", (("wrong", 1),)))
