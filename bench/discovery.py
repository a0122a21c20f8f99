"""Reading a hundred SSH hosts: vinfra, the bare transport with the same script, asyncssh, and Ansible.

    python bench/discovery.py [HOSTS] [RUNS]

The floor is paramiko in as many threads, each doing one login and one exec of the very script that vinfra sends.
asyncssh and Ansible come from .cache/bench (`make bench` puts them there); without them their rows are left out.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
from fleet import PORT, Fleet, inside, start

from vinfra.engine import facts, plan
from vinfra.model.request import Request
from vinfra.transport import probe

PEERS = Path(os.environ.get("VINFRA_CACHE", ".cache"), "bench", "bin")
FORKS = 50
BLUEPRINT = """
blueprint: bench
hosts:
  all:
    packages: [openssh-server]
    files: {/etc/hostname: {mode: 0644}}
    services: {ssh: {enabled: true}}
"""


def blueprint(fleet: Fleet) -> Request:
    hosts = {f"h{number:03}": {"address": address} for number, address in enumerate(fleet.addresses)}
    ssh = {"port": PORT, "user": "root", "key_file": str(fleet.key), "known_hosts": str(fleet.known_hosts)}
    (fleet.folder / "hosts.yaml").write_text(json.dumps({"ssh": ssh, "hosts": hosts}))
    (fleet.folder / "site.yaml").write_text(BLUEPRINT)
    return Request(fleet.folder / "site.yaml", fleet.folder / "hosts.yaml", forks=FORKS)


def captured(ask: Callable[[], object], hosts: int) -> bytes:
    """The script that vinfra sends to each of so many hosts."""
    scripts: list[bytes] = []
    original = probe.probe_script

    def spy(*args: object, **kwargs: object) -> bytes:
        scripts.append(original(*args, **kwargs))  # type: ignore[arg-type]
        return scripts[-1]

    probe.probe_script = spy  # type: ignore[assignment]
    ask()
    probe.probe_script = original
    assert len(scripts) == hosts, "more than one round trip"
    return scripts[0]


def planned(request: Request) -> None:
    made = plan(request)
    assert not made.unknown, dict(made.unknown)


def asked(fleet: Fleet) -> None:
    """Every fact of every host, in this process."""
    states = facts(fleet.folder / "hosts.yaml", "all", FORKS)
    assert all(state.facts["cpu"]["count"] for state in states.values())


def bare(fleet: Fleet, script: bytes) -> None:
    key = paramiko.Ed25519Key.from_private_key_file(str(fleet.key))
    known = paramiko.HostKeys(str(fleet.known_hosts))

    def one(address: str) -> None:
        client = paramiko.SSHClient()
        client._host_keys = known
        client.connect(address, PORT, "root", pkey=key, allow_agent=False, look_for_keys=False)
        stdin, stdout, _ = client.exec_command("sh -s")
        stdin.write(script)
        stdin.channel.shutdown_write()
        assert stdout.read()
        client.close()

    with ThreadPoolExecutor(FORKS) as pool:
        list(pool.map(one, fleet.addresses))


ASYNCSSH = """
import asyncio, asyncssh, sys
key, known, script, port, *addresses = sys.argv[1:]
async def main():
    seats = asyncio.Semaphore(%d)
    text = open(script, "rb").read()
    async def one(address):
        async with seats, asyncssh.connect(address, int(port), username="root", client_keys=[key], known_hosts=known,
                                           config=None, agent_path=None) as login:
            result = await login.run("sh -s", input=text, encoding=None)
            assert result.stdout
    await asyncio.gather(*map(one, addresses))
asyncio.run(main())
"""


def asyncssh(fleet: Fleet, script: bytes) -> None:
    (fleet.folder / "script").write_bytes(script)
    files = [str(fleet.key), str(fleet.known_hosts), str(fleet.folder / "script"), str(PORT)]
    subprocess.run([PEERS / "python", "-c", ASYNCSSH % FORKS, *files, *fleet.addresses], check=True)


def ansible(fleet: Fleet) -> None:
    login = f"ansible_port={PORT} ansible_user=root ansible_ssh_private_key_file={fleet.key}"
    login += f" ansible_ssh_common_args='-o UserKnownHostsFile={fleet.known_hosts}'"
    login += " ansible_python_interpreter=/usr/bin/python3"
    (fleet.folder / "hosts.ini").write_text("".join(f"{address} {login}\n" for address in fleet.addresses))
    command = [PEERS / "ansible", "-i", fleet.folder / "hosts.ini", "-m", "setup", "-f", str(FORKS), "all"]
    environment = {**os.environ, "ANSIBLE_HOME": str(fleet.folder), "PATH": f"{PEERS}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def whole(fleet: Fleet) -> None:
    command = [sys.executable, "-m", "vinfra", "facts", "all", "-i", fleet.folder / "hosts.yaml", "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measured(work: Callable[[], None], runs: int) -> float:
    times = []
    for _ in range(runs):
        began = time.monotonic()
        work()
        times.append(time.monotonic() - began)
    return statistics.median(times)


def main() -> None:
    hosts, runs = (int(word) for word in [*sys.argv[1:], "100", "5"][:2])
    fleet = start(hosts)
    request = blueprint(fleet)
    whole_plan = captured(lambda: planned(request), hosts)
    only_facts = captured(lambda: asked(fleet), hosts)
    floor = measured(lambda: bare(fleet, whole_plan), runs)
    ours = measured(lambda: planned(request), runs)
    print(
        f"\n{hosts} hosts, {FORKS} at once, scripts of {len(whole_plan)} and {len(only_facts)} bytes, median of {runs}"
    )
    row("bare paramiko, the plan's script", floor, "1.00x")
    row("vinfra plan (in process)", ours, f"{ours / floor:.2f}x of the floor (aim: at most 1.5x)")
    lowest = measured(lambda: bare(fleet, only_facts), runs)
    told = measured(lambda: asked(fleet), runs)
    row("bare paramiko, all facts' script", lowest, "1.00x")
    row("all facts (in process)", told, f"{told / lowest:.2f}x of the floor (aim: at most 1.25x)")
    if not (PEERS / "ansible").exists():
        return
    other = measured(lambda: asyncssh(fleet, only_facts), runs)
    row("asyncssh, all facts' script (a process)", other, f"{other / lowest:.2f}x")
    process = measured(lambda: whole(fleet), runs)
    row("vinfra facts all (a process)", process, f"{process / lowest:.2f}x")
    slow = measured(lambda: ansible(fleet), 1)
    row("ansible -m setup -f 50 (1 run)", slow, f"{slow / process:.1f}x of vinfra facts (aim: 8x or more)")


def row(what: str, seconds: float, said: str) -> None:
    print(f"  {what:40} {seconds:6.2f} s   {said}", flush=True)


if __name__ == "__main__":
    inside(main)
