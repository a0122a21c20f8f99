"""Secrets of unmistakable words go through every command; the words are then only where they were declared to go."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml

from vinfra.lab import Lab, LabHost

from . import traces
from .conftest import ROOT, blueprint, run_ssh

pytestmark = [pytest.mark.xdist_group("kvm"), pytest.mark.timeout(600)]

TOOLS = Path(os.environ.get("VINFRA_CACHE") or ROOT / ".cache") / "tools/bin"
ISO = "var/lib/libvirt/seeds/web-01-seed.iso"
#: Where each secret may be on the host, and who may read it there.
DESTINATIONS = {
    "file": {"srv/canary/file": 0o600},
    "age": {"srv/canary/age": 0o600},
    "sops": {"srv/canary/sops": 0o600},
    "hash": {"etc/shadow": 0o640, "etc/shadow-": 0o640},
    "seed": {ISO: 0o600},
    "full": {},
    "sudo": {},
}
VARIABLES = ("file", "hash", "seed", "full")  # these come by environment variables, once a blueprint names them


@dataclass
class World:
    """A controller's folders, a host, and what is secret. `told` is all that vinfra printed."""

    lab: Lab
    host: LabHost
    folder: Path
    words: dict[str, str]
    began: float = field(default_factory=time.time)
    told: list[str] = field(default_factory=list)
    rotated: str = ""
    given: tuple[str, ...] = VARIABLES[:-1]

    @property
    def environment(self) -> dict[str, str]:
        keep = {name: os.environ[name] for name in ("LANG", "VINFRA_CACHE") if name in os.environ}
        places = {"HOME": "home", "TMPDIR": "tmp", "VINFRA_STATE": "state", "VINFRA_AGE_IDENTITY": "sources/age.txt"}
        found = {name: str(self.folder / place) for name, place in places.items()}
        found |= {"SOPS_AGE_KEY_FILE": found["VINFRA_AGE_IDENTITY"], "PATH": f"{TOOLS}:{os.environ['PATH']}"}
        found |= {f"CANARY_{name.upper()}": self.value(name) for name in self.given}
        return {**keep, **found, "VINFRA_INVENTORY": str(self.folder / "inventory.yaml")}

    def value(self, name: str) -> str:
        """A secret, with all that quoting may stumble over around the word that is searched for."""
        word = self.words[name] + self.rotated
        return f"$6$salt${word}" if name == "hash" else f"""{word} '&<"$(x)%41\\n {name}"""

    def run(self, *arguments: object, expect: int | tuple[int, ...] = 0, **environment: str) -> str:
        command = [sys.executable, "-m", "vinfra", *map(str, arguments)]
        return self.program(command, expect, **environment)

    def program(self, command: list[str], expect: int | tuple[int, ...] = 0, **environment: str) -> str:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**self.environment, **environment},
            cwd=ROOT,
            check=False,
            timeout=120,
        )
        self.told += [done.stdout, done.stderr]
        assert done.returncode in ((expect,) if isinstance(expect, int) else expect), f"{command}\n" + self.last
        return done.stdout + done.stderr

    @property
    def last(self) -> str:
        return "\n".join(self.told[-2:])

    def ssh(self, command: str, stdin: str = "") -> None:
        done = run_ssh(self.lab, self.host, command, stdin=stdin)
        assert done.returncode == 0, done.stderr

    def leaks(self) -> list[str]:
        """Every place where a word is and should not be."""
        words = {word: name for name, word in self.words.items()}
        found = [f"printed: {name}" for name, word in self.words.items() for text in self.told if word in text]
        found += [f"printed: {words[word]}" for word in traces.seen("".join(self.told).encode(), words)]
        sources = self.folder / "sources"
        here = [
            self.folder,
            *map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/run")),
            Path.home() / ".local",
            ROOT / "vinfra",
        ]
        for path, _, word in traces.files(here, self.began, words):
            if not path.is_relative_to(sources):
                found.append(f"controller: {words[word]} in {path}")
        inside = Path(f"/proc/{self.host.pid}/root")
        there = [Path(self.host.upper), *(inside / name for name in ("run", "tmp", "dev/shm", "srv/full"))]
        for path, status, word in traces.files(there, self.began, words):
            name = words[word]
            known = DESTINATIONS[name].get(str(path.relative_to(there[0])) if path.is_relative_to(there[0]) else "")
            if known is None or status.st_mode & 0o777 & ~known:
                found.append(f"host: {name} in {path}, mode {status.st_mode & 0o777:o}")
        return sorted(set(found))


@pytest.fixture
def world(kvm_lab: Lab, kvm_host: LabHost, tmp_path: Path) -> Iterator[World]:
    words = {name: f"{name.capitalize()}{secrets.token_hex(9)}" for name in DESTINATIONS}
    made = World(kvm_lab, kvm_host, tmp_path, words)
    for name in ("home", "tmp", "state", "sources"):
        (tmp_path / name).mkdir()
    _sources(made)
    user = "useradd -m canary && install -d -o canary /home/canary/.ssh && cp /root/.ssh/authorized_keys /home/canary"
    keys = "mv /home/canary/authorized_keys /home/canary/.ssh/ && chown -R canary /home/canary"
    made.ssh(
        f"{user} && {keys} && printf 'canary ALL=(ALL) ALL\\n' >/etc/sudoers.d/canary && chpasswd",
        f"canary:{made.value('sudo')}\n",
    )
    made.ssh(
        "mkdir -p /srv/full /srv/canary && mount -t tmpfs -o size=4k,mode=755 full /srv/full\n"
        "head -c 4096 /dev/zero >/srv/full/x0"
    )
    host = {"address": "127.0.0.1", "port": kvm_host.port, "user": "canary", "key_file": str(kvm_lab.key_file)}
    host |= {"known_hosts": str(kvm_lab.known_hosts), "sudo_password": {"secret": "file:sources/sudo"}}
    (tmp_path / "inventory.yaml").write_text(yaml.safe_dump({"hosts": {"hv": host}}))
    try:
        yield made
    finally:
        made.ssh("umount /srv/full; userdel -r canary; userdel told; rm -rf /etc/sudoers.d/canary /srv/canary; true")


def _sources(world: World) -> None:
    """What the references point at: all of it 0600, or sealed."""
    folder, identity = world.folder / "sources", pyrage.x25519.Identity.generate()
    for name, text in (("age.txt", str(identity)), ("sudo", world.value("sudo"))):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    (folder / "db.age").write_bytes(pyrage.encrypt(world.value("age").encode(), [identity.to_public()]))
    plain = json.dumps({"db": {"password": world.value("sops")}})
    command = [str(TOOLS / "sops"), "--encrypt", "--age", str(identity.to_public()), "--input-type", "json"]
    command += ["--output-type", "yaml", "/dev/stdin"]
    sealed = subprocess.run(command, input=plain, capture_output=True, text=True, check=True)
    (folder / "db.yaml").write_text(sealed.stdout)


@pytest.fixture
def watched(world: World) -> Iterator[Callable[[], list[str]]]:
    """Watch all processes of this machine, and so the host's too; the call ends it and says what was seen."""
    command = [sys.executable, traces.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdin
        assert watch.stdout
        decoy = f"Decoy{secrets.token_hex(9)}"
        watch.stdin.write("".join(f"{word}\n" for word in (*world.words.values(), decoy, "go")))
        watch.stdin.flush()
        assert watch.stdout.readline() == "ready\n"
        with subprocess.Popen(["sh", "-c", "sleep 2; :", decoy]):  # so that seeing nothing means something
            pass

        def end() -> list[str]:
            told = json.loads(watch.communicate()[0])
            print(f"{told['looks']} looks at the processes")
            hits = told["hits"]
            assert any(word == decoy for _, word, _ in hits)
            given = {world.words[name] for name in VARIABLES}
            ours = f"{sys.executable} -"
            return [
                f"{where} of {command}: {word}"
                for where, word, command in hits
                if word != decoy and not (where == "environ" and word in given and command.startswith(ours))
            ]

        yield end


def _wish(**more: Any) -> dict[str, Any]:
    """A blueprint's hosts with a secret in every field that may hold one."""
    files = {f"/srv/canary/{name}": {"content": {"secret": reference}} for name, reference in _REFERENCES.items()}
    users = {"users": [{"name": "root", "password": {"secret": "env:CANARY_SEED"}, "type": "text"}]}
    seed = {"pool": "seeds", "on_change": "reseed", "user_data": {"chpasswd": users}}
    return {
        "hv": {
            "files": {**files, **more},
            "users": {"told": {"password_hash": {"secret": "env:CANARY_HASH"}, "shell": "/bin/false"}},
            "pools": {"seeds": "/var/lib/libvirt/seeds"},
            "seeds": {"web-01/seed": seed},
        }
    }


_REFERENCES = {"file": "env:CANARY_FILE", "age": "age:sources/db.age", "sops": "sops:sources/db.yaml#db.password"}
_FULL = {"/srv/full/x": {"content": {"secret": "env:CANARY_FULL"}, "needs": ["file:/srv/canary/file"]}}

# Runs the command line with a bug in it: at some place all that is at hand is thrown.
_BUG = """
import sys
from vinfra.cli.main import run
from vinfra.{module} import {name}
def bug(self, *given, **named): raise {error}(f"look: {{given!r}}")
{name}.{method} = bug
sys.exit(run(sys.argv[1:]))
"""


def test_secrets_are_where_they_were_declared_to_go_and_nowhere_else(
    world: World, watched: Callable[[], list[str]]
) -> None:
    file = blueprint(world.folder, _wish())
    world.run("validate", file)
    world.run("plan", file, "--json", expect=2)
    world.run("plan", file, "--out", world.folder / "plan.json", "--full", expect=2)
    _killed(world, file)
    assert world.leaks() == []
    world.run("apply", file, "--yes")
    assert "nothing to do" in world.run("plan", file)
    inside = Path(f"/proc/{world.host.pid}/root")
    for name, places in DESTINATIONS.items():  # they did arrive
        for place in places:
            assert world.words[name].encode() in (inside / place).read_bytes() or place == "etc/shadow-", place
    assert world.leaks() == []
    world.rotated = "again"
    assert "stale" in world.run("apply", world.folder / "plan.json", "--yes", expect=3)
    world.run("drift", file, "--json", expect=2)
    world.run("apply", file, "--yes", "--json")
    failing, world.given = blueprint(world.folder, _wish(**_FULL)), VARIABLES
    assert "No space left" in world.run("apply", failing, "--yes", expect=1)
    _bugs(world, failing)
    world.run("runs")
    killed, *_, failed = sorted((world.folder / "state/runs").glob("*.jsonl"))
    world.run("runs", "show", killed.stem)
    world.run("runs", "show", failed.stem, "--json")
    plain = blueprint(world.folder, {"hv": {"files": {"/srv/canary/file": {"content": "known to all\n"}}}}, "trial")
    world.given = ()  # it names none, so nobody could know that they are secret
    world.run("plan", plain, "--full", expect=2)  # what stands there now is still secret
    world.run("destroy", plain, "--yes")
    assert world.leaks() == []
    assert watched() == []


def _killed(world: World, file: Path) -> None:
    """An apply killed while its steps run, and its leftovers settled."""
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes"]
    with subprocess.Popen(command, env=world.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for told in process.stdout:
            world.told.append(told)
            if told.startswith("[3/"):
                break
        process.send_signal(signal.SIGKILL)
        world.told.append(process.stdout.read())
    time.sleep(0.5)


def _bugs(world: World, file: Path) -> None:
    """Bugs in vinfra that throw around whatever they have."""
    places = (
        ("report.journal", "Journal", "step_started", "RuntimeError", 1),
        ("model.plan", "Plan", "within", "KeyError", 1),
        ("transport.session", "Session", "ask", "ValueError", 4),
    )
    for module, name, method, error, code in places:
        for debug in ("", "1") if name == "Plan" else ("",):
            driver = _BUG.format(module=module, name=name, method=method, error=error)
            told = world.program([sys.executable, "-c", driver, "apply", str(file), "--yes"], code, VINFRA_DEBUG=debug)
            assert "look: " in told
    assert list((world.folder / "tmp").glob("vinfra-bug-*"))
