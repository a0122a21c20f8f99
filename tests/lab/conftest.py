"""A lab for the session, and hosts that are as new for each test."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra import lab as lab_module
from vinfra.lab import Lab, LabHost

from .guest import GUESTS, ROOT, guest, guest_trixie, guest_vinfra, places, run_vinfra

__all__ = ["ROOT", "guest", "guest_trixie", "guest_vinfra", "places"]  # fixtures are found by their names here
Run = Callable[..., subprocess.CompletedProcess[str]]
Ssh = Callable[..., subprocess.CompletedProcess[str]]
Written = Callable[[LabHost], dict[str, tuple[int, int, int]]]

KVM_PACKAGES = "qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients dnsmasq-base ovmf swtpm-tools"

#: What systemd makes for a service of its own that a question starts, and takes away when it ends: docs/scope.md.
PRIVATE = re.compile(r"var/tmp/systemd-private-[0-9a-f]+-systemd-timedated\.service-")
#: What a login alone writes on a host: nothing without a terminal, these with one.
LOGIN_WRITES = frozenset({"var/log/lastlog", "var/log/wtmp", "var/log/btmp"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if GUESTS & set(getattr(item, "fixturenames", ())):
            # One machine of its own kernel at a time: each takes a processor and more than a gigabyte.
            item.add_marker(pytest.mark.xdist_group("guest"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="the lab makes namespaces and mounts: needs root"))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two hosts, shared by all tests: those that write use `clean_lab` or `clean_host`."""
    name = f"t{os.getpid()}"
    try:
        yield lab_module.up(name, 2, progress=print)
    finally:
        lab_module.down(name)


@pytest.fixture
def clean_lab(lab: Lab) -> Lab:
    """Both hosts with nothing written on them (about 0.5 s)."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: lab_module.reset(lab, host), lab.hosts))
    running = lab_module.status(lab.name)
    assert running is not None
    return running


@pytest.fixture
def clean_host(lab: Lab) -> LabHost:
    """The first host with nothing written on it (about 0.4 s)."""
    name = next(iter(lab.hosts))
    return lab_module.reset(lab, name).hosts[name]


def run_ssh(
    of: Lab, host: LabHost, command: str, user: str = "root", stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command on a host as `user`, with the host's key checked."""
    arguments = ["ssh", "-F", "none", "-p", str(host.port), "-i", str(of.key_file)]
    for option in ("BatchMode=yes", "IdentitiesOnly=yes", "ConnectTimeout=10", "StrictHostKeyChecking=yes"):
        arguments += ["-o", option]
    arguments += ["-o", f"UserKnownHostsFile={of.known_hosts}", f"{user}@127.0.0.1", command]
    return subprocess.run(arguments, input=stdin, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def ssh(lab: Lab) -> Ssh:
    """Run a command on a host of the lab."""

    def run(
        host: LabHost, command: str, user: str = "root", stdin: str = "", of: Lab = lab
    ) -> subprocess.CompletedProcess[str]:
        return run_ssh(of, host, command, user, stdin)

    return run


@pytest.fixture(scope="session")
def kvm_lab() -> Iterator[Lab]:
    """One host with QEMU and libvirt on it (about 20 s), shared by all tests: each takes away what it made."""
    yield from _hypervisor("k", "bookworm")


@pytest.fixture(scope="session")
def kvm_trixie_lab() -> Iterator[Lab]:
    """The same of the next Debian release."""
    yield from _hypervisor("kn", "trixie")


def _hypervisor(prefix: str, suite: str) -> Iterator[Lab]:
    name = f"{prefix}{os.getpid()}"
    try:
        made = lab_module.up(name, 1, progress=print, suite=suite)
        install = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {KVM_PACKAGES}"
        done = run_ssh(made, first(made), f"export DEBIAN_FRONTEND=noninteractive; {install}")
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        lab_module.down(name)


@pytest.fixture
def kvm_host(kvm_lab: Lab) -> LabHost:
    """The host of `kvm_lab`. Its domains must be of type 'qemu'."""
    return first(kvm_lab)


def open_vswitch(of: Lab, host: LabHost, bridge: str) -> None:
    """An Open vSwitch on a host, switching in user space: the lab's kernel has no datapath for it."""
    install = "apt-get install -y -qq --no-install-recommends openvswitch-switch"
    made = f"ovs-vsctl --may-exist add-br {bridge} -- set bridge {bridge} datapath_type=netdev"
    command = f"export DEBIAN_FRONTEND=noninteractive; {{ command -v ovs-vsctl || {install}; }} && {made}"
    done = run_ssh(of, host, command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def trixie_lab() -> Iterator[Lab]:
    """One host of the next Debian release, shared by all tests: those that write use `trixie_host`."""
    name = f"n{os.getpid()}"
    try:
        yield lab_module.up(name, 1, progress=print, suite="trixie")
    finally:
        lab_module.down(name)


@pytest.fixture
def trixie_host(trixie_lab: Lab) -> LabHost:
    """A host of Debian trixie with nothing written on it. For `vinfra(…, machines=trixie_lab.inventory)`."""
    return lab_module.reset(trixie_lab, first(trixie_lab).name).hosts[first(trixie_lab).name]


@pytest.fixture
def written() -> Written:
    """List everything written on a host since it was made: path → (mode, size, time). Logins' traces are left out."""

    def listing(host: LabHost) -> dict[str, tuple[int, int, int]]:
        found = {}
        upper = Path(host.upper)
        for path in upper.rglob("*"):
            name = str(path.relative_to(upper))
            status = path.lstat()
            if name not in LOGIN_WRITES and not PRIVATE.match(name):
                found[name] = (
                    (status.st_mode, 0, 0) if path.is_dir() else (status.st_mode, status.st_size, status.st_mtime_ns)
                )
        return found

    return listing


@pytest.fixture
def inventory(clean_lab: Lab, tmp_path: Path) -> Path:
    """The lab's inventory with what a test adds to it (`host(…)` entries are plain dicts)."""
    return clean_lab.inventory


@pytest.fixture
def vinfra(inventory: Path, tmp_path: Path) -> Run:
    def run(*arguments: object, expect: int = 0, machines: Path = inventory) -> subprocess.CompletedProcess[str]:
        return run_vinfra(arguments, machines, tmp_path / "state", expect)

    return run


def changes(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return list(json.loads(done.stdout)["changes"])


def blueprint(folder: Path, hosts: dict[str, Any], name: str = "trial", **more: Any) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"blueprint": name, **more, "hosts": hosts}))
    return file


def first(lab: Lab) -> LabHost:
    return next(iter(lab.hosts.values()))
