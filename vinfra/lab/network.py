"""The lab's network: a namespace with a bridge, and no way out of it.

The namespace belongs to a thread of the supervisor: what runs in that thread (creating a socket, starting `ip`) runs
inside. It has no name under /run and no process of its own, so it ends with the supervisor.
"""

import ipaddress
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from vinfra.errors import VinfraError
from vinfra.lab import kernel

SUBNET = ipaddress.ip_network("10.77.0.0/24")
GATEWAY = "10.77.0.1"
_FIRST_HOST = 10
BRIDGE = "lab"

P = ParamSpec("P")
T = TypeVar("T")


def address_of(number: int) -> str:
    """The address of the n-th host, counted from 1."""
    return str(SUBNET[_FIRST_HOST + number])


class Network:
    """The inside of the lab's network namespace."""

    def __init__(self) -> None:
        self._inside = ThreadPoolExecutor(1, "network", initializer=lambda: kernel.unshare(kernel.CLONE_NEWNET))
        lines = ["link set lo up", f"link add {BRIDGE} type bridge forward_delay 0 stp_state 0"]
        lines += [f"address add {GATEWAY}/{SUBNET.prefixlen} dev {BRIDGE}", f"link set {BRIDGE} up"]
        self.call(_ip, lines)

    def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` inside the namespace."""
        return self._inside.submit(work, *args, **kwargs).result()

    def socket(self) -> socket.socket:
        """A TCP socket that belongs to the namespace, for use anywhere."""
        return self.call(socket.socket, socket.AF_INET, socket.SOCK_STREAM)

    def plug(self, number: int, pid: int) -> None:
        """Give the n-th host, whose first process is `pid`, its eth0 on the bridge."""
        outer = f"host{number}"
        mac = f"02:77:00:00:{number >> 8:02x}:{number & 255:02x}"
        # The kernel takes an ended host's namespace down in its own time, and until then the old pair is there.
        self.call(subprocess.run, ["/sbin/ip", "link", "delete", outer], capture_output=True, check=False)
        lines = [f"link add {outer} type veth peer name eth0 address {mac} netns {pid}"]
        lines += [f"link set {outer} master {BRIDGE}", f"link set {outer} up"]
        self.call(_ip, lines)
        lines = ["link set lo up", f"address add {address_of(number)}/{SUBNET.prefixlen} dev eth0", "link set eth0 up"]
        kernel.in_network_of(pid, lambda: _ip(lines))

    def close(self) -> None:
        """Let go of the namespace; it ends with the last socket and process in it."""
        self._inside.shutdown()

    def bridge(self, name: str) -> None:
        """Make another bridge, which nothing else is on."""
        self.call(_ip, [f"link add {name} type bridge forward_delay 0 stp_state 0", f"link set {name} up"])

    def known_as(self, mac: str, device: str = BRIDGE) -> None:
        """Give a device an Ethernet address that is the same each time."""
        self.call(_ip, [f"link set {device} address {mac}"])

    def address(self, address: str, device: str) -> None:
        """Give a device of the namespace another address."""
        self.call(_ip, [f"address add {address} dev {device}"])

    def tap(self, name: str, bridge: str = BRIDGE) -> None:
        """Make the end of a wire on a bridge, which an emulator can hold the other end of."""
        self.call(_ip, [f"tuntap add dev {name} mode tap", f"link set {name} master {bridge}", f"link set {name} up"])


def _ip(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    run = subprocess.run(["/sbin/ip", "-batch", "-"], input=text, capture_output=True, text=True, check=False)
    if run.returncode:
        raise VinfraError(f"the lab's network could not be made: {run.stderr.strip()}")
