"""A whole Debian machine as host, for what needs a kernel of its own; brought back to one moment for each test."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from vinfra.lab import debian, emulator, folders
from vinfra.lab.whole import Whole

ROOT = Path(__file__).parents[2]
#: Tests that use one of these run one after another, in one process.
GUESTS = frozenset({"guest", "guest_trixie", "guest_vinfra", "places"})
Places = Callable[[str], "Guest"]


class Guest:
    """The machine. eth0 is the way in; eth1 and eth2 share a segment with a peer at 10.88.0.1; vdb to vdd are blank.

    It may be rebooted, broken and switched off: the next test finds it as it was.
    """

    name = "guest"

    def __init__(self, whole: Whole) -> None:
        self.whole = whole
        self.key_file = whole.frozen.key_file
        self.password_file = whole.frozen.password_file
        self.known_hosts = whole.folder / "known_hosts"
        self.inventory = whole.folder / "inventory.yaml"
        self.known_hosts.write_text(f"[127.0.0.1]:{whole.port} {whole.frozen.host_key}\n")
        login = f"user: root, key_file: {self.key_file}, known_hosts: {self.known_hosts}"
        hosts = f"hosts:\n  guest: {{address: 127.0.0.1, port: {whole.port}}}\n"
        self.inventory.write_text(f"ssh: {{{login}}}\n{hosts}")

    def ssh(
        self, command: str, stdin: str = "", *, user: str = "root", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it, with its key checked."""
        arguments = ["ssh", "-F", "none", "-p", str(self.whole.port), "-i", str(self.key_file)]
        for option in ("BatchMode=yes", "IdentitiesOnly=yes", "ConnectTimeout=10", "StrictHostKeyChecking=yes"):
            arguments += ["-o", option]
        arguments += ["-o", f"UserKnownHostsFile={self.known_hosts}", f"{user}@127.0.0.1", command]
        return subprocess.run(arguments, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def run(self, command: str) -> str:
        """What a command prints that must succeed."""
        done = self.ssh(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def console(self, command: str, seconds: float = 30) -> str:
        """What a command prints as root on the serial console: when SSH is dead. It must succeed."""
        return self.whole.console(command, seconds)

    def outside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine beside the guest: as 10.77.0.1 on eth0's network, as 10.88.0.1 on the other."""
        return self.whole.outside(*command)

    @property
    def boot_id(self) -> str:
        """Another one after each boot."""
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def wait(self, after: str = "", seconds: float = 400) -> None:
        """Return when it answers and is up; `after`: in another boot than this one."""
        deadline = time.monotonic() + seconds
        command = "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running --wait"
        while True:
            seen = self.ssh(command, timeout=seconds).stdout.split() if self.whole.answers() else []
            if len(seen) == 2 and seen[0] != after:
                return
            assert time.monotonic() < deadline, self.whole.log[-3000:]
            time.sleep(0.5)

    def reboot(self) -> None:
        """Boot it anew, from the disk as it is now."""
        before = self.boot_id
        self.ssh("systemctl reboot")
        self.wait(before)

    def power_on(self) -> None:
        """Boot it after it was switched off, from the disk as it is now."""
        self.whole.boot(fresh=False)
        self.wait()


def run_vinfra(
    arguments: Sequence[object], machines: Path, state: Path, expect: int, timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VINFRA_INVENTORY": str(machines), "VINFRA_STATE": str(state)}
    command = [sys.executable, "-m", "vinfra", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=timeout
    )
    assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def places() -> Iterator[Places]:
    """The machine of a Debian suite, brought back to the moment after its first boot; the other one ends."""
    made: dict[str, Guest] = {}

    def thawed(suite: str) -> Guest:
        for guest in made.values():
            guest.whole.pull_plug()
        if suite not in made:
            frozen = debian.debian(suite, print)
            made[suite] = Guest(Whole(emulator.tools(), frozen, folders.cache() / "packages"))
        made[suite].whole.thaw()
        return made[suite]

    try:
        yield thawed
    finally:
        for guest in made.values():
            guest.whole.close()


@pytest.fixture
def guest(places: Places) -> Iterator[Guest]:
    """A Debian bookworm machine (about 2 s; its image takes 2 minutes once)."""
    thawed = places("bookworm")
    yield thawed
    thawed.whole.pull_plug()


@pytest.fixture
def guest_trixie(places: Places) -> Iterator[Guest]:
    """The same with Debian trixie."""
    thawed = places("trixie")
    yield thawed
    thawed.whole.pull_plug()


@pytest.fixture
def guest_vinfra(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run vinfra with the guest's inventory: the fixture `guest_trixie`'s if the test uses it, else `guest`'s."""
    name = "guest_trixie" if "guest_trixie" in request.fixturenames else "guest"
    machine: Guest = request.getfixturevalue(name)

    def run(
        *arguments: object, expect: int = 0, machines: Path = machine.inventory
    ) -> subprocess.CompletedProcess[str]:
        return run_vinfra(arguments, machines, tmp_path / "state", expect, timeout=900)

    return run
