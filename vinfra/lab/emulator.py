"""QEMU as an ordinary process: unpacked into the cache and run from there, so nothing is installed on this machine."""

import hashlib
import json
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vinfra.errors import VinfraError
from vinfra.lab import folders, mmdebstrap, prerequisites, sources

SUITE = "bookworm"
PACKAGES = ("qemu-system-x86", "qemu-utils", "seabios", "e2fsprogs", "fdisk")
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True, slots=True)
class Tools:
    """The folder of unpacked programs. `version` is QEMU's own, as a saved memory fits no other."""

    folder: Path
    version: str

    def command(self, program: str, *arguments: str) -> list[str]:
        """How to call a program of it: with the libraries beside it, not this machine's."""
        loader = str(self.folder / "lib64/ld-linux-x86-64.so.2")
        libraries = ":".join(str(self.folder / path) for path in _LIBRARIES)
        return [loader, "--library-path", libraries, str(self.folder / program), *arguments]

    def run(self, program: str, *arguments: str) -> str:
        """What a program of it prints. Raises VinfraError."""
        command = self.command(program, *arguments)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise VinfraError(f"{Path(program).name} failed", done.stderr.strip())
        return done.stdout


def tools(progress: Callable[[str], None] = lambda line: None) -> Tools:
    """The emulator and what makes disks for it, from the cache or unpacked now."""
    recipe = hashlib.sha256(repr((SUITE, PACKAGES)).encode()).hexdigest()[:12]
    folder = folders.cache() / "guest" / f"emulator-{recipe}"
    with folders.locked(folder.with_suffix(".lock")):
        if not folder.exists():
            prerequisites.check()
            progress("unpacking QEMU for the lab (once; about ten seconds)")
            draft = folder.with_name(f".{folder.name}.{os.getpid()}")
            with mmdebstrap.workplace() as work:
                options = ("--variant=extract", "--dpkgopt=path-exclude=/usr/share/doc/*")
                mmdebstrap.run(SUITE, work / "tree", sources.debian(SUITE), PACKAGES, progress, *options)
                subprocess.run(["/bin/cp", "-a", "--", str(work / "tree"), str(draft)], check=True)
            draft.rename(folder)
    said = Tools(folder, "").run("usr/bin/qemu-system-x86_64", "--version")
    return Tools(folder, said.splitlines()[0])


class Emulator:
    """One run of QEMU. `folder` holds its sockets and its console's log; the path must be short, as sockets' are."""

    def __init__(self, tools: Tools, folder: Path, arguments: Sequence[str], start: Callable[..., Any]) -> None:
        """`start(Popen, …)` runs Popen where the machine's wires end: in the lab's network namespace."""
        self._monitor = folder / "monitor"
        self._console = folder / "console"
        self.log = folder / "console.log"
        for path in (self._monitor, self._console):
            path.unlink(missing_ok=True)
        roms = [word for path in ("qemu", "seabios") for word in ("-L", str(tools.folder / "usr/share" / path))]
        console = f"socket,id=console,path={self._console},server=on,wait=off,logfile={self.log},logappend=on"
        command = tools.command("usr/bin/qemu-system-x86_64", *roms, *arguments)
        command += [
            "-chardev",
            console,
            "-serial",
            "chardev:console",
            "-qmp",
            f"unix:{self._monitor},server=on,wait=off",
        ]
        modules = str(tools.folder / _LIBRARIES[1] / "qemu")
        # The thread that starts it lives as long as this process does: the kernel ends QEMU when both are gone.
        self.process: subprocess.Popen[str] = start(
            subprocess.Popen,
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"QEMU_MODULE_DIR": modules},
        )

    @property
    def running(self) -> bool:
        """Whether the process is there: it ends when the machine is powered off."""
        return self.process.poll() is None

    def monitor(self, command: str, **arguments: Any) -> Any:
        """Give an order to QEMU itself (QMP) and return its answer."""
        with self._connect(self._monitor) as connection:
            lines = connection.makefile("rw")
            orders = ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments})
            answer: dict[str, Any] = {}
            for order in orders:
                lines.write(json.dumps(order) + "\n")
                lines.flush()
                answer = _answer(lines)
        if "error" in answer:
            raise VinfraError(f"QEMU refuses {command}: {answer['error']['desc']}")
        return answer["return"]

    def wait(self, command: str, ready: str, over: Sequence[str], seconds: float = 120) -> None:
        """Return when `command` answers with the status `ready`; raise at one of `over`."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.monitor(command).get("status")
            if status == ready:
                return
            if status in over or time.monotonic() > deadline:
                raise VinfraError(f"QEMU's {command} says {status}")
            time.sleep(0.05)

    def console(self, command: str, seconds: float = 30) -> str:
        """What a command prints in the shell on the serial console. Raises when the shell does not answer in time."""
        greeting, word = secrets.token_hex(6), secrets.token_hex(6)
        deadline = time.monotonic() + seconds
        # The terminal shows what is typed as well, but not with the word in its place.
        with self._connect(self._console) as connection:
            greeted = _until(connection, deadline, rf"<{greeting}>", f"\x15printf '<%s>\\n' {greeting}\n")
            typed = f"printf '<%s>\\n' {word}; {command}\nprintf '<%s>%s\\n' {word} $?\n"
            connection.sendall(typed.encode() if greeted else b"")
            found = greeted and _until(connection, deadline, rf"<{word}>\r*\n(.*)<{word}>(\d+)\r*\n")
        if not found:
            raise VinfraError("no answer on the serial console", self.log.read_text(errors="replace")[-2000:])
        text = re.sub(r"[^\n]*<%s>[^\n]*\n", "", found[1].decode(errors="replace").replace("\r", ""))
        if int(found[2]):
            raise VinfraError(f"on the serial console, {command!r} failed with {int(found[2])}", text)
        return text

    def end(self) -> None:
        """Pull the plug."""
        self.process.kill()
        self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()

    def _connect(self, path: Path) -> socket.socket:
        deadline = time.monotonic() + 20
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(60)
                connection.connect(str(path))
            except OSError as error:
                connection.close()
                if not self.running:
                    said = self.process.stderr.read() if self.process.stderr else ""
                    raise VinfraError("QEMU ended", said.strip()) from error
                if time.monotonic() > deadline:
                    raise VinfraError(f"QEMU does not answer: {error}") from error
                time.sleep(0.02)
            else:
                return connection


def _answer(lines: Any) -> dict[str, Any]:
    """The next line that is an answer: events come between."""
    for line in lines:
        said: dict[str, Any] = json.loads(line)
        if "return" in said or "error" in said:
            return said
    raise VinfraError("QEMU ended")


def _until(connection: socket.socket, deadline: float, wanted: str, typed: str = "") -> re.Match[bytes] | None:
    """Read until `wanted` was seen; `typed` is sent again and again, as nobody may listen yet."""
    pattern = re.compile(wanted.encode(), re.DOTALL)
    seen = b""
    while time.monotonic() < deadline:
        connection.sendall(typed.encode())
        pause = min(deadline, time.monotonic() + 2)
        while (left := pause - time.monotonic()) > 0:
            connection.settimeout(left)
            with suppress(TimeoutError):
                seen += connection.recv(1 << 16)
            if match := pattern.search(seen):
                return match
    return None
