"""Faults that are not the controller's: of the network, the host's disk, its libvirt, the host itself."""

import os
import signal
import time
from collections.abc import Callable

from vinfra import lab as lab_module

from .look import inside
from .trial import Bench, Running

# Each session's process, as sshd names it; the listener is called otherwise.
_SESSIONS = """
for one in /proc/[0-9]*; do
case $(tr '\\0' ' ' <$one/cmdline 2>/dev/null) in 'sshd: root'*) kill -9 ${one#/proc/};; esac
done
"""


def hang_up(running: Running) -> None:
    """The SSH session ends on the host's side."""
    inside(running.bench.hosts[0], _SESSIONS)


def black_hole(running: Running) -> None:
    """Nothing goes in or out of the host, and nobody says so."""
    inside(running.bench.hosts[0], "ip link set eth0 down")


def plugged_in(bench: Bench) -> Callable[[], None]:
    return lambda: [inside(host, "ip link set eth0 up") for host in bench.hosts] and None


def power_cut(running: Running) -> None:
    """The host goes off and comes up again."""
    bench = running.bench
    old = bench.hosts[0]
    os.kill(old.pid, signal.SIGKILL)  # its first process: the lab boots it again
    until = time.monotonic() + 60
    while bench.hosts[0].pid in (0, old.pid) and time.monotonic() < until:
        time.sleep(0.1)
    lab_module.power_on(bench.lab, old.name)  # returns when it answers


def empty_run(running: Running) -> None:
    """Somebody cleans up."""
    inside(running.bench.hosts[0], "rm -rf /run/vinfra")


def restart_libvirt(running: Running) -> None:
    """As an update of its package does."""
    inside(running.bench.hosts[0], "systemctl restart libvirtd")


def kill_libvirt(running: Running) -> None:
    """As a crash."""
    inside(running.bench.hosts[0], "systemctl kill --kill-whom=main -s KILL libvirtd; sleep 0.3")


def fill(path: str) -> Callable[[Running], None]:
    """Not a byte is left in a file system of the host."""
    return lambda running: inside(running.bench.hosts[0], f"cat /dev/zero >{path}/filler", check=False) and None


def small(bench: Bench, path: str, size: str) -> Callable[[], None]:
    """A file system of its own for a folder, of so many bytes; gone at the next one's turn."""

    def ready() -> None:
        for host in bench.hosts:
            inside(host, f"umount {path} 2>/dev/null", check=False)
        bench.reset()
        for host in bench.hosts:
            inside(host, f"mkdir -p {path} && mount -t tmpfs -o size={size} tmpfs {path}")

    return ready


def freed(bench: Bench, path: str) -> Callable[[], None]:
    return lambda: [inside(host, f"rm {path}/filler") for host in bench.hosts] and None
