"""Bring a lab up, take it down, ask how it is, and change its hosts while it runs."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from vinfra.errors import UsageError, VinfraError
from vinfra.lab import folders, kernel, leftovers, prerequisites, rootfs, seed, state
from vinfra.lab.state import Lab

Progress = Callable[[str], None]
DEFAULT = "lab"
_ROOM = 6 << 30
_MADE = (
    *("inventory.yaml", "id_ed25519", "id_ed25519.pub", "known_hosts", "ssh_config", "password"),
    *("state.json", "request.json", "control"),
)
_MADE_FOLDERS = ("seed", "run")


def up(
    name: str = DEFAULT,
    hosts: int = 2,
    home: Path | None = None,
    progress: Progress = lambda line: None,
    *,
    suite: str = "bookworm",
    in_memory: bool | None = None,
) -> Lab:
    """Bring a lab up, or return the one that runs. `in_memory`: where hosts write; None: in memory if there is room."""
    if not 1 <= hosts <= 200:
        raise UsageError(f"a lab has 1 to 200 hosts, not {hosts}")
    prerequisites.check()
    home = folders.home_of(name, home)
    with folders.locked(_lock_of(home)):
        running = state.read(home)
        if running and running.alive:
            progress(f"{running.name} is already up, with {len(running.hosts)} hosts")
            _write_access(running)
            return running
        _take_down(home, running)
        base = rootfs.ensure(suite, progress)
        separator = "-" if name[-1].isdigit() else ""
        names = [f"{name}{separator}{number}" for number in range(1, hosts + 1)]
        try:
            password = _prepare(home, base, names)
            _write_request(home, name, suite, base, names, password, in_memory=in_memory)
            lab = _launch(home, progress)
            _write_access(lab)
        except BaseException:
            _take_down(home, state.read(home))
            raise
    return lab


def down(name: str = DEFAULT, home: Path | None = None) -> bool:
    """Take a lab down and remove all that is left of it, also after a crash; False when there was nothing."""
    home = folders.home_of(name, home)
    if not home.exists():
        return False
    with folders.locked(_lock_of(home)):
        lab = state.read(home)
        existed = (home / "request.json").exists()
        _take_down(home, lab)
    return existed


def status(name: str = DEFAULT, home: Path | None = None) -> Lab | None:
    """The lab if it runs."""
    lab = state.read(folders.home_of(name, home))
    return lab if lab and lab.alive else None


def reset(lab: Lab, host: str) -> Lab:
    """Drop everything written on a host and boot it again, as new; returns when it answers."""
    return _order(lab, "reset", host)


def power_on(lab: Lab, host: str) -> Lab:
    """Boot a host that was powered off; returns when it answers."""
    return _order(lab, "power_on", host)


def _lock_of(home: Path) -> Path:
    return folders.cache() / "locks" / leftovers.cgroup_of(home)[1:]


def _prepare(home: Path, base: rootfs.Rootfs, names: list[str]) -> str:
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    user_key = seed.new_key(home / "id_ed25519", "vinfra lab")
    password = secrets.token_urlsafe(12)
    passwords = seed.shadow(base.tree, password)
    for name in names:
        seed.plant(home / "seed" / name, name, names, user_key, passwords)
    return password


def _write_request(
    home: Path, name: str, suite: str, base: rootfs.Rootfs, names: list[str], password: str, *, in_memory: bool | None
) -> None:
    free = kernel.available_memory()
    memory = free * 3 // 4 if (free > _ROOM if in_memory is None else in_memory) else 0
    request = {
        "name": name,
        "suite": suite,
        "tree": str(base.tree),
        "archives": base.archives,
        "packages": str(folders.cache() / "packages"),
        "hosts": names,
        "password": password,
        "cgroup": leftovers.cgroup_of(home),
        "memory": memory,
    }
    state.replace(home / "request.json", json.dumps(request, indent=1) + "\n")


def _launch(home: Path, progress: Progress) -> Lab:
    """Start the supervisor and follow what it says until it is ready."""
    log = (home / "supervisor.log").open("w")
    arguments = [sys.executable, "-m", "vinfra.lab.supervisor", str(home)]
    with (
        log,
        subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if "error" in said:
                raise VinfraError(said["error"], said["hint"])
            if "ready" in said:
                lab = state.read(home)
                assert lab is not None
                return lab
            progress(said["progress"])
    last = (home / "supervisor.log").read_text().splitlines()[-6:]
    raise VinfraError("the lab's supervisor ended before its hosts were up", "\n  ".join(last))


def _write_access(lab: Lab) -> None:
    known = []
    for host in lab.hosts.values():
        public = (lab.home / "seed" / host.name / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        known.append(f"[127.0.0.1]:{host.port} {public[0]} {public[1]}")
    state.replace(lab.known_hosts, "\n".join(known) + "\n")
    lines = ["ssh: {user: root, key_file: id_ed25519, known_hosts: known_hosts}", "hosts:"]
    lines += [f"  {host.name}: {{address: 127.0.0.1, port: {host.port}}}" for host in lab.hosts.values()]
    lines += ["groups:", f"  web: {{hosts: [{', '.join(lab.hosts)}]}}"]
    state.replace(lab.inventory, "\n".join(lines) + "\n")
    state.replace(lab.password_file, f"{lab.password}\n")
    login = [f"Host {host.name}\n  HostName 127.0.0.1\n  Port {host.port}\n" for host in lab.hosts.values()]
    common = f"Host *\n  User root\n  IdentityFile {lab.key_file}\n  UserKnownHostsFile {lab.known_hosts}\n"
    state.replace(lab.ssh_config, "".join(login) + common)


def _order(lab: Lab, what: str, host: str) -> Lab:
    if host not in lab.hosts:
        raise UsageError(f"{lab.name} has no host {host!r}", f"it has {', '.join(lab.hosts)}")
    folder = os.open(lab.home, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            # The folder's path may be longer than a socket's may be.
            control.connect(f"/proc/self/fd/{folder}/control")
            control.sendall(json.dumps({"do": what, "host": host}).encode() + b"\n")
            answer = json.loads(control.makefile().readline() or '{"error": "its supervisor ended"}')
    except OSError as error:
        raise VinfraError(f"lab {lab.name} does not answer: {error}", "vinfra lab status") from error
    finally:
        os.close(folder)
    if "error" in answer:
        raise VinfraError(answer["error"])
    return state.read(lab.home) or lab


def _take_down(home: Path, lab: Lab | None) -> None:
    """End the supervisor, if it runs, and remove everything `up` makes; safe at any moment of a lab's life."""
    for pid, started in leftovers.supervisors(home):
        leftovers.end(pid, started)
    if lab is not None and lab.alive:
        leftovers.end(lab.pid, lab.started)
    leftovers.remove_cgroups(leftovers.cgroup_of(home))
    for folder in _MADE_FOLDERS:
        shutil.rmtree(home / folder, ignore_errors=True)
    for file in (*_MADE, "supervisor.log"):
        (home / file).unlink(missing_ok=True)
    if home.is_dir() and not any(home.iterdir()):
        home.rmdir()
