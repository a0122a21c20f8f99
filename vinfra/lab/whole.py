"""A whole machine with a kernel of its own, beside the lab's containers: what modules, disks, VLANs and reboots need.

It is emulated, so booting takes most of a minute. It is booted once per image, and its memory is kept with the disk:
`thaw` brings back that very moment in seconds, whatever became of the machine in between. It has

- /dev/vda with GRUB and ext4, and the blank disks vdb, vdc and vdd;
- eth0 with 10.77.0.11 on a bridge that leads nowhere, except to a mirror of Debian's packages; vinfra's logins come
  from an address beyond its gateway, so that a wrong gateway cuts it off;
- eth1 and eth2 on a segment of their own, with a peer that answers at 10.88.0.1.
"""

import asyncio
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from vinfra.errors import VinfraError
from vinfra.lab import kernel, mirror, mmdebstrap, relay
from vinfra.lab.emulator import Emulator, Tools
from vinfra.lab.network import Network, address_of

ADDRESS = address_of(1)
#: Where logins come from: another network than the machine's own.
OUTSIDE = "10.79.0.1"
PEER = "10.88.0.1"
MEMORY = (1024, 512)
BLANK = ("vdb", "vdc", "vdd")
#: The saved memory remembers its neighbours.
NEIGHBOURS = (("lab", "02:77:00:02:00:00"), ("segment", "02:77:00:02:00:01"))
_WIRES = ("lab", "segment", "segment")
_PREFIX = "vinfra-whole-"


@dataclass(frozen=True, slots=True)
class Frozen:
    """A machine's disk and, once it was booted, its memory, with all that is needed to log in."""

    folder: Path
    suite: str
    archives: tuple[str, ...]

    @property
    def disk(self) -> Path:
        """The root disk, in qcow2 format; never written to."""
        return self.folder / "disk.qcow2"

    @property
    def memory(self) -> Path:
        """What QEMU saved of the booted machine."""
        return self.folder / "memory"

    @property
    def key_file(self) -> Path:
        """The private key that root and `ops` accept."""
        return self.folder / "id_ed25519"

    @property
    def password_file(self) -> Path:
        """The password of `ops`, for sudo."""
        return self.folder / "password"

    @property
    def host_key(self) -> str:
        """The machine's public SSH host key."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])


class Whole:
    """A place for one machine: its network, a port that leads to its SSH, and a folder for what it writes."""

    def __init__(self, tools: Tools, frozen: Frozen, packages: Path) -> None:
        self._tools = tools
        self.frozen = frozen
        place = mmdebstrap.memory() or tempfile.gettempdir()
        _sweep(Path(place))
        started = kernel.start_time(os.getpid())
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{started}-", dir=place))
        self.network = Network()
        self.network.bridge("segment")
        self.network.address(f"{PEER}/24", "segment")
        self.network.address(f"{OUTSIDE}/32", "lo")
        for bridge, mac in NEIGHBOURS:
            self.network.known_as(mac, bridge)
        for number, bridge in enumerate(_WIRES):
            self.network.tap(f"tap{number}", bridge)
        self._mirror = mirror.serve(self.network, mirror.Archive(frozen.archives, packages))
        self._loop = asyncio.new_event_loop()
        self._relay = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._relay.start()
        listening = relay.listen(self._socket, ADDRESS, 22)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        #: On 127.0.0.1; it leads to the machine's sshd, whenever there is one.
        self.port = relay.port_of(self._server)
        self.emulator: Emulator | None = None

    def thaw(self) -> None:
        """Bring the machine back as it was when its memory was saved, with the clock set; ends what ran before."""
        self.pull_plug()
        self._fresh_disks()
        # The shell that QEMU starts must find its own libraries, and does: QEMU's come by its loader's option.
        self._start("-incoming", f"exec:cat {shlex.quote(str(self.frozen.memory))}")
        machine = self._running()
        # It was stopped when it was saved.
        machine.wait("query-status", ready="paused", over=("internal-error", "shutdown"))
        machine.monitor("cont")
        machine.console(f"date -u -s @{time.time():.2f}")

    def boot(self, *, fresh: bool = True) -> None:
        """Boot it from its disk: a fresh one, or the one that it left."""
        self.pull_plug()
        if fresh:
            self._fresh_disks()
        self._start()

    def freeze(self, path: Path) -> None:
        """Save its memory and end it. Its disk belongs to that moment."""
        machine = self._running()
        machine.monitor("stop")
        machine.monitor("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        machine.monitor("migrate", uri=f"exec:cat > {shlex.quote(str(path))}")
        machine.wait("query-migrate", ready="completed", over=("failed", "cancelled"))
        machine.monitor("quit")
        machine.process.wait(30)
        self.pull_plug()

    def pull_plug(self) -> None:
        """End the machine at once."""
        if self.emulator:
            self.emulator.end()
            self.emulator = None

    def wait_off(self, seconds: float = 120) -> None:
        """Return when it has switched itself off."""
        self._running().process.wait(seconds)

    def console(self, command: str, seconds: float = 30) -> str:
        """What a command prints as root on the serial console: works without any network."""
        return self._running().console(command, seconds)

    def outside(self, *command: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the network that the machine is in, beside it."""
        return self.network.call(subprocess.run, command, capture_output=True, text=True, timeout=timeout, check=False)

    def answers(self) -> bool:
        """Whether its SSH server greets."""
        with self._socket() as probe:
            probe.settimeout(2)
            try:
                probe.connect((ADDRESS, 22))
                return probe.recv(4) == b"SSH-"
            except OSError:
                return False

    def close(self) -> None:
        """End it and remove what it wrote."""
        self.pull_plug()
        asyncio.run_coroutine_threadsafe(_end(self._server), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._relay.join()
        self._loop.close()
        self._mirror.shutdown()
        self._mirror.server_close()
        self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> str:
        """All that the serial console has shown."""
        path = self.folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def overlay(self, disk: str) -> Path:
        """What the machine writes to a disk."""
        return self.folder / f"{disk}.qcow2"

    def _running(self) -> Emulator:
        if self.emulator is None:
            raise VinfraError("the machine is off")
        return self.emulator

    def _socket(self) -> socket.socket:
        end = self.network.socket()
        end.bind((OUTSIDE, 0))
        return end

    def _fresh_disks(self) -> None:
        image = ("usr/bin/qemu-img", "create", "-q", "-f", "qcow2")
        for disk in ("vda", *BLANK):
            self.overlay(disk).unlink(missing_ok=True)
            backing = ("-b", str(self.frozen.disk), "-F", "qcow2") if disk == "vda" else ()
            size = () if disk == "vda" else ("512M",)
            self._tools.run(*image, *backing, str(self.overlay(disk)), *size)

    def _start(self, *more: str) -> None:
        self.emulator = Emulator(self._tools, self.folder, [*hardware(self.folder), *more], self.network.call)


def hardware(folder: Path) -> list[str]:
    """QEMU's options for the machine. A saved memory fits no other ones."""
    words = ["-name", "guest", "-nodefaults", "-no-user-config", "-display", "none"]
    words += ["-machine", "pc,usb=off", "-accel", "tcg,thread=multi", "-cpu", "qemu64,+pdpe1gb", "-smp", "2"]
    words += ["-m", str(sum(MEMORY)), "-rtc", "base=utc", "-device", "virtio-rng-pci"]
    for node, size in enumerate(MEMORY):
        words += ["-object", f"memory-backend-ram,id=node{node},size={size}M"]
        words += ["-numa", f"node,memdev=node{node},cpus={node}"]
    for disk in ("vda", *BLANK):
        words += ["-drive", f"file={folder / disk}.qcow2,if=virtio,format=qcow2,cache=unsafe"]
    for number in range(len(_WIRES)):
        words += ["-netdev", f"tap,id=net{number},ifname=tap{number},script=no,downscript=no"]
        words += ["-device", f"virtio-net-pci,netdev=net{number},mac=02:77:00:01:00:{number:02x},romfile="]
    return words


async def _end(server: asyncio.Server) -> None:
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.05)  # what was aborted is closed in the loop's next rounds


def _sweep(place: Path) -> None:
    """Remove what processes that were killed left behind."""
    for old in place.glob(f"{_PREFIX}*"):
        pid, started = old.name.removeprefix(_PREFIX).split("-")[:2]
        if str(kernel.start_time(int(pid))) != started:
            shutil.rmtree(old, ignore_errors=True)
